# SPDX-License-Identifier: Apache-2.0
"""Proves that the examples of the DataLoader, the demonstration (which must learn the digits) and
the blocks of the README's section on it work."""
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "python"


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning",
         "-W", "ignore:This DataLoader will create", *arguments],  # more workers than processors
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("loader*.py")))
def test_example(example):
    said = run(str(EXAMPLES / example))
    assert "wait for batch" in said or "each once" in said


def test_digits():
    pytest.importorskip("sklearn")
    said = run(str(EXAMPLES / "digits.py"), "--quick")
    rows = re.findall(r"^(slipring|torch) +\d+ images/s +\d+ images/s +([\d.]+) %$", said, re.M)
    assert [name for name, _ in rows] == ["slipring", "torch"]
    assert all(float(correct) >= 95 for _, correct in rows)


def test_readme():
    text = (ROOT / "README.md").read_text()
    section = text[text.index("\n## DataLoader\n") :]
    section = section[: section.index("\n## ", 1)]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    assert len(blocks) == 2
    run("-c", "\n".join(blocks))
