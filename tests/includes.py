#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the include graph and that things stay in their place.

- An include goes down the table of levels in src/README.md, never up. Files are named from src, or
  from include for a public header. A room uses src/base and itself, never another room.
- src/tools and examples see the public headers alone. src/cuda sees src/base and src/device.h as
  well, and the Python extension src/device.h and the interpreter.
- Foreign headers and memory orders stay in the files listed here.
- In src/ring the bits of shared words are named: no number stands behind << or >>.
- No file grows beyond its limit.
- Every source file is named in a meson.build, so that none is forgotten.
- Only the files that record or show a date read the wall clock.
- A shared word is accessed by the operations of sequence.h, as layout.h declares it. The files that
  make a pointer to such words themselves are listed.
- Each group of files has a least number, so that moving files cannot blind the check.
Faults: B5, D9.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/../..").resolve()
SRC = ROOT / "src"
PUBLIC = ROOT / "include"

# The rooms of src that see public headers only, and those that make up the core.
PROGRAMS = {"cuda", "tools"}
PYTHON = "python"
# At least this many files are in each group: as many as there are. Lower a number only when files were
# joined or removed. `built` are all C and C++ files, which a meson.build must name.
AT_LEAST = {"core": 79, "programs": 35, "extension": 43, "built": 347}
# What src/base may include beside its own files: it knows no structure. topology.c defines a public
# function of ring.h.
BASE_SEES = {"slipring/common.h", "slipring/tensor.h"}
BASE_EXCEPTIONS = {("base/topology.c", "slipring/ring.h")}

# A header (or a token) and the only files of the core that may have it.
PLACES = {
    r"<hwloc": {"base/topology.c"},
    r"<urcu": {"ring/ring_registry.c", "ring/reclaim.c"},
    r"<linux/": {"base/os_linux.c"},
    r"<xxhash\.h>": {"ring/geometry.c", "ring/producer_publish.c", "ring/message.c",
                     "ring/consumer_overwrite.c"},
    r"<cuda|<Python\.h>": set(),
}
TOKENS = {
    r"\bmemory_order_|\b__ATOMIC_": {"base/sequence.h", "slipring/inline.h"},
    # Without _explicit the order would be a silent seq_cst.
    r"\batomic_(?:load|store|exchange|fetch_\w+|compare_\w+)\b(?<!_explicit)": set(),
    r"\b__(?:linux|x86_64|aarch64|i386)__\b": {"base/os.h", "base/os_linux.c", "slipring/inline.h"},
    # Creation records the date, and an error about a name that is taken tells the age.
    r"\bslr_os_realtime\b":
        {"base/os.h", "base/os_linux.c", "ring/segment_create.c", "ring/ring_name.c"},
    r"\bCLOCK_REALTIME\b": {"base/os_linux.c"},
    r"\b(?:time|gettimeofday|timespec_get|ftime)\s*\(|\bCLOCK_(?!MONOTONIC\b|REALTIME\b)": set(),
    # Pointers are made to tables of words (segment.c), to a word of each page that is touched
    # (object_map.c), to the words behind a slot's header (slot.h,
    # and the producer's way through them), to a message's bytes (copy.h), and to a geometry that no
    # longer changes (segment_open.c). The fast structs point to words of layout.h, each by its own
    # type.
    r"\(\s*(?:const\s+)?_Atomic\s+u?int\d+_t\s*\*\s*\)":
        {"base/sequence.h", "base/object_map.c", "base/copy.h", "ring/segment.c",
         "ring/segment_open.c", "ring/slot.h", "ring/producer.c", "ring/producer_publish.c",
         "ring/consumer.c"},
    r"\(\s*(?:const\s+)?uint(?:16|32|64)_t\s*\*\s*\)":
        {"ring/producer.c", "ring/consumer.c", "slipring/inline.h"},
}
# The structures whose words processes share: layout.h names the bits, and words.h shifts by those names.
STRUCTURES = ("ring/",)
SIZE = re.compile(r"^(#define \w+ \(?)UINT64_C\(\d+\)\s*<<\s*\d+", re.M)  # such as 4 MiB
LITERAL_SHIFT = re.compile(r"(?:<<|>>)=?\s*\d+")
NO_WORDS = ("code << 6", "hash >> 32")  # UTF-8 that is decoded, a hash of this process
LINES = 600
FOREIGN = "slipring/dlpack.h"  # kept as its authors wrote it


def name_of(path):
    return str(path.relative_to(SRC if path.is_relative_to(SRC) else PUBLIC))


def read_levels():
    """The level of each file that the table of src/README.md names."""
    rows = re.findall(r"^\| *\d+ *\|(.*)\|$", (SRC / "README.md").read_text(), re.M)
    return {name: level for level, row in enumerate(rows) for name in re.findall(r"`([^`]+)`", row)}


def includes_of(path):
    code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    return code, re.findall(r"^\s*#\s*include\s+(.*)", code, re.M)


def level_of(name, levels):
    """A .c file (x.c, x_part.c) stands with its header x.h unless the table names it."""
    own, shared = re.sub(r"\.c$", ".h", name), re.sub(r"(_[a-z]+)?\.c$", ".h", name)
    return levels.get(name, levels.get(own, levels.get(shared)))


def check_arrows(path, name, includes, levels, faults):
    mine = level_of(name, levels)
    if mine is None:
        faults.append(f"{name}: not in the table of levels of src/README.md")
        return
    room = name.split("/")[0] if "/" in name else ""
    for include in includes:
        target = include.strip('<"> ')
        level = levels.get(target)
        if level is None and '"' in include:
            faults.append(f"{name}: {include} is not in the table of levels of src/README.md")
        elif level is not None and level >= mine + (path.suffix == ".c"):
            faults.append(f"{name}: {include} is not below it")
        if '"' in include and "/" in target and target.split("/")[0] not in (room, "base"):
            faults.append(f"{name}: {include} belongs to another room")
        known = target.startswith("base/") or target in BASE_SEES or (name, target) in BASE_EXCEPTIONS
        if room == "base" and not known and ('"' in include or target.startswith("slipring/")):
            faults.append(f"{name}: {include}: src/base knows no structure")


def check_core(path, levels, faults):
    name = name_of(path)
    code, includes = includes_of(path)
    check_arrows(path, name, includes, levels, faults)
    for include in includes:
        for pattern, places in PLACES.items():
            if re.search(pattern, include) and name not in places:
                faults.append(f"{name}: {include} outside its place ({sorted(places)})")
    for pattern, places in TOKENS.items():
        for token in sorted(set(re.findall(pattern, code))):
            if name not in places:
                faults.append(f"{name}: {token} outside its place ({sorted(places)})")
    shifts = SIZE.sub(r"\1", code)
    for text in NO_WORDS:
        shifts = shifts.replace(text, "")
    for shift in LITERAL_SHIFT.findall(shifts) if name.startswith(STRUCTURES) else ():
        faults.append(f"{name}: a literal shift ({shift}); name the bits in layout.h")
    text = path.read_text()
    if re.search(r"\b(?:TODO|FIXME|XXX)\b", text):
        faults.append(f"{name}: a note to do something later")
    if text.count("\n") > LINES:
        faults.append(f"{name}: {text.count(chr(10))} lines, at most {LINES}")


def check_program(path, foreign, faults):
    """It includes files beside it and public headers, and none of the foreign ones. src/cuda may use
    src/base and src/device.h as well, and the Python extension src/device.h."""
    where = path.relative_to(ROOT)
    for include in includes_of(path)[1]:
        name = include.strip('"<> ')
        own = include.startswith('"') and (path.parent / name).exists() and "/" not in name
        if path.is_relative_to(SRC / PYTHON):
            own = own or (SRC / PYTHON / name).exists() or name == "device.h"
        if path.parent == SRC / "cuda":
            own = own or name.startswith("base/") or name == "device.h"
        if re.search(foreign, include) or (include.startswith('"') and not own):
            faults.append(f"{where}: {include}: only the public headers may be used here")
    lines = path.read_text().count("\n")
    if lines > LINES:
        faults.append(f"{where}: {lines} lines, at most {LINES}")


def names(build, path, folder):
    """The text of the meson.build of a folder names the file, by its path from there."""
    where = path.relative_to(folder)
    if re.search(rf"'{re.escape(str(where.with_suffix('')))}(?:{re.escape(path.suffix)})?'", build):
        return True
    if where.parent == pathlib.Path("."):  # a prefix is added to the rest of its name
        prefixes = re.findall(r"'(\w+_)' \+", build)
        return any(f"'{path.stem[len(prefix):]}'" in build for prefix in prefixes
                   if path.stem.startswith(prefix))
    suite = re.search(rf"^{where.parent}_tests = \[.*?^\]", build, re.M | re.S)
    later = rf"^    {where.parent}_tests \+= '{path.stem}'"
    return bool(suite and f"'{path.stem}'" in suite.group()) or bool(re.search(later, build, re.M))


def check_built(path, faults):
    """The nearest meson.build, beside the file or above, names it."""
    folder = next(folder for folder in path.parents if (folder / "meson.build").exists())
    if not names((folder / "meson.build").read_text(), path, folder):
        build = (folder / "meson.build").relative_to(ROOT)
        faults.append(f"{path.relative_to(ROOT)}: {build} does not name it")


def main():
    faults = []
    levels = read_levels()
    core, programs, extension = sorted((PUBLIC / "slipring").glob("*.h")), [], []
    for path in sorted(SRC.rglob("*.[ch]")):
        room = name_of(path).split("/")[0]
        (programs if room in PROGRAMS else extension if room == PYTHON else core).append(path)
    programs += sorted((ROOT / "examples").rglob("*.[ch]"))
    for path in core:
        if name_of(path) != FOREIGN:
            check_core(path, levels, faults)
    for path in programs:
        check_program(path, r"<(?:linux/|hwloc|urcu)", faults)
    for path in extension:
        check_program(path, r"<(?:linux/|hwloc|urcu|xxhash)", faults)
    built = [path for folder in ("src", "examples", "tests", "perf")
             for path in sorted((ROOT / folder).rglob("*.c*")) if path.suffix in (".c", ".cpp")]
    for path in built:
        check_built(path, faults)
    for name in levels:
        if not any((folder / name).exists() for folder in (SRC, PUBLIC)):
            faults.append(f"src/README.md: {name} is in the table of levels, and no such file exists")
    seen = {"core": len(core), "programs": len(programs), "extension": len(extension),
            "built": len(built)}
    for group, least in AT_LEAST.items():
        if seen[group] < least:
            faults.append(f"{group}: {seen[group]} files seen, at least {least} expected; "
                          "where did they go?")
    print("\n".join(faults) or "includes: " + ", ".join(f"{n} of {g}" for g, n in seen.items()))
    return 1 if faults else 0


sys.exit(main())
