#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a folder with the libraries for aarch64 that slipring needs, libc among them, of the packages
# that apt has for it: to link with, and for qemu-user. Needs no root and changes nothing of the
# system. In it also aarch64.ini, by which meson uses them. Done once; where it cannot be done the
# reason is what it says.
# sysroot.sh DIRECTORY
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
stamp="$PWD $(cksum <"$here/sysroot.sh")"
[ "$(cat stamp 2>/dev/null)" != "$stamp" ] || exit 0
command -v apt-get >/dev/null || { echo "there is no apt-get" && exit 1; }
rm -rf ./*

# An apt of our own: the system's sources, nothing installed, of the other architecture.
mkdir -p apt/state/lists/partial apt/cache/archives/partial
: >apt/status
get()
{
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 \
        -o Dir::State="$PWD/apt/state" -o Dir::State::status="$PWD/apt/status" \
        -o Dir::Cache="$PWD/apt/cache" -o APT::Sandbox::User=root "$@"
}
get update >apt/log 2>&1 || true # some sources may have nothing for it
get install -y --download-only --no-install-recommends libhwloc-dev liburcu-dev libxxhash-dev \
    libstdc++6 >>apt/log 2>&1 ||
    { grep '^E: ' apt/log | head -n 1 && exit 1; }
for package in apt/cache/archives/lib*.deb; do
    dpkg-deb -x "$package" .
done
[ -e lib ] || ln -s usr/lib lib # where the packages have merged them
rm -rf apt

cat >aarch64.ini <<END
[constants]
root = '$PWD'
[binaries]
c = ['aarch64-linux-gnu-gcc', '--sysroot=' + root]
cpp = ['aarch64-linux-gnu-g++', '--sysroot=' + root]
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
objdump = 'aarch64-linux-gnu-objdump'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', root]
[properties]
sys_root = root
pkg_config_libdir = root / 'usr/lib/aarch64-linux-gnu/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
END
echo "$stamp" >stamp
