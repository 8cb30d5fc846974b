"""What operators ask of lanes, as a process knows it, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from gateway import lane_control
from gateway.lane_control import LaneControl
from storage.clock import Clock
from storage.columns import to_micros
from storage.database import Database
from storage.store import Store, opened
from tests.fakes.in_house_server import until

LANE = "terminal:60001S"
NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


class Standing(Clock):
    """It is always `NOW`."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    made = Database(Store.open(store_url, "serve"))
    made.start()
    yield made
    await made.close()


@pytest.fixture
async def control(database: Database) -> LaneControl:
    """It reads when it is told to, and only then."""
    made = LaneControl(database, Standing())
    await made.refresh()
    return made


@pytest.fixture
async def following(database: Database) -> AsyncIterator[LaneControl]:
    made = LaneControl(database, Standing())
    await made.start()
    yield made
    await made.stop()


async def execute(database: Database, sql: str, **values: Any) -> None:
    await database.run(lambda session: session.execute(text(sql), values))


async def paused(database: Database, begun: float, ended: float | None, lane: str = LANE) -> None:
    """A pause that began and ended so many seconds before now."""
    until_ = None if ended is None else to_micros(NOW - timedelta(seconds=ended))
    await execute(
        database,
        "INSERT INTO lane_pauses (id, lane, paused_at, resumed_at, actor, reason) VALUES (:id, :l, :p, :r, 'ops', '')",
        id=database.new_key(),
        l=lane,
        p=to_micros(NOW - timedelta(seconds=begun)),
        r=until_,
    )


def seconds_paused(control: LaneControl, since: float) -> float:
    return control.paused_time(LANE, NOW - timedelta(seconds=since), NOW).total_seconds()


async def test_a_store_that_asks_for_nothing(control):
    assert not control.paused(LANE)
    assert seconds_paused(control, 1000) == 0
    assert control.flushed_at(LANE) is None
    assert (control.wanted_endpoint(), control.drill_until()) == ("", None)


async def test_paused_time_is_what_lies_within_the_time_asked_for(control, database):
    await paused(database, 500, 400)
    await paused(database, 450, 350)  # two that overlap count once
    await paused(database, 100, 50)
    await paused(database, 900, 10, lane="terminal:60002S")
    await control.refresh()
    assert not control.paused(LANE)
    assert seconds_paused(control, 1000) == 150 + 50
    assert seconds_paused(control, 420) == 70 + 50
    assert seconds_paused(control, 75) == 25
    assert seconds_paused(control, 20) == 0


async def test_a_pause_that_goes_on_counts_to_the_end_of_the_time_asked_for(control, database):
    await paused(database, 300, None)
    await control.refresh()
    assert control.paused(LANE)
    assert seconds_paused(control, 1000) == 300
    assert seconds_paused(control, 30) == 30


async def test_a_pause_long_over_is_not_kept_in_memory(control, database):
    await paused(database, 86400 * 40, 86400 * 35)
    await control.refresh()
    assert seconds_paused(control, 86400 * 50) == 0


async def test_a_flush_of_another_process_is_noticed_and_told(following, store_url):
    told: list[frozenset[str]] = []
    following.on_change(told.append)
    at = to_micros(NOW)

    def beside() -> None:
        with opened(store_url) as store:
            insert = "INSERT INTO lanes (lane, last_sequence, state, flushed_at) VALUES (:lane, 0, 'idle', :at)"
            store.run(lambda session: session.execute(text(insert), {"lane": LANE, "at": at}))

    await asyncio.to_thread(beside)
    await until(lambda: told, 30)
    assert told == [frozenset({LANE})]
    assert following.flushed_at(LANE) == NOW


async def test_a_flush_of_hours_ago_is_none(control, database):
    at = to_micros(NOW - timedelta(hours=2))
    await execute(
        database, f"INSERT INTO lanes (lane, last_sequence, state, flushed_at) VALUES ('{LANE}', 0, 'idle', {at})"
    )
    await control.refresh()
    assert control.flushed_at(LANE) is None


async def test_what_is_wanted_of_the_backend_is_told_as_its_lanes(control, database):
    told: list[frozenset[str]] = []
    control.on_change(told.append)
    at = to_micros(NOW)
    insert = (
        "INSERT INTO lanes (lane, last_sequence, state, wanted_endpoint, drill_until) "
        f"VALUES ('backend', 0, 'idle', 'backup', {at})"
    )
    await execute(database, insert)
    await control.refresh()
    await control.refresh()
    assert (control.wanted_endpoint(), control.drill_until()) == ("backup", NOW)
    assert told == [frozenset({"backend"})]


async def test_a_pause_and_its_end_are_told_once_each(control, database):
    told: list[frozenset[str]] = []
    control.on_change(told.append)
    await paused(database, 5, None)
    await control.refresh()
    await control.refresh()
    await execute(database, f"UPDATE lane_pauses SET resumed_at = {to_micros(NOW)}")
    await control.refresh()
    assert told == [frozenset({LANE})] * 2


async def test_what_is_known_stays_while_the_store_cannot_be_read(following, database, monkeypatch, caplog):
    await paused(database, 5, None)
    await following.refresh()
    monkeypatch.setattr(lane_control, "_READ_EVERY", 0.05)
    await execute(database, "ALTER TABLE lane_pauses RENAME TO hidden")
    following._look.set()
    await until(lambda: "was not read" in caplog.text, 30)
    assert following.paused(LANE)
    await execute(database, "ALTER TABLE hidden RENAME TO lane_pauses")
    await execute(database, "DELETE FROM lane_pauses")
    await until(lambda: not following.paused(LANE), 30)


async def test_a_second_start_reads_nothing_twice(following):
    await following.start()
    assert not following.paused(LANE)
