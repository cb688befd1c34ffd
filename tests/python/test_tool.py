# SPDX-License-Identifier: Apache-2.0
"""Proves that the package brings the command `slipring` along: it lists, describes and unlinks a ring
that Python made."""
import os
import pathlib
import subprocess
import sys

import slipring

TOOL = pathlib.Path(sys.executable).with_name("slipring")


def tool(*arguments):
    done = subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_tool():
    name = f"tool-{os.getpid()}"
    with slipring.Ring.create(name, ("float32", (8,)), slots=16) as ring:
        try:
            assert name in tool("ls")[1].split()
            code, text = tool("info", name)
            assert code == 0 and "float32" in text
            assert tool("unlink", name)[0] == 0
            assert name not in tool("ls")[1].split()
        finally:
            if name in tool("ls")[1].split():
                ring.unlink()
