"""Issuing IDs: terminal names from the pool of the kind, IP addresses from the line's LAN, mail addresses.

Names are never reissued; IP and mail addresses rest after use. Who gets a value is decided by the store, so
two applications never get the same one. Callers have begun a map change (`terminals.change_map`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from ipaddress import ip_network
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.applications.contents import LineAction, LineChange
from handlers.desk import DeskSettings
from handlers.reservations import Kind, claim_next, end_of_rest, free_values, rest_ip, rest_mail_address
from storage.models import Line, LogicalTerminal, MailAddress, Office
from storage.store import new_key

_HIGHEST_SERIAL = 9999
# 3A0001 to 3A9999, then 3B0001 …: six characters whatever the number, eighty thousand for an office.
_SERIAL_PREFIXES = ("3A", "3B", "3C", "3D", "3E", "3F", "3G", "3H")


class AllocationExhausted(Exception):
    """Nothing is free any more in `source`: a pool, a line's LAN or an office's serials."""

    def __init__(self, source: str) -> None:
        super().__init__(f"nothing is free any more in {source}")
        self.source = source


class AllocationImpossible(Exception):
    """The application names a line or terminal that the office does not have on the start date."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} is not the office's, or not in use on the start date")
        self.subject = subject


@dataclass(frozen=True, slots=True)
class TerminalKind:
    """A kind of terminal: the pool of its names, and what the ID notice says of it."""

    letter: str
    equipment: str  # 利用機器区分
    package: str  # パッケージソフト区分


# A GW server (SMTP/POP3) works in e-mail style (メール処理方式): its name ends like that of a PC with メール.
SMTP_SERVER = TerminalKind("S", "SMTP", "")
GATEWAY_SERVER = TerminalKind("M", "GW", "")
INTERACTIVE = TerminalKind("C", "PC", "インタ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be issued to whom, from which JST day on; `today` decides which rests have ended."""

    application_id: int
    office: Office
    lines: tuple[LineChange, ...]
    start: date
    today: date


class Change(StrEnum):
    """What happens to a terminal."""

    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalChange:
    """A terminal as the ID notice shows it.

    `mail_addresses` are the ones issued, and of a deleted terminal the ones that end with it.
    """

    change: Change
    router_number: str
    terminal_class: str
    equipment: str
    package: str
    name: str
    ip_address: str
    mail_addresses: tuple[str, ...]


def allocate(session: Session, desk: DeskSettings, order: Order) -> tuple[TerminalChange, ...]:
    """Issue everything the order asks for and end what it deletes, in the order of the application.

    AllocationExhausted and AllocationImpossible leave a half-done session behind: roll it back.
    """
    return tuple(change for wanted in order.lines for change in _serve_line(session, desk, order, wanted))


def take_back(session: Session, desk: DeskSettings, order: Order) -> None:
    """Undo an order before its start date.

    What was issued never takes effect and rests; what was to end goes on.
    """
    rests_until = end_of_rest(order.today, desk.quarantine)
    for terminal in session.scalars(
        select(LogicalTerminal).where(LogicalTerminal.application_id == order.application_id)
    ):
        _end(session, terminal, terminal.effective_from, rests_until)
    for wanted in order.lines:
        for name in wanted.terminals_to_delete:
            _continue(session, _terminal_of(session, order.office, name), order.start)
        if wanted.addresses_for_target:
            target = _terminal_of(session, order.office, wanted.target_terminal or "")
            issued = [row for row in target.mail_addresses if row.effective_from == order.start]
            _end_addresses(session, issued, order.start, rests_until)
    session.flush()


def _serve_line(session: Session, desk: DeskSettings, order: Order, wanted: LineChange) -> Iterator[TerminalChange]:
    line = session.scalars(
        select(Line).where(Line.router_number == wanted.router_number, Line.office_id == order.office.id)
    ).first()
    if line is None or wanted.action is not LineAction.CHANGE:
        raise AllocationImpossible(wanted.router_number)
    for addresses in wanted.addresses_of_new_servers:
        yield _issue(session, desk, order, line, SMTP_SERVER, addresses=addresses)
    for _ in range(wanted.gateway_servers or 0):
        yield _issue(session, desk, order, line, GATEWAY_SERVER)
    for _ in range(wanted.interactive_terminals or 0):
        yield _issue(session, desk, order, line, INTERACTIVE)
    if wanted.addresses_for_target:
        yield _extend(session, desk, order, wanted.target_terminal or "", wanted.addresses_for_target)
    for name in wanted.terminals_to_delete:
        yield _delete(session, desk, order, name)


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
        name=_free_name(session, desk, kind),
        line_id=line.id,
        terminal_class=line.line_class,
        equipment=kind.equipment,
        package=kind.package,
        ip_address=_free_ip(session, line, identity, order.today),
        effective_from=order.start,
        application_id=order.application_id,
    )
    session.add(terminal)
    session.flush()
    added = _add_addresses(session, desk, order, terminal, addresses)
    return _shown(Change.ADDED, line, terminal, added)


def _extend(session: Session, desk: DeskSettings, order: Order, name: str, count: int) -> TerminalChange:
    terminal = _terminal_in_use(session, order, name)
    if terminal.equipment != SMTP_SERVER.equipment:
        raise AllocationImpossible(name)
    added = _add_addresses(session, desk, order, terminal, count)
    return _shown(Change.CHANGED, terminal.line, terminal, added)


def _delete(session: Session, desk: DeskSettings, order: Order, name: str) -> TerminalChange:
    terminal = _terminal_in_use(session, order, name)
    ended = _end(session, terminal, order.start, end_of_rest(order.start, desk.quarantine))
    return _shown(Change.DELETED, terminal.line, terminal, ended)


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


def _terminal_of(session: Session, office: Office, name: str) -> LogicalTerminal:
    found = session.scalars(
        select(LogicalTerminal)
        .join(Line, Line.id == LogicalTerminal.line_id)
        .where(LogicalTerminal.name == name, Line.office_id == office.id)
    ).first()
    if found is None:
        raise AllocationImpossible(name)
    return found


def _terminal_in_use(session: Session, order: Order, name: str) -> LogicalTerminal:
    terminal = _terminal_of(session, order.office, name)
    if terminal.effective_until is not None or terminal.effective_from > order.start:
        raise AllocationImpossible(name)
    return terminal


def _free_name(session: Session, desk: DeskSettings, kind: TerminalKind) -> str:
    lowest, highest = desk.terminal_pools[kind.letter]
    # Every name that ever was still has its row: terminals are ended, never removed.
    used = set(session.scalars(select(LogicalTerminal.name).where(LogicalTerminal.name.endswith(kind.letter))))
    names = (f"{number:05d}{kind.letter}" for number in range(lowest, highest + 1))
    free = next((name for name in names if name not in used), None)
    if free is None:
        raise AllocationExhausted(f"{lowest:05d}{kind.letter}-{highest:05d}{kind.letter}")
    return free


def _free_ip(session: Session, line: Line, terminal_id: int, today: date) -> str:
    # The first usable address is the router's own.
    hosts = (str(host) for host in islice(ip_network(line.lan_subnet).hosts(), 1, None))
    free = free_values(session, Kind.IP, hosts, today)
    found = claim_next(session, Kind.IP, free, terminal_id, today)
    if found is None:
        raise AllocationExhausted(f"{line.router_number} ({line.lan_subnet})")
    return found


def _add_addresses(
    session: Session, desk: DeskSettings, order: Order, terminal: LogicalTerminal, count: int
) -> list[str]:
    added = []
    free = free_values(session, Kind.MAIL_ADDRESS, _addresses(desk, order.office.code), order.today)
    for _ in range(count):
        identity = new_key(session)
        key = claim_next(session, Kind.MAIL_ADDRESS, free, identity, order.today)
        if key is None:
            raise AllocationExhausted(desk.address_pattern.format(serial="*", office=order.office.code))
        row = MailAddress(
            id=identity,
            address=key.upper(),
            address_key=key,
            terminal_id=terminal.id,
            effective_from=order.start,
        )
        session.add(row)
        added.append(row.address)
    session.flush()
    return added


def _addresses(desk: DeskSettings, office_code: str) -> Iterator[str]:
    for prefix in _SERIAL_PREFIXES:
        for number in range(1, _HIGHEST_SERIAL + 1):
            serial = f"{prefix}{number:04d}"
            yield desk.address_pattern.format(serial=serial, office=office_code).lower()


def _end(session: Session, terminal: LogicalTerminal, day: date, rests_until: date) -> list[str]:
    """End a terminal and its addresses on a day; the addresses that end with it."""
    terminal.effective_until = day
    rest_ip(session, terminal, rests_until)
    ended = [row for row in terminal.mail_addresses if (row.effective_until or date.max) > day]
    _end_addresses(session, ended, day, rests_until)
    session.flush()
    return [row.address for row in ended]


def _end_addresses(session: Session, rows: Sequence[MailAddress], day: date, rests_until: date) -> None:
    for row in rows:
        row.effective_until = day
        rest_mail_address(session, row, rests_until)


def _continue(session: Session, terminal: LogicalTerminal, day: date) -> None:
    """Undo `_end`."""
    terminal.effective_until = None
    rest_ip(session, terminal, None)
    for row in terminal.mail_addresses:
        if row.effective_until == day:
            row.effective_until = None
            rest_mail_address(session, row, None)
