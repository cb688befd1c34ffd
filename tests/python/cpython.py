# SPDX-License-Identifier: Apache-2.0
"""Runs CPython's own tests with slipring's queues in the place of multiprocessing's.

As a program: cpython.py METHOD CLASS... runs the classes of that start method's tests. A spawned child
imports this file as its parent's main module, and so gets the same queues.
"""
import multiprocessing.queues
import os
import subprocess
import sys

import slipring

for name in ("Queue", "JoinableQueue", "SimpleQueue"):
    setattr(multiprocessing.queues, name, getattr(slipring, name))

# Interpreters to run them by, with the package installed or of the version it was built for. By
# default this one, or where it came without its tests the system's of the same version.
SITE = os.path.dirname(os.path.dirname(slipring.__file__))
INTERPRETERS = os.environ.get("SLIPRING_PYTHONS", "").split() or [sys.executable]
# All classes of the modules, not those alone that use queues.
FULL = os.environ.get("SLIPRING_CPYTHON_TESTS") == "full"


def classes_of(method, wanted):
    """The test cases of a start method whose names end as wanted."""
    import concurrent.futures.process
    import importlib
    import pkgutil
    import unittest

    assert issubclass(concurrent.futures.process._SafeQueue, slipring.Queue)
    names = [f"test.test_multiprocessing_{method}"]
    if any("ProcessPool" in name for name in wanted):
        names = ["test.test_concurrent_futures"]
    suite = unittest.TestSuite()
    found = set()
    loader = unittest.TestLoader()
    while names:
        module = importlib.import_module(names.pop())
        if hasattr(module, "__path__"):
            names += [f"{module.__name__}.{part.name}" for part in pkgutil.iter_modules(module.__path__)
                      if part.name.startswith("test_")]
        for name, value in list(vars(module).items()):
            if not (isinstance(value, type) and issubclass(value, unittest.TestCase)):
                continue
            if any(name == w or w.endswith("*") and name.startswith(w[:-1]) for w in wanted):
                found.add(name)
                # With what its module sets up and tears down around it.
                suite.addTests(loader.loadTestsFromTestCase(value))
    missing = [w for w in wanted if not any(f == w or w.endswith("*") and f.startswith(w[:-1])
                                            for f in found)]
    assert not missing, f"no such tests: {missing}"
    return suite


def interpreter_with_tests(interpreter):
    import pytest

    system = "/usr/bin/python{}.{}".format(*sys.version_info)
    needs = "import slipring, test.support, test._test_multiprocessing, test.test_concurrent_futures"
    for candidate in (interpreter, system):
        env = dict(os.environ)
        if candidate == system:
            env["PYTHONPATH"] = SITE
        try:
            tried = subprocess.run([candidate, "-c", needs], env=env, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if tried.returncode == 0:
            return candidate, env
        why = tried.stderr.splitlines()[-1]
    pytest.skip(f"{interpreter}: {why}. CPython's tests are in Debian's libpython3-testsuite")


def run(interpreter, method, *wanted):
    """For pytest: runs them, or skips where no interpreter came with its tests."""
    interpreter, env = interpreter_with_tests(interpreter)
    done = subprocess.run([interpreter, __file__, method, *wanted], env=env, capture_output=True,
                          text=True, timeout=230, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]


if __name__ == "__main__":
    import unittest

    result = unittest.TextTestRunner(verbosity=2).run(classes_of(sys.argv[1], sys.argv[2:]))
    sys.exit(not result.wasSuccessful() or result.testsRun == 0)
