#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh corpus TARGET CORPUS: play the inputs of the corpus.
# run.sh fuzz TARGET CORPUS: begin with them and make up others, for SLIPRING_FUZZ_SECONDS (30). What
# breaks something stays beside the target, as found-*; corpus.py prints it, for corpus.txt.
set -eu
target=$2
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# With a /dev/shm of its own, so that inputs can be named rings too.
alone="unshare -m"
[ "$(id -u)" = 0 ] || alone="unshare -rm"
if $alone mount -t tmpfs none /dev/shm 2>/dev/null; then
    export SLIPRING_FUZZ_NAMES=1
else
    echo "no private /dev/shm here: inputs are not played as named rings"
    alone=
fi

fuzz()
{
    set -- "$target" -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$target.found-" "$@"
    [ -z "$alone" ] || set -- $alone sh -c 'mount -t tmpfs none /dev/shm && exec "$@"' sh "$@"
    exec "$@"
}

if [ "$1" = corpus ]; then
    case $target in
    *mutate) fuzz -runs=50 "$3"/* ;; # when the other thread comes in is chance
    *) fuzz -runs=1 "$3"/* ;;
    esac
fi
mkdir -p "$target.corpus"
fuzz -max_len=600 -len_control=0 -entropic=0 -print_final_stats=1 \
    -max_total_time="${SLIPRING_FUZZ_SECONDS:-30}" "$target.corpus" "$3"
