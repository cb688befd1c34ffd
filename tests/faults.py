#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The catalogue of faults: which tests show that each is survived.

A test names the rows that it shows in its first comment, once, on a line such as
`Faults: A4, B1.` From the rows below and those lines comes the table tests/faults.md, and the
suite `faults` is the tests that have such a line.

    faults.py            check that the table is as the tests say, as `ninja test` does
    faults.py --write    write the table
    faults.py --tagged   the tests that name a row, for meson.build
"""
import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent
TABLE = TESTS / "faults.md"
# The folders whose meson.build puts the tests that name a row into the suite `faults`, and those whose
# tests are all in it.
FOLDERS = {"crash", "fuzz", "hostile", "litmus", "long", "models", "proc", "stress", "sysfail",
           "threads", "unit"}
FILES = {"includes"}  # beside them, here
TESTS_AT_LEAST = 87  # that name a row, so that moving them cannot hide them

# id: fault, what must come of it and, where no test can show it, why not
ROWS = {
    "A1": ("producer killed between claim and publish",
           "the slot never shows; the next producer writes it, without a gap"),
    "A2": ("producer killed in the middle of publishing a batch",
           "a prefix of the batch shows, or none of it; never a hole"),
    "A3": ("producer killed after publishing, before it woke the sleepers",
           "the sleepers notice within the bound; no wake-up is lost"),
    "A4": ("consumer killed with a slot in hand",
           "it holds the producer back no longer than the bound"),
    "A5": ("member of a group of many killed between acquire and release",
           "another member gets the message, as its next delivery"),
    "A6": ("a message that ends each worker that takes it",
           "given up after five deliveries, counted and listed; the group goes on"),
    "A7": ("killed while clearing up after another's death, and so on",
           "who comes next completes it"),
    "A8": ("killed in create, open, attach, detach, close or unlink",
           "no half ring, no cell and no lock stay behind"),
    "A9": ("very many crashes of one ring that is never made anew",
           "cells, groups, locks and counters are not used up"),
    "A10": ("a thread of a process with several ends or is cancelled",
            "handles belong to the process: nothing of it counts as dead"),
    "A11": ("all processes of a ring killed at once",
            "the next ones find the ring and what was in it, and go on"),
    "B1": ("consumer stopped for long",
           "not dead: gates, or is evicted as its group asked for; others lose nothing"),
    "B2": ("a member evicted while it was stopped goes on",
           "-ESTALE; it frees nobody's slot"),
    "B3": ("producer stopped in the middle of publishing",
           "consumers time out as told; nobody takes over while it lives"),
    "B4": ("reader lapped while it reads",
           "it notices, drops what it read and is told the gap"),
    "B5": ("wall clock set, machine suspended",
           "no effect: all decisions are by the monotonic clock"),
    "B6": ("signals without end, EINTR, waking for no reason",
           "waits go on with the time that is left; -EINTR only if asked for"),
    "B7": ("a thousand consumers, all asleep",
           "all are served; waking them does not hold up the producer"),
    "C1": ("the pid of a dead member is used again",
           "no effect: pids are for display"),
    "C2": ("members in different PID namespaces, even with one pid",
           "no effect; the death of one is seen by the other"),
    "C3": ("fork with live handles",
           "the child's calls are -ECHILD; it neither harms nor outlives the parent's membership"),
    "C4": ("two producers of one ring",
           "the second gets -EBUSY; when the first is dead it takes over at once, without a gap"),
    "C5": ("open against create, unlink and create anew",
           "the old ring, the new one or -ENOENT; never a mix"),
    "C6": ("unlink while members are attached",
           "they go on and see that it is orphaned; the name is free for a new ring"),
    "C7": ("ring of another layout version, byte order or geometry",
           "refused by the right error; nothing stays mapped"),
    "D1": ("/dev/shm is full",
           "-ENOSPC from create, never SIGBUS later; no file stays"),
    "D2": ("somebody truncates the memory",
           "anonymous rings are sealed against it; a named one is not against a user that may write it "
           "(ring.h)"),
    "D3": ("somebody punches a hole into the memory",
           "a tensor slot without its header is not delivered; a lost payload is told by its "
           "checksum; write-sealed rings refuse"),
    "D4": ("a limit of file size",
           "-EFBIG from create, not SIGXFSZ"),
    "D5": ("no right to lock pages, no huge pages",
           "the ring is made without, and says so"),
    "D6": ("a system call fails in any call of the library",
           "a clean error; nothing leaks"),
    "D7": ("opening and closing very often, also in vain",
           "descriptors and mappings stay as many"),
    "D8": ("sequences pass 2^32, 2^63 and 2^64, wake words 2^32",
           "no effect"),
    "D9": ("one shared word read or written in two sizes",
           "there is none: futex words are words of their own"),
    "D10": ("called from a signal handler, or a handler jumps out of a call",
            "the fast path allocates nothing, takes no lock and keeps errno"),
    "E1": ("damaged or hostile geometry and state at attach",
           "refused, or read within bounds; each value is read once"),
    "E2": ("a member scribbles over control while the ring is in use",
           "no fault, no endless loop; in tensor rings nothing is overwritten silently"),
    "E3": ("consumer tries to write payload",
           "not through its mapping, nor what it was handed; write-sealed: not at all"),
    "E4": ("a link, fifo, directory or foreign file planted under the name",
           "refused; neither followed, nor written, nor removed"),
    "E5": ("another user opens the ring",
           "denied unless the mode allows it, whatever the umask"),
    "E6": ("names that are paths, too long, empty or with odd characters",
           "-EINVAL"),
    "E7": ("somebody holds locks for ever without being a member",
           "who may open control can, and counts as alive; by default its owner alone"),
    "E8": ("shared words change between two looks at them",
           "each is read once, by an atomic load"),
    "E9": ("processors that reorder loads and stores",
           "the edges of src/ring/layout.h and src/base/sequence.h hold"),
}
# Where no test can show a row, or not all of it: why.
WHY_NOT = {
    "B3": "hours are not waited for: nothing measures for how long a producer is stopped",
    "B5": "no test suspends the machine: the monotonic clock, and all deadlines, stand still meanwhile",
    "D2": "a named ring cannot be guarded against a user that may write it",
    "D5": "the core registers no memory with a GPU",
    "E7": "who may read control cannot be kept from locking it",
}


def tags(faults):
    """{row: [test, ...]} by the tests' own comments."""
    found = {row: [] for row in ROWS}
    for path in sorted(TESTS.rglob("*.*")):
        if path.suffix not in (".c", ".cpp", ".py", ".sh", ".h") or path == pathlib.Path(__file__):
            continue
        name = str(path.relative_to(TESTS).with_suffix(""))
        for line in re.findall(r"^[\s*#/]*(Faults:.*)", path.read_text(), re.M):
            listed = re.fullmatch(r"Faults: (\w+(?:, \w+)*)\.(?: \*/)?", line)
            rows = listed[1].split(", ") if listed else []
            if name not in FILES and name.split("/")[0] not in FOLDERS:
                faults.append(f"{name}: names a row, and is no test that suite faults would run")
            if not listed or len(set(rows)) != len(rows):
                faults.append(f"{name}: not as `Faults: A4, B1.`: {line}")
            for row in rows:
                if row not in found:
                    faults.append(f"{name}: {row} is not a row of the catalogue")
                elif name not in found[row]:
                    found[row].append(name)
    return found


def table(found):
    lines = ["# Faults, and the tests that show them survived", "",
             "Written by `tests/faults.py --write` (and `./dev format`): rows are named there, tests"
             " say themselves", "which rows they show. `./dev test faults` runs them.", "",
             "| | fault | what comes of it | shown by |", "|---|---|---|---|"]
    for row, (fault, expected) in ROWS.items():
        shown = ", ".join(f"`{name}`" for name in found[row])
        shown = "; ".join(part for part in (shown, WHY_NOT.get(row)) if part)
        lines.append(f"| {row} | {fault} | {expected} | {shown} |")
    return "\n".join(lines) + "\n"


def check(found, faults):
    faults += [f"{row}: neither a test nor a reason why there can be none"
               for row in ROWS if not found[row] and row not in WHY_NOT]
    tests = len(set().union(*found.values()))
    if tests < TESTS_AT_LEAST:
        faults.append(f"{tests} tests name a row, at least {TESTS_AT_LEAST} expected")
    if not TABLE.exists() or TABLE.read_text() != table(found):
        faults.append(f"tests/{TABLE.name} is out of date: run tests/faults.py --write")
    print("\n".join(faults) or f"faults: {len(ROWS)} rows, {tests} tests")
    return 1 if faults else 0


def main():
    faults = []
    found = tags(faults)
    if sys.argv[1:2] == ["--tagged"]:  # what is wrong with them, the check says
        print("\n".join(sorted(set().union(*found.values()))))
        return 0
    if sys.argv[1:2] == ["--write"]:
        TABLE.write_text(table(found))
    return check(found, faults)


sys.exit(main())
