"""Commands that take their time: a question is answered after minutes, another process takes the node meanwhile."""

from __future__ import annotations

import time
from datetime import timedelta

from sqlalchemy import text

from storage.keys import claim_node, key_node
from storage.store import Store, new_key, run_transaction

LEASE = timedelta(seconds=0.6)


def wait(store: Store, seconds: float) -> None:
    while time.monotonic() < store.lease_ends_at + seconds:
        time.sleep(0.02)


def test_a_command_that_waited_longer_than_its_lease_goes_on_with_another_node(store_url: str) -> None:
    command = Store.open(store_url, "command", lease=LEASE)
    before, claimed = command.new_key(), command.claim
    wait(command, 0.1)
    # Nothing lies reserved ahead any more, as a minute later.
    run_transaction(command.engines, lambda c: c.execute(text("UPDATE nodes SET keys_below_ms = 0")))
    other = Store.open(store_url, "command")
    assert other.claim.node == claimed.node
    after = command.run(new_key)
    assert (key_node(after) == command.claim.node, command.claim.node != other.claim.node) == (True, True)
    assert after > before
    other.close()
    command.close()


def test_a_command_between_two_units_renews_its_lease(store_url: str) -> None:
    command = Store.open(store_url, "command", lease=timedelta(seconds=30))
    claimed = command.claim
    for _ in range(4):
        command.lease_ends_at -= 20  # so much of it is over
        ended_at = command.lease_ends_at
        command.run(lambda session: None)
        assert command.lease_ends_at > ended_at
    assert command.claim == claimed
    assert command.lease_ends_at > time.monotonic()
    command.close()


def test_a_command_whose_node_was_taken_before_its_lease_ended_goes_on_too(store_url: str) -> None:
    """A clock was set: the store's says that the lease is over, this process has not noticed."""
    command = Store.open(store_url, "command", lease=timedelta(seconds=60))
    run_transaction(command.engines, lambda c: c.execute(text("UPDATE nodes SET lease_until = 1, keys_below_ms = 0")))
    taken = run_transaction(command.engines, lambda c: claim_node(c, "test", timedelta(seconds=60)))
    assert taken.node == command.claim.node
    command.lease_ends_at -= 40  # so much of it is over, as far as this process knows
    command.run(lambda session: None)
    assert command.claim.node != taken.node
    command.close()
