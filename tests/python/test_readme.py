# SPDX-License-Identifier: Apache-2.0
"""Proves that the README's Python section works: its blocks, in order, as one program."""
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")
README = pathlib.Path(__file__).parents[2] / "README.md"


def test_readme():
    text = README.read_text()
    section = text[text.index("\n## Python\n"):]
    section = section[:section.index("\n## ", 1)]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    assert len(blocks) >= 8 and len(re.findall(r"^```", section, re.M)) == 2 * len(blocks)
    done = subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-c", "\n".join(blocks)],
                          capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stderr == "", done.stderr
