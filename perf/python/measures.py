# SPDX-License-Identifier: Apache-2.0
"""measures.py list | SYSTEM MEASURE quick|full: the measures of perf_*.py in this folder.

Each of those files has a function measures() that returns {name: (unit, floor, {system: run})}:
the unit as perf/common.h names it, the system that is the floor (or None), and the systems that are
here, ours the first. run(quick) yields ("chunk", value) and ("tail", value), see common.py.
"""
import importlib
import pathlib
import sys


def measures(name=None):
    """All, or those of the files in which the name stands: a file may import much."""
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("perf_*.py")):
        if name is None or name in path.read_text():
            found.update(importlib.import_module(path.stem).measures())
    return found


def main():
    if sys.argv[1:] == ["list"]:
        for name, (unit, floor, systems) in measures().items():
            print(name, unit, floor or "-", *systems, sep="\t")
        return
    system, name, size = sys.argv[1:]
    found = measures(name)
    if name not in found:  # it does not stand there as such
        found = measures()
    for kind, value in found[name][2][system](size == "quick"):
        print(kind, value)


if __name__ == "__main__":
    main()
