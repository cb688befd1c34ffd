#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kernels.sh NVCC INCLUDE SOURCE OUTPUT: the kernels as PTX, for any GPU since 2018. An nvcc that cannot
# build them (suite cuda says so) leaves an empty file, and whoever wants them does without.
"$1" -std=c++17 -I "$2" -arch=compute_75 -ptx -o "$4" "$3" || {
    echo "the kernels for a GPU are left out: nvcc failed" >&2
    : >"$4"
}
