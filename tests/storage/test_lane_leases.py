"""Whose lane it was, how it was left, and which of its mails may have been in flight, on both stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from storage.lane_leases import Ended, LaneLease, lease_lane
from storage.store import Store, run_transaction

LANE = "terminal:60777S"


def lease(holder: Store, *, alone: bool = False) -> LaneLease:
    taken = holder.run(lambda s: lease_lane(s, LANE, holder.claim.node, holder.lease_token, alone=alone))
    assert taken is not None
    return taken


@pytest.fixture
def other(store_url: str):
    opened = Store.open(store_url, "test")
    yield opened
    opened.close()


def key_at(store: Store, instant: datetime) -> int:
    """A key as the store's node would have made it at that instant."""
    ahead = int((instant - datetime.now(UTC)) / timedelta(milliseconds=1))
    return store.new_key() + (ahead << 22)


def test_what_is_younger_than_the_holders_lease_was_not_in_flight(store: Store, other: Store) -> None:
    lease(store)
    store.renew(timedelta(milliseconds=-1))
    taken = lease(other)
    assert taken.head_in_doubt
    assert taken.doubts(key_at(other, datetime.now(UTC) - timedelta(minutes=1)))
    assert not taken.doubts(key_at(other, datetime.now(UTC) + timedelta(seconds=1)))


def test_a_holder_that_gave_its_node_back_but_not_its_lanes_leaves_doubt(store_url: str, store: Store) -> None:
    """It could not write an outcome, and nothing says when it stopped."""
    ended = Store.open(store_url, "test")
    lease(ended)
    ended.close()
    taken = lease(store)
    assert taken.doubts(key_at(store, datetime.now(UTC) + timedelta(hours=1)))


def test_a_node_that_became_ours_had_ended_when_we_began(store_url: str) -> None:
    ended = Store.open(store_url, "test")
    lease(ended)
    in_flight = ended.new_key()
    ended.renew(timedelta(milliseconds=-1))
    # Nothing lies reserved ahead any more, as a minute later.
    run_transaction(ended.engines, lambda c: c.execute(text("UPDATE nodes SET keys_below_ms = 0")))
    successor = Store.open(store_url, "test")
    assert successor.claim.node == ended.claim.node
    taken = lease(successor)
    assert taken.doubts(in_flight)
    assert not taken.doubts(successor.new_key())
    successor.close()
    ended.engines.dispose()


def test_alone_on_the_store_only_what_this_process_made_is_beyond_doubt(store: Store, other: Store) -> None:
    lease(store)
    taken = lease(other, alone=True)
    assert taken.doubts(store.new_key())
    assert not taken.doubts(other.new_key())


def test_a_lane_left_in_order_has_nothing_to_doubt(store: Store) -> None:
    assert not lease(store).doubts(store.new_key())


def test_the_breaker_is_handed_on_with_the_lane(store: Store, now: datetime) -> None:
    assert lease(store) == LaneLease(0, head_in_doubt=False)
    micros = int(now.timestamp() * 1_000_000)
    down = f"UPDATE lanes SET down_since = {micros}, failures = 7, last_failure = 'connect: timed out'"
    store.run(lambda s: s.execute(text(down)))
    taken = lease(store)
    assert (taken.failures, taken.down_since, taken.last_failure) == (7, now, "connect: timed out")


@pytest.mark.parametrize(("node", "before"), [(None, True), (1, True), (2, False)])
def test_what_is_known_of_one_node_says_nothing_of_another(store: Store, node: int | None, before: bool) -> None:
    assert store.claim.node == 1
    assert Ended(0, node).before(store.new_key()) is before
