// SPDX-License-Identifier: Apache-2.0
// Proves that slipring/inline.h means in C++17 what test_inline.h says.
#include "test_inline.h"

int main()
{
    return inline_main();
}
