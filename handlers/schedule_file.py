"""The file of registration days: CSV or TOML, read whole or refused with every fault in it.

A row has 申込締切日 (`apply_by`) and システム登録日 (`start_on`), written 2026-12-14, 2026/12/14 or 20261214. A fault
names the line of a CSV, the number of a TOML table.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from handlers.contract_faults import ContractsRefused, Fault

COLUMNS: dict[str, str] = {"申込締切日": "apply_by", "システム登録日": "start_on"}
TABLE = "schedule"

_DATE = re.compile(r"([0-9]{4})([-/]?)([0-9]{1,2})\2([0-9]{1,2})")

_Rows = Iterator[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDay:
    """A registration day and the last day to apply for it."""

    start_on: date
    apply_by: date


def read_schedule(text: str, *, as_csv: bool) -> tuple[PlannedDay, ...]:
    """The days of a file in their order; ContractsRefused names everything that is wrong with it."""
    faults: list[Fault] = []
    days: dict[date, PlannedDay] = {}
    for place, row in _csv_rows(text) if as_csv else _toml_rows(text):
        day = _read_row(place, row, faults)
        if day is None:
            continue
        if day.start_on in days:
            faults.append(Fault(place=place, rule="repeated", value=day.start_on.isoformat()))
        days[day.start_on] = day
    if not days and not faults:
        faults.append(Fault(place=TABLE, rule="missing"))
    if faults:
        raise ContractsRefused(tuple(faults))
    return tuple(days[start] for start in sorted(days))


def _csv_rows(text: str) -> _Rows:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        keys = [COLUMNS.get(name, name) for name in names]
        if sorted(keys) != sorted(COLUMNS.values()):
            raise ContractsRefused((Fault(place="line 1", rule="csv", value=",".join(names)),))
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise ContractsRefused((Fault(place=place, rule="csv", value=",".join(COLUMNS)),))
            yield place, {key: value.strip() for key, value in zip(keys, row.values(), strict=True)}
    except csv.Error as error:
        raise ContractsRefused((Fault(place=f"line {reader.reader.line_num}", rule="csv", value=str(error)),)) from None


def _toml_rows(text: str) -> _Rows:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractsRefused((Fault(place="", rule="toml", value=str(error)),)) from None
    unknown = tuple(Fault(place=key, rule="unknown_key") for key in raw if key != TABLE)
    rows = raw.get(TABLE, [])
    if unknown or not isinstance(rows, list):
        raise ContractsRefused(unknown or (Fault(place=TABLE, rule="list"),))
    for at, row in enumerate(rows, start=1):
        place = f"{TABLE} #{at}"
        if not isinstance(row, dict):
            raise ContractsRefused((Fault(place=place, rule="table"),))
        yield place, {COLUMNS.get(str(key), str(key)): value for key, value in row.items()}


def _read_row(place: str, row: Mapping[str, Any], faults: list[Fault]) -> PlannedDay | None:
    found = [Fault(place=f"{place}, {key}", rule="unknown_key") for key in row if key not in COLUMNS.values()]
    days: dict[str, date] = {}
    for name, key in COLUMNS.items():
        value = row.get(key, "")
        day = _date(value)
        if day is not None:
            days[key] = day
        elif value == "":
            found.append(Fault(place=f"{place}, {name}", rule="missing"))
        else:
            found.append(Fault(place=f"{place}, {name}", rule="date", value=str(value)))
    if not found and days["apply_by"] > days["start_on"]:
        value = days["start_on"].isoformat()
        found.append(Fault(place=f"{place}, 申込締切日", rule="after_registration", value=value))
    faults += found
    return None if found else PlannedDay(**days)


def _date(value: object) -> date | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None
