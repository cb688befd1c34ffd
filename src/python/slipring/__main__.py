# SPDX-License-Identifier: Apache-2.0
"""`python -m slipring`: the command `slipring` that came with this package, also where PATH does not
lead to it."""
import importlib.metadata
import os
import shutil
import sys


def tool():
    """Its path, or None."""
    try:
        files = importlib.metadata.files("slipring") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.parts[-2:] == ("bin", "slipring"):
            return os.fspath(file.locate())
    return shutil.which("slipring")


if __name__ == "__main__":
    path = tool()
    if path is None:
        sys.exit("slipring: the command is not here: install the package with its scripts (pip install "
                 ".), or the library (meson install)")
    os.execv(path, ["slipring", *sys.argv[1:]])
