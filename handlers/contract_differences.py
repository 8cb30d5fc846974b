"""What an import of contracts changes: every row that is new or differs, with its columns before and after.

Passwords are named when they change; what they were or are is never in here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from storage.models import Contact, Line, LogicalTerminal, MailAddress, Office, OfficeUser

RegisterRow = Office | Contact | Line | LogicalTerminal | MailAddress | OfficeUser

# Columns that say nothing to people, under the key the office file has.
_PASSWORDS = {"contract_password_hash": "contract_password", "password_mac": "password"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChange:
    """A column before and after, as text; both None for a password."""

    column: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """A row of a kind (its table) by the name people know it by; without columns where it is new."""

    kind: str
    name: str
    is_new: bool
    columns: tuple[ColumnChange, ...] = ()


@dataclass(slots=True, kw_only=True)
class Differences:
    """The rows an import has added or updated so far, each once."""

    session: Session
    _rows: dict[tuple[str, int], RowChange] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many rows are new or differ."""
        return len(self._rows)

    @property
    def added(self) -> dict[str, int]:
        """How many rows are new, by kind."""
        return dict(Counter(change.kind for change in self._rows.values() if change.is_new))

    @property
    def updated(self) -> dict[str, int]:
        """How many rows differ, by kind."""
        return dict(Counter(change.kind for change in self._rows.values() if not change.is_new))

    def rows(self) -> tuple[RowChange, ...]:
        """Rows that differ, then new ones, each in the order of the file."""
        return tuple(sorted(self._rows.values(), key=lambda change: change.is_new))

    def has(self, row: RegisterRow) -> bool:
        """Whether a row is new or differs."""
        return _key(row) in self._rows

    def add(self, row: RegisterRow) -> None:
        """A new row."""
        self._rows[_key(row)] = RowChange(kind=row.__tablename__, name=_name(row), is_new=True)

    def update(self, row: RegisterRow, values: Mapping[str, Any]) -> None:
        """Give a row other values, and keep what they replace; of a new row, nothing is told."""
        columns = tuple(self._column(name, getattr(row, name), value) for name, value in values.items())
        for name, value in values.items():
            setattr(row, name, value)
        known = self._rows.get(_key(row))
        if known is not None and known.is_new:
            return
        before = () if known is None else known.columns
        change = RowChange(kind=row.__tablename__, name=_name(row), is_new=False, columns=before + columns)
        self._rows[_key(row)] = change

    def _column(self, name: str, before: Any, after: Any) -> ColumnChange:
        if name in _PASSWORDS:
            return ColumnChange(column=_PASSWORDS[name], before=None, after=None)
        if name == "line_id":
            lines = [self.session.get_one(Line, identity).router_number for identity in (before, after)]
            return ColumnChange(column="line", before=lines[0], after=lines[1])
        return ColumnChange(column=name, before=_text(before), after=_text(after))


def _key(row: RegisterRow) -> tuple[str, int]:
    return row.__tablename__, row.id


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _name(row: RegisterRow) -> str:
    match row:
        case Office():
            return row.code
        case Contact():
            return row.email
        case Line():
            return row.router_number
        case LogicalTerminal():
            return row.name
        case MailAddress():
            return row.address
        case OfficeUser():
            return f"{row.code} {row.identification_number}"
