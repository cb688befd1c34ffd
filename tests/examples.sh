#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every example does what its head says: both orders of 01, the others as they are, the demo; each
# ends with 0 and the expected words, refuses what it should refuse, and leaves no file behind.
#
#     tests/examples.sh DIRECTORY_OF_THE_BUILT_EXAMPLES [STAND_IN_DRIVER]
set -u

dir=${1:?usage: examples.sh DIRECTORY [STAND_IN_DRIVER]}
name=example-test-$$
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
failures=0

if ! [ -d /dev/shm ] || ! [ -w /dev/shm ]; then
    echo "SKIPPED: /dev/shm is not there or cannot be written, so no named ring can be made" >&2
    exit 77
fi

bad() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

# run LOG COMMAND...: no example may take longer than a minute.
run() {
    log=$out/$1
    shift
    timeout -k 5 60 "$@" >"$log" 2>&1
}

# expect WHAT STATUS LOG PATTERN...: it ended with 0 and said each of the patterns.
expect() {
    what=$1 status=$2 log=$out/$3
    shift 3
    if [ "$status" -ne 0 ]; then
        bad "$what ended with $status:"
        cat "$log" >&2
        return
    fi
    for pattern in "$@"; do
        if ! grep -Eq "$pattern" "$log"; then
            bad "$what did not say \"$pattern\":"
            cat "$log" >&2
        fi
    done
}

# pair FIRST SECOND: 01 in two processes, the second started when the first is running.
pair() {
    run "$1" "$dir/$1" "$name" &
    first=$!
    run "$2" "$dir/$2" "$name"
    second_status=$?
    wait $first
    first_status=$?
    expect "$1 (started first)" $first_status "$1"
    expect "$2 (started second)" $second_status "$2"
    if ls -A /dev/shm | grep -F -e "$name" >&2; then
        bad "$1 and $2 left the files above in /dev/shm"
    fi
    expect "01_producer" 0 01_producer '^01_producer: published 1000 images$'
    expect "01_consumer" 0 01_consumer '^01_consumer: read 1000 images in [0-9]+ batches$'
}

# refuses PATTERN COMMAND...: it ends with 1, not by a signal, and says why.
refuses() {
    pattern=$1
    shift
    run refused "$@"
    status=$?
    if [ $status -ne 1 ] || ! grep -Eq "$pattern" "$out/refused"; then
        bad "$* ended with $status where it should have refused with \"$pattern\":"
        cat "$out/refused" >&2
    fi
}

pair 01_consumer 01_producer
pair 01_producer 01_consumer
refuses '^01_producer: .*: .+' "$dir/01_producer" 'not/a/name'
refuses '^01_consumer: .*: .+' "$dir/01_consumer" 'not/a/name'

run 02 "$dir/02_group"
expect 02_group $? 02 '^02_group: 3000 of 3000 jobs done, each once$' '^02_group: worker 3 did'
run 03 "$dir/03_overwrite"
expect 03_overwrite $? 03 'copied [1-9][0-9]* whole frames, told of [1-9][0-9]* missed'
run 04 "$dir/04_fast"
expect 04_fast $? 04 '^04_fast: 2000000 ticks in order, [0-9.]+ million per second$'
if [ -x "$dir/04_fast_cpp" ]; then
    run 04cpp "$dir/04_fast_cpp"
    expect 04_fast_cpp $? 04cpp '^04_fast_cpp: 2000000 ticks in order, [0-9.]+ million per second$'
else
    echo "note: 04_fast_cpp was not built (no C++ compiler)"
fi
run 05 "$dir/05_anonymous"
expect 05_anonymous $? 05 '^05_anonymous: read 10 numbers of two producers$'
if [ -x "$dir/06_gpu_slots" ]; then
    run 06 "$dir/06_gpu_slots"
    expect 06_gpu_slots $? 06 '^06_gpu_slots: (read 100 messages in GPU memory|left out: .+)$'
    run 06 env SLIPRING_CUDA_DRIVER="${2:?}" "$dir/06_gpu_slots"
    expect "06_gpu_slots (stand-in)" $? 06 '^06_gpu_slots: read 100 messages in GPU memory$'
else
    echo "note: 06_gpu_slots was not built (-Dcuda=disabled)"
fi
run demo "$dir/demo"
expect demo $? demo '^All as it should be' 'each once and in order' 'reader B held .* killed' \
    'member A held .* killed' 'ratio [0-9.]+' '^4\. .* GPU' '^Left behind: 0 of'
refuses '^demo: .*' "$dir/demo" /nonexistent

if [ $failures -ne 0 ]; then
    echo "$failures failures" >&2
    exit 1
fi
grep -h . "$out/01_producer" "$out/01_consumer" "$out"/0[2-6]* "$out/demo"
echo "every example did what it says"
