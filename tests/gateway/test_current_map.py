"""The snapshot of the map follows the store (semantics §8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pytest
from sqlalchemy import text

from gateway import current_map as current_map_module
from gateway.current_map import CurrentMap
from handlers.calendar import JST, jst_date
from handlers.terminals import EMPTY_MAP, change_map
from storage.database import Database
from storage.store import Store
from tests.fakes.in_house_server import until
from tests.gateway.test_health import only_sqlite
from tests.handlers.review_cases import take_contracts
from tests.handlers.test_terminals import KEY, OFFICES_WITH_TWO_SERVERS, reissue, set_terminal
from tests.storage.test_database import running

IP = "127.20.13.13"
OTHER_IP = "127.20.13.14"  # of 60778S, on the same line


@dataclass(frozen=True, slots=True)
class OnMap:
    """A store with the sample office, as one process serves it: 60777S at 127.20.13.13 and its address."""

    database: Database
    map: CurrentMap

    @property
    def store(self) -> Store:
        return self.database.store

    @property
    def address_id(self) -> int:
        """The row of the address that is in force."""
        found = self.map.view.binding(KEY, today())
        assert found is not None
        return found.address_id


@asynccontextmanager
async def on_map(url: str, *, follow: bool = True, offices: str = OFFICES_WITH_TWO_SERVERS) -> AsyncIterator[OnMap]:
    """Import the offices, in force for two days, then run. Without `follow` the map is read once and never again."""
    async with running(url) as database:
        imported_at = datetime.now(UTC) - timedelta(days=2)
        await asyncio.to_thread(take_contracts, database.store, imported_at, offices)
        current = CurrentMap(database)
        if follow:
            await current.start()
        else:
            await current.refresh()
        try:
            yield OnMap(database, current)
        finally:
            await current.stop()


def today() -> date:
    """The day in Japan by the clock the gateway runs on."""
    return jst_date(datetime.now(UTC))


def until_noon(day: date) -> timedelta:
    """How far a clock must be moved to stand at noon of that day in Japan, where no midnight is near."""
    return datetime.combine(day, time(12), JST) - datetime.now(UTC)


def ip_of(current: CurrentMap) -> str | None:
    (found,) = current.view.by_terminal["60777S"]
    return found.ip


@asynccontextmanager
async def other_process(url: str) -> AsyncIterator[Store]:
    """Another process on the same store."""
    store = await asyncio.to_thread(Store.open, url, "command")
    try:
        yield store
    finally:
        await asyncio.to_thread(store.close)


@only_sqlite
async def test_before_it_is_started_it_knows_nothing(store_url):
    async with running(store_url) as database:
        current = CurrentMap(database)
        assert current.view is EMPTY_MAP
        await current.stop()


@only_sqlite
async def test_it_is_read_when_it_starts(store_url):
    async with on_map(store_url) as on:
        assert on.map.view.version == 1
        assert on.map.view.has_address(KEY)


async def test_a_change_of_this_process_is_followed(store_url):
    async with on_map(store_url) as on:
        await asyncio.to_thread(set_terminal, on.store, ip_address="127.20.13.20")  # a unit nobody announces
        await on.database.run(lambda session: change_map(session, datetime.now(UTC)))
        await until(lambda: on.map.view.version == 3)
        assert ip_of(on.map) == "127.20.13.20"


async def test_a_change_of_another_process_is_followed(store_url):
    async with on_map(store_url) as on, other_process(store_url) as other:
        await asyncio.to_thread(set_terminal, other, ip_address="127.20.13.20")
        await until(lambda: on.map.view.version == 2)
        assert ip_of(on.map) == "127.20.13.20"


@only_sqlite
async def test_refreshing_reads_the_map_only_where_its_version_moved(store_url):
    async with on_map(store_url, follow=False) as on:
        before = on.map.view
        assert await on.map.refresh() is before
        await asyncio.to_thread(reissue, on.store, today=today())
        assert on.map.view is before
        assert (await on.map.refresh()).version == 2
        assert on.map.view.version == 2


@only_sqlite
async def test_many_who_refresh_at_once_share_one_reading(store_url):
    async with on_map(store_url, follow=False) as on:
        await asyncio.to_thread(set_terminal, on.store, ip_address="127.20.13.20")
        views = await asyncio.gather(*(on.map.refresh() for _ in range(20)))
        assert len({id(view) for view in views}) == 1


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_map_that_cannot_be_read_is_read_again(store_url, monkeypatch, caplog):
    monkeypatch.setattr(current_map_module, "_PAUSE", 0.05)

    def rename(store: Store, before: str, after: str) -> None:
        store.run(lambda session: session.execute(text(f"ALTER TABLE {before} RENAME TO {after}")))

    async with on_map(store_url) as on:
        await asyncio.to_thread(set_terminal, on.store, ip_address="127.20.13.20")
        await asyncio.to_thread(rename, on.store, "lines", "lost_lines")
        with caplog.at_level(logging.ERROR, "gateway.current_map"):
            await on.database.run(lambda session: change_map(session, datetime.now(UTC)))
            await until(lambda: len(caplog.records) >= 2)
        assert on.map.view.version == 1  # the last one that could be read
        await asyncio.to_thread(rename, on.store, "lost_lines", "lines")
        await until(lambda: on.map.view.version == 3)
