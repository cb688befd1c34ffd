#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Proves that a library for aarch64 has its atomics in the form that it was built for: LL/SC alone,
# or LSE alone, and in neither case by libgcc's helpers, which choose as they run. Or both builds
# might be the same, and one form not tested.
# atomics.sh OBJDUMP llsc|lse LIBRARY
set -eu
code=$("$1" --no-show-raw-insn -d "$3")
count()
{
    printf '%s\n' "$code" | grep -Ec "$1" || true
}
exclusive=$(count '	(ldaxr|ldxr|stlxr|stxr)	')
single=$(count '	(cas|swp|ldadd|ldset|ldclr|stadd)[a-z]*	')
helpers=$(count '<__aarch64_')
echo "$2: $exclusive exclusive loads and stores, $single LSE atomics, $helpers calls of helpers"
case $2 in
llsc) [ "$exclusive" -gt 0 ] && [ "$single" = 0 ] && [ "$helpers" = 0 ] ;;
lse) [ "$exclusive" = 0 ] && [ "$single" -gt 0 ] && [ "$helpers" = 0 ] ;;
*) exit 1 ;;
esac
