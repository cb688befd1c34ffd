# SPDX-License-Identifier: Apache-2.0
"""Queues with the meaning of multiprocessing's, over lanes in shared memory.

What each object of a queue inherits: one memfd with the lanes, and a pipe. The pipe carries no
items. Its ends tell who is left, as those of multiprocessing's pipe do; and once somebody asked for
the reader's descriptor, it holds a byte per item that is ready, so that the descriptor can be waited
for.
"""

import collections
import errno
import io
import os
import threading
import traceback
import weakref
from multiprocessing import connection, context, queues, reduction, util

from slipring._slipring import _QueueCore, _queue_create

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

LANES = 256
LANE_BYTES = 1 << 18
ARRAY_BYTES = 1 << 26

_stop = object()
_queues = weakref.WeakSet()


def _after_fork():
    for queue in list(_queues):
        queue._after_fork()


os.register_at_fork(after_in_child=_after_fork)


class _FreeLock:
    """In the place of a lock that nothing here needs: any process may read or write at any time."""

    def acquire(self, block=True, timeout=None):
        return True

    def release(self):
        pass

    def __enter__(self):
        return True

    def __exit__(self, *unused):
        pass


class _Sem:
    """The places of a bounded queue, seen as multiprocessing sees them."""

    def __init__(self, core, maxsize):
        self._core = core
        self._maxsize = maxsize
        self._semlock = self

    def _get_value(self):
        return max(self._maxsize - self._core.qsize(), 0)

    def _is_zero(self):
        return self._get_value() == 0

    def get_value(self):
        return self._get_value()


class _Reader(connection.Connection):
    """The getting end of a queue, as a connection."""

    def __init__(self, handle, core):
        super().__init__(handle, writable=False)
        self._core = core

    def fileno(self):
        self._check_closed()
        self._core._poll_on()
        return self._handle

    def close(self):
        if self._handle is not None:
            self._core._no_reader()
        super().close()

    def recv(self):
        self._check_closed()
        return self._core._receive()

    def _recv_bytes(self, maxsize=None):
        data = self._core._receive_bytes()
        if maxsize is not None and len(data) > maxsize:
            return None
        return io.BytesIO(data)

    def _poll(self, timeout):
        return self._core._poll_items(timeout)


class _Writer(connection.Connection):
    """The putting end of a queue, as a connection; it waits while the lane is full."""

    def __init__(self, handle, core):
        super().__init__(handle, readable=False)
        self._core = core

    def close(self):
        if self._handle is not None:
            self._core._no_writer()
        super().close()

    def send(self, obj):
        self._check_closed()
        self._core._send(obj)

    def _send_bytes(self, buf):
        self._core._send_bytes(bytes(buf))


class _Shared(_QueueCore):
    """What the three queues share: the descriptors, and how they reach a child."""

    def _create(self, maxsize, *sizes):
        file = _queue_create(max(maxsize, 0), *sizes)
        try:
            ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except BaseException:
            os.close(file)
            raise
        self._open(file, *ends)

    def _open(self, file, read_end, write_end):
        try:
            self._attach(file, read_end, write_end)
        except BaseException:
            for fd in (file, read_end, write_end):
                if fd >= 0:
                    os.close(fd)
            raise
        twin = self._twin()
        self._reader = _Reader(read_end, twin) if read_end >= 0 else _closed_end(_Reader, twin)
        self._writer = _Writer(write_end, twin) if write_end >= 0 else _closed_end(_Writer, twin)
        self._rlock = _FreeLock()
        self._wlock = _FreeLock()
        self._poll = self._reader.poll

    def _to_child(self):
        context.assert_spawning(self)
        return tuple(
            reduction.DupFd(fd) if fd is not None else None
            for fd in (self._file(), self._reader._handle, self._writer._handle)
        )

    def _from_parent(self, descriptors):
        self._open(*(-1 if fd is None else fd.detach() for fd in descriptors))


def _closed_end(cls, core):
    end = cls(0, core)
    end._handle = None
    return end


class Queue(_Shared, queues.Queue):
    """multiprocessing.Queue, an order of magnitude faster, and proof against kill -9.

    Each process that puts has a lane in shared memory. An object is pickled by the caller of put()
    where its lane has room, else by a feeder thread; arrays travel beside the pickle. What killed
    process had is not lost to others: an item is redelivered if its getter died before it had
    copied it, and lost with it after that; items that waited in a killed putter's feeder, or were
    larger than a lane and half taken, are lost with the putter.

    lanes: how many processes may put at the same time. lane_bytes: for the items in each, a power of
    two; larger items go in parts, for which the putting process must wait (its feeder does).
    """

    def __init__(self, maxsize=0, *, ctx=None, lanes=LANES, lane_bytes=LANE_BYTES, array_bytes=ARRAY_BYTES):
        self._ignore_epipe = False
        self._by_fork = ctx is not None and ctx.get_start_method() == "fork"
        self._create(maxsize, lanes, lane_bytes, array_bytes)
        self._set_up(maxsize, os.getpid())

    def _set_up(self, maxsize, opid):
        if maxsize <= 0:
            from multiprocessing.synchronize import SEM_VALUE_MAX as maxsize
        self._maxsize = maxsize
        self._opid = opid
        self._sem = _Sem(self._reader._core, maxsize)
        self._reset()
        _queues.add(self)

    def __getstate__(self):
        context.assert_spawning(self)
        if self._by_fork:
            raise RuntimeError(
                "A SemLock created in a fork context would not reach a process in another one, and "
                "so multiprocessing's fork context shares no queue with it. slipring.Queue() does"
            )
        return (self._to_child(), self._ignore_epipe, self._maxsize, self._opid)

    def __setstate__(self, state):
        descriptors, self._ignore_epipe, maxsize, opid = state
        self._by_fork = False
        self._from_parent(descriptors)
        self._set_up(maxsize, opid)

    def _after_fork(self):
        self._reset(after_fork=True)

    def _reset(self, after_fork=False):
        if after_fork:
            self._notempty._at_fork_reinit()
        else:
            self._notempty = threading.Condition(threading.Lock())
        self._buffer = collections.deque()
        self._thread = None
        self._jointhread = None
        self._joincancelled = False
        self._closed = False
        self._close = None
        self._feeding = False
        self._started = False

    def _begin(self):
        """The first put() of this process."""
        with self._notempty:
            if self._thread is None:
                self._start_thread()

    def _enqueue(self, obj):
        """For the feeder: put() found no room, or older items there."""
        with self._notempty:
            self._feeding = True
            self._buffer.append(obj)
            self._notempty.notify()

    def _pickling_failed(self, error, obj):
        try:
            raise error
        except Exception as again:
            self._on_queue_feeder_error(again, obj)

    @staticmethod
    def _on_queue_feeder_error(e, obj):
        """Called with what went wrong in pickling an object; for overriding."""
        traceback.print_exc()

    def close(self):
        self._closed = True
        close, self._close = self._close, None
        if close:
            close()

    def join_thread(self):
        assert self._closed, "Queue {0!r} not closed".format(self)
        if self._jointhread:
            self._jointhread()

    def cancel_join_thread(self):
        self._joincancelled = True
        if self._jointhread is not None:
            self._jointhread.cancel()

    def _terminate_broken(self):
        self._reader.close()
        self.close()
        self.join_thread()

    def _start_thread(self):
        feeder = _Feeder(self)
        thread = threading.Thread(target=feeder.run, name="QueueFeederThread", daemon=True)
        thread.start()
        self._thread = thread
        self._started = True
        if not self._joincancelled:
            self._jointhread = util.Finalize(
                thread, _join_feeder, [weakref.ref(thread)], exitpriority=-5
            )
        self._close = util.Finalize(self, feeder.stop, exitpriority=10)


class _Feeder:
    """What the feeder thread works with; not the queue, which may go while it runs."""

    def __init__(self, queue):
        self.core = queue._reader._core
        self.buffer = queue._buffer
        self.notempty = queue._notempty
        self.ends = (queue._reader, queue._writer)
        self.ignore_epipe = queue._ignore_epipe
        self.on_error = queue._on_queue_feeder_error

    def stop(self):
        with self.notempty:
            self.buffer.append(_stop)
            self.notempty.notify()

    def next(self):
        with self.notempty:
            while not self.buffer:
                self.core._feeding = False
                self.notempty.wait()
            return self.buffer.popleft()

    def run(self):
        while True:
            obj = self.next()
            if obj is _stop:
                for end in self.ends:
                    end.close()
                return
            try:
                self.core._send_counted(obj)
            except Exception as error:
                if self.ignore_epipe and getattr(error, "errno", 0) == errno.EPIPE:
                    return
                if util.is_exiting():
                    util.info("error in queue thread: %s", error)
                    return
                self.core._forgo()
                self.on_error(error, obj)
            obj = None


def _join_feeder(reference):
    thread = reference()
    if thread is not None:
        thread.join()


class JoinableQueue(Queue, queues.JoinableQueue):
    """multiprocessing.JoinableQueue, see Queue."""

    def task_done(self):
        """Say that an item that was got is dealt with."""
        self._task_done()

    def join(self):
        """Wait until every item that was put is dealt with."""
        self._join()


class SimpleQueue(_Shared, queues.SimpleQueue):
    """multiprocessing.SimpleQueue, see Queue: put() waits while the lane is full."""

    def __init__(self, *, ctx=None, lanes=LANES, lane_bytes=LANE_BYTES, array_bytes=ARRAY_BYTES):
        self._create(0, lanes, lane_bytes, array_bytes)

    put = _QueueCore._send
    get = _QueueCore._receive

    def close(self):
        self._reader.close()
        self._writer.close()

    def __getstate__(self):
        return self._to_child()

    def __setstate__(self, descriptors):
        self._from_parent(descriptors)
