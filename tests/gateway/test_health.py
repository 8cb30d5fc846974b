"""Our own trouble is told at connect and at MAIL (semantics §10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pysqlite3.dbapi2 as pysqlite
import pytest
from sqlalchemy import text

from gateway import health as health_module
from gateway.health import Health
from gateway.smtp_replies import NO_ROOM, NOT_READY, UNAVAILABLE
from storage.effects import Applied
from storage.engines import database_file, parse_url
from storage.failures import StoreBroken, StoreFull
from storage.store import Store, run_transaction
from tests.fakes.in_house_server import until
from tests.storage.test_database import running
from tests.storage.units import accepted

only_sqlite = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


@contextmanager
def held(url: str) -> Iterator[None]:
    """Another process holds the SQLite file for writing."""
    with closing(pysqlite.connect(str(database_file(parse_url(url))), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def fill_disk(store: Store) -> None:
    """Let the store not grow any more, as on a full disk."""
    pages = store.run(lambda session: session.execute(text("PRAGMA page_count")).scalar_one())
    store.run(lambda session: session.execute(text(f"PRAGMA max_page_count={pages}")).scalar_one())


def make_room(store: Store) -> None:
    store.run(lambda session: session.execute(text("PRAGMA max_page_count=1000000")).scalar_one())


async def test_a_store_in_order_lets_everybody_in(store_url, now):
    async with running(store_url) as database:
        health = Health(database)
        assert health.at_connect() is None
        assert health.at_mail() is None
        await database.apply(accepted(database.new_key, now)[1])
        assert health.at_mail() is None


def test_behind_means_more_than_a_second():
    assert health_module.MOST_SECONDS_BEHIND == 1.0


@only_sqlite
async def test_a_store_that_is_behind_is_told_until_it_caught_up(store_url, now, monkeypatch):
    monkeypatch.setattr(health_module, "MOST_SECONDS_BEHIND", 0.1)
    async with running(store_url) as database:
        health = Health(database)
        assert health.at_connect() is None
        with held(store_url):
            waiting = asyncio.ensure_future(database.apply(accepted(database.new_key, now)[1]))
            await until(health.at_connect)
            assert health.at_connect() == NOT_READY
            assert health.at_mail() == UNAVAILABLE
        assert await waiting == Applied()
        assert health.at_connect() is None
        assert health.at_mail() is None


@only_sqlite
async def test_a_full_store_still_greets_and_refuses_at_mail(store_url, now):
    async with running(store_url) as database:
        health = Health(database)
        await asyncio.to_thread(fill_disk, database.store)
        with pytest.raises(StoreFull):
            await database.apply(accepted(database.new_key, now, content=b"x" * 1_000_000)[1])
        assert health.at_connect() is None
        assert health.at_mail() == NO_ROOM
        await asyncio.to_thread(make_room, database.store)
        await until(lambda: health.at_mail() is None)


@only_postgresql
async def test_a_broken_store_lets_nobody_in(store_url, now):
    async with running(store_url) as database:
        health = Health(database)
        taken = text("UPDATE nodes SET boot_id = boot_id + 1")
        await asyncio.to_thread(run_transaction, database.store.engines, lambda each: each.execute(taken))
        with pytest.raises(StoreBroken):
            await database.apply(accepted(database.new_key, now)[1])
        assert health.at_connect() == NOT_READY
        assert health.at_mail() == UNAVAILABLE
