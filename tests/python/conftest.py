# SPDX-License-Identifier: Apache-2.0
"""What several files of tests share."""
import ctypes
import os
import signal
import time

import pytest

# A shell's job in the background ignores Ctrl-C, and so would all processes of the tests.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LIBC = ctypes.PyDLL(None)  # its calls keep the interpreter's lock


def asleep(thread):
    file = LIBC.open(f"/proc/self/task/{thread}/stat".encode(), os.O_RDONLY)
    if file < 0:
        return True  # ended
    said = ctypes.create_string_buffer(512)
    LIBC.read(file, said, 511)
    LIBC.close(file)
    return said.value.rpartition(b") ")[2][:1] == b"S"


def let_others_sleep():
    """A child of a process with threads finds each lock that one of them holds held for ever. malloc's
    is taken care of by the C library, but not AddressSanitizer's (of gcc 12); who sleeps holds none of
    its, and does not wake up to work with objects, since this thread has the interpreter's lock."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        others = [name for name in os.listdir("/proc/self/task") if int(name) != LIBC.gettid()]
        if all(map(asleep, others)):
            return
        time.sleep(0.001)


if "san.so" in os.environ.get("LD_PRELOAD", ""):
    os.register_at_fork(before=let_others_sleep)


@pytest.fixture
def tell(capsys):
    """Says how long things took, in seconds, to whoever reads the log."""
    def tell(what, times):
        times = sorted(times) or [0.0]
        with capsys.disabled():
            print(f"{what}, of {len(times)}: p50 {1e3 * times[len(times) // 2]:.1f} ms,"
                  f" p99 {1e3 * times[len(times) * 99 // 100]:.1f}, most {1e3 * times[-1]:.1f}")
    return tell
