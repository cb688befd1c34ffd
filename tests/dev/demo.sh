# SPDX-License-Identifier: Apache-2.0
# ./dev demo [ARGUMENT...]
run_demo()
{
    # shellcheck disable=SC2086
    need $build_packages
    build release gcc --buildtype=release -Dtests=disabled
    build/release/examples/demo "$@" || exit
    echo
    echo "5. Digits learned through the DataLoader, beside torch's (what Python needs for that is"
    echo "   fetched the first time, torch among it: some minutes)"
    python_package
    if [ -z "${SLIPRING_PYTHON:-}" ]; then
        echo "   left out: $SLIPRING_NO_PYTHON"
        exit
    fi
    exec "$SLIPRING_PYTHON" examples/python/digits.py
}
