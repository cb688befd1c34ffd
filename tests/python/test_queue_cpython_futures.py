# SPDX-License-Identifier: Apache-2.0
"""Proves that ProcessPoolExecutor passes CPython's own tests over slipring's queues, under each start
method."""
import cpython
import pytest


@pytest.mark.parametrize("interpreter", cpython.INTERPRETERS)
@pytest.mark.parametrize("method", ["Fork", "Spawn", "Forkserver"])
def test_futures(interpreter, method):
    classes = [f"ProcessPool{method}ProcessPoolExecutorTest", f"ProcessPool{method}WaitTest",
               f"ProcessPool{method}AsCompletedTest*", f"ProcessPool{method}InitializerTest",
               f"ProcessPool{method}ExecutorDeadlockTest"]
    if cpython.FULL:
        classes = [f"ProcessPool{method}*"]
    cpython.run(interpreter, method.lower(), *classes)
