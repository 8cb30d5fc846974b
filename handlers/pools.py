"""What is free for something new: names of a terminal's kind, IP addresses of its LAN, mail addresses of its office.

Callers have begun a map change, so that nobody else looks at the same time. Names are never used twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from ipaddress import ip_network
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.allocation_order import AllocationExhausted, TerminalKind
from handlers.desk import DeskSettings
from handlers.reservations import Kind, claim_next, free_values
from storage.models import Line, LogicalTerminal, MailAddress
from storage.store import new_key

_HIGHEST_SERIAL = 9999
# 3A0001 to 3A9999, then 3B0001 …: six characters whatever the number, eighty thousand for an office.
_SERIAL_PREFIXES = ("3A", "3B", "3C", "3D", "3E", "3F", "3G", "3H")


def free_name(session: Session, desk: DeskSettings, kind: TerminalKind, line: Line) -> str:
    """The lowest name of the kind's pool that was never used; AllocationExhausted when there is none."""
    lowest, highest = (f"{number:05d}{kind.letter}" for number in desk.terminal_pools[kind.letter])
    # Every name that ever was still has its row: terminals are ended, never removed.
    used = set(session.scalars(select(LogicalTerminal.name).where(LogicalTerminal.name.between(lowest, highest))))
    names = (f"{number:05d}{kind.letter}" for number in range(int(lowest[:5]), int(highest[:5]) + 1))
    free = next((name for name in names if name not in used), None)
    if free is None:
        raise AllocationExhausted(line.router_number, f"{lowest}-{highest}")
    return free


def free_ip(session: Session, line: Line, terminal_id: int, today: date) -> str:
    """Reserve the lowest free IP address of the line's LAN for a terminal; AllocationExhausted when none is."""
    # The first usable address is the router's own.
    hosts = (str(host) for host in islice(ip_network(line.lan_subnet).hosts(), 1, None))
    free = free_values(session, Kind.IP, hosts, today)
    found = claim_next(session, Kind.IP, free, terminal_id, today)
    if found is None:
        raise AllocationExhausted(line.router_number, line.lan_subnet)
    return found


def add_addresses(
    session: Session,
    desk: DeskSettings,
    terminal: LogicalTerminal,
    count: int,
    start: date,
    today: date,
    *,
    application_id: int | None = None,
) -> list[str]:
    """Issue the next free mail addresses of the office to a terminal; AllocationExhausted when too few are free."""
    office_code = terminal.line.office.code
    free = free_values(session, Kind.MAIL_ADDRESS, _addresses(desk, office_code), today)
    added = []
    for _ in range(count):
        identity = new_key(session)
        key = claim_next(session, Kind.MAIL_ADDRESS, free, identity, today)
        if key is None:
            pattern = desk.address_pattern.format(serial="*", office=office_code)
            raise AllocationExhausted(terminal.line.router_number, pattern)
        session.add(
            MailAddress(
                id=identity,
                address=key.upper(),
                address_key=key,
                terminal_id=terminal.id,
                effective_from=start,
                application_id=application_id,
            )
        )
        added.append(key.upper())
    session.flush()
    return added


def _addresses(desk: DeskSettings, office_code: str) -> Iterator[str]:
    for prefix in _SERIAL_PREFIXES:
        for number in range(1, _HIGHEST_SERIAL + 1):
            serial = f"{prefix}{number:04d}"
            yield desk.address_pattern.format(serial=serial, office=office_code).lower()
