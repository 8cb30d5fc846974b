"""The office file as five tables for spreadsheets: offices, contacts, lines, terminals and users, one CSV file each.

A row names what it belongs to: `office` by code, a terminal's `line` by router number. Several values stand in one
cell with spaces between. The rules are those of the office file in TOML.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from handlers.contract_faults import ContractsRefused, Fault
from handlers.contract_file import (
    AdministratorContract,
    ContactContract,
    Contracts,
    LineContract,
    OfficeContract,
    TerminalContract,
    UserContract,
    check_contracts,
)

_ADMINISTRATOR = "administrator_"
_TRUE_OR_FALSE = {"true": True, "false": False}
_SWITCHES = frozenset({"edifact", "shared_with_other_offices", "spare_router", "barred", "bilingual"})
_LISTS = frozenset({"shared_with", "left_to_backend", "mail_addresses", "procedures"})
_NUMBERS = frozenset({"port"})
_SECRETS = frozenset({"contract_password", "password"})
_TABLES_BELOW = frozenset({"administrator", "contacts", "lines", "users", "terminals"})


@dataclass(frozen=True, slots=True)
class _Table:
    """A CSV file: whose keys its columns are, and the column that names the row it belongs to."""

    name: str
    model: type[BaseModel]
    belongs_to: str = ""

    @property
    def keys(self) -> dict[str, bool]:
        """The keys as a file has them, and whether each must be given."""
        own = _keys(self.model)
        if self.model is OfficeContract:
            own |= {_ADMINISTRATOR + key: is_required for key, is_required in _keys(AdministratorContract).items()}
        return own

    @property
    def columns(self) -> list[str]:
        """The columns in their order."""
        return [*([self.belongs_to] if self.belongs_to else []), *self.keys]


def _keys(model: type[BaseModel]) -> dict[str, bool]:
    fields = model.model_fields.items()
    return {field.alias or name: field.is_required() for name, field in fields if name not in _TABLES_BELOW}


_OFFICES = _Table("offices", OfficeContract)
_CONTACTS = _Table("contacts", ContactContract, "office")
_LINES = _Table("lines", LineContract, "office")
_TERMINALS = _Table("terminals", TerminalContract, "line")
_USERS = _Table("users", UserContract, "office")
_TABLES = (_OFFICES, _CONTACTS, _LINES, _TERMINALS, _USERS)

TABLE_NAMES = tuple(table.name for table in _TABLES)

_Row = tuple[str, dict[str, Any]]  # where it stands, and what it says


def read_tables(texts: Mapping[str, str]) -> Contracts:
    """The contracts of CSV texts by table name; ContractsRefused names everything that is wrong with them."""
    faults: list[Fault] = []
    rows = {table.name: list(_rows(table, texts.get(table.name, ""), faults)) for table in _TABLES}
    if faults:
        raise ContractsRefused(tuple(faults))
    offices = [_with_administrator(row) for _, row in rows["offices"]]
    by_code = _by_name(offices, "code")
    for table, key in ((_CONTACTS, "contact"), (_LINES, "line"), (_USERS, "user")):
        _hang(rows[table.name], table, by_code, key, faults, rule="no_office")
    by_number = _by_name([row for _, row in rows["lines"]], "router_number")
    _hang(rows["terminals"], _TERMINALS, by_number, "terminal", faults, rule="no_line")
    try:
        contracts = check_contracts({"office": offices})
    except ContractsRefused as refused:
        raise ContractsRefused((*faults, *refused.faults)) from None
    if faults:
        raise ContractsRefused(tuple(faults))
    return contracts


def to_tables(exported: Mapping[str, Any]) -> dict[str, str]:
    """An exported register as CSV texts by table name; each begins with its header."""
    found: dict[str, list[dict[str, Any]]] = {table.name: [] for table in _TABLES}
    for office in exported["office"]:
        person = {_ADMINISTRATOR + key: value for key, value in office["administrator"].items()}
        found["offices"].append({**office, **person})
        for table, key in ((_CONTACTS, "contact"), (_LINES, "line"), (_USERS, "user")):
            found[table.name] += [{**row, "office": office["code"]} for row in office[key]]
        for line in office["line"]:
            found["terminals"] += [{**row, "line": line["router_number"]} for row in line["terminal"]]
    return {table.name: _csv(table, found[table.name]) for table in _TABLES}


def _csv(table: _Table, rows: list[dict[str, Any]]) -> str:
    columns = [column for column in table.columns if column not in _SECRETS]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: str | bool | int | list[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, list) else str(value)


def _rows(table: _Table, text: str, faults: list[Fault]) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    place = f"{table.name}.csv"
    try:
        header = reader.fieldnames or []
        unknown = [name for name in header if name not in table.columns]
        faults += [Fault(place=f"{place}, {name}", rule="unknown_key") for name in unknown]
        for row in reader:
            at = f"{place} line {reader.line_num}"
            if None in row or None in row.values():
                faults.append(Fault(place=at, rule="csv", value=", ".join(header)))
            elif any(value.strip() for value in row.values()):
                yield (
                    at,
                    {key: read for key, cell in row.items() if (read := _read(table, key, cell.strip())) is not None},
                )
    except csv.Error as error:
        faults.append(Fault(place=f"{place} line {reader.reader.line_num}", rule="csv", value=str(error)))


def _read(table: _Table, key: str, cell: str) -> str | bool | int | list[str] | None:
    """A cell as TOML would give it; None where nothing is given. What cannot be read is left to the rules."""
    bare = key.removeprefix(_ADMINISTRATOR)
    if key in _LISTS:
        return cell.split() or None
    if not cell:
        # An empty text may be what is meant; whether it may be empty, the rules know.
        return "" if table.keys.get(key, False) and bare not in _SWITCHES else None
    if key in _SWITCHES:
        return _TRUE_OR_FALSE.get(cell.lower(), cell)
    if key in _NUMBERS and cell.isascii() and cell.isdigit():
        return int(cell)
    return cell


def _with_administrator(row: dict[str, Any]) -> dict[str, Any]:
    person = {key.removeprefix(_ADMINISTRATOR): value for key, value in row.items() if key.startswith(_ADMINISTRATOR)}
    own = {key: value for key, value in row.items() if not key.startswith(_ADMINISTRATOR)}
    return {**own, "administrator": person}


def _hang(
    rows: list[_Row], table: _Table, owners: Mapping[str, dict[str, Any]], key: str, faults: list[Fault], *, rule: str
) -> None:
    """Put each row below the one it names."""
    for place, row in rows:
        name = row.pop(table.belongs_to, "")
        if name in owners:
            owners[name].setdefault(key, []).append(row)
        else:
            faults.append(Fault(place=f"{place}, {table.belongs_to}", rule=rule, value=name))


def _by_name(rows: Iterable[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    """Rows by their name; of two with the same one the first, the rules name the other."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row.get(key, ""), row)
    return found
