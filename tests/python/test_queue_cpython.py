# SPDX-License-Identifier: Apache-2.0
"""Proves that slipring's queues do for CPython's own tests of queues, under each start method."""
import cpython
import pytest

CLASSES = ["WithProcessesTestQueue", "TestSimpleQueue", "TestStdinBadfiledescriptor",
           "WithProcessesTestProcess"]
if cpython.FULL:
    CLASSES = ["With*", "Test*"]


@pytest.mark.parametrize("interpreter", cpython.INTERPRETERS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_queues(interpreter, method):
    cpython.run(interpreter, method, *CLASSES)
