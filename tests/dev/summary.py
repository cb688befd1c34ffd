#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""summary.py LOG... -- [suite or build...]: what meson's test logs (JSON lines) say.

Prints every skip with its reason, the end of the output of what failed, the names of that once
more and, last, `N passed, N failed, N skipped`. Exit 1 if a test failed, if none ran (but for suite
gpu alone, which most machines skip), or if a suite or build asked for had none. The log of a build lies
in build/NAME/meson-logs.
"""
import json
import pathlib
import sys

OUTPUT_LINES = 40


def split(words):
    at = words.index("--")
    return words[:at], words[at + 1:]


def names_of(test):
    suites = test["name"].split(" / ")[0].replace("slipring:", "").split("+")
    return [test["build"], *suites]


def title(test):
    return f"{test['build']}: {test['name']}  {test['result']}, exit {test['returncode']}"


def main():
    logs, asked = split(sys.argv[1:])
    tests, missing, builds = [], [], set()
    for log in logs:
        build = pathlib.Path(log).parts[-3]
        builds.add(build)
        try:
            with open(log, encoding="utf-8") as lines:
                tests += [{**json.loads(line), "build": build} for line in lines if line.strip()]
        except FileNotFoundError:  # meson writes none where none of its tests was asked for
            missing.append(log)
    passed, failed, skipped = [], [], []
    for test in tests:
        kind = {"OK": passed, "EXPECTEDFAIL": passed, "SKIP": skipped}.get(test["result"], failed)
        kind.append(test)
    for test in skipped:
        said = (test.get("stdout", "") + test.get("stderr", "")).strip().splitlines() or ["(silent)"]
        reason = next((line for line in said if "SKIP" in line), said[-1])
        print(f"SKIPPED  {test['build']}: {test['name']}  {reason}")
    for test in failed:
        output = (test.get("stdout", "") + test.get("stderr", "")).splitlines()
        print(f"\nFAILED  {title(test)}")
        print("\n".join("    " + line for line in output[-OUTPUT_LINES:]))
    for test in failed:
        print(f"FAILED  {title(test)}")
    empty = [name for name in asked if not any(name in names_of(test) for test in tests)]
    for name in empty:
        print(f"no test ran in '{name}'")
    if missing and not set(asked) - builds:
        empty = missing
        print("no test ran for " + " ".join(missing))
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    needless = tests and all("gpu" in names_of(test) for test in tests)
    return 1 if failed or empty or not (passed or needless) else 0


sys.exit(main())
