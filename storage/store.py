"""The store as one process holds it: engines, schema, the claimed node and its keys, and synchronous units of work.

Commands use it as it is; the service wraps it in `storage.database.Database`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from storage.batch import apply_units
from storage.batch_ids import BatchIds, Series
from storage.effects import Applied, Enqueue, Note, Unit
from storage.engines import Engines, open_engines
from storage.failures import Failure, StoreBroken, classify, raise_trouble
from storage.keys import KeyMaker, NodeClaim, claim_node, lease_token, release_node, renew_node
from storage.schema import ensure_schema
from storage.tries import BUSY_FOR_AT_MOST, Tries

T = TypeVar("T")
Work = Callable[[Session], T]

NODE_LEASE = timedelta(seconds=30)


class StaleUnit(Exception):
    """Effects that a unit of work wanted do not fit the store any more; `reason` as of `Stale`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Store:
    """An opened store with a claimed node. Not for use by two threads at once; `read` excepted."""

    def __init__(
        self, engines: Engines, owner: str, claim: NodeClaim, lease_ends_at: float, lease: timedelta = NODE_LEASE
    ) -> None:
        self.engines = engines
        self.new_key = KeyMaker(claim)
        self._owner = owner
        self._lease = lease
        # Counted from before the store was asked, so that it never ends later here than there.
        self.lease_ends_at = lease_ends_at
        self._ids = None if engines.on_sqlite else BatchIds(engines.worker, self.new_key, Series.WORK)

    @classmethod
    def open(cls, url: str, owner: str, *, lease: timedelta = NODE_LEASE) -> Store:
        """Open the store, migrate an empty one, and claim a node. StoreRefused says what to do about a bad one."""
        engines = open_engines(url)
        try:
            ensure_schema(engines)
            lease_ends_at = time.monotonic() + lease.total_seconds()
            claim = run_transaction(engines, lambda connection: claim_node(connection, owner, lease))
        except BaseException:
            engines.dispose()
            raise
        return cls(engines, owner, claim, lease_ends_at, lease)

    @property
    def claim(self) -> NodeClaim:
        """The node this process holds."""
        return self.new_key.claim

    @property
    def lease_token(self) -> int:
        """What this process marks its lanes with; no other claim ever has the same."""
        return lease_token(self.claim.node, self.claim.boot_id)

    def run(self, work: Work[T]) -> T:
        """One unit of work in one transaction; it is run again when the store is busy, for two seconds.

        A command that waited for an answer longer than its node's lease goes on with another node.
        """
        self._hold_a_node()
        return self.run_noting(work)[0]

    def _hold_a_node(self) -> None:
        """A service renews its lease by the clock; a command when it is about to use it."""
        now = time.monotonic()
        remaining = self.lease_ends_at - now
        if remaining > self._lease.total_seconds() / 2:
            return
        if remaining > 0:
            with contextlib.suppress(StoreBroken):
                self.renew(self._lease)
                return
        claim = run_transaction(self.engines, lambda connection: claim_node(connection, self._owner, self._lease))
        self.new_key.go_on_with(claim)
        self.lease_ends_at = now + self._lease.total_seconds()

    def run_noting(self, work: Work[T]) -> tuple[T, list[Note], list[tuple[Enqueue, int]]]:
        """`run`, with the notes and queued recipients the work left for subscribers."""

        def in_session(connection: Connection) -> tuple[T, list[Note], list[tuple[Enqueue, int]]]:
            with Session(bind=connection, expire_on_commit=False) as session:
                session.info.update(new_key=self.new_key, notes=[], queued=[])
                value = work(session)
                session.flush()
                return value, session.info["notes"], session.info["queued"]

        return run_transaction(self.engines, in_session, self._ids)

    def read(self, work: Work[T]) -> T:
        """Read on a connection of its own, from one snapshot; nothing it does is kept. StoreBusy, as of writing."""
        try:
            with self.engines.reader.connect() as connection, Session(bind=connection) as session:
                return work(session)
        except DBAPIError as error:
            failure = classify(error)
            if failure in (Failure.BUSY, Failure.CONNECTION_LOST):
                raise_trouble(failure, error)
            raise

    def probe(self) -> None:
        """Write something small: StoreFull as long as the disk has no space."""
        run_transaction(
            self.engines,
            lambda connection: connection.execute(
                text("UPDATE nodes SET owner = owner WHERE id = :id"), {"id": self.claim.node}
            ),
        )

    def renew(self, lease: timedelta = NODE_LEASE) -> None:
        """Extend the node's lease, and with it every lane's; StoreBroken when the node has another holder."""

        def renewal(connection: Connection) -> int | None:
            return renew_node(connection, self.claim, self.new_key.highest_ms, lease)

        lease_ends_at = time.monotonic() + lease.total_seconds()
        below_ms = run_transaction(self.engines, renewal)
        if below_ms is None:
            raise StoreBroken(f"node {self.claim.node} was taken over by another process")
        self.new_key.below_ms = below_ms
        self.lease_ends_at = lease_ends_at

    def close(self) -> None:
        """Give the node back and close every connection."""
        try:
            run_transaction(
                self.engines,
                lambda connection: release_node(connection, self.claim, self.new_key.highest_ms),
            )
        finally:
            self.engines.dispose()


@contextlib.contextmanager
def opened(url: str, owner: str = "command") -> Iterator[Store]:
    """A store for the length of a command."""
    store = Store.open(url, owner)
    try:
        yield store
    finally:
        store.close()


def run_transaction(engines: Engines, work: Callable[[Connection], T], ids: BatchIds | None = None) -> T:
    """Run `work` in one transaction of the worker engine and commit it, trying again while the store is busy.

    With `ids` it is never done twice: after a lost connection the commit is looked for. Without, it must do no harm
    when it is.
    """
    tries = Tries(BUSY_FOR_AT_MOST)
    if ids is not None:
        ids.begin()
    while True:
        ready: list[T] = []  # the answer, once nothing but the commit is missing
        try:
            with engines.worker.begin() as connection:
                value = work(connection)
                if ids is not None:
                    ids.sign(connection)
                ready.append(value)
        except DBAPIError as error:
            failure = classify(error)
            if failure is Failure.CONNECTION_LOST and ready and ids is not None:
                if ids.was_committed():
                    return ready[0]
                tries.found_absent()
            tries.again_or_raise(failure, error)
        else:
            return value


def new_key(session: Session) -> int:
    """A key for a row that a unit of work adds."""
    make: KeyMaker = session.info["new_key"]
    return make()


def note(session: Session, topic: str, payload: object) -> None:
    """Tell this process's subscribers once the work is committed."""
    session.info["notes"].append(Note(topic, payload))


def apply_within(session: Session, unit: Unit) -> Applied:
    """Write a unit of effects inside a unit of work. StaleUnit undoes the whole work when it leaves it."""
    session.flush()
    result = apply_units(session.connection(), [(0, unit)])
    outcome = result.outcomes[0]
    if not isinstance(outcome, Applied):
        raise StaleUnit(outcome.reason)
    session.info["notes"].extend(unit.notes)
    session.info["queued"].extend(zip(unit.queued, outcome.sequences, strict=True))
    session.expire_all()
    return outcome
