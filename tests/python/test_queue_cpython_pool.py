# SPDX-License-Identifier: Apache-2.0
"""Proves that multiprocessing's Pool passes CPython's own tests over slipring's queues, under each
start method."""
import cpython
import pytest

CLASSES = ["WithProcessesTestPool", "WithProcessesTestPoolWorkerErrors",
           "WithProcessesTestPoolWorkerLifetime"]


@pytest.mark.parametrize("interpreter", cpython.INTERPRETERS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pool(interpreter, method):
    cpython.run(interpreter, method, *CLASSES)
