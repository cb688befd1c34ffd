#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every public function says who may call it and what it promises.

For each function of include/slipring/*.h and of src/device.h: the comment right before it carries the lines Thread,
Progress, Fork, Owner and Order with values of their closed sets, and Order names only edges of the
tables in TABLES. And each library's map (src/cuda/slipring-cuda.map of cuda*.h, src/slipring.map
of the others) exports exactly the functions declared SLIPRING_API.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/../..").resolve()
KEYS = ("Thread", "Progress", "Fork", "Owner", "Order")
VALUES = {
    "Thread": r"any\b|owner of\b|setup\b",
    "Progress": r"wait-free\b|lock-free\b|may sleep\b",
    "Fork": r"yes\b|no\b",
    "Owner": r"\w",
    "Order": r"none\b|.*\b[A-Z]{3,}\b",
}
MAPS = ("src/slipring.map", "src/cuda/slipring-cuda.map")
PRIVATE = "src/device.h"  # exported for our own parts
AT_LEAST = 105  # documented functions, so that moving a header cannot hide them
TABLES = ("src/base/sequence.h", "src/ring/layout.h")  # of edges
FOREIGN = {"dlpack.h"}  # kept as its authors wrote it
# What the inline functions call and users do not: exported, but documented by a plain comment.
INNER = re.compile(r"slipring_fast_(?:\w+_slow|wake|bell|own|own_batch|fetch_batch|headers|take)$")


def blank(pattern, text):
    """Spaces for every match, so that positions stay."""
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S | re.M)


def declarations(text):
    """(what lies between the declaration before and this one, the declaration without bodies)"""
    code = blank(r"^#ifdef __cplusplus\n.*?^#endif", blank(r"/\*.*?\*/|//[^\n]*", text))
    code = blank(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", code)
    depth, start, flat = 0, 0, []
    for at, char in enumerate(code):
        depth += (char == "{") - (char == "}")
        flat.append(char if depth == 0 and char != "}" else " ")
        body_end = char == "}" and depth == 0 and "(" in "".join(flat)
        if depth == 0 and (char == ";" or body_end):
            first = start + len(code[start:at]) - len(code[start:at].lstrip())
            yield text[start:first], "".join(flat).strip()
            start, flat = at + 1, []


def main():
    faults, documented = [], 0
    exported = {name: set() for name in MAPS}
    edges = {name for table in TABLES
             for name in re.findall(r"^ \* ([A-Z]{3,})  ", (ROOT / table).read_text(), re.M)}
    for path in [*sorted((ROOT / "include/slipring").glob("*.h")), ROOT / PRIVATE]:
        if path.name in FOREIGN:
            continue
        for before, code in declarations(path.read_text()):
            function = re.search(r"\b(slipring_\w+)\s*\(", code)
            if code.startswith("typedef") or not function:
                continue
            where = f"{path.name}: {function.group(1)}"
            if "SLIPRING_API" in code:
                library = "src/cuda/slipring-cuda.map" if path.name.startswith("cuda") else "src/slipring.map"
                exported[library].add(function.group(1))
            elif "static inline" not in code:
                faults.append(f"{where}: neither SLIPRING_API nor static inline")
            if INNER.match(function.group(1)):
                continue
            doc = re.search(r"/\*\*(?:(?!/\*).)*?\*/\s*$", before, re.S)
            if not doc:
                faults.append(f"{where}: no doc comment")
                continue
            documented += 1
            parts = re.split(r"\b(%s|Source):" % "|".join(KEYS), doc.group().rstrip("*/ \n"))
            said = dict(zip(parts[1::2], (re.sub(r"\s*\n \*\s*", " ", p).strip() for p in parts[2::2])))
            for key in KEYS:
                if key not in said:
                    faults.append(f"{where}: no line '{key}:'")
                elif not re.match(VALUES[key], said[key]):
                    faults.append(f"{where}: '{key}: {said[key]}' is not one of {VALUES[key]}")
            for edge in re.findall(r"\b[A-Z]{3,}\b", said.get("Order", "")):
                if edge not in edges:
                    faults.append(f"{where}: Order names {edge}, which no table of edges knows")
    for library, names in exported.items():
        mapped = set(re.findall(r"\bslipring_\w+(?=;)", (ROOT / library).read_text()))
        faults += [f"{library}: {name} is missing" for name in sorted(names - mapped)]
        faults += [f"{library}: {name} is not public" for name in sorted(mapped - names)]
    if documented < AT_LEAST:
        faults.append(f"{documented} functions documented, at least {AT_LEAST} expected")
    print("\n".join(faults) or f"headers: {documented} functions documented, {sum(map(len, exported.values()))} exported")
    return 1 if faults else 0


sys.exit(main())
