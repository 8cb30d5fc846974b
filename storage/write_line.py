"""The line in which the writers of an SQLite file stand: whoever came first writes next.

SQLite itself lets whoever asks at the right moment write next, so that beside busy writers one may never get its turn.
The line is a lock on a file beside the store; the kernel gives it to those who wait in their order, and takes it back
from a process that dies. A turn is given back for every copy of the descriptor: a child that was forked meanwhile
holds none.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path


class OutOfTurn(Exception):
    """The turn did not come in time."""


class _Place:
    """One place in the line, waited for on a thread of its own: `flock` knows no time limit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._came = threading.Event()
        self._given_up = False

    def wait(self, seconds: float) -> bool:
        try:
            threading.Thread(target=self._stand, name="write-line", daemon=True).start()
        except RuntimeError:  # there are too many threads: nobody stands in the line
            os.close(self._descriptor)
            return False
        if self._came.wait(seconds):
            return True
        with self._mutex:
            if self._came.is_set():
                return True
            self._given_up = True
            return False

    def _stand(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError:  # the kernel has no room for locks: whoever waits goes without
            with self._mutex:
                self._given_up = True
        with self._mutex:
            if self._given_up:
                leave(self._descriptor)
            else:
                self._came.set()


def enter(path: Path, seconds: float) -> int:
    """Wait for the turn to write; `leave` ends it. OutOfTurn when it did not come in time, OSError as of `open`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not _Place(descriptor).wait(seconds):
            raise OutOfTurn(str(path)) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def leave(turn: int) -> None:
    """End the turn, also where a forked child has a copy of it."""
    try:
        fcntl.flock(turn, fcntl.LOCK_UN)
    finally:
        os.close(turn)
