"""The office file written from the register, as `office import` takes it back: it changes nothing then.

What is in force on a day is written: lines, terminals and addresses that ended before it or begin after it are not.
Passwords never are; where they are missing, an import keeps the stored ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from handlers.contract_file import (
    AdministratorContract,
    ContactContract,
    LineContract,
    OfficeContract,
    TerminalContract,
    UserContract,
)
from storage.models import Contact, Line, LogicalTerminal, MailAddress, Office, OfficeUser

_FIRST_LINE = "# Offices as they stood on {day}, for `naccs-gateway office import`. Passwords are not among them.\n"
_ADMINISTRATOR_COLUMNS = {"emergency_fax": "administrator_fax"}


def exported(session: Session, day: date, office_code: str | None = None) -> dict[str, Any]:
    """The register as an office file has it, of one office or of all; without offices when there is none."""
    query = select(Office).order_by(Office.code)
    if office_code is not None:
        query = query.where(Office.code == office_code)
    lines = selectinload(Office.lines).selectinload(Line.terminals).selectinload(LogicalTerminal.mail_addresses)
    offices = session.scalars(query.options(lines, selectinload(Office.contacts)))
    return {"office": [_office(session, office, day) for office in offices]}


def line_keys(line: Line) -> dict[str, Any]:
    """The keys of a line, without what stands on it."""
    return _given(LineContract, line, shared_with=line.shared_with.split())


def to_toml(exported: Mapping[str, Any], day: date) -> str:
    """An exported register as the text of an office file."""
    return _FIRST_LINE.format(day=day.isoformat()) + "".join(
        _table(office, "office", is_array=True) for office in exported["office"]
    )


def _office(session: Session, office: Office, day: date) -> dict[str, Any]:
    users = session.scalars(select(OfficeUser).where(OfficeUser.office_id == office.id).order_by(OfficeUser.id))
    lines = sorted(office.lines, key=lambda line: line.router_number)
    return {
        **_given(OfficeContract, office),
        "administrator": _administrator(office),
        "contact": [_given(ContactContract, person) for person in sorted(office.contacts, key=_by_key)],
        "line": [_line(line, day) for line in lines if _in_force(line, day)],
        "user": [_given(UserContract, user, procedures=user.procedures.split()) for user in users],
    }


def _administrator(office: Office) -> dict[str, Any]:
    names = AdministratorContract.model_fields
    found = {name: getattr(office, _ADMINISTRATOR_COLUMNS.get(name, f"administrator_{name}")) for name in names}
    return {name: value for name, value in found.items() if names[name].is_required() or value}


def _line(line: Line, day: date) -> dict[str, Any]:
    terminals = sorted(line.terminals, key=lambda terminal: terminal.name)
    return {
        **line_keys(line),
        "terminal": [_terminal(terminal, day) for terminal in terminals if _in_force(terminal, day)],
    }


def _terminal(terminal: LogicalTerminal, day: date) -> dict[str, Any]:
    addresses = [row.address for row in sorted(terminal.mail_addresses, key=_by_key) if _in_force(row, day)]
    return _given(
        TerminalContract,
        terminal,
        left_to_backend=terminal.left_to_backend.split(),
        mail_addresses=addresses,
    )


def _given(model: type[BaseModel], row: object, **lists: list[str]) -> dict[str, Any]:
    """The keys of a table: those that must be given, and of the others those that differ from their default."""
    found = {}
    for name, field in model.model_fields.items():
        value: object = lists.get(name, getattr(row, name, None))
        # Tables below this one and passwords are no columns of the row.
        if name not in lists and not isinstance(value, str | bool | int):
            continue
        default = [] if name in lists else field.default
        if field.is_required() or value != default:
            found[field.alias or name] = value
    return found


def _in_force(row: Line | LogicalTerminal | MailAddress, day: date) -> bool:
    begun = row.effective_from is None or row.effective_from <= day
    return begun and (row.effective_until is None or day < row.effective_until)


def _by_key(row: Contact | MailAddress) -> int:
    return row.id


def _table(table: Mapping[str, Any], heading: str, *, is_array: bool) -> str:
    """A table with those below it: plain keys first, as TOML has it."""
    below = {key: value for key, value in table.items() if _is_table(value)}
    keys = (f"{key} = {_value(value)}\n" for key, value in table.items() if key not in below)
    text = f"\n[[{heading}]]\n" if is_array else f"\n[{heading}]\n"
    text += "".join(keys)
    for key, value in below.items():
        name = f"{heading}.{key}"
        many: Iterable[Mapping[str, Any]] = value if isinstance(value, list) else [value]
        text += "".join(_table(one, name, is_array=isinstance(value, list)) for one in many)
    return text


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(one, dict) for one in value))


def _value(value: str | bool | int | Sequence[str]) -> str:
    if isinstance(value, str | bool | int):
        # A basic string of TOML is one of JSON, in which DEL must be escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"[{', '.join(_value(one) for one in value)}]"
