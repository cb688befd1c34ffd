#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""corpus.py CORPUS.TXT FOLDER: write each input of the text as a file of the folder.
corpus.py FILE: print a file, an input that a fuzz target kept, in the words of corpus.txt.

A text has, per input, a line `name: ring`, then a record per line: an action and its arguments,
which are sums of numbers and of the names in fuzz.h and the public headers.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
WIDTHS = dict(re.findall(r'\[(\w+)\] = "(\d*)"', (HERE / "play.c").read_text()))


def enum(name):
    body = re.search(rf"enum {name} {{(.*?)}}", (HERE / "fuzz.h").read_text(), re.S).group(1)
    return re.findall(r"[A-Z_]+", re.sub(r"/\*.*?\*/", "", body, flags=re.S))


ACTIONS = enum("action")[:-1]
REGIONS = enum("region")[:-1]
NAMES = {name: number for number, name in enumerate(REGIONS)}
for header in ["common.h", "ring.h", "consumer.h"]:
    text = (HERE / "../../include/slipring" / header).read_text()
    for name, value in re.findall(r"SLIPRING_(\w+) = (\d+(?: << \d+)?)", text):
        NAMES[name] = eval(value)


def number(text):
    return sum(int(NAMES.get(term, term)) if term in NAMES else int(term, 0)
               for term in text.split("+"))


def assemble(lines):
    data = bytearray()
    for line in lines:
        action, *arguments = line.split()
        widths = WIDTHS[action]
        assert len(arguments) == len(widths), line
        data.append(ACTIONS.index(action))
        for argument, width in zip(arguments, widths):
            value = number(argument) % (1 << 8 * int(width))
            data += value.to_bytes(int(width), "little")
    return bytes(data)


def show(data):
    print(f"name: {data[0]}")
    at = 1
    while at < len(data):
        action = ACTIONS[data[at] % len(ACTIONS)]
        at += 1
        words = [action]
        for i, width in enumerate(map(int, WIDTHS[action])):
            value = int.from_bytes(data[at:at + width], "little")
            at += width
            region = action in ACTIONS[:8] and (i == 0 or (action == "COPY_OF" and i == 2))
            words.append(REGIONS[value % len(REGIONS)] if region else
                         hex(value) if value > 999 else str(value))
        print("    " + " ".join(words))


def main():
    if len(sys.argv) == 2:
        show(pathlib.Path(sys.argv[1]).read_bytes())
        return
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    lines = [line.split("#")[0].rstrip() for line in open(sys.argv[1], encoding="utf-8")]
    for part in re.split(r"\n(?=\S)", "\n".join(line for line in lines if line)):
        head, *records = part.split("\n")
        name, ring = head.split(":")
        (folder / name).write_bytes(bytes([int(ring)]) + assemble(records))


main()
