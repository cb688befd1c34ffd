#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The include graph and the places of things.

Arrows go downward only. Programs (src/tools, examples) and src/cuda see include/slipring alone.
Foreign headers and memory orders stay in their one place. No file grows beyond its limit. Every
source file is named in the meson.build beside it: none is forgotten. The wall clock is read where a
date is wanted, and nowhere else. A shared word is accessed as what layout.h declares it, by the
operations of sequence.h: where a file makes a pointer to words of a size by itself is listed.
Faults: B5, D9.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/../..").resolve()

# A header includes headers of lower levels only; a .c file those of its own level as well. A .c
# file (x.c, x_part.c) stands where its header x.h stands, or where it is named here.
LEVELS = [
    "slipring/common.h slipring/dlpack.h",
    "slipring/tensor.h",
    "slipring/ring.h",
    "slipring/producer.h slipring/consumer.h",
    "slipring/slipring.h",
    "slipring/inline.h slipring/device.h slipring/cuda.h",
    "slipring/cuda_slots.h",
    "layout.h os.h error.h sanitizer.h",
    "sequence.h once.h liveness.h segment.h names.h topology.h tensor.c",
    "slot.h wait.h copy.h geometry.c",
    "handle.h",
    "group.h members.h hold.h gate.h acquire.h registry.h reclaim.h pollable.h"
    " lease.c message.c reader.c segment_create.c",
    "ring.c producer.c producer_publish.c consumer.c share.c listing.c inspect.c dlpack.c view.c device.c"
    " device_producer.c",
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names.split()}

# A header (or a token) and the only files of the core that may have it.
PLACES = {
    r"<hwloc": {"topology.c"},
    r"<urcu": {"registry.c", "reclaim.c"},
    r"<linux/": {"os_linux.c"},
    r"<xxhash\.h>": {"geometry.c", "producer_publish.c", "message.c", "reader.c"},
    r"<cuda|<Python\.h>": set(),
}
TOKENS = {
    r"\bmemory_order_|\b__ATOMIC_": {"sequence.h", "wait.c", "inline.h"},
    # Without _explicit the order would be a silent seq_cst.
    r"\batomic_(?:load|store|exchange|fetch_\w+|compare_\w+)\b(?<!_explicit)": set(),
    r"\b__(?:linux|x86_64|aarch64|i386)__\b": {"os.h", "os_linux.c", "inline.h"},
    # Creation notes the date, and who finds the name taken is told the age.
    r"\bslr_os_realtime\b": {"os.h", "os_linux.c", "segment_create.c", "names.c"},
    r"\bCLOCK_REALTIME\b": {"os_linux.c"},
    r"\b(?:time|gettimeofday|timespec_get|ftime)\s*\(|\bCLOCK_(?!MONOTONIC\b|REALTIME\b)": set(),
    # Pointers are made to tables of words (segment.c), to the words behind a slot's header (slot.h,
    # and the producer's way through them), to a message's bytes (copy.h), to a geometry that no
    # longer changes (segment_open.c); and the fast structs point to words of layout.h, each by its
    # own type.
    r"\(\s*(?:const\s+)?_Atomic\s+u?int\d+_t\s*\*\s*\)":
        {"sequence.h", "segment.c", "segment_open.c", "slot.h", "copy.h", "producer.c",
         "producer_publish.c", "consumer.c"},
    r"\(\s*(?:const\s+)?uint(?:16|32|64)_t\s*\*\s*\)": {"producer.c", "consumer.c", "inline.h"},
}
LINES = 600


def check_core(path, faults):
    text = path.read_text()
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    public = "slipring/" if path.parent.name == "slipring" else ""
    mine = LEVEL.get(public + path.name, LEVEL.get(re.sub(r"(_\w+)?\.c$", ".h", path.name)))
    if mine is None:
        faults.append(f"{path.name}: not in the table of levels (tests/includes.py)")
        return
    includes = re.findall(r"^\s*#\s*include\s+(.*)", code, re.M)
    for include in includes:
        level = LEVEL.get(include.strip('<"> '))
        if level is None and '"' in include:
            faults.append(f"{path.name}: {include} is not in the table of levels")
        elif level is not None and level >= mine + (path.suffix == ".c"):
            faults.append(f"{path.name}: {include} is not below it")
        for pattern, places in PLACES.items():
            if re.search(pattern, include) and path.name not in places:
                faults.append(f"{path.name}: {include} outside its place ({sorted(places)})")
    for pattern, places in TOKENS.items():
        for token in sorted(set(re.findall(pattern, code))):
            if path.name not in places:
                faults.append(f"{path.name}: {token} outside its place ({sorted(places)})")
    if re.search(r"\b(?:TODO|FIXME|XXX)\b", text):
        faults.append(f"{path.name}: a note to do something later")
    if text.count("\n") > LINES:
        faults.append(f"{path.name}: {text.count(chr(10))} lines, at most {LINES}")


def check_program(path, faults):
    for include in re.findall(r"^\s*#\s*include\s+(.*)", path.read_text(), re.M):
        name = include.strip('"<> ')
        own = include.startswith('"') and (path.parent / name).exists() and "/" not in name
        foreign = re.search(r"<(?:linux/|hwloc|urcu)", include)
        if foreign or (include.startswith('"') and not own):
            faults.append(f"{path.relative_to(ROOT)}: {include}: the public headers have to do")


def check_python(path, faults):
    """The extension sees the interpreter, slipring's public headers and itself."""
    for include in re.findall(r"^\s*#\s*include\s+(.*)", path.read_text(), re.M):
        name = include.strip('"<> ')
        own = include.startswith('"') and (path.parent / name).exists()
        if re.search(r"<(?:linux/|hwloc|urcu|xxhash)", include) or (
                include.startswith('"') and not own):
            faults.append(f"{path.relative_to(ROOT)}: {include}: the public headers have to do")
    if path.read_text().count("\n") > LINES:
        faults.append(f"{path.relative_to(ROOT)}: more than {LINES} lines")


def check_built(directory, faults, within=""):
    """within: the folder of the meson.build, where that lies above."""
    listed = (ROOT / (within or directory) / "meson.build").read_text()
    for path in sorted((ROOT / directory).glob("*.c*")):
        if not re.search(rf"'(?:[\w/]+/)?{path.stem}(?:{re.escape(path.suffix)})?'", listed):
            faults.append(f"{directory}/{path.name}: not named in {directory}/meson.build")


def main():
    faults = []
    for directory in ("src", "src/cuda", "src/tools", "examples", "tests", "tests/arm", "tests/crash", "tests/cuda",
                      "perf"):
        check_built(directory, faults)
    check_built("src/python/slipring", faults, "src/python")
    core = sorted([*(ROOT / "include/slipring").glob("*.h"), *(ROOT / "src").glob("*.[ch]")])
    for path in core:
        if path.name != "dlpack.h":
            check_core(path, faults)
    for path in sorted((ROOT / "src/python/slipring").glob("*.[ch]")):
        check_python(path, faults)
    programs = sorted(path for folder in ("src/cuda", "src/tools", "examples")
                      for path in (ROOT / folder).glob("*.[ch]"))
    for path in programs:
        check_program(path, faults)
    print("\n".join(faults) or f"includes: {len(core)} core files, {len(programs)} of programs")
    return 1 if faults or not core else 0


sys.exit(main())
