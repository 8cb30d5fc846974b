"""Keys made by the process (semantics §2)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from storage import keys
from storage.committer import Committer
from storage.failures import StoreBroken
from storage.keys import KeyMaker, KeysExhausted, NodeClaim, NoNodeFree, key_instant
from storage.mail_queue import Origin, arrival
from storage.store import Store, run_transaction

LONG = timedelta(seconds=30)


def claim_of(store: Store, lease: timedelta = LONG) -> NodeClaim:
    return run_transaction(store.engines, lambda c: keys.claim_node(c, "test", lease))


def test_keys_grow_and_tell_their_instant() -> None:
    now_ms = int(time.time() * 1000)
    make = KeyMaker(NodeClaim(7, 1, now_ms, now_ms + 60_000))
    made = [make()]
    assert now_ms <= key_instant(made[0]).timestamp() * 1000 <= time.time() * 1000
    made += [make() for _ in range(20_000)]
    assert made == sorted(set(made))
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


def let_reservation_end(store: Store, node: int) -> None:
    """What a minute without a renewal would do."""
    statement = text("UPDATE nodes SET keys_below_ms = :past WHERE id = :id")
    run_transaction(store.engines, lambda c: c.execute(statement, {"past": int(time.time() * 1000), "id": node}))


def test_a_node_whose_lease_ended_is_taken_again_when_its_reservation_lies_behind(store: Store) -> None:
    ended = claim_of(store, timedelta(seconds=-1))
    meanwhile = claim_of(store, timedelta(seconds=-1))
    assert meanwhile.node != ended.node
    let_reservation_end(store, ended.node)
    again = claim_of(store)
    assert (again.node, again.boot_id, again.left_unclean) == (ended.node, ended.boot_id + 1, True)


def test_where_no_other_node_is_free_keys_begin_above_what_was_reserved(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "NODES", 2)
    ended = claim_of(store, timedelta(seconds=-1))
    again = claim_of(store)
    assert again.node == ended.node
    assert again.from_ms >= ended.below_ms


def test_keys_begin_above_what_any_node_has_stored(store: Store) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    key = keys.first_key(ahead)
    origin = Origin(listener="naccs", mail_from="a@x.example")
    _, unit = arrival(iter((key, key + 1)).__next__, origin, [("b@x.example", "k")], b"x", ahead)
    Committer(store).commit([unit])
    assert KeyMaker(claim_of(store))() > key + 1


def test_a_node_taken_over_cannot_be_renewed(store: Store) -> None:
    store.renew(timedelta(seconds=-1))
    let_reservation_end(store, store.claim.node)
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
