"""Committing one batch on the writer thread: merged first, unit by unit when a statement fails, again when busy.

On PostgreSQL every batch writes its number on the node's row, so that a COMMIT whose reply was lost is told apart
after a reconnect, and a process that lost its node writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from storage.batch import apply_units
from storage.effects import Applied, Stale, Unit
from storage.failures import Failure, StoreBroken, StoreTrouble, classify
from storage.store import BUSY_FOR_AT_MOST, NOTIFY_CHANNEL, Store, raise_trouble

if TYPE_CHECKING:
    import psycopg

Outcome = Applied | Stale | BaseException

_PAUSE = 0.02
_RECONNECT_FOR = 10.0
_LOOK_EVERY = 5.0  # on PostgreSQL, whether a notification came or not: a dead connection tells nothing


class Committer:
    """Used on the writer thread only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batch_number = 0
        self._unconfirmed: list[Outcome] = []
        self._data_version: int | None = None
        self._listener: psycopg.Connection[tuple[Any, ...]] | None = None
        self._looked_at = 0.0

    def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        """Commit the units; each has its own outcome, or the batch's trouble. Never raises."""
        try:
            return self._commit_merged(units)
        except StoreTrouble as trouble:
            return [trouble] * len(units)
        except BaseException as error:  # noqa: BLE001 - an unknown error is temporary to every caller
            return [error] * len(units)

    def _commit_merged(self, units: Sequence[Unit]) -> list[Outcome]:
        give_up_at = time.monotonic() + BUSY_FOR_AT_MOST
        self._batch_number += 1
        commit = self._one_transaction
        while True:
            try:
                return commit(units)
            except DBAPIError as error:
                failure = classify(error)
                if failure is Failure.STATEMENT and commit == self._one_transaction:
                    commit = self._unit_by_unit
                    continue
                if failure is Failure.CONNECTION_LOST:
                    if self._was_committed():
                        return self._unconfirmed
                elif failure is not Failure.BUSY or time.monotonic() >= give_up_at:
                    raise_trouble(failure, error)
                    raise
                time.sleep(_PAUSE)

    def _one_transaction(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes: dict[int, Applied | Stale] = {}
        while True:
            live = [(place, unit) for place, unit in enumerate(units) if place not in outcomes]
            with self._store.engines.writer.connect() as connection:
                transaction = connection.begin()
                result = apply_units(connection, live)
                if result.torn:
                    transaction.rollback()
                    outcomes |= {p: out for p, out in result.outcomes.items() if isinstance(out, Stale)}
                    continue
                outcomes |= result.outcomes
                self._finish(connection, [outcomes[place] for place in range(len(units))])
                return self._unconfirmed

    def _finish(self, connection: Connection, outcomes: list[Outcome]) -> None:
        self._unconfirmed = outcomes
        if not self._store.engines.on_sqlite:
            self._sign(connection)
        connection.commit()

    def _unit_by_unit(self, units: Sequence[Unit]) -> list[Outcome]:
        """A statement failed: every unit under a savepoint of its own, so that only its author hears of it."""
        outcomes: list[Outcome] = []
        with self._store.engines.writer.connect() as connection:
            connection.begin()
            for place, unit in enumerate(units):
                outcomes.append(self._under_savepoint(connection, place, unit))
            self._finish(connection, outcomes)
        return outcomes

    def _under_savepoint(self, connection: Connection, place: int, unit: Unit) -> Outcome:
        savepoint = connection.begin_nested()
        try:
            result = apply_units(connection, [(place, unit)])
        except DBAPIError as error:
            if classify(error) is not Failure.STATEMENT:
                raise
            savepoint.rollback()
            return error
        if result.torn:
            savepoint.rollback()
        else:
            savepoint.commit()
        return result.outcomes[place]

    def _sign(self, connection: Connection) -> None:
        claim = self._store.claim
        found = connection.exec_driver_sql(
            "UPDATE nodes SET last_batch = %s WHERE id = %s AND boot_id = %s",
            (self._batch_number, claim.node, claim.boot_id),
        )
        if found.rowcount != 1:
            raise StoreBroken(f"node {claim.node} was taken over by another process")
        connection.exec_driver_sql(f"NOTIFY {NOTIFY_CHANNEL}, '{self._store.lease_token}'")

    def _was_committed(self) -> bool:
        """After a lost connection: whether the batch is there. Unreachable for ten seconds raises StoreBusy."""
        claim = self._store.claim
        give_up_at = time.monotonic() + _RECONNECT_FOR
        while True:
            try:
                with self._store.engines.writer.connect() as connection:
                    # The lost transaction holds this row until it ends, so the lock waits for its outcome.
                    number = connection.exec_driver_sql(
                        "SELECT last_batch FROM nodes WHERE id = %s AND boot_id = %s FOR UPDATE",
                        (claim.node, claim.boot_id),
                    ).scalar()
                return bool(number == self._batch_number)
            except DBAPIError as error:
                if time.monotonic() >= give_up_at:
                    raise_trouble(Failure.BUSY, error)
                time.sleep(_PAUSE)

    def saw_foreign_commit(self) -> bool:
        """Whether another process has committed since the last look."""
        if self._store.engines.on_sqlite:
            return self._data_version_moved()
        return self._notified()

    def _data_version_moved(self) -> bool:
        # Asked of the writer's own connection: its own commits do not move the number it sees.
        with self._store.engines.writer.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute("PRAGMA data_version")
            row = cursor.fetchone()
            cursor.close()
        version = None if row is None else int(row[0])
        before, self._data_version = self._data_version, version
        return before != version  # the first look too: something may have come between the start's scans and it

    def _notified(self) -> bool:
        if self._listener is None or self._listener.closed:
            import psycopg

            url = self._store.engines.url.set(drivername="postgresql")
            self._listener = psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)
            self._listener.execute(f"LISTEN {NOTIFY_CHANNEL}")
            self._looked_at = time.monotonic()
            return True
        mine = str(self._store.lease_token)
        notices = list(self._listener.notifies(timeout=0))
        now = time.monotonic()
        foreign = any(notice.payload != mine for notice in notices) or now - self._looked_at >= _LOOK_EVERY
        self._looked_at = now if foreign else self._looked_at
        return foreign

    def close(self) -> None:
        """Close the listening connection, where there is one."""
        if self._listener is not None:
            self._listener.close()
