"""Committing one batch on the writer thread: merged first, unit by unit when a statement fails, again when busy.

On PostgreSQL every batch leaves its id, so that a COMMIT whose reply was lost is told apart after a reconnect, a
process that lost its node writes nothing, and one whose lease has ended changes nothing that needs a lane's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from storage.batch import apply_units
from storage.batch_ids import NOTIFY_CHANNEL, BatchIds, Series
from storage.effects import Applied, Stale, Unit
from storage.failures import Failure, StoreTrouble, classify
from storage.store import Store
from storage.tries import BUSY_FOR_AT_MOST, Tries

if TYPE_CHECKING:
    import psycopg

Outcome = Applied | Stale | BaseException

_LOOK_EVERY = 5.0  # on PostgreSQL, whether a notification came or not: a dead connection tells nothing


class Committer:
    """Used on the writer thread only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids = None if store.engines.on_sqlite else BatchIds(store.engines.writer, store.new_key, Series.EFFECTS)
        self._unconfirmed: list[Outcome] | None = None  # of a batch whose COMMIT was sent
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
        tries = Tries(BUSY_FOR_AT_MOST)
        if self._ids is not None:
            self._ids.begin()
        commit = self._one_transaction
        while True:
            self._unconfirmed = None
            try:
                return commit(units)
            except DBAPIError as error:
                failure = classify(error)
                if failure is Failure.STATEMENT and commit == self._one_transaction:
                    commit = self._unit_by_unit
                    continue
                if failure is Failure.CONNECTION_LOST and self._unconfirmed is not None and self._ids is not None:
                    if self._ids.was_committed():
                        return self._unconfirmed
                    tries.found_absent()
                tries.again_or_raise(failure, error)

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
                found = outcomes | result.outcomes
                done: list[Outcome] = [found[place] for place in range(len(units))]
                too_late = self._finish(connection, units, done)
            if not too_late:
                return done
            outcomes |= too_late

    def _finish(
        self, connection: Connection, units: Sequence[Unit], outcomes: list[Outcome]
    ) -> dict[int, Applied | Stale]:
        """Commit; nothing is where some units are too late for the lease they need, and these are returned."""
        if self._ids is not None and not self._ids.sign(connection):
            too_late: dict[int, Applied | Stale] = {
                place: Stale("state")
                for place, unit in enumerate(units)
                if isinstance(outcomes[place], Applied) and _needs_lease(unit)
            }
            if too_late:
                connection.rollback()
                return too_late
        self._unconfirmed = outcomes
        connection.commit()
        return {}

    def _unit_by_unit(self, units: Sequence[Unit]) -> list[Outcome]:
        """A statement failed: every unit under a savepoint of its own, so that only its author hears of it."""
        too_late: dict[int, Applied | Stale] = {}
        while True:
            outcomes: list[Outcome] = []
            with self._store.engines.writer.connect() as connection:
                connection.begin()
                for place, unit in enumerate(units):
                    outcomes.append(too_late.get(place) or self._under_savepoint(connection, place, unit))
                found = self._finish(connection, units, outcomes)
            if not found:
                return outcomes
            too_late |= found

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


def _needs_lease(unit: Unit) -> bool:
    return any(name == "lease_token" for change in unit.changes for name, _ in change.kind.carried)
