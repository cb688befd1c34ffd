#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Proves that the extension compiles without a warning for another interpreter, and works there, with
# the NumPy and torch that it has. compat.sh VERSION CORE: VERSION is 3.10 and so on, or `system` for
# the distribution's own (with its packages of NumPy and torch); CORE the archive of the C core.
set -eu
version=$1 core=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
skip()
{
    echo "SKIP: $*"
    exit 77
}

[ -n "${SLIPRING_PYTHON:-}" ] || skip "${SLIPRING_NO_PYTHON:-./dev test python prepares it}"
python=
for candidate in "/usr/bin/python3" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version/bin/python3" "$(command -v "python$version")"; do
    if [ -x "$candidate" ] && { [ "$version" = system ] || [ "$("$candidate" -c \
        'import sys; print("%d.%d%s" % (*sys.version_info[:2], getattr(sys, "abiflags", "")))' \
        2>/dev/null)" = "$version" ]; }; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || skip "no CPython $version here"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
[ -e "$include/Python.h" ] || skip "no Python.h of $python"

work=$root/build/compat/$version
venv=$work/venv
if [ ! -e "$venv/done" ]; then
    rm -rf "$venv"
    if [ "$version" = system ]; then
        "$python" -m venv --system-site-packages "$venv"
    else
        "$python" -m venv "$venv"
        "$venv/bin/pip" install -q numpy || echo "going on without NumPy for $version"
    fi
    touch "$venv/done"
fi
mkdir -p "$work/slipring/torch"
cp "$root"/src/python/slipring/*.py "$work/slipring"
cp "$root"/src/python/slipring/torch/*.py "$work/slipring/torch"
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
rm -f "$work"/slipring/_slipring*.so
# shellcheck disable=SC2046
${CC:-cc} -std=c11 -O1 -g -fPIC -shared -fvisibility=hidden -D_GNU_SOURCE -Wall -Wextra -Werror \
    -Wno-cast-function-type -Wno-missing-field-initializers -isystem "$include" \
    -I"$root/include" -iquote "$root/src/python" -iquote "$root/src" $(find "$root/src/python" -name "*.c") \
    -o "$work/slipring/_slipring$suffix" "$core" \
    $(pkg-config --libs hwloc liburcu-bp liburcu-cds libxxhash) -pthread
cd "$here"
PYTHONPATH=$work "$venv/bin/python" -B -W error -W "ignore:This DataLoader will create" smoke.py

# CPython's own tests of what a version has of its own.
if [ "$version" = 3.13 ] && "$venv/bin/python" -c 'import test._test_multiprocessing' 2>/dev/null; then
    for method in fork spawn forkserver; do
        PYTHONPATH=$work "$venv/bin/python" -B cpython.py "$method" WithProcessesTestQueue \
            TestSimpleQueue TestStartMethod WithProcessesTestPool
    done
    PYTHONPATH=$work "$venv/bin/python" -B cpython.py fork ProcessPoolForkProcessPoolExecutorTest \
        ProcessPoolForkWaitTest ProcessPoolForkInitializerTest
fi
