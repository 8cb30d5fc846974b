"""The audit events of what an application does to the map: those that an operator's commands write for the same.

What was issued, ended, moved or taken back is read from the rows themselves, before and after, so that nothing that
happened to a line, a terminal or an address goes untold. Each detail begins with the receipt number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.audit import audit
from storage.models import Application, Line, LogicalTerminal, MailAddress, Office

# The columns of a line that change by themselves, as the register names them.
_COLUMNS = (
    "line_class",
    "connection",
    "edifact",
    "line_type",
    "access_speed",
    "wiring",
    "maintenance_hours",
    "site_option",
    "shared_with_other_offices",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row of the map as it stands: `added` and `ended` are what its events say beside the day."""

    kind: str  # line, terminal or address
    name: str
    added: str
    ended: str
    begins: date | None
    ends: date | None
    columns: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def told(session: Session, application: Application, actor: str, now: datetime) -> Iterator[None]:
    """Write the events of whatever happens to the office's lines, terminals and addresses inside; not if it raises."""
    session.flush()
    before = _rows(session, application.office_id)
    yield
    session.flush()
    for key, row in _rows(session, application.office_id).items():
        for event, detail in _events(before.get(key), row):
            words = f"{application.receipt_number} {detail}".strip()
            audit(session, actor, f"{row.kind}_{event}", f"{row.kind}:{row.name}", words, now)


def _events(before: _Row | None, after: _Row) -> Iterator[tuple[str, str]]:
    """What happened to a row: the event without its kind, and the detail."""
    if before is None:
        yield "added", _from(after.added, after.begins)
        return
    differing = [name for name, value in after.columns.items() if before.columns[name] != value]
    if differing:
        yield "changed", ", ".join(f"{name}: {before.columns[name]} -> {after.columns[name]}" for name in differing)
    if before.begins != after.begins:
        yield "rescheduled", f"begins {before.begins} -> {after.begins}"
    if before.ends == after.ends:
        return
    if before.ends is None:
        yield "ended", _from(after.ended, after.ends)
    elif after.ends is None:
        yield "continued", f"would have ended {before.ends}"
    else:
        yield "rescheduled", f"ends {before.ends} -> {after.ends}"


def _from(detail: str, day: date | None) -> str:
    return f"{detail} from {day}".strip() if day is not None else detail


def _rows(session: Session, office_id: int) -> dict[tuple[str, int], _Row]:
    """Lines, then terminals, then addresses, each in the order they were made."""
    found: dict[tuple[str, int], _Row] = {}
    columns = [getattr(Line, name) for name in _COLUMNS]
    lines = session.execute(
        select(Line.id, Line.router_number, Line.lan_subnet, Line.effective_from, Line.effective_until, *columns)
        .where(Line.office_id == office_id)
        .order_by(Line.id)
    ).all()
    office_code = session.get_one(Office, office_id).code
    for row in lines:
        found["line", row.id] = _Row(
            kind="line",
            name=row.router_number,
            added=f"{office_code} {row.lan_subnet}",
            ended="",
            begins=row.effective_from,
            ends=row.effective_until,
            columns={name: getattr(row, name) for name in _COLUMNS},
        )
    found |= {("terminal", key): row for key, row in _terminals(session, office_id)}
    found |= {("address", key): row for key, row in _addresses(session, office_id)}
    return found


def _terminals(session: Session, office_id: int) -> Iterator[tuple[int, _Row]]:
    terminal = LogicalTerminal
    query = (
        select(terminal.id, terminal.name, terminal.ip_address, terminal.effective_from, terminal.effective_until)
        .add_columns(Line.router_number)
        .join(Line, Line.id == terminal.line_id)
        .where(Line.office_id == office_id)
    )
    for row in session.execute(query.order_by(terminal.id)):
        yield (
            row.id,
            _Row(
                kind="terminal",
                name=row.name,
                added=f"{row.router_number} {row.ip_address or '-'}",
                ended=row.ip_address or "",
                begins=row.effective_from,
                ends=row.effective_until,
            ),
        )


def _addresses(session: Session, office_id: int) -> Iterator[tuple[int, _Row]]:
    address = MailAddress
    query = (
        select(address.id, address.address, address.effective_from, address.effective_until, LogicalTerminal.name)
        .join(LogicalTerminal, LogicalTerminal.id == address.terminal_id)
        .join(Line, Line.id == LogicalTerminal.line_id)
        .where(Line.office_id == office_id)
    )
    for row in session.execute(query.order_by(address.id)):
        yield (
            row.id,
            _Row(
                kind="address",
                name=row.address,
                added=row.name,
                ended=row.name,
                begins=row.effective_from,
                ends=row.effective_until,
            ),
        )
