"""What was issued, taken back or moved to another start, before it takes effect.

Both go by the application that issued or ended a row, so that another case's rows are never touched. Names and IDs
stay with their rows: nothing is issued a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handlers.allocation_order import AllocationImpossible, Order
from handlers.applications.contents import LineAction
from handlers.desk import DeskSettings
from handlers.map_rows import (
    End,
    addresses_of,
    continue_address,
    continue_terminal,
    end_addresses,
    end_terminal,
    line_of,
    terminals_on,
)
from handlers.reservations import end_of_rest, move_rest_of_address, move_rest_of_ip
from storage.models import Line, LogicalTerminal, MailAddress


def take_back(session: Session, desk: DeskSettings, order: Order) -> None:
    """Undo an order before its start date.

    What was issued never takes effect and rests, on a line that was added everything does; what was to end goes on.
    """
    identity, rests_until = order.application_id, end_of_rest(order.today, desk.quarantine)
    added_lines = _lines_added(session, identity)
    for line in added_lines:
        line.effective_until = line.effective_from
    for terminal in _terminals_issued(session, identity, added_lines):
        end = End(day=terminal.effective_from, rests_until=rests_until, application_id=identity)
        end_terminal(session, terminal, end)
    for address in session.scalars(select(MailAddress).where(MailAddress.application_id == identity)):
        if address.effective_until is None or address.effective_until > address.effective_from:
            end = End(day=address.effective_from, rests_until=rests_until, application_id=identity)
            end_addresses(session, [address], end)
    for line in _lines_cancelled(session, order):
        line.effective_until = None
    for terminal in _terminals_ended(session, identity):
        continue_terminal(session, terminal)
    for address in _addresses_ended(session, identity):
        continue_address(session, address)
    session.flush()


def move_start(session: Session, order: Order, new_start: date) -> None:
    """Let everything the application issued begin, and everything it ends end, on another day.

    AllocationImpossible names a line or terminal that another case would then have ended before it begins, or
    begun before its line; roll the session back.
    """
    identity, by = order.application_id, new_start - order.start
    lines = [line for line in _lines_added(session, identity) if line.effective_until != line.effective_from]
    for line in lines:
        line.effective_from = new_start
    cancelled = _lines_cancelled(session, order)
    for line in cancelled:
        line.effective_until = new_start
    issued = [row for row in _terminals_issued(session, identity) if _takes_effect(row)]
    addresses = [row for row in _addresses_issued(session, identity) if _takes_effect(row)]
    for terminal in issued:
        terminal.effective_from = new_start
    for address in addresses:
        address.effective_from = new_start
    ended = _move_ends(session, identity, new_start, by)
    session.flush()
    _refuse_disorder(session, (*lines, *cancelled), (*issued, *ended), addresses)


def _move_ends(session: Session, identity: int, new_start: date, by: timedelta) -> Sequence[LogicalTerminal]:
    terminals = _terminals_ended(session, identity)
    for terminal in terminals:
        terminal.effective_until = new_start
        move_rest_of_ip(session, terminal, by)
    for address in _addresses_ended(session, identity):
        address.effective_until = new_start
        move_rest_of_address(session, address, by)
    return terminals


def _refuse_disorder(
    session: Session,
    lines: Sequence[Line],
    terminals: Sequence[LogicalTerminal],
    addresses: Sequence[MailAddress],
) -> None:
    for line in lines:
        first = line.effective_from or date.min
        late = line.effective_until is not None and line.effective_until < first
        if late or any(row.effective_from < first for row in terminals_on(session, line, first)):
            raise AllocationImpossible(line.router_number)
    for terminal in {*terminals, *(address.terminal for address in addresses)}:
        first = terminal.line.effective_from or date.min
        if terminal.effective_from < first or _ends_before_it_begins(terminal):
            raise AllocationImpossible(terminal.name)
        if any(
            row.effective_from < terminal.effective_from or _ends_before_it_begins(row)
            for row in addresses_of(terminal)
        ):
            raise AllocationImpossible(terminal.name)


def _takes_effect(row: LogicalTerminal | MailAddress) -> bool:
    return row.effective_until is None or row.effective_until > row.effective_from


def _ends_before_it_begins(row: LogicalTerminal | MailAddress) -> bool:
    return row.effective_until is not None and row.effective_until < row.effective_from


def _lines_added(session: Session, identity: int) -> Sequence[Line]:
    return session.scalars(select(Line).where(Line.application_id == identity)).all()


def _lines_cancelled(session: Session, order: Order) -> list[Line]:
    wanted = [line.router_number for line in order.lines if line.action is LineAction.CANCEL]
    found = (line_of(session, order.office, router_number) for router_number in wanted)
    return [line for line in found if line is not None]


def _terminals_issued(session: Session, identity: int, lines: Sequence[Line] = ()) -> Sequence[LogicalTerminal]:
    on_lines = LogicalTerminal.line_id.in_([line.id for line in lines])
    issued = LogicalTerminal.application_id == identity
    return session.scalars(select(LogicalTerminal).where(or_(issued, on_lines) if lines else issued)).all()


def _terminals_ended(session: Session, identity: int) -> Sequence[LogicalTerminal]:
    issued = LogicalTerminal.application_id.is_distinct_from(identity)
    query = select(LogicalTerminal).where(LogicalTerminal.ended_by == identity, issued)
    return [row for row in session.scalars(query) if _takes_effect(row)]


def _addresses_issued(session: Session, identity: int) -> Sequence[MailAddress]:
    return session.scalars(select(MailAddress).where(MailAddress.application_id == identity)).all()


def _addresses_ended(session: Session, identity: int) -> Sequence[MailAddress]:
    issued = MailAddress.application_id.is_distinct_from(identity)
    query = select(MailAddress).where(MailAddress.ended_by == identity, issued)
    return [row for row in session.scalars(query) if _takes_effect(row)]
