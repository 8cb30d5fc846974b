"""Keys made by the process (semantics §2)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from storage import keys
from storage.failures import StoreBroken
from storage.keys import KeyMaker, KeysExhausted, NodeClaim, NoNodeFree, key_instant
from storage.store import Store, run_transaction

LONG = timedelta(seconds=30)


def claim_of(store: Store, lease: timedelta = LONG) -> NodeClaim:
    return run_transaction(store.engines, lambda c: keys.claim_node(c, "test", lease))


def test_keys_grow_and_tell_their_instant() -> None:
    now_ms = int(time.time() * 1000)
    make = KeyMaker(NodeClaim(7, 1, now_ms, now_ms + 60_000))
    made = [make() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert abs(key_instant(made[0]) - datetime.now(UTC)) < timedelta(seconds=5)
    assert {key >> 12 & 1023 for key in made} == {7}
    assert made[-1] < 1 << 63


def test_keys_never_go_back_when_the_clock_does() -> None:
    ahead = int(time.time() * 1000) + 5_000_000
    make = KeyMaker(NodeClaim(1, 1, ahead, ahead + 60_000))
    first, second = make(), make()
    assert first < second
    assert make.highest_ms == ahead


def test_a_reservation_that_ran_out_makes_no_key() -> None:
    ahead = int(time.time() * 1000) + 5_000_000
    make = KeyMaker(NodeClaim(1, 1, ahead, ahead + 1))
    with pytest.raises(KeysExhausted):
        [make() for _ in range(5_000)]


def test_two_processes_hold_two_nodes(store: Store) -> None:
    first, second = claim_of(store), claim_of(store)
    assert len({store.claim.node, first.node, second.node}) == 3


def test_a_node_whose_lease_ended_is_taken_again_above_its_keys(store: Store) -> None:
    ended = claim_of(store, timedelta(seconds=-1))
    again = claim_of(store)
    assert again.node == ended.node
    assert again.boot_id == ended.boot_id + 1
    assert again.from_ms >= ended.below_ms


def test_a_node_taken_over_cannot_be_renewed(store: Store) -> None:
    store.renew(timedelta(seconds=-1))
    taken = claim_of(store)
    assert taken.node == store.claim.node
    with pytest.raises(StoreBroken):
        store.renew()


def test_a_released_node_is_free_at_once_right_above_its_keys(store: Store) -> None:
    claim = claim_of(store)
    make = KeyMaker(claim)
    last = make()
    run_transaction(store.engines, lambda c: keys.release_node(c, claim, make.highest_ms))
    again = claim_of(store)
    assert again.node == claim.node
    assert KeyMaker(again)() > last


def test_when_every_node_is_held_the_claim_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "NODES", 1)
    with pytest.raises(NoNodeFree):
        claim_of(store)


def test_the_first_key_of_an_instant_lies_between_the_keys_before_and_after_it(store: Store) -> None:
    key = store.new_key()
    made_at = keys.key_instant(key)
    assert keys.first_key(made_at) <= key < keys.first_key(made_at + timedelta(milliseconds=1))
    assert keys.first_key(datetime(1970, 1, 1, tzinfo=UTC)) == 0
