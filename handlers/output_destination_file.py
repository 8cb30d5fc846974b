"""The file of registered output destinations (宛先管理, EXC): TOML or CSV, read whole or refused with every fault.

A row has an output information code, a mail address, and where wanted a user code, the first day and the day from which
it no longer applies (JST). A fault names the line of the file.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from handlers.contract_faults import ContractsRefused, Fault

COLUMNS = ("code", "user", "address", "from", "until")
_OPTIONAL = frozenset({"user", "from", "until"})

_OUTPUT_CODE = re.compile(r"(?:\*[A-Z0-9]{1,6}|[A-Z0-9]{1,7})")
_USER_CODE = re.compile(r"(?:|[A-Z0-9]{5})")
_TABLE_HEADING = re.compile(r"^[ \t]*\[\[[ \t]*output[ \t]*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDestination:
    """A destination as a file or a command gives it; no first day: from the day it is taken on."""

    place: str
    output_code: str
    address: str
    user_code: str = ""
    effective_from: date | None = None
    effective_until: date | None = None


def read_destinations(text: str, *, as_csv: bool) -> tuple[WantedDestination, ...]:
    """The rows of a file; ContractsRefused names everything that is wrong with it."""
    rows = list(_csv_rows(text) if as_csv else _toml_rows(text))
    faults: list[Fault] = []
    wanted = [_read_row(place, row, faults) for place, row in rows]
    if faults:
        raise ContractsRefused(tuple(faults))
    return tuple(row for row in wanted if row is not None)


def is_output_code(code: str) -> bool:
    """Whether it may be an output information code, without its filling."""
    return _OUTPUT_CODE.fullmatch(code) is not None


def check(wanted: WantedDestination) -> Iterator[Fault]:
    """What is wrong with a destination by itself."""
    if not is_output_code(wanted.output_code):
        yield Fault(place=f"{wanted.place}, code", rule="output_code", value=wanted.output_code)
    if _USER_CODE.fullmatch(wanted.user_code) is None:
        yield Fault(place=f"{wanted.place}, user", rule="user_code", value=wanted.user_code)
    begins, ends = wanted.effective_from, wanted.effective_until
    if begins is not None and ends is not None and ends <= begins:
        yield Fault(place=f"{wanted.place}, until", rule="ends_before_it_begins", value=begins.isoformat())


_Rows = Iterator[tuple[str, Mapping[str, Any]]]


def _csv_rows(text: str) -> _Rows:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        if len(set(names)) != len(names) or not {*names} <= {*COLUMNS} or not {*COLUMNS} - _OPTIONAL <= {*names}:
            raise ContractsRefused((Fault(place="line 1", rule="csv", value=",".join(names)),))
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise ContractsRefused((Fault(place=place, rule="csv", value=", ".join(COLUMNS)),))
            yield place, {name: value.strip() for name, value in row.items()}
    except csv.Error as error:
        raise ContractsRefused((Fault(place=f"line {reader.reader.line_num}", rule="csv", value=str(error)),)) from None


def _toml_rows(text: str) -> _Rows:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractsRefused((Fault(place="", rule="toml", value=str(error)),)) from None
    unknown = tuple(Fault(place=key, rule="unknown_key") for key in raw if key != "output")
    rows = raw.get("output", [])
    if unknown or not isinstance(rows, list):
        raise ContractsRefused(unknown or (Fault(place="output", rule="list"),))
    lines = [text.count("\n", 0, heading.start()) + 1 for heading in _TABLE_HEADING.finditer(text)]
    for at, row in enumerate(rows):
        place = f"line {lines[at]}" if len(lines) == len(rows) else f"output #{at + 1}"
        if not isinstance(row, dict):
            raise ContractsRefused((Fault(place=place, rule="table"),))
        yield place, row


def _read_row(place: str, row: Mapping[str, Any], faults: list[Fault]) -> WantedDestination | None:
    found = [Fault(place=f"{place}, {key}", rule="unknown_key") for key in row if key not in COLUMNS]
    texts = {key: str(row.get(key, "")) for key in COLUMNS}
    for key in ("code", "user", "address"):
        if key not in _OPTIONAL and not texts[key]:
            found.append(Fault(place=f"{place}, {key}", rule="missing"))
        elif not isinstance(row.get(key, ""), str):
            found.append(Fault(place=f"{place}, {key}", rule="text", value=texts[key]))
    days = {}
    for key in ("from", "until"):
        try:
            days[key] = date.fromisoformat(texts[key]) if texts[key] else None
        except ValueError:
            found.append(Fault(place=f"{place}, {key}", rule="date", value=texts[key]))
    if found:
        faults += found
        return None
    wanted = WantedDestination(
        place=place,
        output_code=texts["code"],
        address=texts["address"],
        user_code=texts["user"],
        effective_from=days["from"],
        effective_until=days["until"],
    )
    wrong = list(check(wanted))
    faults += wrong
    return None if wrong else wanted
