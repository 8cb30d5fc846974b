"""Keys made by the process: 64 bits, time-ordered, tagged with the node; nothing waits for a database to number a row.

Bits from the top: 41 of milliseconds since 2024-01-01, 10 of node, 12 of running number. A node is claimed
exclusively; it makes keys only below the millisecond it has reserved in the store, and the next holder starts above
that, whatever the clock says. Ids are shown as strings: they exceed 2^53.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from sqlalchemy import Connection, text

NODES = 1023
_ORIGIN_MS = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
_NODE_BITS = 10
_NUMBER_BITS = 12
RESERVE = timedelta(seconds=60)


_NEAR_MS = 10  # a node given back a moment ago reserves no more than this
_GIVEN_BACK = 0  # the lease of a node whose holder ended cleanly


class NoNodeFree(RuntimeError):
    """Every node is held by a living process."""


class KeysExhausted(RuntimeError):
    """The reservation ran out before the lease was renewed: the store has not answered for a minute."""


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """A node held by this process: its number, the token of this claim, and the first millisecond it may use.

    `left_unclean`: the process that held it before did not give it back.
    """

    node: int
    boot_id: int
    from_ms: int
    below_ms: int
    left_unclean: bool = False


# The store's own clock, by database.
STORE_MICROS = {
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
}


def store_micros(connection: Connection) -> int:
    """The store's own clock, microseconds since the epoch: leases expire by it, not by any host's."""
    return int(connection.exec_driver_sql(f"SELECT {STORE_MICROS[connection.dialect.name]}").scalar_one())


def claim_node(connection: Connection, owner: str, lease: timedelta) -> NodeClaim:
    """Take a node whose lease has ended, or a new one, inside the caller's transaction.

    Keys begin above the last one the store holds, whatever node made it, so that they go on in the order of arrival.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE")
    now = store_micros(connection)
    rows = connection.execute(text("SELECT id, lease_until, keys_below_ms, boot_id FROM nodes ORDER BY id")).all()
    from_ms = max(int(time.time() * 1000), _last_stored_ms(connection) + 1)
    over = [row for row in rows if row.lease_until <= now]
    # What a killed holder reserved lies ahead: keys from there on would pass those of mails that come later.
    free = next((row for row in over if row.keys_below_ms <= from_ms + _NEAR_MS), None)
    if free is None and len(rows) >= NODES:
        free = next(iter(over), None)
        if free is None:
            raise NoNodeFree(f"all {NODES} nodes are held; release one or wait for its lease to end")
    if free is not None:
        from_ms = max(from_ms, free.keys_below_ms)
    node = free.id if free is not None else len(rows) + 1
    below_ms = from_ms + _milliseconds(RESERVE)
    boot_id = (free.boot_id if free is not None else 0) + 1
    values = {
        "id": node,
        "owner": owner,
        "boot_id": boot_id,
        "until": now + int(lease / timedelta(microseconds=1)),
        "below": below_ms,
    }
    if free is None:
        connection.execute(
            text(
                "INSERT INTO nodes (id, owner, boot_id, lease_until, keys_below_ms, last_batch) "
                "VALUES (:id, :owner, :boot_id, :until, :below, 0)"
            ),
            values,
        )
    else:
        connection.execute(
            text(
                "UPDATE nodes SET owner = :owner, boot_id = :boot_id, lease_until = :until, "
                "keys_below_ms = :below, last_batch = 0 WHERE id = :id"
            ),
            values,
        )
    left_unclean = free is not None and free.lease_until != _GIVEN_BACK
    return NodeClaim(node, boot_id, from_ms, below_ms, left_unclean)


def keep_claims_out(connection: Connection) -> None:
    """Let no node be claimed before this transaction ends (PostgreSQL): asked before a node's row is locked.

    A claim locks the table before the row, and would wait in a circle with who does it the other way round.
    """
    connection.exec_driver_sql("LOCK TABLE nodes IN ROW EXCLUSIVE MODE")


def _last_stored_ms(connection: Connection) -> int:
    last = connection.exec_driver_sql("SELECT max(id) FROM recipients").scalar()
    return 0 if last is None else key_milliseconds(last)


def renew_node(connection: Connection, claim: NodeClaim, highest_ms: int, lease: timedelta) -> int | None:
    """Extend the lease and the reservation in one statement; None when another process holds the node now."""
    below_ms = max(highest_ms, int(time.time() * 1000)) + _milliseconds(RESERVE)
    if connection.dialect.name == "postgresql":
        # Whoever takes our lanes holds this row meanwhile: what the clock said before the wait would not be true.
        keep_claims_out(connection)
        connection.execute(text("SELECT id FROM nodes WHERE id = :id FOR UPDATE"), {"id": claim.node})
    now = store_micros(connection)
    # A lease that lapsed stays lapsed where another process may have taken our lanes since. SQLite's file lock keeps
    # every other holder away, so a machine that slept goes on.
    lapsed = "AND lease_until > :now " if connection.dialect.name == "postgresql" else ""
    row = connection.execute(
        text(
            "UPDATE nodes SET lease_until = :until, keys_below_ms = :below "
            f"WHERE id = :id AND boot_id = :boot {lapsed}RETURNING id"
        ),
        {
            "until": now + int(lease / timedelta(microseconds=1)),
            "below": below_ms,
            "id": claim.node,
            "boot": claim.boot_id,
            "now": now,
        },
    ).first()
    return None if row is None else below_ms


def release_node(connection: Connection, claim: NodeClaim, highest_ms: int) -> None:
    """Give the node back at a clean end: the lease ends now and the next holder starts right above our keys."""
    connection.execute(
        text("UPDATE nodes SET lease_until = :given_back, keys_below_ms = :below WHERE id = :id AND boot_id = :boot"),
        {"given_back": _GIVEN_BACK, "below": highest_ms + 1, "id": claim.node, "boot": claim.boot_id},
    )


def dead_nodes(connection: Connection, claim: NodeClaim, *, alone: bool) -> frozenset[int]:
    """The nodes whose holders ended without giving them back, this one's own former holder included.

    `alone`: the caller holds the store's file lock, so that no other holder can be alive.
    """
    now = store_micros(connection)
    rows = connection.execute(
        text("SELECT id, lease_until FROM nodes WHERE lease_until <> :given_back AND id <> :own"),
        {"given_back": _GIVEN_BACK, "own": claim.node},
    )
    dead = {row.id for row in rows if alone or row.lease_until <= now}
    return frozenset(dead | {claim.node} if claim.left_unclean else dead)


def _milliseconds(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))


class KeyMaker:
    """Makes the keys of one claim; thread-safe, strictly increasing, never behind an earlier key of the node."""

    def __init__(self, claim: NodeClaim) -> None:
        self.claim = claim
        self.below_ms = claim.below_ms
        self._ms = claim.from_ms
        self._number = -1
        self._lock = Lock()

    @property
    def highest_ms(self) -> int:
        """The millisecond of the latest key."""
        return self._ms

    def go_on_with(self, claim: NodeClaim) -> None:
        """Make keys of another claim from now on; they begin above all that were made."""
        with self._lock:
            self.claim, self.below_ms = claim, claim.below_ms
            self._ms, self._number = max(self._ms + 1, claim.from_ms), -1

    def __call__(self) -> int:
        with self._lock:
            now_ms = int(time.time() * 1000)
            if now_ms > self._ms:
                self._ms, self._number = now_ms, 0
            elif self._number + 1 < 1 << _NUMBER_BITS:
                self._number += 1
            else:
                self._ms, self._number = self._ms + 1, 0
            if self._ms >= self.below_ms:
                raise KeysExhausted("the node's reservation of keys has run out")
            stamp = self._ms - _ORIGIN_MS
            return (stamp << _NODE_BITS | self.claim.node) << _NUMBER_BITS | self._number


def lease_token(node: int, boot_id: int) -> int:
    """What a process marks its lanes with; no other claim ever has the same."""
    return node << 40 | boot_id


def key_node(key: int) -> int:
    """The node that made a key."""
    return key >> _NUMBER_BITS & NODES


def key_milliseconds(key: int) -> int:
    """When a key was made, in milliseconds since 1970."""
    return (key >> (_NODE_BITS + _NUMBER_BITS)) + _ORIGIN_MS


def first_key(instant: datetime) -> int:
    """The lowest key that can be made at an aware instant: what came later has a higher one, whatever the node."""
    stamp = max(0, int(instant.timestamp() * 1000) - _ORIGIN_MS)
    return stamp << (_NODE_BITS + _NUMBER_BITS)


def key_instant(key: int) -> datetime:
    """The instant a key was made, to the millisecond."""
    return datetime.fromtimestamp(key_milliseconds(key) / 1000, tz=UTC)
