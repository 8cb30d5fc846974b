"""A process that stood still longer than its lease writes nothing that needs it, wherever it stood still.

PostgreSQL alone: on an SQLite file there is one holder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from storage import engines
from storage.columns import to_micros
from storage.committer import Committer, Outcome
from storage.effects import RECIPIENT_OUTCOME, Applied, Change, Stale, Unit
from storage.failures import StoreBroken, StoreBusy
from storage.lane_leases import LaneLease, lease_lane
from storage.models import Recipient
from storage.store import Store
from tests.storage.units import accepted, outbound

pytestmark = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)

LANE = "terminal:60777S"
LEASE = timedelta(seconds=5)
DELIVERED = "delivered"


@pytest.fixture
def slow(store_url: str) -> Iterator[Store]:
    """A holder of a lease that it does not renew."""
    opened = Store.open(store_url, "slow", lease=LEASE)
    yield opened
    opened.engines.dispose()


def take(store: Store) -> LaneLease | None:
    return store.run(lambda s: lease_lane(s, LANE, store.claim.node, store.lease_token, alone=False))


def queue(store: Store, now: datetime) -> int:
    found, unit = accepted(store.new_key, now)
    queued = outbound(store.new_key, found.mail_id, LANE, now)
    assert Committer(store).commit([unit, Unit(queued=(queued,))]) == [Applied(), Applied((), (1,))]
    return queued.recipient.id


def outcome(recipient_id: int, token: int, now: datetime) -> Unit:
    values = (recipient_id, token, DELIVERED, to_micros(now), to_micros(now), 1, 0, "250 ok")
    return Unit(changes=(Change(RECIPIENT_OUTCOME, values),))


def state(store: Store, recipient_id: int) -> str:
    return store.read(lambda session: session.get_one(Recipient, recipient_id).state)


def wait_for_end_of(store: Store) -> None:
    while time.monotonic() < store.lease_ends_at + 0.2:
        time.sleep(0.05)


@contextmanager
def standing_still(engine: Engine, where: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The engine's thread stops before it leaves its batch's id, or behind it, before the commit."""
    there, go_on = threading.Event(), threading.Event()

    def stop() -> None:
        there.set()
        go_on.wait(60)

    def before(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE nodes SET last_batch"):
            stop()

    listening: tuple[str, Callable[..., None]] = (
        ("before_cursor_execute", before) if where == "signing" else ("commit", lambda _: stop())
    )
    event.listen(engine, *listening)
    try:
        yield there, go_on
    finally:
        event.remove(engine, *listening)


def test_what_was_written_before_the_lane_was_lost_is_not_committed_after(
    slow: Store, store: Store, now: datetime
) -> None:
    """The lane's lease was looked at, then time passed, then came the commit."""
    assert take(slow) is not None
    recipient_id = queue(slow, now)
    done: list[Outcome] = []
    _, other = accepted(slow.new_key, now)
    units = [outcome(recipient_id, slow.lease_token, now), other]
    with standing_still(slow.engines.writer, "signing") as (there, go_on):
        thread = threading.Thread(target=lambda: done.extend(Committer(slow).commit(units)))
        thread.start()
        assert there.wait(60)
        wait_for_end_of(slow)
        taken = take(store)
        assert taken is not None
        assert taken.head_in_doubt
        go_on.set()
        thread.join()
    assert done == [Stale("state"), Applied()]  # a mail that came in needs no lease
    assert state(store, recipient_id) == "queued"


def test_a_lane_is_not_taken_before_what_its_holder_is_committing_is_decided(
    slow: Store, store: Store, now: datetime
) -> None:
    assert take(slow) is not None
    recipient_id = queue(slow, now)
    done: list[Outcome] = []
    with standing_still(slow.engines.writer, "committing") as (there, go_on):
        unit = outcome(recipient_id, slow.lease_token, now)
        thread = threading.Thread(target=lambda: done.extend(Committer(slow).commit([unit])))
        thread.start()
        assert there.wait(60)
        wait_for_end_of(slow)
        with pytest.raises(StoreBusy):
            take(store)
        go_on.set()
        thread.join()
    assert done == [Applied((True,))]
    assert take(store) is not None
    assert state(store, recipient_id) == DELIVERED


def test_a_lease_that_ended_while_its_renewal_waited_stays_ended(
    slow: Store, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes the lanes holds the node's row: the renewal comes through behind it, too late."""
    assert take(slow) is not None
    monkeypatch.setattr(engines, "_LOCK_WAIT", "60s")  # of the connection it makes next
    slow.engines.dispose()
    failed: list[BaseException] = []

    def renew() -> None:
        try:
            slow.renew()
        except StoreBroken as broken:
            failed.append(broken)

    with store.engines.writer.connect() as connection:
        node = "SELECT lease_until FROM nodes WHERE id = %s FOR SHARE"
        connection.exec_driver_sql(node, (slow.claim.node,))
        thread = threading.Thread(target=renew)
        thread.start()
        wait_for_end_of(slow)
        connection.commit()
    thread.join()
    assert [type(one) for one in failed] == [StoreBroken]


FROZEN = """
import json, os, signal, sys
from datetime import datetime, timedelta
from sqlalchemy import event
from storage import engines
from storage.committer import Committer
from storage.failures import StoreBroken, StoreBusy
from storage.store import Store
from tests.storage.test_lost_leases import outcome, queue, take

url, where, now = sys.argv[1], sys.argv[2], datetime.fromisoformat(sys.argv[3])
engines._STALLED = "2s"
store = Store.open(url, "frozen", lease=timedelta(seconds=3))
take(store)
recipient_id = queue(store, now)
print(json.dumps([recipient_id, store.lease_token]), flush=True)
if where == "in a transaction":
    def freeze(_c, _cursor, statement, *_):
        if "last_batch" in statement and statement.startswith("UPDATE"):
            event.remove(store.engines.writer, "before_cursor_execute", freeze)
            os.kill(os.getpid(), signal.SIGSTOP)
    event.listen(store.engines.writer, "before_cursor_execute", freeze)
else:
    os.kill(os.getpid(), signal.SIGSTOP)
before = store.new_key()
committer = Committer(store)
while isinstance((done := committer.commit([outcome(recipient_id, store.lease_token, now)])[0]), StoreBusy):
    pass
try:
    store.renew()
    renewed = "renewed"
except StoreBroken:
    renewed = "broken"
print(json.dumps([type(done).__name__, renewed, store.new_key() > before]), flush=True)
"""


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("where", ["between transactions", "in a transaction"])
def test_a_process_that_was_stopped_for_longer_than_its_lease_goes_on_without_it(
    store_url: str, store: Store, now: datetime, where: str
) -> None:
    """In a transaction the server has hung up meanwhile, too: the batch is tried again, under the lease of now."""
    command = [sys.executable, "-c", FROZEN, store_url, where, now.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as frozen:
        try:
            assert frozen.stdout is not None
            recipient_id, _ = json.loads(frozen.stdout.readline())
            while not stopped(frozen.pid):
                time.sleep(0.02)
            give_up_at = time.monotonic() + 25
            while take(store) is None and time.monotonic() < give_up_at:
                time.sleep(0.1)
            unit = outcome(recipient_id, store.lease_token, now)
            assert Committer(store).commit([unit]) == [Applied((True,))]
            os.kill(frozen.pid, signal.SIGCONT)
            assert json.loads(frozen.stdout.readline()) == ["Stale", "broken", True]
        finally:
            frozen.kill()
    assert state(store, recipient_id) == DELIVERED
