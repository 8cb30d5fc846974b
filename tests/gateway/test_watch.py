"""The task that looks every second: it writes only when there is something to do, and trouble does not end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from gateway import watch as watch_module
from gateway.watch import Watch
from storage.clock import Clock
from storage.database import Database
from storage.store import Store
from tests.fakes.in_house_server import until
from tests.handlers.review_cases import DESK
from tests.handlers.watch_cases import (
    ALARM,
    LANE,
    LATE,
    OVERDUE,
    add_down,
    add_messages,
    add_requests,
    events,
    request_of,
    take_terminal,
    texts,
)


class Guard:
    """A clock guard that says what it is told to."""

    stepped = False

    def suspended(self) -> bool:
        return self.stepped


class Running:
    """A watch on a store, looking twenty times a second."""

    def __init__(self, store: Store, database: Database) -> None:
        self.store = store
        self.database = database
        self.guard = Guard()
        self.watch = Watch(database, Clock(), self.guard, DESK, LATE, OVERDUE, ALARM)


@pytest.fixture
async def running(store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(watch_module, "_EVERY", 0.05)
    database = Database(Store.open(store_url, "test"))
    made = Running(store, database)
    yield made
    await made.watch.stop()
    await database.close()


async def looked(times: int = 4) -> None:
    await asyncio.sleep(0.05 * times + 0.1)


def counted_runs(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every unit of work the watch asks for."""
    runs: list[Any] = []
    run = running.database.run

    async def counting(work: Any) -> Any:
        runs.append(work)
        return await run(work)

    monkeypatch.setattr(running.database, "run", counting)
    return runs


async def test_overdue_requests_destinations_and_what_was_given_up_are_told(running):
    now = Clock().now()
    take_terminal(running.store, now)
    add_requests(running.store, now - timedelta(minutes=10), 3)
    add_down(running.store, LANE, now - timedelta(minutes=10))
    add_messages(running.store, "terminal:60001S", 2, now)
    running.watch.start()
    for template in ("request-overdue", "destination-down", "delivery-gave-up"):
        await until(partial(texts, running.store, template))
    await looked()
    assert [len(events(running.store, name)) for name in ("request-late", "request-overdue")] == [3, 3]
    assert len(texts(running.store, "request-overdue")) == 1


async def test_nothing_is_written_while_there_is_nothing_to_do(running, monkeypatch):
    now = Clock().now()
    add_requests(running.store, now)
    add_down(running.store, LANE, now)
    add_down(running.store, "terminal:60001S", now - timedelta(hours=1), told_at=now)
    runs = counted_runs(running, monkeypatch)
    running.watch.start()
    await looked()
    assert runs == []


async def test_while_the_clock_is_not_trusted_only_the_age_of_requests_is_not_judged(running):
    now = Clock().now()
    (old,) = add_requests(running.store, now - timedelta(minutes=10))
    (doubted,) = add_requests(running.store, now, in_doubt=True)
    add_down(running.store, "backend", now)
    running.guard.stepped = True
    running.watch.start()
    await until(lambda: len(texts(running.store, "destination-down")) == 1)
    await until(lambda: request_of(running.store, doubted).overdue_at is not None)
    await looked()
    assert request_of(running.store, old).late_at is None
    running.guard.stepped = False
    await until(lambda: request_of(running.store, old).overdue_at is not None)


async def test_trouble_of_the_store_is_logged_once_and_waited_out(running, caplog):
    def rename(before: str, after: str) -> None:
        running.store.run(lambda session: session.execute(text(f"ALTER TABLE {before} RENAME TO {after}")))

    rename("requests", "requests_elsewhere")
    caplog.set_level(logging.ERROR, "gateway.watch")
    running.watch.start()
    await until(lambda: caplog.records != [])
    await looked()
    assert [record.getMessage() for record in caplog.records] == ["no look at requests"]
    rename("requests_elsewhere", "requests")
    (request,) = add_requests(running.store, Clock().now() - timedelta(minutes=10))
    await until(lambda: request_of(running.store, request).overdue_at is not None)


async def test_above_the_hours_limit_no_unit_of_work_runs_every_second(running, monkeypatch):
    monkeypatch.setattr("handlers.lane_watch._TOLD_PER_HOUR", 0)
    add_down(running.store, "backend", Clock().now())
    runs = counted_runs(running, monkeypatch)
    running.watch.start()
    await until(lambda: runs)
    await looked(8)
    assert len(runs) == 1


async def test_a_watch_that_was_not_started_can_be_stopped(running):
    await running.watch.stop()
