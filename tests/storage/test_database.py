"""The group commit on an event loop (semantics §2)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
import pysqlite3.dbapi2 as pysqlite
import pytest
from sqlalchemy import func, select, text

from storage import committer
from storage import database as database_module
from storage.database import Database
from storage.effects import Applied, Note, Stale, Unit
from storage.engines import database_file
from storage.failures import StoreBroken, StoreBusy, StoreFull
from storage.mail_queue import Origin, enqueue
from storage.models import Mail, Node, Recipient
from storage.store import Store, run_transaction
from tests.storage.units import accepted, handled, outbound


@asynccontextmanager
async def running(url: str) -> AsyncIterator[Database]:
    database = Database(Store.open(url, "test"))
    database.start()
    try:
        yield database
    finally:
        await database.close()


def mails(store: Store) -> int:
    return store.read(lambda s: s.scalar(select(func.count()).select_from(Mail)) or 0)


async def test_nothing_resolves_before_it_is_committed_and_notes_follow(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        heard: list[Any] = []
        database.subscribe("arrived", heard.append)
        for _ in range(3):
            found, unit = accepted(database.new_key, now)
            assert await database.apply(unit) == Applied()
            assert mails(database.store) == len(heard)
            assert heard[-1] == found


async def test_what_waits_during_a_commit_goes_in_one_batch_in_order(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        heard: list[int] = []
        database.subscribe("arrived", lambda arrival: heard.append(arrival.recipient_id))
        pairs = [accepted(database.new_key, now) for _ in range(120)]
        await asyncio.gather(*(database.apply(unit) for _, unit in pairs))
        assert database.commits <= 3
        assert heard == [found.recipient_id for found, _ in pairs]


async def test_a_batch_ends_at_its_bytes(store_url: str, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MOST_BYTES", 10_000)
    async with running(store_url) as database:
        pairs = [accepted(database.new_key, now, content=b"x" * 6_000) for _ in range(7)]
        await asyncio.gather(*(database.apply(unit) for _, unit in pairs))
        assert database.commits == 4  # the first alone, then two each


async def test_a_second_change_of_a_row_waits_for_the_next_batch(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        found, unit = accepted(database.new_key, now)
        await database.apply(unit)
        change = Unit(changes=(handled(found, now),))
        outcomes = await asyncio.gather(*(database.apply(unit) for unit in (Unit(), change, change)))
        assert outcomes[1:] == [Applied((True,), ()), Stale("state")]


async def test_a_queued_recipient_is_announced_with_its_sequence(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        heard: list[Any] = []
        database.subscribe("queued", heard.append)
        found, unit = accepted(database.new_key, now)
        queued = outbound(database.new_key, found.mail_id, "terminal:A", now)
        await database.apply(replace(unit, queued=(queued,)))
        origin = Origin(listener="gateway", mail_from="c@x.example")
        await database.run(lambda s: enqueue(s, origin, "terminal:A", "c@x.example", "a@x.example", b"mail", now))
        assert [(enqueue_.lane, sequence) for enqueue_, sequence in heard] == [("terminal:A", 1), ("terminal:A", 2)]
        assert heard[1][0].content == b"mail"


async def test_a_statement_that_fails_is_its_authors_alone(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        _, good = accepted(database.new_key, now)
        _, bad = accepted(database.new_key, now)
        await database.apply(good)
        _, also_good = accepted(database.new_key, now)
        twice = replace(bad, inserts=good.inserts)  # its keys exist already
        outcomes = await asyncio.gather(
            database.apply(Unit()), database.apply(also_good), database.apply(twice), return_exceptions=True
        )
        assert outcomes[1] == Applied()
        assert isinstance(outcomes[2], Exception)
        assert mails(database.store) == 2
        assert not database.broken.done()


async def test_work_and_effects_take_turns(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        threads = set()

        def work(session: Any) -> int:
            threads.add(threading.current_thread().name)
            return int(session.scalar(select(func.count()).select_from(Mail)) or 0)

        pairs = [accepted(database.new_key, now) for _ in range(20)]
        counts = await asyncio.gather(
            *(database.apply(unit) for _, unit in pairs), *(database.run(work) for _ in range(3))
        )
        assert all(isinstance(outcome, Applied) for outcome in counts[:20])
        assert len(threads) == 1


async def test_work_that_raises_leaves_nothing(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:

        def work(session: Any) -> None:
            session.execute(text("UPDATE nodes SET owner = 'spoiled'"))
            raise LookupError("no")

        with pytest.raises(LookupError):
            await database.run(work)
        assert await database.read(lambda s: set(s.scalars(select(Node.owner)))) == {"test"}


async def test_a_commit_of_another_process_is_noticed(
    store_url: str, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "_LOOK_EVERY", 3600.0)  # it is told of by a notification, or not at all
    async with running(store_url) as database:
        noticed = asyncio.Event()
        database.subscribe("foreign", lambda _: noticed.set())
        await asyncio.wait_for(noticed.wait(), 20)  # told once when it begins to look
        noticed.clear()
        await database.apply(accepted(database.new_key, now)[1])
        await asyncio.sleep(0.7)
        assert not noticed.is_set()  # our own commits are none
        other = await asyncio.to_thread(Store.open, store_url, "command")
        await asyncio.to_thread(other.run, lambda s: s.execute(text("UPDATE nodes SET owner = owner")))
        await asyncio.wait_for(noticed.wait(), 20)
        await asyncio.to_thread(other.close)


@contextmanager
def locked(url: str, seconds: float = 600.0) -> Iterator[None]:
    """A foreign writer that holds the SQLite file so long, at most to the end of the block."""
    file = database_file(Store.open(url, "test").engines.url)
    ready, enough = threading.Event(), threading.Event()

    def hold() -> None:
        connection = pysqlite.connect(str(file), isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        ready.set()
        enough.wait(seconds)
        connection.execute("ROLLBACK")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_locked_store_is_tried_again_then_temporary_trouble(
    store_url: str, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(store_url) as database:
        with monkeypatch.context() as patient, locked(store_url, 0.7):
            patient.setattr(committer, "BUSY_FOR_AT_MOST", 60.0)
            assert await database.apply(accepted(database.new_key, now)[1]) == Applied()
        with locked(store_url):
            with pytest.raises(StoreBusy):
                await database.apply(accepted(database.new_key, now)[1])
            assert not database.broken.done()
        assert await database.apply(accepted(database.new_key, now)[1]) == Applied()
        assert mails(database.store) == 2


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_full_disk_is_told_probed_and_recovers(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        pages = database.store.run(lambda s: s.execute(text("PRAGMA page_count")).scalar_one())
        database.store.run(lambda s: s.execute(text(f"PRAGMA max_page_count={pages}")).scalar_one())
        with pytest.raises(StoreFull):
            await database.apply(accepted(database.new_key, now, content=b"x" * 1_000_000)[1])
        assert database.full
        assert mails(database.store) == 0
        await asyncio.to_thread(
            database.store.run, lambda s: s.execute(text("PRAGMA max_page_count=1000000")).scalar_one()
        )
        async with asyncio.timeout(30):
            while database.full:  # noqa: ASYNC110 - the probe has no event to wait for
                await asyncio.sleep(0.05)
        assert await database.apply(accepted(database.new_key, now)[1]) == Applied()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_damaged_store_takes_nothing_more_and_says_so(store_url: str, now: datetime) -> None:
    database = Database(Store.open(store_url, "test"))
    await database.apply(accepted(database.new_key, now)[1])
    with database.store.engines.writer.connect() as connection:
        connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.store.engines.dispose()
    file = database_file(database.store.engines.url)
    file.write_bytes(file.read_bytes()[:16384] + b"\xff" * (file.stat().st_size - 16384))
    with pytest.raises(StoreBroken):
        await database.apply(accepted(database.new_key, now)[1])
    assert database.broken.done()
    with pytest.raises(StoreBroken):
        await database.apply(accepted(database.new_key, now)[1])
    with pytest.raises(StoreBroken):
        await database.run(lambda _: None)
    with pytest.raises(Exception, match="malformed"):
        await database.close()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_connection_lost_before_its_commit_runs_the_batch_again_once(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        await database.apply(accepted(database.new_key, now)[1])
        _kill_writers(store_url, database.store)
        found, unit = accepted(database.new_key, now)
        assert await database.apply(unit) == Applied()
        rows = await database.read(
            lambda s: s.scalars(select(Recipient.id).where(Recipient.mail_id == found.mail_id)).all()
        )
        assert len(rows) == 1


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_connection_lost_inside_commit_is_decided_by_the_batch_number(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        await database.run(
            lambda s: s.execute(
                text("""
                CREATE SEQUENCE kills;
                CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  IF nextval('kills') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                  RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER die AFTER INSERT ON mails
                  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die();
                """)
            )
        )
        assert await database.apply(accepted(database.new_key, now)[1]) == Applied()
        assert mails(database.store) == 1


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_process_that_lost_its_node_writes_nothing(store_url: str, now: datetime) -> None:
    database = Database(Store.open(store_url, "test"))
    run_transaction(database.store.engines, lambda c: c.execute(text("UPDATE nodes SET boot_id = boot_id + 1")))
    with pytest.raises(StoreBroken):
        await database.apply(accepted(database.new_key, now)[1])
    assert mails(database.store) == 0
    await database.close()


def _kill_writers(url: str, store: Store) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_whoever_holds_a_lock_holds_the_group_commit_for_two_seconds_only(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        url = database.store.engines.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url) as stalled:
            stalled.execute("LOCK TABLE mails")
            with pytest.raises(StoreBusy):
                await asyncio.wait_for(database.apply(accepted(database.new_key, now)[1]), 30)
        assert await database.apply(accepted(database.new_key, now)[1]) == Applied()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_without_notifications_foreign_commits_are_looked_for_all_the_same(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "_LOOK_EVERY", 0.3)
    async with running(store_url) as database:
        looks: list[object] = []
        database.subscribe("foreign", looks.append)
        async with asyncio.timeout(30):
            while len(looks) < 3:  # noqa: ASYNC110 - nothing announces a look
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_subscriber_that_fails_keeps_nobody_from_the_answer_to_a_commit(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        heard: list[object] = []

        def fails(payload: object) -> None:
            raise LookupError(payload)

        database.subscribe("spoken", fails)
        database.subscribe("spoken", heard.append)
        notes = (Note("spoken", 1),)
        units = [replace(accepted(database.new_key, now)[1], notes=notes) for _ in range(3)]
        outcomes = await asyncio.wait_for(asyncio.gather(*map(database.apply, units)), 30)
        assert (outcomes, heard) == ([Applied()] * 3, [1, 1, 1])
