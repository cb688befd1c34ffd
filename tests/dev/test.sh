# SPDX-License-Identifier: Apache-2.0
# ./dev test [suite...]
# run_tests DIR SETUP [suite...]: with what they need built, where that was only set up. Adds its log
# to those that summarize reads.
logs=
run_tests()
{
    dir=build/$1
    setup=$2
    shift 2
    log=$dir/meson-logs/testlog-$setup.json
    rm -f "$log"
    logs="$logs $log"
    suites=
    for suite; do
        suites="$suites --suite $suite"
    done
    # shellcheck disable=SC2086
    meson test -C "$dir" --setup "$setup" $suites || # the log says what failed
        [ $? -lt 126 ] || { echo "./dev: the tests of $dir were killed" >&2 && return 1; }
}

# summarize [suite...]: of the runs so far, in which each of the suites (or of the builds, by its
# name) must have had a test.
summarize()
{
    # shellcheck disable=SC2086
    python3 tests/dev/summary.py $logs -- "$@"
}

# asked_for SUITE [suite...]: it is among those named, or none is named.
asked_for()
{
    suite=$1
    shift
    [ $# = 0 ] && return
    for name; do
        [ "$name" != "$suite" ] || return 0
    done
    return 1
}

# What the suite arm (tests/arm/meson.build) needs built for aarch64, and the tests that run there.
# Where that cannot be had the others of the suite skip, by SLIPRING_NO_ARM, which says why.
arm_builds=
test_arm()
{
    libraries=build/arm-sysroot
    why=
    # shellcheck disable=SC2086
    if [ "$(uname -m)" != x86_64 ]; then
        why="this is no x86-64 machine: the other suites are its proof"
    elif obtain $arm_packages && ! said=$(tests/arm/sysroot.sh $libraries); then
        why="no libraries for aarch64: $said"
    fi
    if [ -n "$why" ]; then
        export SLIPRING_NO_ARM="$why"
        return
    fi
    set_up arm-llsc gcc --cross-file=$libraries/aarch64.ini \
        "-Dc_args=-march=armv8-a -mno-outline-atomics"
    set_up arm-lse gcc --cross-file=$libraries/aarch64.ini -Dc_args=-march=armv8.1-a
    export QEMU_CPU=cortex-a53 # it has no LSE
    run_tests arm-llsc arm unit proc arm
    unset QEMU_CPU
    export QEMU_PAGESIZE=65536
    run_tests arm-lse arm unit proc arm
    unset QEMU_PAGESIZE
    arm_builds="arm-llsc arm-lse"
}

# Of clang's build suite crash is run, and all is compiled; the models are the same code many times.
clang_options="-Dwerror=true -Dmodels=disabled"

# Victims of both compilers: the suites crash and crash-full, where asked for, by clang too.
test_crash_by_clang()
{
    crash=
    ! asked_for crash "$@" || crash=crash
    [ $# = 0 ] || ! asked_for crash-full "$@" || crash="$crash crash-full"
    [ -n "$crash" ] || return 0
    need clang
    # shellcheck disable=SC2086
    set_up clang clang $clang_options
    # shellcheck disable=SC2086
    run_tests clang default $crash
}

# The fuzzer's runtime is a package of its own, named after the compiler's version.
need_fuzzer()
{
    need $fuzz_packages
    echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer,address,undefined -x c -o /dev/null - 2>/dev/null ||
        need "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
}

test_fuzz()
{
    need_fuzzer
    build fuzz clang -Dfuzz=enabled -Db_sanitize=address,undefined -Db_lundef=false \
        -Dtests=disabled -Dexamples=disabled -Dtools=disabled
    run_tests fuzz fuzz "$@"
}

run_test()
{
    # shellcheck disable=SC2086
    need $test_packages
    build test gcc
    if asked_for arm "$@"; then
        test_arm
    fi
    if asked_for python "$@" || asked_for python-full "$@"; then
        obtain $cpython_packages || echo "./dev: going on without CPython's own tests: $why"
        python_package
        # shellcheck disable=SC2086
        obtain $python_debian || echo "./dev: going on without Debian's own: $why"
        touch tests/python/meson.build # which lists the files there
    fi
    if [ "$*" != fuzz ]; then
        run_tests test default "$@"
    fi
    test_crash_by_clang "$@"
    if asked_for fuzz "$@" || asked_for faults "$@"; then
        test_fuzz "$@"
    fi
    # shellcheck disable=SC2086
    summarize "$@" $arm_builds
}
