# SPDX-License-Identifier: Apache-2.0
# ./dev bench [ARGUMENT...]
# The queues of others that the bench runs beside ours. What cannot be had is not in its table.
peers()
{
    # shellcheck disable=SC2086
    (need $peer_packages) || echo "./dev: going on with the peers that are here"
    if [ ! -e "build/peers/tried $peer_modules" ]; then
        modules "$peer_modules" || echo "./dev: going on without the peers from Python"
        mkdir -p build/peers && touch "build/peers/tried $peer_modules"
    fi
    PATH=$PWD/build/peers/bin:$PATH
}

# modules LIST: of Python, into an environment of the bench's own.
modules()
{
    [ -e build/peers/bin/pip ] || python3 -m venv build/peers || return
    # shellcheck disable=SC2086
    build/peers/bin/pip install -q $1
}

# The argument after --plot.
plot_folder()
{
    before=
    for argument; do
        [ "$before" != --plot ] || echo "$argument"
        before=$argument
    done
}

run_bench()
{
    # shellcheck disable=SC2086
    need $build_packages
    peers
    python_package
    # shellcheck disable=SC2086
    [ -z "${SLIPRING_PYTHON:-}" ] || "$SLIPRING_PYTHON" -m pip install -q $peer_modules ||
        echo "./dev: going on without the peers of the Python package"
    build bench gcc --buildtype=release -Dtests=disabled -Dexamples=disabled -Dperf=enabled
    folder=$(plot_folder "$@")
    if [ -z "$folder" ]; then
        exec build/bench/perf/slipring-bench "$@"
    fi
    python3 -c 'import matplotlib' 2>/dev/null || modules "$plot_modules" ||
        { echo "./dev: cannot draw without $plot_modules" >&2 && exit 1; }
    mkdir -p "$folder"
    code=0
    build/bench/perf/slipring-bench "$@" || code=$?
    python3 perf/plot.py "$folder"
    exit $code
}
