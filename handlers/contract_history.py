"""The history of a line, a terminal or a mail address, from the audit trail: who changed what, when."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.audit import events_of
from storage.models import AuditEvent, Line, LogicalTerminal, MailAddress


def of_line(session: Session, router_number: str) -> list[AuditEvent] | None:
    """What happened to a line and to the terminals that stand on it now; None for a line that never was."""
    line = session.scalars(select(Line).where(Line.router_number == router_number)).first()
    if line is None:
        return None
    names = session.scalars(select(LogicalTerminal.name).where(LogicalTerminal.line_id == line.id))
    return events_of(session, [f"line:{router_number}", *(f"terminal:{name}" for name in names)])


def of_terminal(session: Session, name: str) -> list[AuditEvent] | None:
    """What happened to a terminal and to its mail addresses while they were its own; None for one that never was."""
    terminal = session.scalars(select(LogicalTerminal).where(LogicalTerminal.name == name)).first()
    if terminal is None:
        return None
    addresses = session.scalars(select(MailAddress.address).where(MailAddress.terminal_id == terminal.id))
    events = events_of(session, [f"terminal:{name}", *(f"address:{address}" for address in set(addresses))])
    return [event for event in events if event.subject == f"terminal:{name}" or name in event.detail.split()]


def of_address(session: Session, address: str) -> list[AuditEvent] | None:
    """What happened to a mail address, whoever had it; None for one that never was.

    Applications issue and end it with a terminal: of the terminals that had it, the events that name it count.
    """
    rows = session.execute(
        select(MailAddress.address, LogicalTerminal.name)
        .join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
        .where(MailAddress.address_key == address.lower())
    ).all()
    if not rows:
        return None
    own = {f"address:{row.address}" for row in rows}
    names = {row.address for row in rows}
    events = events_of(session, own | {f"terminal:{row.name}" for row in rows})
    return [event for event in events if event.subject in own or names & set(event.detail.split())]
