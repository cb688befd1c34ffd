#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Proves that slipring_device.cuh compiles with nvcc for sm_80 and sm_90 and as PTX, without a warning,
# and that its loads and stores are those of the whole system.
# compile.sh SOURCE KERNEL
set -eu
nvcc=$(command -v nvcc || ls /usr/local/cuda*/bin/nvcc 2>/dev/null | tail -n 1)
if [ -z "$nvcc" ]; then
    echo "SKIPPED: the device's header was NOT compiled: there is no nvcc here"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$2
for target in sm_80 sm_90; do
    "$nvcc" -std=c++17 -Werror all-warnings -I "$1/include" -arch="$target" -cubin \
        -o "$work/$target.cubin" "$kernel"
    [ -s "$work/$target.cubin" ]
done
"$nvcc" -std=c++17 -Werror all-warnings -I "$1/include" -arch=compute_90 -ptx -o "$work/ptx" "$kernel"
for operation in ld.acquire.sys.u64 st.release.sys.u64 nanosleep.u32; do
    grep -q "$operation" "$work/ptx" || { echo "no $operation in the PTX" >&2 && exit 1; }
done
echo "compiled by $("$nvcc" --version | tail -n 1) for sm_80, sm_90 and PTX; run on no device"
