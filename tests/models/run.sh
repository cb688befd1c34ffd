#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs every client program under GenMC (the program named by GENMC, or `genmc` on PATH), over the
# core's sources; tells executions, blocked ones and seconds of each. 77, loudly, without GenMC.
#
#     run.sh [-q] [-m rc11|imm] [-s SOURCES] [-t SECONDS] [CLIENT...]
#
# -s: the core's sources, to try a changed copy. -q: none of the crash points, and no further than the
# first run in which GenMC finds an error. A client's runs are listed below; those with crash points
# run once per point, and how many points there are is found out first. Figures: results.md.
#
# The sources are compiled and inlined by clang and opt of the LLVM that GenMC was built with
# (LLVM=14), so that private structs become registers and only shared words reach the checker.
set -u
model=rc11
seconds=600
quick=
here=$(cd "$(dirname "$0")" && pwd)
sources=$here/../../src
while getopts qm:s:t: option; do
    case $option in
    q) quick=yes ;;
    m) model=$OPTARG ;;
    s) sources=$OPTARG ;;
    t) seconds=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

genmc=${GENMC:-genmc}
llvm=${LLVM:-14}
for program in "$genmc" "clang-$llvm" "opt-$llvm"; do
    if ! command -v "$program" >/dev/null; then
        echo "SKIPPED: the models were NOT checked: there is no $program here" >&2
        exit 77
    fi
done
# GenMC's own headers replace the system's: beside an installed program, or in its source tree.
bin=$(dirname "$(command -v "$genmc")")
for headers in "${GENMC_INCLUDE:-}" "$bin/../include/genmc" "$bin/../include"; do
    [ -f "$headers/genmc.h" ] && break
done
if [ ! -f "$headers/genmc.h" ]; then
    echo "SKIPPED: the models were NOT checked: no genmc.h; name its folder in GENMC_INCLUDE" >&2
    exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

build() { # CLIENT THRESHOLD FLAGS...
    client=$1
    threshold=$2
    shift 2
    passes="-disable-builtin=memset -disable-builtin=memcpy -vectorize-loops=false
        -vectorize-slp=false -O2"
    # shellcheck disable=SC2086
    "clang-$llvm" -O2 -Xclang -disable-llvm-passes -fno-unroll-loops -w \
        -D__CONFIG_GENMC_INODE_DATA_SIZE=64 -I "$headers" -I "$here/stub" -I "$sources" \
        -I "$here/../../include" "$@" -emit-llvm -c -o "$work/a.bc" "$here/$client.c" &&
        "opt-$llvm" -enable-new-pm=0 -internalize -internalize-public-api-list=main -globaldce \
            -inline-threshold="$threshold" $passes "$work/a.bc" -o "$work/b.bc" &&
        "opt-$llvm" -enable-new-pm=0 -S -sroa -early-cse -instcombine $passes "$work/b.bc" \
            -o "$work/c.ll" &&
        for_genmc <"$work/c.ll" >"$work/d.ll"
}

# Functions in place of LLVM's own least and most of two numbers, which GenMC does not know; no
# prefetch; and full fences for the compiler fences of slipring/inline.h, as seam.h has for the core's.
for_genmc() {
    define='define internal i\1 @model_\2\3.i\1(i\1 %a, i\1 %b) {\n'
    choose='%d = select i1 %c, i\1 %a, i\1 %b\n  ret i\1 %d\n}'
    declared='^declare i\([0-9]*\) @llvm\.\([us]\)'
    sed -e "s/$declared\(min\)\.i[0-9]*(.*/$define  %c = icmp \2lt i\1 %a, %b\n  $choose/" \
        -e "s/$declared\(max\)\.i[0-9]*(.*/$define  %c = icmp \2gt i\1 %a, %b\n  $choose/" \
        -e '/asm sideeffect "prefetchw/d' -e '/call void @llvm.prefetch/d' \
        -e 's/fence syncscope("singlethread")/fence/' \
        -e 's/@llvm\.\([us]m[inax]*\.i[0-9]*(\)/@model_\1/g'
}

check() { # CLIENT FLAGS...
    begin=$(date +%s)
    client=$1
    shift
    options="--$model"
    grep -q '^ \* GenMC: ' "$here/$client.c" &&
        options="$options $(sed -n 's/^ \* GenMC: //p' "$here/$client.c")"
    # Some outputs of the inliner are too much for GenMC's own passes: then another limit is tried.
    : >"$work/out"
    result=1
    for threshold in 500 3000 100 20000 1000 250 10; do
        build "$client" "$threshold" "$@" || break
        # shellcheck disable=SC2086
        timeout "$seconds" "$genmc" $options --disable-load-annotation --disable-spin-assume \
            --input-from-bitcode-file "$work/d.ll" >"$work/out" 2>&1
        result=$?
        { grep -q 'executions explored' "$work/out" || [ "$result" -eq 124 ]; } && break
    done
    explored=$(sed -n 's/.*executions explored: //p' "$work/out")
    blocked=$(sed -n 's/.*executions seen: \([0-9]*\).*/\1/p' "$work/out")
    if grep -q '^No errors were detected' "$work/out"; then
        verdict=ok
    else
        verdict=FAILED
        failed=1
        grep -q 'executions explored' "$work/out" || verdict="FAILED: GenMC cannot run it"
        [ "$result" -eq 124 ] && verdict="FAILED: more than $seconds s"
        grep -v '^	' "$work/out" >"$work/short"
    fi
    printf '%-16s %-32s %9s explored %8s blocked %4d s  %s\n' "$client" "$*" "${explored:--}" \
        "${blocked:-0}" $(($(date +%s) - begin)) "$verdict"
    [ "$verdict" = ok ] || tail -n 5 "$work/short"
    [ "$verdict" != FAILED ] || [ -z "$quick" ] || exit 1
}

past() { # K CLIENT FLAGS...: has the victim fewer steps than that?
    past=$1
    name=$2
    shift 2
    (failed=0 quick='' && check "$name" "-DCRASH=$past" -DCRASH_PAST "$@" && [ "$failed" = 0 ]) \
        >/dev/null
}

crashes() { # CLIENT FLAGS...: the steps are counted, by halves, and a death before each is tried
    client=$1
    shift
    check "$client" -DCRASH=0 "$@"
    [ -z "$quick" ] || return 0
    most=32
    least=0
    while ! past $most "$client" "$@"; do
        least=$most
        most=$((2 * most))
        [ $most -le 256 ] || { echo "$client $*: FAILED: steps without end" && failed=1 && return; }
    done
    while [ $((most - least)) -gt 1 ]; do
        middle=$(((most + least) / 2))
        if past $middle "$client" "$@"; then most=$middle; else least=$middle; fi
    done
    k=1
    while [ $k -lt $most ]; do
        check "$client" -DCRASH=$k "$@"
        k=$((k + 1))
    done
}

runs() {
    case $1 in
    model_publish)
        check "$1"
        check "$1" -DTENSOR
        check "$1" -DBATCH=2 -DMESSAGES=3
        check "$1" -DFAST
        check "$1" -DFAST -DPAIR -DMESSAGES=4
        check "$1" -DFAST -DBATCH=2 -DMESSAGES=3
        ;;
    model_join) check "$1" ;;
    model_sleep)
        check "$1"
        check "$1" -DPRODUCER_SLEEPS
        check "$1" -DFAST
        check "$1" -DFAST -DPRODUCER_SLEEPS
        ;;
    model_group)
        check "$1" -DNO_REAPER
        check "$1" -DPRODUCER
        crashes "$1" -DNO_REAPER
        crashes "$1" -DALONE
        ;;
    model_evict)
        check "$1"
        check "$1" -DALONE
        check "$1" -DALONE -DSTAYS
        check "$1" -DALONE -DSTAYS -DHELD=1
        ;;
    model_crowd) check "$1" ;;
    model_lasting)
        check "$1"
        check "$1" -DNAMED
        ;;
    model_hold)
        check "$1"
        ;;
    model_gone)
        check "$1"
        check "$1" -DVERIFY
        ;;
    model_device)
        check "$1"
        check "$1" -DRETIRED
        ;;
    model_stamp)
        check "$1"
        check "$1" -DPASSED
        check "$1" -DSLEEPS
        ;;
    model_letter)
        check "$1" # the explorer tries its deaths: most are between 64 loads that are alike
        ;;
    model_foreign)
        check "$1"
        check "$1" -DTABLE
        ;;
    model_copy)
        check "$1"
        check "$1" -DTENSOR -DMESSAGES=1
        ;;
    model_takeover)
        crashes "$1"
        crashes "$1" -DSPANNING
        ;;
    model_attach) crashes "$1" ;;
    model_end)
        crashes "$1"
        check "$1" -DREAPER
        ;;
    *)
        echo "no client $1" >&2
        exit 2
        ;;
    esac
}

if [ $# -eq 0 ]; then
    set -- model_publish model_join model_sleep model_group model_evict model_hold model_copy \
        model_foreign model_gone model_lasting model_letter model_crowd model_device model_stamp \
        model_takeover model_attach model_end
fi
for client in "$@"; do
    runs "$client"
done
exit $failed
