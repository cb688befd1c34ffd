#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Proves what a packager and a dependent project rely on: everything is installed where it belongs,
# with SONAME and symbol versions; programs in C11 and C++17 build against it through pkg-config,
# shared and static; and another meson project can have it as a subproject.
# install.sh SOURCE BUILD (with the tool built)
set -eu
source=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail()
{
    echo "install.sh: $*" >&2
    exit 1
}

meson install -C "$build" --no-rebuild --quiet --destdir "$work/root"
pc=$(find "$work/root" -name slipring.pc)
[ -n "$pc" ] || fail "no slipring.pc"
lib=$(dirname "$(dirname "$pc")")
prefix=$(dirname "$(find "$work/root" -type d -path '*/include/slipring')")/..

for file in "$lib/libslipring.so" "$lib/libslipring.so.0" "$lib/libslipring.a" \
    "$prefix/bin/slipring" "$prefix/share/man/man1/slipring.1"; do
    [ -e "$file" ] || fail "$file is not installed"
done
for header in "$source"/include/slipring/*.h; do
    cmp "$header" "$prefix/include/slipring/${header##*/}" || fail "header ${header##*/}"
done

# check_names LIBRARY MAP NODE: it exports the names of the map, each with its node, and no others. The
# node must be there.
check_names()
{
    readelf -d "$lib/$1.so" | grep -q "SONAME.*\[$1\.so\.0\]" || fail "$1: SONAME"
    nm -D --defined-only --with-symbol-versions "$lib/$1.so" |
        awk '$2 != "A" { print $3 }' | sort >"$work/exported"
    awk '/\{$/ { node = $1 } /^ *slipring_/ { sub(/;/, ""); print $1 "@@" node }' "$source/$2" |
        sort >"$work/mapped"
    grep -q "@@$3\$" "$work/mapped" || fail "$1: no node $3"
    [ -s "$work/mapped" ] && diff "$work/mapped" "$work/exported" || fail "$1: exported symbols"
}
check_names libslipring src/slipring.map SLIPRING_0.1
check_names libslipring src/slipring.map SLIPRING_PRIVATE
check_names libslipring-cuda src/cuda/slipring-cuda.map SLIPRING_CUDA_0.1
# It links nothing of CUDA, and has a pkg-config file of its own.
! readelf -d "$lib/libslipring-cuda.so" | grep -q 'NEEDED.*cuda' || fail "links CUDA"
[ -e "$(dirname "$pc")/slipring-cuda.pc" ] || fail "no slipring-cuda.pc"

cat >"$work/use.c" <<'END'
#include <slipring/inline.h>
#include <slipring/slipring.h>
#include <string.h>
int main(void)
{
    struct slipring_config config;
    slipring_config_init(&config);
    return config.slots != 1024 || strcmp(slipring_version(), SLIPRING_EXPECTED) != 0;
}
END
cp "$work/use.c" "$work/use.cpp"
version=$(sed -n 's/^Version: *//p' "$pc")
export PKG_CONFIG_PATH="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/root"
flags="$(pkg-config --cflags slipring) -DSLIPRING_EXPECTED=\"$version\""
shared="$(pkg-config --libs slipring) -Wl,-rpath,$lib"
# shellcheck disable=SC2046
static="$lib/libslipring.a -pthread \
    $(pkg-config --libs $(pkg-config --print-requires-private slipring | cut -d' ' -f1))"
unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
for link in "$shared" "$static"; do
    # shellcheck disable=SC2086
    ${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror $flags "$work/use.c" -o "$work/use" $link
    "$work/use" || fail "the C program ($link)"
    # shellcheck disable=SC2086
    ${CXX:-c++} -std=c++17 -Wall -Wextra -Wpedantic -Werror $flags "$work/use.cpp" -o "$work/use" $link
    "$work/use" || fail "the C++ program ($link)"
done

mkdir -p "$work/parent/subprojects"
ln -s "$source" "$work/parent/subprojects/slipring"
cp "$work/use.c" "$work/parent"
cat >"$work/parent/meson.build" <<END
project('parent', 'c', default_options: 'c_std=c11')
slipring_dep = dependency('slipring', fallback: ['slipring', 'slipring_dep'])
test('use', executable('use', 'use.c', dependencies: slipring_dep,
    c_args: '-DSLIPRING_EXPECTED="$version"'))
END
meson setup "$work/parent/build" "$work/parent" --force-fallback-for=slipring
meson test -C "$work/parent/build" --print-errorlogs
[ ! -e "$work/parent/build/subprojects/slipring/tests" ] || fail "the subproject builds its tests"
