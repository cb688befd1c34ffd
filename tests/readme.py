#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that the README's C blocks compile without a warning: those of a section together, as a file
if they define functions, else as the body of one, where results need not be looked at.
readme.py COMPILER..."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c",
         "-I", str(ROOT / "include")]

AT_LEAST = 4  # blocks, so that a change of their form cannot hide them

compiled = 0
for section in re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.M)[1:]:
    blocks = re.findall(r"^```c\n(.*?)^```", section, re.M | re.S)
    if not blocks:
        continue
    code, flags = "".join(blocks), []
    if not re.search(r"^\w.*\)\n\{$", code, re.M):
        includes = re.findall(r"^#include.*\n", code, re.M)
        code = re.sub(r"^#include.*\n", "", code, flags=re.M)
        code = "".join(includes) + "void section(void);\nvoid section(void)\n{\n" + code + "}\n"
        flags = ["-Wno-unused-result"]
    if subprocess.run(sys.argv[1:] + FLAGS + flags + ["-"], input=code, text=True).returncode != 0:
        sys.exit("readme: a C block of \"%s\" does not compile" % section.split("\n")[0])
    compiled += len(blocks)
if compiled < AT_LEAST:
    sys.exit("readme: %d C blocks found, at least %d expected" % (compiled, AT_LEAST))
print("readme: %d C blocks compile" % compiled)
