#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one file of the suite python by pytest. run.sh FILE
if [ -z "${SLIPRING_PYTHON:-}" ]; then
    echo "SKIP: ${SLIPRING_NO_PYTHON:-no interpreter with the package: ./dev test python makes one}"
    exit 77
fi
cd "$(dirname "$1")" || exit 1
exec "$SLIPRING_PYTHON" -m pytest -q -rs --no-header -p no:cacheprovider --timeout=240 "$1"
