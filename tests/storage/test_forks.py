"""A child that was forked while a lock was held keeps nobody from it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from storage import write_line
from storage.engines import FileLock, open_engines
from storage.store import Store


@contextmanager
def forked() -> Iterator[None]:
    """A child with copies of all our descriptors, which does nothing."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_turn_of_a_unit_of_work_ends_with_it_although_a_child_was_forked_meanwhile(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/private/gateway.db", "test")
    line = Path(f"{store.engines.url.database}.write-line")
    with store.engines.writer.connect() as connection:
        connection.execute(text("UPDATE nodes SET owner = owner"))
        child = forked()
        child.__enter__()
        connection.commit()
    try:
        write_line.leave(write_line.enter(line, 0.5))
        store.run(lambda session: session.execute(text("UPDATE nodes SET owner = owner")))
    finally:
        child.__exit__(None, None, None)
    store.close()


def test_a_child_that_outlives_serve_does_not_hold_the_store(tmp_path: Path) -> None:
    opened = open_engines(f"sqlite:///{tmp_path}/private/gateway.db")
    opened.dispose()
    first, second = FileLock(opened.url), FileLock(opened.url)
    first.acquire()
    with forked():
        first.release()
        second.acquire()
    second.release()
