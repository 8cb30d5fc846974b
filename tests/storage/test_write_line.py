"""The line of writers: one at a time, in the order they came, and never held by a process that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import write_line
from storage.failures import StoreBusy
from storage.store import Store

HOLDER = """
import sys, time
from pathlib import Path
from storage import write_line
write_line.enter(Path(sys.argv[1]), 1.0)
print("held", flush=True)
time.sleep(60)
"""


def test_whoever_came_first_writes_next(tmp_path: Path) -> None:
    line, order = tmp_path / "line", []
    first = write_line.enter(line, 1.0)

    def wait(number: int) -> None:
        turn = write_line.enter(line, 10.0)
        order.append(number)
        os.close(turn)

    threads = []
    for number in range(5):
        thread = threading.Thread(target=wait, args=(number,))
        thread.start()
        threads.append(thread)
        time.sleep(0.1)
    os.close(first)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_turn_that_does_not_come_in_time_is_given_up_and_blocks_nobody(tmp_path: Path) -> None:
    line = tmp_path / "line"
    held = write_line.enter(line, 1.0)
    with pytest.raises(write_line.OutOfTurn):
        write_line.enter(line, 0.1)
    os.close(held)
    os.close(write_line.enter(line, 2.0))


def test_a_process_that_dies_gives_its_turn_back(tmp_path: Path) -> None:
    line = tmp_path / "line"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(line)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(write_line.OutOfTurn):
            write_line.enter(line, 0.1)
        holder.kill()
    os.close(write_line.enter(line, 2.0))


def test_a_unit_of_work_gives_its_turn_back_whether_it_commits_or_fails(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/private/gateway.db", "test")
    line = Path(f"{store.engines.url.database}.write-line")
    try:
        store.run(lambda session: session.execute(text("UPDATE nodes SET owner = owner")))
        os.close(write_line.enter(line, 0.5))
        with pytest.raises(ZeroDivisionError):
            store.run(lambda session: 1 // 0)
        held = write_line.enter(line, 0.5)
        assert line.stat().st_mode & 0o077 == 0
        with pytest.raises(StoreBusy):
            store.run(lambda session: None)
        os.close(held)
        store.run(lambda session: None)
    finally:
        store.close()
