"""COMMITs whose reply never came: what was committed is not done twice, what was not is done again (semantics §2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from handlers.applications.receipt_numbers import take_receipt_number
from storage import batch_ids
from storage.committer import Committer
from storage.database import Database
from storage.effects import Applied
from storage.failures import StoreBroken, StoreBusy
from storage.mail_queue import Origin, enqueue
from storage.models import Mail
from storage.store import Store, note, run_transaction
from tests.fakes.postgresql_proxy import Loss, PostgresqlProxy
from tests.storage.units import accepted

pytestmark = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
"""An SQLite file has no connection to lose."""

INQUIRY = Origin(listener="gateway", mail_from="nss@x.example")
LANE = "smarthost:0"


@pytest.fixture
def proxy(store_url: str) -> Iterator[PostgresqlProxy]:
    made = PostgresqlProxy(store_url)
    yield made
    made.close()


@pytest.fixture
def behind(proxy: PostgresqlProxy) -> Iterator[Store]:
    """A store that is reached by way of the proxy."""
    opened = Store.open(proxy.url, "test")
    yield opened
    proxy.come_back()
    opened.close()


def inquire(session: Session, now: datetime, seen: list[int]) -> int:
    """Mail something, as the desk does, and say what it was; `seen` counts how often that was tried."""
    seen.append(1)
    note(session, "heard", len(seen))
    return enqueue(session, INQUIRY, LANE, "nss@x.example", "applicant@x.example", b"mail", now)


def mails(store: Store) -> list[int]:
    return store.read(lambda session: list(session.scalars(select(Mail.id).order_by(Mail.id))))


@pytest.mark.parametrize(
    ("losses", "tries"),
    [
        ((Loss.SWALLOW_REPLY,), 1),
        ((Loss.SWALLOW_COMMIT,), 2),
        ((Loss.SWALLOW_COMMIT, Loss.SWALLOW_COMMIT), 3),
        ((Loss.SWALLOW_COMMIT, Loss.SWALLOW_REPLY), 2),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value),
)
def test_work_is_done_once_whatever_became_of_its_commit(
    store: Store, behind: Store, proxy: PostgresqlProxy, now: datetime, losses: tuple[Loss, ...], tries: int
) -> None:
    seen: list[int] = []
    proxy.at_commit(*losses)
    mail_id, notes, queued = behind.run_noting(partial(inquire, now=now, seen=seen))
    assert (proxy.lost, len(seen)) == (list(losses), tries)
    assert mails(store) == [mail_id]
    assert [(one.topic, one.payload) for one in notes] == [("heard", tries)]
    assert [(each.recipient.mail_id, sequence) for each, sequence in queued] == [(mail_id, 1)]


def test_a_receipt_number_is_spent_once_although_the_reply_to_its_commit_is_lost(
    store: Store, behind: Store, proxy: PostgresqlProxy, now: datetime
) -> None:
    proxy.at_commit(Loss.SWALLOW_REPLY)
    first = behind.run(lambda session: take_receipt_number(session, now))
    second = store.run(lambda session: take_receipt_number(session, now))
    assert (first, second) == ("260001A", "260002A")


@pytest.mark.parametrize("loss", [Loss.SWALLOW_REPLY, Loss.SWALLOW_COMMIT])
def test_a_batch_is_written_once_whatever_became_of_its_commit(
    store: Store, behind: Store, proxy: PostgresqlProxy, now: datetime, loss: Loss
) -> None:
    committer = Committer(behind)
    found, unit = accepted(behind.new_key, now)
    proxy.at_commit(loss)
    assert committer.commit([unit]) == [Applied()]
    assert (proxy.lost, mails(store)) == ([loss], [found.mail_id])
    _, later = accepted(behind.new_key, now)
    assert committer.commit([later]) == [Applied()]


@pytest.mark.parametrize("loss", [Loss.SWALLOW_REPLY, Loss.SWALLOW_COMMIT])
def test_effects_and_work_that_commit_by_turns_are_told_apart(
    store: Store, behind: Store, proxy: PostgresqlProxy, now: datetime, loss: Loss
) -> None:
    """The id of one must not be taken for the other's, nor overwrite it."""
    committer = Committer(behind)
    seen: list[int] = []
    for number in range(1, 4):
        proxy.at_commit(loss)
        behind.run(partial(inquire, now=now, seen=seen))
        assert committer.commit([accepted(behind.new_key, now)[1]]) == [Applied()]
        proxy.at_commit(loss)
        assert committer.commit([accepted(behind.new_key, now)[1]]) == [Applied()]
        assert len(mails(store)) == 3 * number
    assert len(seen) == (3 if loss is Loss.SWALLOW_REPLY else 6)


async def test_work_and_effects_at_once_lose_commits_and_nothing_else(
    store: Store, proxy: PostgresqlProxy, now: datetime
) -> None:
    database = Database(await asyncio.to_thread(Store.open, proxy.url, "test"))
    heard: list[object] = []
    database.subscribe("heard", heard.append)
    proxy.at_commit(*(Loss.SWALLOW_REPLY, Loss.SWALLOW_COMMIT) * 4)

    async def work(number: int) -> None:
        for _ in range(number):
            await database.run(partial(inquire, now=now, seen=[]))

    async def effects(number: int) -> None:
        for _ in range(number):
            assert await database.apply(accepted(database.new_key, now)[1]) == Applied()

    await asyncio.gather(work(12), effects(12), effects(12))
    await database.close()
    assert (len(proxy.lost), len(mails(store)), len(heard)) == (8, 36, 12)


def test_a_store_that_stays_away_is_trouble_and_no_second_try(
    store: Store, behind: Store, proxy: PostgresqlProxy, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_ids, "RECONNECT_FOR", 0.3)
    seen: list[int] = []
    proxy.at_commit(Loss.VANISH)
    with pytest.raises(StoreBusy):
        behind.run(partial(inquire, now=now, seen=seen))
    assert (len(seen), len(mails(store))) == (1, 1)
    with pytest.raises(StoreBusy):  # not an error of the driver: nobody is to blame for it
        behind.run(partial(inquire, now=now, seen=seen))
    behind.engines.reader.dispose()  # a reader has a connection of its own
    with pytest.raises(StoreBusy):
        mails(behind)
    [outcome] = Committer(behind).commit([accepted(store.new_key, now)[1]])
    assert isinstance(outcome, StoreBusy)


def test_a_commit_that_is_still_on_its_way_is_waited_for(
    store_url: str, store: Store, behind: Store, proxy: PostgresqlProxy, now: datetime
) -> None:
    """The reply is lost while the server still works on the commit: what it will be decides, not what it is."""
    slow = """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON mails
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
    """
    with psycopg.connect(store_url) as connection:
        connection.execute(slow)
    seen: list[int] = []
    proxy.at_commit(Loss.SWALLOW_REPLY)
    began = time.monotonic()
    mail_id = behind.run(partial(inquire, now=now, seen=seen))
    assert time.monotonic() - began > 0.9
    assert (mails(store), len(seen)) == ([mail_id], 1)


def test_work_of_a_process_that_lost_its_node_is_not_kept(store: Store, now: datetime) -> None:
    run_transaction(store.engines, lambda c: c.execute(text("UPDATE nodes SET boot_id = boot_id + 1")))
    with pytest.raises(StoreBroken):
        store.run(partial(inquire, now=now, seen=[]))
    assert store.read(lambda session: session.scalar(select(func.count()).select_from(Mail))) == 0
