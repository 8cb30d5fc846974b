"""Terminals and mail addresses added, moved and ended by an operator, by the rules that applications are served by.

Names are never used twice; IP and mail addresses rest after use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import works
from handlers.allocation_order import TerminalKind
from handlers.contract_affected import affected_by
from handlers.contract_collisions import is_in_lan
from handlers.contract_file import TerminalContract, check_row
from handlers.map_changes import (
    Change,
    Changed,
    Step,
    affected_with,
    begin,
    done,
    end_with_addresses,
    from_pool,
    line_in_use,
    refuse,
    refuse_another_day,
    terminal_in_use,
)
from handlers.map_rows import end_addresses
from handlers.pools import add_addresses, free_ip, free_name
from handlers.reservations import Kind, claim, end_of_rest, holder_named, rest_ip
from storage.models import Line, LogicalTerminal, MailAddress
from storage.store import new_key


def add_terminal(
    session: Session,
    change: Change,
    router_number: str,
    kind: TerminalKind,
    values: Mapping[str, Any],
    *,
    addresses: int = 0,
) -> Changed:
    """Add a terminal to a line: named from the pool and in the line's LAN unless `values` say otherwise.

    `values` are keys that the office file has for a terminal.
    """
    version = begin(session, change)
    line = line_in_use(session, router_number, change)
    name = values.get("name") or from_pool(f"line {router_number}", lambda: free_name(session, change.desk, kind, line))
    own = {"class": line.line_class, "equipment": kind.equipment, "package": kind.package}
    place = f"terminal {name}"
    contract = check_row(TerminalContract, {**own, **values, "name": name}, place)
    if session.scalar(select(LogicalTerminal.id).where(LogicalTerminal.name == name)) is not None:
        refuse(place, "name_used", name)
    identity = new_key(session)
    terminal = LogicalTerminal(
        id=identity,
        line_id=line.id,
        ip_address=_claim_ip(session, change, line, identity, contract),
        effective_from=change.day,
        left_to_backend=" ".join(contract.left_to_backend),
        **contract.model_dump(exclude={"ip_address", "left_to_backend", "mail_addresses"}),
    )
    session.add(terminal)
    session.flush()
    detail = f"{router_number} {terminal.ip_address}"
    step = Step(event="terminal_added", subject=f"terminal:{name}", detail=detail)
    _join_open_windows(session, change, line)
    return done(session, change, version, [step, *_next_addresses(session, change, terminal, addresses)])


def end_terminal(session: Session, change: Change, name: str) -> Changed:
    """End a terminal with its addresses."""
    version = begin(session, change)
    terminal = terminal_in_use(session, name, change)
    affected = affected_with(session, [terminal])
    return done(session, change, version, end_with_addresses(session, change, terminal), affected)


def move_terminal(
    session: Session, change: Change, name: str, router_number: str | None, ip_address: str | None
) -> Changed:
    """Move a terminal to another line of its office, or to another IP address, at once; its name and mail stay.

    Without an IP address the next free one of the line's LAN is taken; the former one rests.
    """
    version = begin(session, change)
    place = f"terminal {name}"
    refuse_another_day(change, place)
    terminal = terminal_in_use(session, name, change)
    line = terminal.line if router_number is None else line_in_use(session, router_number, change)
    if line.office_id != terminal.line.office_id:
        refuse(f"line {line.router_number}", "other_office", line.office.code)
    if line.id == terminal.line_id and ip_address in (None, terminal.ip_address):
        refuse(place, "unchanged")
    values = {"name": name, "equipment": terminal.equipment, "ip_address": ip_address}
    ip = _claim_ip(session, change, line, terminal.id, check_row(TerminalContract, values, place))
    before = f"{terminal.line.router_number} {terminal.ip_address or '-'}"
    if terminal.ip_address:
        rest_ip(session, terminal, end_of_rest(change.day, change.desk.quarantine))
    terminal.ip_address = ip
    terminal.line = line
    _join_open_windows(session, change, line)
    step = Step(event="terminal_moved", subject=f"terminal:{name}", detail=f"{before} -> {line.router_number} {ip}")
    return done(session, change, version, [step], affected_with(session, [terminal]))


def add_address(session: Session, change: Change, terminal_name: str, address: str | None) -> Changed:
    """Add a mail address to a terminal: the next free one of the office, or the one given."""
    version = begin(session, change)
    terminal = terminal_in_use(session, terminal_name, change)
    if address is None:
        return done(session, change, version, _next_addresses(session, change, terminal, 1))
    place = f"address {address}"
    values = {"name": terminal_name, "equipment": terminal.equipment, "mail_addresses": [address]}
    check_row(TerminalContract, values, place)
    identity, key = new_key(session), address.lower()
    if not claim(session, Kind.MAIL_ADDRESS, key, identity, change.today):
        refuse(place, "taken", holder_named(session, Kind.MAIL_ADDRESS, key))
    session.add(
        MailAddress(
            id=identity, address=key.upper(), address_key=key, terminal_id=terminal.id, effective_from=change.day
        )
    )
    return done(session, change, version, [_address_added(key.upper(), terminal)])


def end_address(session: Session, change: Change, address: str) -> Changed:
    """End a mail address."""
    version = begin(session, change)
    place = f"address {address}"
    rows = select(MailAddress).where(MailAddress.address_key == address.lower()).order_by(MailAddress.id.desc())
    row = session.scalars(rows).first()  # reissued, it is another row: the last one is meant
    if row is None:
        refuse(place, "no_address")
    if row.effective_until is not None:
        refuse(place, "ends_already", row.effective_until.isoformat())
    if change.day < row.effective_from:
        refuse(place, "ends_before_it_begins", row.effective_from.isoformat())
    affected = affected_by(session, [row])
    end_addresses(session, [row], change.end())
    step = Step(event="address_ended", subject=f"address:{row.address}", detail=row.terminal.name)
    return done(session, change, version, [step], affected)


def _join_open_windows(session: Session, change: Change, line: Line) -> None:
    """A terminal that comes to a line while work is being done on it waits like the others."""
    works.hold_cases_with_work(session, [line.office_id])
    works.pause_newcomers(session, line.office_id, change.now)


def _claim_ip(session: Session, change: Change, line: Line, terminal_id: int, contract: TerminalContract) -> str:
    place, wanted = f"terminal {contract.name}", contract.ip_address
    if wanted is None:
        return from_pool(place, lambda: free_ip(session, line, terminal_id, change.today))
    if not is_in_lan(wanted, line.lan_subnet):
        refuse(f"{place}, ip_address", "outside_lan", line.lan_subnet)
    if not claim(session, Kind.IP, wanted, terminal_id, change.today):
        refuse(f"{place}, ip_address", "taken", holder_named(session, Kind.IP, wanted))
    return wanted


def _next_addresses(session: Session, change: Change, terminal: LogicalTerminal, count: int) -> list[Step]:
    if count == 0:
        return []
    added = from_pool(
        f"terminal {terminal.name}",
        lambda: add_addresses(session, change.desk, terminal, count, change.day, change.today),
    )
    return [_address_added(address, terminal) for address in added]


def _address_added(address: str, terminal: LogicalTerminal) -> Step:
    return Step(event="address_added", subject=f"address:{address}", detail=terminal.name)
