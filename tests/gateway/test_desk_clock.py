"""The task that does what falls due: at start, at its instant, when something moved; trouble does not end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from gateway import desk_clock as module
from gateway.desk_clock import DeskClock
from handlers import business_days, desk_jobs
from handlers.workflow import Event
from storage.clock import Clock, move_clock
from storage.database import Database
from storage.store import Store
from tests.fakes.in_house_server import until
from tests.gateway.test_watch import Guard
from tests.handlers.clock_cases import (
    application_in,
    check_terminals,
    complete,
    decide,
    jst,
    order,
    pauses,
    set_application,
    works_of,
)
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    START,
    WITH_SMTP_SERVER,
    contents,
    notices_sent,
    receive,
    state_of,
    take_contracts,
)


class Running:
    """A desk clock on a store, with a clock that can be moved."""

    def __init__(self, store: Store, database: Database) -> None:
        self.store = store
        self.database = database
        self.guard = Guard()
        self.clock = Clock(movable=True)
        self.desk_clock = DeskClock(database, self.clock, self.guard, DESK, business_days.calendar_of)

    def move_to(self, instant: datetime) -> None:
        """Another process moves the clock."""
        self.store.run(lambda session: move_clock(session, instant - datetime.now(UTC)))

    async def reaches(self, state: str) -> None:
        """Wait for the state of the one application."""
        await until(lambda: state_of(self.store) == state)


@pytest.fixture
async def running(store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(module, "_AT_MOST_EVERY", 0.02)
    database = Database(Store.open(store_url, "test"))
    database.start()
    made = Running(store, database)
    try:
        yield made
    finally:
        await made.desk_clock.stop()
        await database.close()


def completed(store: Store, now: datetime, **said: object) -> None:
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now, said=contents(**said))
    complete(store, now)


async def test_what_fell_due_while_the_service_was_down_is_done_at_start(running, now):
    completed(running.store, now)
    running.move_to(jst(START, 1))
    running.desk_clock.start()
    await running.reaches("in_use")
    assert [name for name, _ in notices_sent(running.store)].count("applicant/start-of-use") == 2


async def test_it_wakes_when_the_clock_is_moved(running, now):
    completed(running.store, now)
    running.move_to(now)
    running.desk_clock.start()
    await asyncio.sleep(0.2)
    assert state_of(running.store) == "ids_issued"
    running.move_to(jst(START))
    await running.reaches("in_use")


async def test_it_wakes_at_the_instant_that_was_planned(running, now):
    completed(running.store, now)
    running.move_to(jst(START) - timedelta(seconds=1))
    running.desk_clock.start()
    await running.reaches("in_use")
    assert running.clock.now() >= jst(START)


async def test_it_wakes_for_work_that_another_process_arranges_and_ends_it(running, now):
    take_contracts(running.store, now, WITH_SMTP_SERVER)
    receive(running.store, now)
    running.move_to(now)
    running.desk_clock.start()
    await asyncio.sleep(0.2)
    begins = running.clock.now()
    decide(running.store, Event.SCHEDULE_WORK, begins, work=order(begins, hours=2))
    await until(lambda: works_of(running.store)[0].opened_at is not None)
    running.move_to(begins + timedelta(hours=2))
    await until(lambda: works_of(running.store)[0].closed_at is not None)
    assert [is_open for *_, is_open in pauses(running.store)] == [False]


async def test_it_wakes_for_jobs_that_its_own_process_plans(running, now):
    take_contracts(running.store, now)
    receive(running.store, now)
    running.move_to(jst(START, 9))
    running.desk_clock.start()
    await until(lambda: "reviewer/reminder" in [name for name, _ in notices_sent(running.store)])
    set_application(running.store, state="ids_issued", start_date=START)

    def plan(session):
        desk_jobs.plan(session, DESK, application_in(session), CALENDAR, running.clock.now())

    await running.database.run(plan)
    await running.reaches("in_use")


async def test_terminals_that_were_checked_confirm_their_case(running, now, monkeypatch):
    monkeypatch.setattr(module, "_SWEPT_EVERY", 0.1)
    completed(running.store, now)
    running.move_to(jst(START, 1))
    running.desk_clock.start()
    await running.reaches("in_use")
    check_terminals(running.store, jst(START, 1))
    await running.reaches("checked")


async def test_nothing_is_void_while_the_clock_is_not_trusted(running, now, monkeypatch):
    monkeypatch.setattr(module, "_SWEPT_EVERY", 0.1)
    completed(running.store, now, items=("naccs_terminals", "business_types"))
    running.guard.stepped = True
    running.move_to(jst(START))
    running.desk_clock.start()
    await asyncio.sleep(0.3)
    assert state_of(running.store) == "ids_issued"
    running.guard.stepped = False
    await running.reaches("void")


async def test_trouble_of_the_store_is_logged_once_and_waited_out(running, now, monkeypatch, caplog):
    monkeypatch.setattr(module, "_SWEPT_EVERY", 0.05)
    completed(running.store, now)
    running.move_to(jst(START, 1))

    def rename(before: str, after: str) -> None:
        running.store.run(lambda session: session.execute(text(f"ALTER TABLE {before} RENAME TO {after}")))

    rename("desk_jobs", "jobs_elsewhere")
    caplog.set_level(logging.ERROR, "gateway.desk_clock")
    running.desk_clock.start()
    await until(lambda: caplog.records != [])
    await asyncio.sleep(0.2)
    assert [record.getMessage() for record in caplog.records] == ["what is due is tried again"]
    rename("jobs_elsewhere", "desk_jobs")
    await running.reaches("in_use")


async def quiet_for(seconds: float, runs: list[object]) -> int:
    """How many there are after so long."""
    await asyncio.sleep(seconds)
    return len(runs)


async def test_nothing_is_written_while_there_is_nothing_to_do(running, now, monkeypatch):
    completed(running.store, now)
    running.move_to(now)
    monkeypatch.setattr(module, "_SWEPT_EVERY", 0.05)
    run, runs = running.database.run, []

    async def counted(work):
        runs.append(work)
        return await run(work)

    monkeypatch.setattr(running.database, "run", counted)
    running.desk_clock.start()
    await until(lambda: runs)  # held mail is looked at once a minute
    async with asyncio.timeout(30):
        while not (before := len(runs)) or await quiet_for(0.3, runs) != before:
            pass


async def test_one_that_was_not_started_can_be_stopped(running):
    await running.desk_clock.stop()
