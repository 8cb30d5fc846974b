"""Lanes that are leased together (semantics §2: locks in one order)."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from functools import partial

import psycopg
import pytest

from gateway.lane_sharing import Taken, _lease_lanes
from storage.committer import Committer, Outcome
from storage.effects import Applied, Unit
from storage.store import Store, run_transaction
from tests.handlers.test_lock_order import EARLIER_LANE, deadlocks
from tests.storage.test_lost_leases import LANE, LEASE, standing_still, wait_for_end_of
from tests.storage.units import accepted, outbound


def take_both(store: Store) -> dict[str, Taken | None]:
    lanes = (EARLIER_LANE, LANE)
    return store.run(
        partial(
            _lease_lanes, lanes=lanes, node=store.claim.node, token=store.lease_token, alone=store.engines.on_sqlite
        )
    )


def wait_until_somebody_waits(url: str) -> None:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as watcher:
        give_up_at = time.monotonic() + 10
        while watcher.execute(waits).fetchone() == (0,) and time.monotonic() < give_up_at:
            time.sleep(0.01)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_whoever_takes_the_lanes_of_one_that_stood_still_waits_in_no_circle_with_it(
    store_url: str, store: Store, now: datetime
) -> None:
    """It queues in the later lane, and signs when the other has looked at its node for the earlier one."""
    before = deadlocks(store_url)
    slow = Store.open(store_url, "slow", lease=LEASE)
    assert all(take_both(slow).values())
    found, unit = accepted(slow.new_key, now)
    committer = Committer(slow)
    assert committer.commit([unit]) == [Applied()]
    queued = Unit(queued=(outbound(slow.new_key, found.mail_id, LANE, now),))
    done: list[Outcome] = []
    taken: list[dict[str, Taken | None]] = []
    with standing_still(slow.engines.writer, "signing") as (there, go_on):
        slowly = threading.Thread(target=lambda: done.extend(committer.commit([queued])))
        slowly.start()
        assert there.wait(10)
        wait_for_end_of(slow)
        taking = threading.Thread(target=lambda: taken.append(take_both(store)))
        taking.start()
        wait_until_somebody_waits(store_url)
        go_on.set()
        slowly.join()
        taking.join()
    assert done == [Applied((), (1,))]
    assert all(taken[0].values())
    for each in (slow, store):
        each.engines.dispose()  # a server process tells of a circle when it ends, if not before
    assert deadlocks(store_url) == before


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_node_that_is_claimed_while_its_lanes_are_taken_is_waited_for_in_no_circle(
    store_url: str, store: Store
) -> None:
    before = deadlocks(store_url)
    slow = Store.open(store_url, "slow", lease=LEASE)
    assert all(take_both(slow).values())
    wait_for_end_of(slow)
    free = "UPDATE nodes SET keys_below_ms = 0 WHERE id = %s"
    run_transaction(store.engines, lambda c: c.exec_driver_sql(free, (slow.claim.node,)))
    taken: list[dict[str, Taken | None]] = []
    claimed: list[Store] = []
    with standing_still(store.engines.worker, "signing") as (there, go_on):
        taking = threading.Thread(target=lambda: taken.append(take_both(store)))
        taking.start()
        assert there.wait(10)
        claiming = threading.Thread(target=lambda: claimed.append(Store.open(store_url, "new")))
        claiming.start()
        wait_until_somebody_waits(store_url)
        go_on.set()
        taking.join()
        claiming.join()
    assert all(taken[0].values())
    assert claimed[0].claim.node == slow.claim.node
    for each in (slow, store, *claimed):
        each.engines.dispose()
    assert deadlocks(store_url) == before


def test_lanes_leased_together_come_with_what_waits_in_each(store: Store, now: datetime) -> None:
    found, unit = accepted(store.new_key, now)
    queued = outbound(store.new_key, found.mail_id, LANE, now)
    assert Committer(store).commit([unit, Unit(queued=(queued,))]) == [Applied(), Applied((), (1,))]
    taken = take_both(store)
    waiting = {lane: [row.recipient_id for row in one.rows] for lane, one in taken.items() if one is not None}
    assert waiting == {EARLIER_LANE: [], LANE: [queued.recipient.id]}
