# SPDX-License-Identifier: Apache-2.0
"""Proves that the package brings the command `slipring` along: it lists, describes and unlinks a ring
that Python made; and that `python -m slipring` is the same."""
import os
import pathlib
import subprocess
import sys

import pytest
import slipring

TOOL = pathlib.Path(sys.executable).with_name("slipring")


@pytest.mark.parametrize("command", [[TOOL], [sys.executable, "-m", "slipring"]],
                         ids=["command", "module"])
def test_tool(command, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    def tool(*arguments):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    assert tool("no-such")[0] != 0
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
