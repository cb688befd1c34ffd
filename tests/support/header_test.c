/* SPDX-License-Identifier: Apache-2.0 */
/* Proves that each public header compiles alone and twice, as C11 and as C++17, without a warning.
 * Built once per header and language; what fails, fails to compile. */
#include HEADER
#include HEADER

int main(void)
{
    return 0;
}
