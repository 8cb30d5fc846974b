"""What a killed process leaves unsaid: its last mails may be sent again (semantics §7)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from storage import unclean_ends
from storage.committer import Committer
from storage.effects import Applied
from storage.mail_queue import Origin, arrival
from storage.models import Mail, Node
from storage.store import Store
from storage.unclean_ends import mark_after_kill

WINDOW = timedelta(seconds=60)


@pytest.fixture(autouse=True)
def _slow_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mails of one session may come a minute apart: the machine that runs the tests may pause in between."""
    monkeypatch.setattr(unclean_ends, "_SESSION", timedelta(seconds=60))


def take_in(store: Store, listener: str = "naccs") -> int:
    """Commit a mail as a listener of that process does."""
    origin = Origin(listener=listener, mail_from="3A0001@SMTP.TST01.NACCS6")
    mail_id, unit = arrival(store.new_key, origin, [("NACCS@X.EXAMPLE", "k")], b"x", datetime.now(UTC))
    assert Committer(store).commit([unit]) == [Applied()]
    return mail_id


def end_lease(store: Store) -> None:
    """What waiting for half a minute would do: the lease of that store's node is over."""
    over = update(Node).where(Node.id == store.claim.node).values(lease_until=datetime(2000, 1, 1, tzinfo=UTC))
    store.run(lambda session: session.execute(over))


def end_reservation(store: Store) -> None:
    """What another half a minute would do."""
    behind = update(Node).where(Node.id == store.claim.node).values(keys_below_ms=int(time.time() * 1000))
    store.run(lambda session: session.execute(behind))


def mark(store: Store, now: datetime | None = None, *, alone: bool = False, window: timedelta = WINDOW) -> int:
    return store.run(lambda s: mark_after_kill(s, window, now or datetime.now(UTC), alone=alone))


def marked(store: Store) -> set[int]:
    return set(store.read(lambda s: s.scalars(select(Mail.id).where(Mail.unclean_end_at.is_not(None))).all()))


def test_the_last_mails_of_a_killed_process_may_come_again(store_url):
    killed = Store.open(store_url, "serve")
    seen = {take_in(killed), take_in(killed, "backend")}
    take_in(killed, "public")
    following = Store.open(store_url, "serve")
    try:
        end_lease(killed)
        assert mark(following) == 2
        assert marked(following) == seen
        assert mark(following) == 0
    finally:
        following.close()
        killed.engines.dispose()


def test_of_a_process_that_lives_or_ended_cleanly_nothing_is_marked(store_url):
    living, ended = Store.open(store_url, "serve"), Store.open(store_url, "serve")
    take_in(living)
    take_in(ended)
    ended.close()
    following = Store.open(store_url, "serve")
    take_in(following)
    try:
        assert mark(following) == 0
    finally:
        following.close()
        living.close()


def test_whoever_holds_the_file_lock_knows_that_the_other_is_dead(store_url):
    killed = Store.open(store_url, "serve")
    taken = take_in(killed)
    following = Store.open(store_url, "serve")
    try:
        assert (mark(following), mark(following, alone=True)) == (0, 1)
        assert marked(following) == {taken}
    finally:
        following.close()
        killed.engines.dispose()


def test_the_next_holder_of_the_same_node_marks_the_formers_mails_and_not_its_own(store_url):
    killed = Store.open(store_url, "serve")
    taken = take_in(killed)
    end_lease(killed)
    end_reservation(killed)
    following = Store.open(store_url, "serve")
    try:
        assert following.claim.node == killed.claim.node
        assert following.claim.left_unclean
        time.sleep(0.01)
        own = take_in(following)
        assert mark(following) == 1
        assert marked(following) == {taken}
        assert own not in marked(following)
    finally:
        following.close()
        killed.engines.dispose()


def test_what_is_older_than_any_repeat_is_left_alone(store_url):
    killed = Store.open(store_url, "serve")
    take_in(killed)
    end_lease(killed)
    following = Store.open(store_url, "serve")
    try:
        assert mark(following, window=timedelta(0)) == 0
        assert mark(following, datetime.now(UTC) + timedelta(minutes=3)) == 0
    finally:
        following.close()
        killed.engines.dispose()
