/* SPDX-License-Identifier: Apache-2.0 */
/* Proves that slipring/inline.h means in C what test_inline.h says. */
#include "test_inline.h"

int main(void)
{
    return inline_main();
}
