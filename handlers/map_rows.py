"""Rows of the map that end, go on or move, with the rest of what they held: for applications and for operators.

A row that ends on the day it begins never takes effect. Callers have begun a map change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from handlers.line_lans import Lan, in_the_way_of
from handlers.reservations import rest_ip, rest_mail_address
from storage.models import Line, LogicalTerminal, MailAddress, Office


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The JST day on which something ends, until when its values rest, and the application that ends it, if any."""

    day: date
    rests_until: date
    application_id: int | None = None


def end_terminal(session: Session, terminal: LogicalTerminal, end: End) -> list[str]:
    """End a terminal and its addresses; the addresses that end with it."""
    terminal.effective_until = end.day
    terminal.ended_by = end.application_id
    rest_ip(session, terminal, end.rests_until)
    # What never takes effect keeps what took it back: whoever lets the terminal go on would let it begin.
    ended = [row for row in addresses_of(terminal) if not has_ended(row, end.day)]
    end_addresses(session, ended, end)
    session.flush()
    return [row.address for row in ended]


def end_addresses(session: Session, rows: Iterable[MailAddress], end: End) -> None:
    """End mail addresses; one that has not begun on that day ends on the day it would have begun."""
    for row in rows:
        row.effective_until = max(end.day, row.effective_from)
        row.ended_by = end.application_id
        rest_mail_address(session, row, end.rests_until)


def continue_terminal(session: Session, terminal: LogicalTerminal) -> None:
    """Let a terminal that was to end go on, without its addresses."""
    terminal.effective_until = terminal.ended_by = None
    rest_ip(session, terminal, None)


def continue_address(session: Session, address: MailAddress) -> None:
    """Let a mail address that was to end go on."""
    address.effective_until = address.ended_by = None
    rest_mail_address(session, address, None)


def addresses_of(terminal: LogicalTerminal) -> list[MailAddress]:
    """The mail-address rows of a terminal in the order they were made, ended ones too."""
    return sorted(terminal.mail_addresses, key=lambda row: row.id)


def terminals_on(session: Session, line: Line, day: date) -> list[LogicalTerminal]:
    """The terminals of a line that are in use on a day or later, by name; those taken back never are."""
    return list(
        session.scalars(
            select(LogicalTerminal)
            .where(
                LogicalTerminal.line_id == line.id,
                or_(
                    LogicalTerminal.effective_until.is_(None),
                    and_(
                        LogicalTerminal.effective_until > day,
                        LogicalTerminal.effective_until > LogicalTerminal.effective_from,
                    ),
                ),
            )
            .order_by(LogicalTerminal.name)
        )
    )


def is_in_use(row: Line | LogicalTerminal | MailAddress, day: date) -> bool:
    """Whether a row applies on a day and no end of it is planned."""
    return row.effective_until is None and (row.effective_from is None or row.effective_from <= day)


def is_never_in_force(row: Line | LogicalTerminal | MailAddress) -> bool:
    """Whether a row applies on no day: it was taken back before it began."""
    begins = row.effective_from or date.min
    return row.effective_until is not None and row.effective_until <= begins


def has_ended(row: Line | LogicalTerminal | MailAddress, day: date) -> bool:
    """Whether a row applies neither on a day nor later."""
    return row.effective_until is not None and (row.effective_until <= day or is_never_in_force(row))


def line_of(session: Session, office: Office, router_number: str) -> Line | None:
    """The office's line of that router number."""
    return session.scalars(select(Line).where(Line.router_number == router_number, Line.office_id == office.id)).first()


def router_is_taken(session: Session, router_number: str) -> bool:
    """Whether a line has, or ever had, this router number."""
    return session.scalar(select(Line.id).where(Line.router_number == router_number)) is not None


def taken_for_line(session: Session, router_number: str, lan_subnet: str, today: date) -> Iterator[str]:
    """What of a new line is had by another: its router number, ever, or the LAN of a line that has not ended."""
    if router_is_taken(session, router_number):
        yield router_number
    lan = Lan(router_number=router_number, subnet=lan_subnet, office_code="")
    for other in in_the_way_of(session, lan, today):
        yield f"{lan_subnet} ({other})"
