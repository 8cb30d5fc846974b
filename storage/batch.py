"""A batch of units as merged statements inside one open transaction.

Nothing here begins or ends a transaction. What a caller gets back says which units are stale and whether part of one
was already written, so that the transaction must be rolled back and the others run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from storage.effects import (
    CHANGE_ORDER,
    INSERT_ORDER,
    QUEUED_RECIPIENT,
    Applied,
    Change,
    ChangeKind,
    InsertKind,
    Stale,
    Unit,
)


@dataclass(slots=True)
class BatchResult:
    """`outcomes` by the unit's place in the batch; `torn` when a stale unit left something written."""

    outcomes: dict[int, Applied | Stale] = field(default_factory=dict)
    torn: bool = False


def apply_units(connection: Connection, units: Sequence[tuple[int, Unit]]) -> BatchResult:
    """Write the units, each a pair of its place and itself, and say how each fared."""
    result = BatchResult()
    current = _of_this_map(connection, units, result)
    _lock_lanes(connection, [unit for _, unit in current])
    live = _change(connection, current, result)
    if result.torn:
        return result
    _insert(connection, live, result)
    if result.torn:
        return result
    sequences = _queue(connection, live)
    for place, unit, found in live:
        queued = tuple(sequences[place]) if unit.queued else ()
        result.outcomes[place] = Applied(found, queued)
    return result


_Live = list[tuple[int, Unit, tuple[bool, ...]]]


def _of_this_map(
    connection: Connection, units: Sequence[tuple[int, Unit]], result: BatchResult
) -> list[tuple[int, Unit]]:
    if all(unit.map_version is None for _, unit in units):
        return list(units)
    # The share lock keeps a map change out until this transaction ends; SQLite has one writer anyway.
    lock = " FOR SHARE" if connection.dialect.name == "postgresql" else ""
    version = connection.exec_driver_sql(f"SELECT version FROM map_version WHERE id = 1{lock}").scalar()
    live = []
    for place, unit in units:
        if unit.map_version is not None and unit.map_version != version:
            result.outcomes[place] = Stale("map")
        else:
            live.append((place, unit))
    return live


def _lock_lanes(connection: Connection, units: Sequence[Unit]) -> None:
    """Lanes before rows, and in the order of their names: as every unit of work locks them.

    A batch that changes no row locks its lanes in that order as it queues. SQLite has one writer.
    """
    changes = [change for unit in units for change in unit.changes]
    if connection.dialect.name != "postgresql" or not changes:
        return
    lanes = {enqueue.lane for unit in units for enqueue in unit.queued}
    lanes.update(change.values[0] for change in changes if change.kind.table == "lanes")
    if lanes:
        connection.exec_driver_sql(
            'SELECT 1 FROM lanes WHERE lane = ANY(%s) ORDER BY lane COLLATE "C" FOR NO KEY UPDATE', (sorted(lanes),)
        )


def _change(connection: Connection, units: Sequence[tuple[int, Unit]], result: BatchResult) -> _Live:
    found = _run_changes(connection, units)
    live: _Live = []
    for place, unit in units:
        answers = tuple((change.kind.table, _row_name(change)) in found.get(change.kind, ()) for change in unit.changes)
        if all(yes or not change.must for yes, change in zip(answers, unit.changes, strict=True)):
            live.append((place, unit, answers))
            continue
        result.outcomes[place] = Stale("state")
        result.torn = result.torn or any(answers)
    return live


def _row_name(change: Change) -> Any:
    return change.values[0]


def _run_changes(connection: Connection, units: Sequence[tuple[int, Unit]]) -> dict[ChangeKind, set[tuple[str, Any]]]:
    found: dict[ChangeKind, set[tuple[str, Any]]] = {}
    for kind in CHANGE_ORDER:
        rows = [change.values for _, unit in units for change in unit.changes if change.kind is kind]
        if rows:
            statement = change_statement(kind, len(rows), connection.dialect.name)
            flat = tuple(value for row in rows for value in row)
            returned = connection.exec_driver_sql(statement, flat).fetchall()
            found[kind] = {(kind.table, row[0]) for row in returned}
    return found


def _insert(connection: Connection, live: _Live, result: BatchResult) -> None:
    for kind in INSERT_ORDER:
        rows = [insert.values for _, unit, _ in live for insert in unit.inserts if insert.kind is kind]
        if not rows:
            continue
        statement = insert_statement(kind, len(rows), connection.dialect.name)
        returned = connection.exec_driver_sql(statement, tuple(value for row in rows for value in row))
        if kind.unique:
            _refuse_existing(kind, live, {_plain(row[0]) for row in returned.fetchall()}, result)


def _refuse_existing(kind: InsertKind, live: _Live, written: set[Any], result: BatchResult) -> None:
    """Two units of one batch with the same unique row: the first wins, as if they had come one after the other."""
    at = kind.columns.index(kind.unique[0])
    for place, unit, _ in live:
        for insert in unit.inserts:
            if insert.kind is not kind:
                continue
            if insert.values[at] in written:
                written.discard(insert.values[at])
            else:
                result.outcomes[place] = Stale("unique")
                result.torn = True


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _queue(connection: Connection, live: _Live) -> dict[int, list[int]]:
    counts: dict[str, int] = {}
    for _, unit, _ in live:
        for enqueue in unit.queued:
            counts[enqueue.lane] = counts.get(enqueue.lane, 0) + 1
    if not counts:
        return {}
    upcoming = take_sequences(connection, counts)
    rows: list[tuple[Any, ...]] = []
    sequences: dict[int, list[int]] = {}
    for place, unit, _ in live:
        for enqueue in unit.queued:
            sequence = upcoming[enqueue.lane]
            upcoming[enqueue.lane] = sequence + 1
            rows.append((*enqueue.recipient.values(), enqueue.lane, sequence))
            sequences.setdefault(place, []).append(sequence)
    statement = insert_statement(QUEUED_RECIPIENT, len(rows), connection.dialect.name)
    connection.exec_driver_sql(statement, tuple(value for row in rows for value in row))
    return sequences


def take_sequences(connection: Connection, counts: dict[str, int]) -> dict[str, int]:
    """Take `counts` places at the end of each lane and return the first place taken in each.

    The lane's row stays locked until the transaction ends, so places are given out in commit order. Lanes are taken
    in the order of their names, which is the one order every writer locks them in.
    """
    mark = _mark(connection.dialect.name)
    values = ", ".join(f"({mark}, {mark}, 'idle')" for _ in counts)
    flat = tuple(value for lane in sorted(counts) for value in (lane, counts[lane]))
    rows = connection.exec_driver_sql(
        f"INSERT INTO lanes (lane, last_sequence, state) VALUES {values} ON CONFLICT (lane) DO UPDATE "
        "SET last_sequence = lanes.last_sequence + excluded.last_sequence RETURNING lane, last_sequence",
        flat,
    ).fetchall()
    return {lane: last - counts[lane] + 1 for lane, last in rows}


def _mark(dialect: str) -> str:
    return "%s" if dialect == "postgresql" else "?"


@lru_cache(maxsize=4096)
def insert_statement(kind: InsertKind, rows: int, dialect: str) -> str:
    """A multi-row INSERT; a kind with unique columns returns the first of them for each row it wrote."""
    one = "(" + ", ".join([_mark(dialect)] * len(kind.columns)) + ")"
    values = ", ".join([one] * rows)
    statement = f"INSERT INTO {kind.table} ({', '.join(kind.columns)}) VALUES {values}"
    if kind.repeatable:
        statement += " ON CONFLICT DO NOTHING"
    if kind.unique:
        columns = ", ".join(kind.unique)
        statement += f" ON CONFLICT ({columns}) DO NOTHING RETURNING {kind.unique[0]}"
    return statement


@lru_cache(maxsize=4096)
def change_statement(kind: ChangeKind, rows: int, dialect: str) -> str:
    """A multi-row conditional UPDATE over a VALUES list, returning the rows it found as expected."""
    mark = _mark(dialect)
    names = ", ".join(name for name, _ in kind.carried)
    plain = "(" + ", ".join([mark] * len(kind.carried)) + ")"
    # PostgreSQL takes the columns' types from the first row.
    typed = "(" + ", ".join(f"{mark}::{type_}" for _, type_ in kind.carried) + ")"
    first = typed if dialect == "postgresql" else plain
    values = ", ".join([first] + [plain] * (rows - 1))
    return (
        f"WITH v ({names}) AS (VALUES {values}) UPDATE {kind.table} SET {kind.assign} "
        f"FROM {kind.source} WHERE {kind.condition} RETURNING {kind.returning}"
    )
