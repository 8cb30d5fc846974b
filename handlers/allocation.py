"""Issuing IDs: terminal names from the pool of the kind, IP addresses from the line's LAN, mail addresses.

Names are never reissued; IP and mail addresses rest after use. Who gets a value is decided by the store, so
two applications never get the same one. Callers have begun a map change (`terminals.change_map`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.allocation_order import (
    GATEWAY_SERVER,
    INTERACTIVE,
    SMTP_SERVER,
    AllocationExhausted,
    AllocationImpossible,
    Change,
    GivenLine,
    NewLineNeeded,
    NewLineTaken,
    Order,
    TerminalChange,
    TerminalKind,
)
from handlers.allocation_undone import move_start, take_back
from handlers.applications.contents import LineAction, LineChange
from handlers.desk import DeskSettings
from handlers.map_rows import End, addresses_of, end_terminal, is_in_use, line_of, taken_for_line, terminals_on
from handlers.pools import add_addresses, free_ip, free_name
from handlers.reservations import end_of_rest
from storage.models import Line, LogicalTerminal, MailAddress
from storage.store import new_key

__all__ = [
    "GATEWAY_SERVER",
    "INTERACTIVE",
    "SMTP_SERVER",
    "AllocationExhausted",
    "AllocationImpossible",
    "Change",
    "GivenLine",
    "NewLineNeeded",
    "NewLineTaken",
    "Order",
    "TerminalChange",
    "TerminalKind",
    "allocate",
    "change_lines",
    "move_start",
    "take_back",
]


def allocate(session: Session, desk: DeskSettings, order: Order) -> tuple[TerminalChange, ...]:
    """Issue everything the order asks for and end what it deletes, in the order of the application.

    AllocationExhausted and AllocationImpossible leave a half-done session behind: roll it back.
    """
    return tuple(_serve(session, desk, order))


def change_lines(session: Session, order: Order) -> tuple[str, ...]:
    """Give the office's lines the columns that the order changes; the router numbers of lines that differ now.

    Columns route nothing and have no dates of their own: call it when the order takes effect.
    """
    changed = []
    for wanted in order.lines:
        line = line_of(session, order.office, wanted.router_number) if wanted.action is LineAction.CHANGE else None
        given = {} if line is None else _columns(wanted)
        differing = {name: value for name, value in given.items() if getattr(line, name) != value}
        for name, value in differing.items():
            setattr(line, name, value)
        if differing:
            changed.append(wanted.router_number)
    session.flush()
    return tuple(changed)


def _serve(session: Session, desk: DeskSettings, order: Order) -> Iterator[TerminalChange]:
    given = iter(order.new_lines)
    for wanted in order.lines:
        if wanted.action is LineAction.CANCEL:
            yield from _cancel_line(session, desk, order, wanted)
            continue
        if wanted.action is LineAction.ADD:
            line = _add_line(session, order, wanted, next(given, None))
        else:
            line = _line_in_use(session, order, wanted)
        yield from _serve_line(session, desk, order, wanted, line)


def _serve_line(
    session: Session, desk: DeskSettings, order: Order, wanted: LineChange, line: Line
) -> Iterator[TerminalChange]:
    for addresses in wanted.addresses_of_new_servers:
        yield _issue(session, desk, order, line, SMTP_SERVER, addresses=addresses)
    for _ in range(wanted.gateway_servers or 0):
        yield _issue(session, desk, order, line, GATEWAY_SERVER)
    for _ in range(wanted.interactive_terminals or 0):
        yield _issue(session, desk, order, line, INTERACTIVE)
    if wanted.addresses_for_target:
        yield _extend(session, desk, order, line, wanted)
    for name in wanted.terminals_to_delete:
        yield _delete(session, desk, order, _terminal_in_use(session, order, line, name))


def _add_line(session: Session, order: Order, wanted: LineChange, given: GivenLine | None) -> Line:
    if given is None:
        position = sum(line.action is LineAction.ADD for line in order.lines[: order.lines.index(wanted) + 1])
        raise NewLineNeeded(str(position))
    taken = next(taken_for_line(session, given.router_number, given.lan_subnet, order.today), None)
    if taken is not None:
        raise NewLineTaken(taken)
    line = Line(
        id=new_key(session),
        office_id=order.office.id,
        router_number=given.router_number,
        lan_subnet=given.lan_subnet,
        effective_from=order.start,
        application_id=order.application_id,
        **_columns(wanted),
    )
    session.add(line)
    session.flush()
    return line


def _columns(wanted: LineChange) -> dict[str, str | bool]:
    """The columns of the line that the application gives, as the register has them."""
    given: dict[str, str | bool] = dict(wanted.columns)
    if wanted.needs_edifact is not None:
        given["edifact"] = wanted.needs_edifact
    if wanted.is_shared is not None:
        given["shared_with_other_offices"] = wanted.is_shared
    return given


def _line_in_use(session: Session, order: Order, wanted: LineChange) -> Line:
    line = line_of(session, order.office, wanted.router_number)
    if line is None or not is_in_use(line, order.start):
        raise AllocationImpossible(wanted.router_number)
    return line


def _cancel_line(session: Session, desk: DeskSettings, order: Order, wanted: LineChange) -> Iterator[TerminalChange]:
    line = _line_in_use(session, order, wanted)
    for terminal in terminals_on(session, line, order.start):
        if not is_in_use(terminal, order.start):
            # Another open case is to begin or end it, and its own dates would be lost with the line's.
            raise AllocationImpossible(terminal.name)
        yield _delete(session, desk, order, terminal)
    line.effective_until = order.start
    session.flush()


def _issue(
    session: Session,
    desk: DeskSettings,
    order: Order,
    line: Line,
    kind: TerminalKind,
    *,
    addresses: int = 0,
) -> TerminalChange:
    identity = new_key(session)
    terminal = LogicalTerminal(
        id=identity,
        name=free_name(session, desk, kind, line),
        line_id=line.id,
        terminal_class=line.line_class,
        equipment=kind.equipment,
        package=kind.package,
        ip_address=free_ip(session, line, identity, order.today),
        effective_from=order.start,
        application_id=order.application_id,
    )
    session.add(terminal)
    session.flush()
    return _shown(Change.ADDED, line, terminal, _add_addresses(session, desk, order, terminal, addresses))


def _extend(session: Session, desk: DeskSettings, order: Order, line: Line, wanted: LineChange) -> TerminalChange:
    name = wanted.target_terminal or ""
    terminal = _terminal_in_use(session, order, line, name)
    if terminal.equipment != SMTP_SERVER.equipment:
        raise AllocationImpossible(name)
    added = _add_addresses(session, desk, order, terminal, wanted.addresses_for_target)
    return _shown(Change.CHANGED, line, terminal, added)


def _add_addresses(
    session: Session, desk: DeskSettings, order: Order, terminal: LogicalTerminal, count: int
) -> list[str]:
    if count == 0:
        return []
    return add_addresses(session, desk, terminal, count, order.start, order.today, application_id=order.application_id)


def _delete(session: Session, desk: DeskSettings, order: Order, terminal: LogicalTerminal) -> TerminalChange:
    rows: list[LogicalTerminal | MailAddress] = [terminal, *addresses_of(terminal)]
    if any(_would_never_begin(row, order) for row in rows):
        # Another open case issued it: it would not come back when this one is void.
        raise AllocationImpossible(terminal.name)
    end = End(
        day=order.start,
        rests_until=end_of_rest(order.start, desk.quarantine),
        application_id=order.application_id,
    )
    ended = end_terminal(session, terminal, end)
    return _shown(Change.DELETED, terminal.line, terminal, ended)


def _would_never_begin(row: LogicalTerminal | MailAddress, order: Order) -> bool:
    return row.effective_until is None and row.effective_from > order.today and row.effective_from >= order.start


def _shown(change: Change, line: Line, terminal: LogicalTerminal, mail_addresses: Iterable[str]) -> TerminalChange:
    return TerminalChange(
        change=change,
        router_number=line.router_number,
        terminal_class=terminal.terminal_class,
        equipment=terminal.equipment,
        package=terminal.package,
        name=terminal.name,
        ip_address=terminal.ip_address or "",
        mail_addresses=tuple(mail_addresses),
    )


def _terminal_in_use(session: Session, order: Order, line: Line, name: str) -> LogicalTerminal:
    terminal = session.scalars(
        select(LogicalTerminal).where(LogicalTerminal.name == name, LogicalTerminal.line_id == line.id)
    ).first()
    if terminal is None or not is_in_use(terminal, order.start):
        raise AllocationImpossible(name)
    return terminal
