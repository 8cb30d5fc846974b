"""What is committed is told although nobody waits for it any more, and a disk held to be full is asked again."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from storage import database as database_module
from storage.database import Database
from storage.effects import Applied
from storage.failures import StoreBroken, StoreFull
from storage.mail_queue import Origin, enqueue
from storage.store import Store
from tests.storage.test_database import locked, running
from tests.storage.units import accepted

NOTICE = Origin(listener="gateway", mail_from="c@x.example")


async def test_who_waits_for_the_queue_hears_of_work_whose_author_was_cancelled(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        heard: list[object] = []
        database.subscribe("queued", heard.append)
        begun, go_on = threading.Event(), threading.Event()

        def work(session: Session) -> int:
            begun.set()
            go_on.wait(10)
            return enqueue(session, NOTICE, "smarthost:0", "c@x.example", "a@x.example", b"mail", now)

        author = asyncio.create_task(database.run(work))
        await asyncio.to_thread(begun.wait, 10)
        author.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await author
        await database.run(lambda session: None)
        assert len(heard) == 1


async def test_a_store_that_breaks_under_work_whose_author_was_cancelled_is_noticed(store_url: str) -> None:
    async with running(store_url) as database:
        begun, go_on = threading.Event(), threading.Event()

        def work(session: Session) -> None:
            begun.set()
            go_on.wait(10)
            raise StoreBroken("the disk is gone")

        author = asyncio.create_task(database.run(work))
        await asyncio.to_thread(begun.wait, 10)
        author.cancel()
        go_on.set()
        assert isinstance(await asyncio.wait_for(database.broken, 5), StoreBroken)


async def test_work_that_has_not_begun_is_dropped_with_its_author(store_url: str) -> None:
    async with running(store_url) as database:
        begun, go_on = threading.Event(), threading.Event()
        done: list[str] = []

        def first(session: Session) -> None:
            begun.set()
            go_on.wait(10)

        ahead = asyncio.create_task(database.run(first))
        await asyncio.to_thread(begun.wait, 10)
        behind = asyncio.create_task(database.run(lambda session: done.append("behind")))
        await asyncio.sleep(0.05)
        behind.cancel()
        go_on.set()
        await ahead
        await database.run(lambda session: done.append("last"))
        assert done == ["last"]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_read_that_keeps_the_wal_from_ending_is_told(
    store_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "READ_WITHIN", 0.1)

    def dawdling(session: Session) -> None:
        time.sleep(0.2)

    async with running(store_url) as database:
        await database.read(lambda session: None)
        await database.read(dawdling)
    told = [record.getMessage() for record in caplog.records if "a read took" in record.getMessage()]
    assert len(told) == 1
    assert "dawdling" in told[0]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_slow_read_is_told_without_what_it_was_given(
    store_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "READ_WITHIN", 0.0)

    def looking(_session: Session, *, known: str) -> str:
        return known

    async with running(store_url) as database:
        await database.read(partial(partial(looking), known="case+260001A.token@nss.center.example"))
    told = [record.getMessage() for record in caplog.records if "a read took" in record.getMessage()]
    assert len(told) == 1
    assert "looking" in told[0]
    assert "token" not in told[0]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_probe_that_finds_the_store_busy_is_not_the_last_one(
    store_url: str, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_FULL_PROBE", 0.05)
    database = Database(Store.open(store_url, "test"))
    run = database.store.run
    pages = run(lambda s: s.execute(text("PRAGMA page_count")).scalar_one())
    run(lambda s: s.execute(text(f"PRAGMA max_page_count={pages}")).scalar_one())
    with pytest.raises(StoreFull):
        await database.apply(accepted(database.new_key, now, content=b"x" * 1_000_000)[1])
    with locked(store_url, 5):
        await asyncio.sleep(4.5)
    await asyncio.to_thread(run, lambda s: s.execute(text("PRAGMA max_page_count=1000000")).scalar_one())
    async with asyncio.timeout(10):
        while database.full:  # noqa: ASYNC110 - the probe has no event to wait for
            await asyncio.sleep(0.05)
    assert await database.apply(accepted(database.new_key, now)[1]) == Applied()
    await database.close()
