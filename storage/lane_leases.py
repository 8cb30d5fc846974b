"""Leases of lanes: each lane is worked by one living process, for the life of that process.

A lease lives as long as its holder's node, so one statement renews them all. Whoever takes a lane that was left without
a clean end learns which of its mails may have been in flight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from storage.columns import from_micros
from storage.keys import KeyMaker, keep_claims_out, key_milliseconds, key_node, lease_token, store_micros


@dataclass(frozen=True, slots=True)
class Ended:
    """From which millisecond on the holder before could not send; with `node`, known of that node's keys alone."""

    ms: int
    node: int | None = None

    def before(self, key: int) -> bool:
        """Whether the mail of that key is younger."""
        return key_milliseconds(key) >= self.ms and self.node in (None, key_node(key))


@dataclass(frozen=True, slots=True)
class LaneLease:
    """A lane as its new holder finds it: `head_in_doubt` after an unclean end of the one before.

    `failures`, `down_since` and `last_failure` are its circuit breaker. `ended` is None where nothing is known.
    """

    last_sequence: int
    head_in_doubt: bool
    failures: int = 0
    down_since: datetime | None = None
    last_failure: str = ""
    ended: Ended | None = field(default=None, compare=False)

    def doubts(self, key: int) -> bool:
        """Whether the head, the mail of that key, may have been in flight when the holder before ended."""
        return self.head_in_doubt and not (self.ended is not None and self.ended.before(key))


def lease_lane(session: Session, lane: str, node: int, token: int, *, alone: bool) -> LaneLease | None:
    """Take a lane for this process, or None while another living process holds it.

    `alone`: the caller holds the store's file lock, so that no other holder can be alive.
    """
    # On PostgreSQL the row stays locked to the end of the transaction; SQLite has one writer.
    lock = " FOR UPDATE" if session.get_bind().dialect.name == "postgresql" else ""
    session.execute(
        text("INSERT INTO lanes (lane, last_sequence, state) VALUES (:lane, 0, 'idle') ON CONFLICT DO NOTHING"),
        {"lane": lane},
    )
    before = session.execute(
        text(
            "SELECT state, lease_node, lease_token, last_sequence, failures, down_since, last_failure "
            f"FROM lanes WHERE lane = :lane{lock}"
        ),
        {"lane": lane},
    ).one()
    held_by_another = before.lease_token not in (None, token)
    holder = _holder(session, before) if held_by_another else None
    if holder is not None and not alone and not _has_ended(session, holder):
        return None
    session.execute(
        text("UPDATE lanes SET lease_node = :node, lease_token = :token, state = 'sending' WHERE lane = :lane"),
        {"lane": lane, "node": node, "token": token},
    )
    return LaneLease(
        before.last_sequence,
        before.state == "sending" and held_by_another,
        before.failures,
        None if before.down_since is None else from_micros(before.down_since),
        before.last_failure,
        _ended(session, before, holder, alone=alone),
    )


def _has_ended(session: Session, holder: Row[Any]) -> bool:
    """Whether the holder's lease is over, and nothing that it wrote under it is still on its way to its commit."""
    if holder.lease_until > store_micros(session.connection()):
        return False
    if session.get_bind().dialect.name != "postgresql":
        return True
    keep_claims_out(session.connection())
    # It leaves its batch's id on this row last of all: the lock waits for that commit, and keeps out the next one.
    lease_until = session.scalar(
        text("SELECT lease_until FROM nodes WHERE id = :id AND boot_id = :boot_id FOR SHARE"),
        {"id": holder.id, "boot_id": holder.boot_id},
    )
    return lease_until is None or int(lease_until) <= store_micros(session.connection())


def _ended(session: Session, lane: Row[Any], holder: Row[Any] | None, *, alone: bool) -> Ended | None:
    """What is known of the end of the holder before.

    A holder leaves 10 s of its lease unused, so clocks of hosts that differ by less do no harm.
    """
    make: KeyMaker = session.info["new_key"]
    own = make.claim
    if holder is not None and not alone:
        # A node given back has no lease any more that could say when.
        return Ended(holder.lease_until // 1000 + 1) if holder.lease_until else None
    # Alone on the store, or its node became ours: it had ended when this process began.
    return Ended(own.from_ms, own.node) if alone or lane.lease_node == own.node else None


def release_lanes(session: Session, token: int) -> None:
    """Give every lane of this process back with nothing in flight: no head of them is in doubt."""
    session.execute(
        text("UPDATE lanes SET lease_node = NULL, lease_token = NULL, state = 'idle' WHERE lease_token = :token"),
        {"token": token},
    )


def _holder(session: Session, lane: Row[Any]) -> Row[Any] | None:
    """The node that holds the lane, as long as it is still the process the lease was given to."""
    node = session.execute(
        text("SELECT id, boot_id, lease_until FROM nodes WHERE id = :id"), {"id": lane.lease_node}
    ).first()
    if node is None or lease_token(node.id, node.boot_id) != lane.lease_token:
        return None
    return node
