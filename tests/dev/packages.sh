# SPDX-License-Identifier: Apache-2.0
# What the commands need from the distribution and from Python's index.
build_packages="gcc libc6-dev meson ninja-build pkg-config libhwloc-dev liburcu-dev libxxhash-dev"
test_packages="$build_packages g++ python3"
format_packages="clang-format"
fuzz_packages="clang"
check_packages="$test_packages $format_packages python3-dev clang clang-tidy doxygen groff-base"
arm_packages="gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
peer_packages="g++ python3-venv libdpdk-dev libck-dev libboost-dev libzmq3-dev"
peer_modules="numpy iceoryx2 faster-fifo"
plot_modules="matplotlib"
python_packages="python3-dev python3-venv"
cpython_packages=libpython3-testsuite
python_debian="python3-numpy python3-torch" # of the distribution's interpreter

# obtain PACKAGE...: installs those that are missing. Where that cannot be, 1, and $why says why.
obtain()
{
    command -v dpkg >/dev/null || return 0 # not Debian: meson will say what it misses
    missing=
    for package; do
        dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    root=
    if [ "$(id -u)" != 0 ]; then
        root="sudo -n"
        if ! $root true 2>/dev/null; then
            why="packages are missing. As root: apt-get install$missing"
            return 1
        fi
    fi
    echo "./dev: installing$missing"
    $root apt-get update -q || true # old lists may do
    # shellcheck disable=SC2086
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        $missing || { why="cannot install$missing" && return 1; }
}

need()
{
    obtain "$@" || { echo "./dev: $why" >&2 && exit 1; }
}

# What the package's tests want, in build/python: an interpreter of its own, named by SLIPRING_PYTHON;
# or SLIPRING_NO_PYTHON says why there is none.
python_modules()
{
    venv=build/python
    wanted="$(python3 -V) $(cksum <tests/python/requirements.txt)"
    # shellcheck disable=SC2086
    if ! obtain $python_packages; then
        export SLIPRING_NO_PYTHON="$why"
        return
    fi
    if [ "$(cat $venv/done 2>/dev/null)" != "$wanted" ]; then
        rm -rf $venv
        if ! python3 -m venv $venv || ! $venv/bin/pip install -q -r tests/python/requirements.txt; then
            export SLIPRING_NO_PYTHON="cannot install what tests/python/requirements.txt names"
            return
        fi
        echo "$wanted" >$venv/done
    fi
    export SLIPRING_PYTHON="$PWD/$venv/bin/python"
}

# The same, and the package built and installed there.
python_package()
{
    python_modules
    [ -n "${SLIPRING_PYTHON:-}" ] || return 0
    PATH=$PWD/$venv/bin:$PATH CC=gcc $venv/bin/pip install -q --no-build-isolation --no-deps \
        --force-reinstall -Cbuild-dir=build/wheel .
}
