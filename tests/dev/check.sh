# SPDX-License-Identifier: Apache-2.0
# ./dev check and ./dev format

# at_least NUMBER FILE...: the files, one a line; an error where they are fewer, since then a move has
# hidden some from a check.
at_least()
{
    least=$1
    shift
    [ $# -ge "$least" ] || { echo "./dev: $# files, at least $least expected" >&2; return 1; }
    printf '%s\n' "$@"
}

# shellcheck disable=SC2046
sources()
{
    at_least 445 $(find src include tests examples perf \
        -name '*.[ch]' ! -name dlpack.h -o -name '*.cpp')
}

# The C files of the library and the tool.
# shellcheck disable=SC2046
library_sources()
{
    at_least 45 $(find src -name '*.c' ! -path 'src/python/*' ! -path 'src/cuda/*')
}

# shellcheck disable=SC2046
extension_sources()
{
    at_least 33 $(find src/python -name '*.c')
}

failed=
step() # step NAME COMMAND...
{
    name=$1
    shift
    echo "== $name"
    "$@" || failed="$failed, $name"
}

# shellcheck disable=SC2046
check_format()
{
    files=$(sources) && clang-format --dry-run -Werror $files
}

check_reference()
{
    mkdir -p build && doxygen Doxyfile
}

check_manual()
{
    said=$(groff -man -Tutf8 -ww -rCHECKSTYLE=3 -z src/tools/slipring.1 2>&1)
    [ -z "$said" ] || { echo "$said"; return 1; }
}

# clang-tidy rather than gcc's -fanalyzer: that one (in gcc 12) loses track of what it knows at
# each atomic operation, and of descriptors and mappings it knows nothing. Checks: .clang-tidy.
# shellcheck disable=SC2046,SC2086
check_clang()
{
    build clang clang $clang_options && files=$(library_sources) &&
        echo "$files" |
        xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p build/clang
}

# The same for the extension, which is built for that only; the interpreter's headers are not ours.
check_python()
{
    set_up python-clang clang -Dpython=enabled -Dtests=disabled -Dtools=disabled \
        -Dexamples=disabled && files=$(extension_sources) &&
        echo "$files" | xargs -P "$(nproc)" -n 1 \
            clang-tidy --quiet '--header-filter=src/python/.*' -p build/python-clang
}

# Not under it: suite crash, which counts instructions; the models, which are no code of ours at run
# time but the explorer; the package.
sanitized_suites="unit litmus proc"
check_sanitized()
{
    set_up asan gcc -Db_sanitize=address,undefined -Dwerror=true &&
        logs= && run_tests asan asan $sanitized_suites && summarize $sanitized_suites
}

# python_under RUNTIME BUILD OPTIONS FILE...: files of the Python package's tests, with the extension in
# a build of its own under a sanitizer, whose runtime must come first in a process that is not built
# with it. The files that go through most of the C code; the others import torch for the most part.
sanitized_python="test_lifetime.py test_members.py test_queue.py test_queue_objects.py test_ring.py
    test_wait.py"
python_under()
(
    runtime=$1
    directory=build/$2
    python_modules
    if [ -z "${SLIPRING_PYTHON:-}" ]; then
        echo "SKIPPED: $SLIPRING_NO_PYTHON"
        return
    fi
    PATH=$PWD/build/python/bin:$PATH
    # shellcheck disable=SC2086
    set_up "$2" gcc $3 -Db_lundef=false -Dwerror=true -Dpython=enabled -Dtests=disabled \
        -Dtools=disabled -Dexamples=disabled -Dcuda=disabled -Dpython.platlibdir=/ &&
        ninja -C "$directory" && DESTDIR=$PWD/$directory/root \
        meson install -C "$directory" --no-rebuild --quiet --tags python-runtime || return
    shift 3
    export PYTHONPATH="$PWD/$directory/root"
    export LD_PRELOAD="$(gcc -print-file-name="$runtime") $(gcc -print-file-name=libstdc++.so)"
    cd tests/python && "$SLIPRING_PYTHON" -m pytest -q --no-header -p no:cacheprovider \
        --capture=sys --timeout=600 "$@" # the runtime's reports are not captured
)

# What the interpreter leaves at its end is not looked at. Objects in malloc, so that they are seen.
check_sanitized_python()
{
    # shellcheck disable=SC2086
    PYTHONMALLOC=malloc UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:strict_string_checks=1 \
        python_under libasan.so python-asan -Db_sanitize=address,undefined \
        $sanitized_python test_processes.py test_queue_arrays.py test_tensors.py
}

# The interpreter's lock is a mutex and a condition, which the runtime sees; of the fences, which gcc's
# does not know, none orders what is not atomic.
check_threads_python()
{
    # shellcheck disable=SC2086
    TSAN_OPTIONS=halt_on_error=1:report_signal_unsafe=0:die_after_fork=0 \
        python_under libtsan.so python-tsan "-Db_sanitize=thread -Dc_args=-Wno-tsan" \
        $sanitized_python
}

# clang: gcc warns of each fence that its thread sanitizer does not know. Only where peers are
# threads over one mapping does it see both sides; other processes it does not see at all.
check_threads()
{
    set_up tsan clang -Db_sanitize=thread -Db_lundef=false -Dwerror=true -Dexamples=disabled &&
        logs= && run_tests tsan tsan threads && summarize threads
}

run_check()
{
    # shellcheck disable=SC2086
    need $check_packages
    need_fuzzer # and the other sanitizers' runtimes of clang
    step "format" check_format
    step "include graph" python3 tests/includes.py
    step "header comments" python3 tests/headers.py
    step "reference" check_reference
    step "manual page" check_manual
    step "clang" check_clang
    step "python" check_python
    step "sanitizers" check_sanitized
    step "sanitizers, python" check_sanitized_python
    step "threads" check_threads
    step "threads, python" check_threads_python
    if [ -n "$failed" ]; then
        echo "./dev check: failed:${failed#,}"
        exit 1
    fi
    echo "./dev check: all well"
}

run_format()
{
    # shellcheck disable=SC2086
    need $format_packages
    # shellcheck disable=SC2046
    files=$(sources)
    # shellcheck disable=SC2086
    clang-format -i $files
    python3 tests/faults.py --write
}
