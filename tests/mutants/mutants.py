#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mutants.py --build DIR [--full | --only PATTERN | --check]: are the tests worth their name?

One at a time, in a copy of the tree below DIR, each memory order is weakened by one step and each
logic error of logic.txt put in; what it needs is built and the suites run, cheapest first, until one
fails: that one caught it. Orders: those written in src/base/sequence.h and slipring/inline.h, nowhere
else, and each fence where it is called.

An order that nothing catches must be stronger than needed, and its comment must say so: the word
STAYS, a colon and the reason, within the three lines before the order or behind it. One that is
marked is tried all the same.

Without an option: as many as fit into --seconds, of those that results.md says are caught by quick
suites, in an order made of --seed (or the date), each by the suite that caught it then. Every option
looks first whether each error still has its place in the sources.

--full tries all that results.md does not settle, and writes the row of each as soon as it is known:
it may be stopped at any time and goes on from there. What passed some suites alone has a row that
names them (not by A, B), and is tried by the others. --anew forgets all rows first.

--only tries those whose name has PATTERN, or whose file or kind (logic, order) it is, whatever their
rows say, and writes these; with --suites A,B by these alone; with --by "SUITE: TEST" by that one
first; with --together all of them at once, which says something where nothing catches that: weaker
orders allow all that one of them allows. With `genmc` on PATH the models are run under it too
(tests/models/run.sh).
"""
import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS = HERE / "results.md"
NOT_COPIED = {".git", "build"}
SEQUENCE = "src/base/sequence.h"
INLINE = "include/slipring/inline.h"
# The rooms of src that are not the core. Fences are looked for in all other files of src.
NOT_CORE = {"cuda", "tools", "python"}
CORE_AT_LEAST = 69  # files, so that moving them cannot hide their fences

# A weaker fence for call sites; it goes into the copy only.
WEAKER = """
static inline void mutant_fence(void)
{
    atomic_thread_fence(memory_order_acq_rel);
}
"""
CALLS = {  # what is called -> what instead
    "slr_fence_full()": "mutant_fence()",
    "slr_fence_acquire()": "(void)0",
    "slr_fence_release()": "(void)0",
    "slr_fence_compiler()": "(void)0",
}
WORDS = {  # an order as it is written -> the next weaker ones
    "memory_order_acquire": ["memory_order_relaxed"],
    "memory_order_release": ["memory_order_relaxed"],
    "memory_order_seq_cst": ["memory_order_acq_rel"],
    "__ATOMIC_ACQUIRE": ["__ATOMIC_RELAXED"],
    "__ATOMIC_RELEASE": ["__ATOMIC_RELAXED"],
    "__ATOMIC_SEQ_CST": ["__ATOMIC_RELAXED"],
}

# Suites, cheapest first: name, build, seconds. `genmc` is no suite of meson's.
LOGIC = ["unit", "proc", "threads", "litmus", "hostile", "stress", "explorer", "faults", "crash"]
LOADS = ["tsan", "genmc", "litmus"]  # acquire and release
FENCES = ["genmc", "litmus", "tsan", "explorer", "unit"]
BY_CI = {*LOGIC, *LOADS} - {"genmc"}
SAMPLED = ["unit", "proc", "tsan", "explorer"]  # quick, and sure to catch again what they caught
AGAIN = 3
# The models that run a file's code most, tried first.
CLIENTS = {
    "crowd": "src/base/wait.c",
    "lasting": "src/ring/members.c src/ring/recover.c",
    "letter": "src/ring/ring_inspect.c src/ring/recover.c",
    "device": "src/ring/consumer_device.c",
    "stamp": "src/ring/producer_device.c",
    "foreign": "src/ring/acquire.c src/ring/members.c",
    "gone": "src/ring/acquire.c src/ring/gate.c",
    "join": "src/ring/consumer.c src/ring/gate.c",
    "publish": "src/ring/producer_publish.c src/ring/acquire.c include/slipring/inline.h",
    "sleep": "src/base/wait.c include/slipring/inline.h",
    "copy": "src/ring/producer.c src/ring/consumer_overwrite.c src/ring/slot.h",
    "hold": "src/ring/hold.c",
    "evict": "src/ring/lease.c src/ring/recover.c src/ring/gate.c",
    "group": "src/ring/lease.c src/ring/released.c src/ring/recover.c",
    "attach": "src/ring/members.c src/ring/recover.c",
    "takeover": "src/ring/producer.c src/ring/producer_publish.c",
    "end": "src/ring/recover.c src/ring/group.c",
}
BRIEFLY = {"SLIPRING_KILLS": "2000", "SLIPRING_SECONDS": "5", "GENMC": "none"}
IN_MESON = {"explorer": "models", "tsan": "threads"}


class Unsure(Exception):
    """A checker did not come to an end: that is neither caught nor passed."""


class Broken(Exception):
    """A mutant that has no place in the sources any more, or does not compile."""


@dataclasses.dataclass
class Mutant:
    kind: str
    name: str
    file: str
    about: str
    text: str  # of the file, mutated
    stays: str = ""  # the reason that the code gives
    others: dict = dataclasses.field(default_factory=dict)  # more files, mutated

    def stages(self):
        if self.kind == "logic":
            return LOGIC
        loads = "ACQUIRE" in self.name.upper() or "RELEASE" in self.name.upper()
        return LOADS if loads and "fence" not in self.name else FENCES


# ---- the mutants ----


def logic_mutants():
    mutants = []
    blocks = re.split(r"^= ", (HERE / "logic.txt").read_text(), flags=re.M)[1:]
    for block in blocks:
        head, *lines = block.rstrip("\n").split("\n")
        name, file, about = head.split(" ", 2)
        old = "\n".join(line[2:] for line in lines if line.startswith("-"))
        new = "\n".join(line[2:] for line in lines if line.startswith("+"))
        text = (ROOT / file).read_text()
        if len(lines) != old.count("\n") + new.count("\n") + 2 or text.count(old) != 1:
            raise Broken(f"{name}: its text is {text.count(old)} times in {file}")
        mutants.append(Mutant("logic", name, file, about, text.replace(old, new)))
    return mutants


def reason(lines, at):
    """What the comment at an order says of why it stays."""
    near = " ".join(line.strip(" */\t") for line in lines[max(0, at - 3):at + 2])
    found = re.search(r"STAYS: (.*?)(\.( |$)|\*/|$)", near)
    return re.sub(r"\s*(/\*|\*/).*", "", found.group(1)).strip() if found else ""


def functions(lines):
    """The function that each line lies in."""
    name, names = "", []
    for line in lines:
        found = re.match(r"[A-Za-z].*?\b(\w+)\(", line)
        if found and not line.rstrip().endswith(";"):
            name = found.group(1)
        names.append(name)
    return names


def core_files():
    """The files of the core but for SEQUENCE."""
    files = [path for path in sorted((ROOT / "src").rglob("*.[ch]"))
             if path.relative_to(ROOT).parts[1] not in NOT_CORE]
    if len(files) < CORE_AT_LEAST:
        raise Broken(f"{len(files)} files of the core, at least {CORE_AT_LEAST} expected")
    return [path for path in files if path != ROOT / SEQUENCE]


def order_mutants():
    mutants, seen = [], {}

    def add(file, lines, at, start, old, new, where):
        count = seen[file, where, old] = seen.get((file, where, old), 0) + 1
        line = lines[at][:start] + new + lines[at][start + len(old):]
        text = "\n".join(lines[:at] + [line] + lines[at + 1:])
        name = f"{where}:{old.strip('()')}" + (f":{count}" if count > 1 else "")
        mutants.append(Mutant("order", name, file, f"{new.strip('()')} in place of it", text,
                              reason(lines, at)))

    for path in [ROOT / SEQUENCE, ROOT / INLINE, *core_files()]:
        file = str(path.relative_to(ROOT))
        lines = path.read_text().split("\n")
        names = functions(lines)
        written = file in (SEQUENCE, INLINE)
        for at, line in enumerate(lines):
            code = re.split(r"/\*|^ \*", line)[0]
            for old, news in (WORDS.items() if written else ()):
                for found in re.finditer(re.escape(old) + r"\b", code):
                    for new in news:
                        add(file, lines, at, found.start(), old, new, names[at])
            for old, new in (() if file == SEQUENCE else CALLS.items()):
                for found in re.finditer(r"\b" + re.escape(old), code):
                    if not code.startswith(("bool", "int", "static")):
                        add(file, lines, at, found.start(), old, new, names[at])
    return mutants


def together(mutants):
    """One that is all of them."""
    texts = {}
    for mutant in mutants:
        before = (ROOT / mutant.file).read_text().split("\n")
        lines = texts.setdefault(mutant.file, list(before))
        for at, (old, new) in enumerate(zip(before, mutant.text.split("\n"))):
            if old != new and lines[at] != old:
                raise Broken(f"{mutant.name}: another one changes the same line")
            lines[at] = new if old != new else lines[at]
    (file, text), *others = [(file, "\n".join(lines)) for file, lines in texts.items()]
    return Mutant("order", " and ".join(m.name for m in mutants), file, "", text,
                  others=dict(others))


def with_weaker(text):
    head, guard, tail = text.rpartition("#endif")
    return head + WEAKER + guard + tail


def with_shared_core(text):
    """Of a shared core the tests need not be linked anew when it changes."""
    text = text.replace("static_library('slipring_core'", "shared_library('slipring_core'")
    head, core, tail = re.split(r"(slipring_core = .*?\)\n)", text, maxsplit=1, flags=re.S)
    core = core.replace("    gnu_symbol_visibility: 'hidden',\n", "").replace(
        "hidden',\n    pic: true)", "hidden')").replace(",\n    pic: true)", ")")
    return head + core + tail


# ---- trying one ----


class Workshop:
    """A copy of the tree and the builds of it."""

    def __init__(self, folder, jobs):
        self.tree, self.folder, self.jobs = folder / "tree", folder, jobs
        self.tests = {}
        folder.mkdir(parents=True, exist_ok=True)
        for source in ROOT.iterdir():
            copy = self.tree / source.name
            if source.name in NOT_COPIED or folder.is_relative_to(source):
                continue
            if source.is_dir():
                self.copy_folder(source, copy)
            else:
                self.copy_file(source, copy)

    def copy_file(self, source, copy):
        """What is there already stays as old as it is, so that nothing is built for it."""
        copy.parent.mkdir(parents=True, exist_ok=True)
        wanted = source.read_bytes()
        if source == ROOT / SEQUENCE:
            wanted = with_weaker(wanted.decode()).encode()
        if source == ROOT / "src/meson.build":
            wanted = with_shared_core(wanted.decode()).encode()
        if not copy.exists() or copy.read_bytes() != wanted:
            shutil.copy(source, copy)
            copy.write_bytes(wanted)

    def copy_folder(self, source, copy):
        wanted = {p.relative_to(source) for p in source.rglob("*") if p.is_file()}
        for old in [p for p in copy.rglob("*") if p.is_file()] if copy.exists() else []:
            if old.relative_to(copy) not in wanted:
                old.unlink()
        for name in wanted:
            self.copy_file(source / name, copy / name)

    def call(self, *command, seconds=None, env=None):
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, **(env or {})}, check=False)

    def build(self, kind):
        """The folder of the build by gcc, or by clang's thread sanitizer; set up once."""
        folder = self.folder / kind
        if not (folder / "build.ninja").exists():
            options = ["-Dexamples=disabled", "-Dpython=disabled", "-Ddebug=false"]
            env = {"CC": "gcc", "CXX": "g++"}
            if kind == "tsan":
                options += ["-Db_sanitize=thread", "-Db_lundef=false"]
                env = {"CC": "clang", "CXX": "clang++"}
            shutil.rmtree(folder, ignore_errors=True)
            done = self.call("meson", "setup", str(folder), str(self.tree), *options, env=env)
            if done.returncode != 0:
                raise Broken("cannot set up a build: " + done.stdout[-2000:] + done.stderr[-2000:])
        return folder

    def targets_of(self, folder, suite, only):
        """What the suite's tests, or the one named, are made of."""
        if folder not in self.tests:
            said = self.call("meson", "introspect", "--tests", str(folder))
            self.tests[folder] = json.loads(said.stdout)
        programs = {"src/tools/slipring"}
        for test in self.tests[folder]:
            if (only is None or test["name"] == only) and any(
                    s.split(":")[-1] == suite for s in test["suite"]):
                programs |= {os.path.relpath(word, folder) for word in test["cmd"]
                             if word.startswith(str(folder)) and "." not in pathlib.Path(word).name}
        return sorted(programs)

    def run_suite(self, stage, only=None, file=""):
        """None where all of the suite passes, else the name of a test that does not. Only: of a test
        alone. File: where the mutant lies."""
        if stage == "genmc":
            return self.run_genmc(file, only)
        folder = self.build("tsan" if stage == "tsan" else "gcc")
        suite = IN_MESON.get(stage, stage)
        made = self.call("ninja", "-C", str(folder), "-j", self.jobs,
                         *self.targets_of(folder, suite, only))
        if made.returncode != 0:
            raise Broken("does not compile: " + made.stdout[-1500:])
        setup = "tsan" if stage == "tsan" else "default"
        log = folder / "meson-logs" / f"mutant-{setup}.json"
        log.unlink(missing_ok=True)
        ran = self.call("meson", "test", "-C", str(folder), "--no-rebuild", "--suite", suite,
                        "--maxfail", "1", "--setup", setup, "--logbase", "mutant", "--num-processes",
                        self.jobs, "--timeout-multiplier", "0.5", *([only] if only else []), env=BRIEFLY)
        if not log.exists():
            raise Broken(f"no test of suite {suite} ran: " + ran.stdout[-1500:])
        tests = [json.loads(line) for line in log.read_text().splitlines() if line.strip()]
        for test in tests:
            if test["result"] in ("FAIL", "TIMEOUT", "ERROR"):
                late = " (never ends)" if test["result"] == "TIMEOUT" else ""
                return test["name"].split(" / ")[-1] + late
        return None

    def run_genmc(self, file, only=None):
        if not shutil.which("genmc"):
            return None
        likely = [client for client, files in CLIENTS.items() if file in files.split()]
        clients = [f"model_{client}" for client in
                   likely + [client for client in CLIENTS if client not in likely]]
        said = self.call(str(self.tree / "tests/models/run.sh"), "-q", "-t", "600",
                         *([only.split()[0]] if only else clients))
        lines = [line for line in said.stdout.splitlines() if line.startswith("model_")]
        for line in lines:
            if line.endswith("FAILED"):
                return " ".join(line.split(" explored")[0].split()[:-1])
        for line in lines:
            if "FAILED: " in line:
                raise Unsure(line)
        return None

    def fails_alone(self, stage, test):
        """Once more in a few tries: what failed because the machine was busy catches nothing."""
        return stage == "genmc" or any(
            self.run_suite(stage, test.split(" (")[0]) for _ in range(AGAIN))

    def has(self, stage):
        """Can it be run here?"""
        if stage != "tsan":
            return bool(shutil.which("genmc" if stage == "genmc" else "gcc"))
        if not shutil.which("clang"):
            return False
        # The runtime is a package of its own.
        source = "#include <sanitizer/tsan_interface.h>\nint main(void) { return 0; }"
        return subprocess.run(["clang", "-fsanitize=thread", "-x", "c", "-o", os.devnull, "-"],
                              input=source, text=True, capture_output=True,
                              check=False).returncode == 0

    def try_one(self, mutant, stages, first=None):
        """What catches it, "suite: test", or "" where nothing does; first: one that did once, or
        might."""
        texts = {mutant.file: mutant.text, **mutant.others}
        before = {file: (self.tree / file).read_text() for file in texts}
        try:
            for file, text in texts.items():
                (self.tree / file).write_text(with_weaker(text) if file == SEQUENCE else text)
            known = [tuple(first.split(" (")[0].split(": "))] if first else []
            for stage, only in known + [(stage, None) for stage in stages]:
                for _ in range(AGAIN):
                    test = self.run_suite(stage, only, mutant.file)
                    if test is None:
                        break
                    if self.fails_alone(stage, test):
                        return f"{stage}: {test}"
        finally:
            for file, text in before.items():
                (self.tree / file).write_text(text)
        return ""


# ---- results ----


def read_results():
    rows = {}
    if RESULTS.exists():
        for line in RESULTS.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if line.startswith("| `") and len(cells) == 4:
                rows[cells[0].strip("` ") + " " + cells[1].strip("` ")] = cells[3]
    return rows


def key(mutant):
    return f"{mutant.name} {mutant.file}"


def verdict(mutant, rows):
    caught = rows.get(key(mutant), "not tried")
    return f"{caught}; stays: {mutant.stays}" if ":" not in caught and mutant.stays else caught


def write_results(mutants, rows):
    out = ["# Mutants, and what catches them", "",
           "Written by `./dev test mutants-full` (tests/mutants/mutants.py), which goes on where it was",
           "stopped. Suites in the order tried:",
           "logic by " + ", ".join(LOGIC) + ";", "acquire and release by " + ", ".join(LOADS) + ";",
           "the others by " + ", ".join(FENCES) + ".",
           "`explorer` is suite models without GenMC, `tsan` suite threads under ThreadSanitizer,",
           "`genmc` the models under GenMC, which CI has not.", ""]
    for kind, title in (("logic", "Logic errors"), ("order", "Memory orders, one step weaker")):
        those = [m for m in mutants if m.kind == kind]
        said = [rows.get(key(m), "not tried") for m in those]
        ci = sum(s.split(":")[0] in BY_CI for s in said)
        by = {}
        for s in said:
            by[s.split(":")[0].split(";")[0]] = by.get(s.split(":")[0].split(";")[0], 0) + 1
        out += [f"## {title}", "", f"{len(those)}, of which suites that CI runs catch {ci}: "
                + ", ".join(f"{n} {what}" for what, n in sorted(by.items(), key=lambda x: -x[1]))
                + ".", "", "| mutant | where | what it does | caught by |", "|---|---|---|---|"]
        out += [f"| `{m.name}` | `{m.file}` | {m.about} | {verdict(m, rows)} |" for m in those]
        out += [""]
    RESULTS.write_text("\n".join(out[:-1]) + "\n")


def clean(rows):
    return {k: v.split("; stays:")[0] for k, v in rows.items() if v != "not tried"}


def passed(mutant, rows):
    """The suites that did not catch it, where that is all that is known."""
    row = rows.get(key(mutant), "not by ")
    return [s for s in row[len("not by "):].split(", ") if s] if row.startswith("not by ") else []


def settled(mutant, rows):
    return key(mutant) in rows and not passed(mutant, rows)


def note(mutant, rows, tried, caught):
    """The row of one that was tried by these suites, or caught."""
    through = [s for s in mutant.stages() if s in tried]
    if caught:
        rows[key(mutant)] = caught
    elif through == mutant.stages():
        rows[key(mutant)] = "nothing"
    elif through:
        rows[key(mutant)] = "not by " + ", ".join(through)


def report(number, total, mutant, caught, began):
    print(f"{number}/{total} {mutant.kind} {mutant.name} ({mutant.file}): "
          f"{caught or 'NOTHING'}, {time.time() - began:.0f} s", flush=True)


def check_suites(shop, mutants):
    """What fails on the tree as it is says nothing of a mutant."""
    for stage in sorted({s for m in mutants for s in m.stages()} - {"crash", "faults"}):
        test = shop.run_suite(stage)
        if test is not None and shop.run_suite(stage) is not None:
            raise Broken(f"{stage}: {test} fails without any mutant")


def try_all(shop, mutants, all_mutants, rows, wanted=(), first=None):
    for number, mutant in enumerate(mutants, 1):
        began = time.time()
        before = passed(mutant, rows)
        stages = [s for s in mutant.stages() if shop.has(s) and
                  (s in wanted if wanted else s not in before)]
        try:
            caught = shop.try_one(mutant, stages, first)
        except Unsure as why:
            report(number, len(mutants), mutant, f"UNSURE: {why}", began)
            continue
        note(mutant, rows, before + stages, caught)
        report(number, len(mutants), mutant, caught, began)
        write_results(all_mutants, rows)
    return survivors(mutants, rows)


def try_together(shop, mutants, all_mutants, rows, wanted):
    one = together(mutants)
    began = time.time()
    stages = [s for s in dict.fromkeys(s for m in mutants for s in m.stages()) if shop.has(s) and
              (not wanted or s in wanted)]
    caught = shop.try_one(one, stages)
    report(1, 1, one, caught, began)
    for mutant in mutants if not caught else []:
        note(mutant, rows, passed(mutant, rows) + stages, "")
    write_results(all_mutants, rows)
    return 1 if caught else 0


def survivors(mutants, rows):
    """Exit status: orders that nothing catches and no comment excuses; under 95 % of the logic."""
    bad = 0
    for m in mutants:
        if m.kind == "order" and rows.get(key(m)) == "nothing" and not m.stays:
            print(f"{m.name} ({m.file}) is caught by nothing, and no STAYS says why it is there")
            bad += 1
    logic = [rows[key(m)] for m in mutants if m.kind == "logic" and settled(m, rows)]
    caught = sum(said.split(":")[0] in BY_CI for said in logic)
    if logic and caught < 0.95 * len(logic):
        print(f"of {len(logic)} logic errors only {caught} are caught by what CI runs")
        bad += 1
    return 1 if bad else 0


def sample(shop, mutants, rows, seconds, seed):
    print(f"seed: SLIPRING_SEED={seed}")
    stages = {stage for stage in SAMPLED if shop.has(stage)}
    if "tsan" not in stages:
        print("NOT TRIED: what ThreadSanitizer catches, since clang or its runtime is missing here")
    known = [m for m in mutants if rows.get(key(m), "").split(":")[0] in stages]
    random.Random(seed).shuffle(known)
    began, tried = time.time(), 0
    for mutant in known:
        start = time.time()
        if start - began > seconds:
            break
        others = [s for s in mutant.stages() if s in (*SAMPLED, "litmus")]
        caught = shop.try_one(mutant, others, rows[key(mutant)])
        tried += 1
        report(tried, len(known), mutant, caught, start)
        if not caught:
            return 1
    print(f"{tried} tried, all caught")
    return 0 if tried else 1


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--by")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--suites", type=lambda words: words.split(","), default=[])
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("SLIPRING_MUTANT_SECONDS", 60)))
    parser.add_argument("--seed", default=os.environ.get("SLIPRING_SEED", str(datetime.date.today())))
    parser.add_argument("--jobs", default=str(os.cpu_count()))
    chosen = parser.parse_args()
    mutants = logic_mutants() + order_mutants()
    rows = {} if chosen.anew else clean(read_results())
    untried = [m for m in mutants if not settled(m, rows)]
    print(f"{len(mutants)} mutants, {len(untried)} of them not settled in results.md")
    for m in untried:
        print(f"NOT TRIED YET: {m.name} ({m.file})")
    if chosen.check:
        return survivors([m for m in mutants if settled(m, rows)], rows)
    shop = Workshop(chosen.build.resolve(), chosen.jobs)
    if chosen.full:
        check_suites(shop, untried)
        return try_all(shop, untried, mutants, rows)
    if chosen.only:
        some = [m for m in mutants if any(p in (m.kind, m.file, m.name) or p in m.name for p in chosen.only)]
        if chosen.together:
            return try_together(shop, some, mutants, rows, chosen.suites)
        return try_all(shop, some, mutants, rows, chosen.suites, chosen.by)
    return sample(shop, mutants, rows, chosen.seconds, chosen.seed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Broken as why:
        sys.exit(f"mutants.py: {why}")
