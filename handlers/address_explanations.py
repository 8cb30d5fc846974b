"""What the map makes of a mail address or a destination: where it leads on which day, who may use it, what waits there.

Passwords are no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.calendar import jst_date
from handlers.lane_operations import LaneState, lane_named, lane_states
from handlers.mail_explanations import RequestState, request_states
from handlers.map_rows import is_never_in_force
from handlers.naccs.eligibility import Check
from handlers.naccs.first_check import awaits_check
from handlers.naccs.service_hours import Service, service_hours
from handlers.output_destinations import RegisteredOutput, registered
from handlers.recipient_explanations import outstanding
from handlers.undelivered import StuckKind, counts
from storage.models import Line, LogicalTerminal, MailAddress, Office, OfficeUser, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the settings say that the store does not."""

    now: datetime
    center_address: str
    terminals_domain: str  # <terminal>@ it names a terminal, from the backend
    terminal_port: int
    service_hours: str  # of users without their own
    smarthost_lanes: int
    retention: timedelta  # of undelivered messages
    refuse_before_tcc: bool = False  # naccs.before_tcc is refuse

    @property
    def today(self) -> date:
        return jst_date(self.now)


class Fate(StrEnum):
    """What becomes of a message to a mail address that comes now."""

    DELIVERED = "delivered"  # goes to the terminal's server at once
    WAITS = "waits"  # queued: the lane is paused or its server does not answer
    UNDELIVERED = "undelivered"  # the terminal has no server
    PARKED = "parked"  # no binding today, or more than one: taken from the backend and shown to an operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A mail-address row with its terminal; `state` is in_force, ended or coming by today's JST day; never_in_force
    when it was taken back before it began.

    `awaits_check`: its terminal is new and had no normal TCC yet; with `refuses_before_check` the setting
    naccs.before_tcc refuses everything else until then.
    """

    address_id: int
    address: str
    terminal: str
    office_code: str
    ip_address: str | None
    port: int
    codec: str
    lan_subnet: str
    left_to_backend: tuple[str, ...]
    effective_from: date
    effective_until: date | None
    state: str
    awaits_check: bool
    refuses_before_check: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of the office. `hours` are those in force, `open` whether the service is open for it now."""

    code: str
    identification_number: str
    procedures: tuple[str, ...]
    hours: str
    open: bool
    barred: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressExplanation:
    """A mail address: where it leads today and at other dates, who may use it, what waits for it.

    `may_send_from`: the peer its own mails must come from today; None while they are refused.
    """

    kind: str = "address"
    address: str
    bindings: tuple[Bound, ...]
    in_force: Bound | None
    is_center: bool
    may_send_from: str | None
    fate: Fate
    destination: LaneState | None
    users: tuple[User, ...]
    outstanding: tuple[RequestState, ...]
    undelivered: tuple[StuckKind, ...]
    outputs: tuple[RegisteredOutput, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalExplanation:
    """A logical terminal with its addresses, its lane and what waits for it; `state` as an address has it.

    `awaits_check`: it is new and had no normal TCC yet; `checked_at` is its first one. `refuses_before_check`: until
    then the setting naccs.before_tcc refuses everything else.
    """

    kind: str = "terminal"
    name: str
    office_code: str
    router_number: str
    equipment: str
    ip_address: str | None
    port: int
    effective_from: date
    effective_until: date | None
    state: str
    awaits_check: bool
    refuses_before_check: bool
    checked_at: datetime | None
    addresses: tuple[Bound, ...]
    destination: LaneState
    undelivered: tuple[StuckKind, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationExplanation:
    """The backend or the smarthost."""

    kind: str = "destination"
    destination: LaneState


def by_address(session: Session, name: str, circumstances: Circumstances) -> list[AddressExplanation]:
    """The mail address of that name, the centre's own included; empty when nobody has or had it."""
    if "@" not in name:
        return []
    key = name.lower()
    bindings = _bindings(session, circumstances, MailAddress.address_key == key)
    is_center = key == circumstances.center_address.lower()
    if not bindings and not is_center:
        return []
    rows = [bound.address_id for bound in bindings]
    in_force = [bound for bound in bindings if bound.state == "in_force"]
    bound = in_force[0] if len(in_force) == 1 else None
    destination = None if bound is None else lane_states(session, circumstances.now, [f"terminal:{bound.terminal}"])[0]
    waited_for = select(Request).where(Request.address_id.in_(rows), *outstanding(circumstances.now))
    since = circumstances.now - circumstances.retention
    return [
        AddressExplanation(
            address=bindings[0].address if bindings else circumstances.center_address,
            bindings=tuple(bindings),
            in_force=bound,
            is_center=is_center,
            may_send_from=None if bound is None else bound.ip_address,
            fate=_fate(bound, destination),
            destination=destination,
            users=() if bound is None else _users(session, bound.office_code, circumstances),
            outstanding=request_states(session, session.scalars(waited_for).all(), circumstances.now),
            undelivered=tuple(counts(session, rows, since=since)),
            outputs=tuple(registered(session, address=name)),
        )
    ]


def _fate(bound: Bound | None, destination: LaneState | None) -> Fate:
    if bound is None or destination is None:
        return Fate.PARKED
    if bound.ip_address is None:
        return Fate.UNDELIVERED
    down = destination.paused is not None or destination.down_since is not None
    return Fate.WAITS if down else Fate.DELIVERED


def _bindings(session: Session, circumstances: Circumstances, which: Any) -> list[Bound]:
    rows = session.execute(
        select(MailAddress, LogicalTerminal, Line.lan_subnet, Office.code)
        .join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
        .join(Line, Line.id == LogicalTerminal.line_id)
        .join(Office, Office.id == Line.office_id)
        .where(which)
        .order_by(MailAddress.effective_from, MailAddress.id)
    )
    return [_bound(address, terminal, lan, code, circumstances) for address, terminal, lan, code in rows]


def _bound(
    address: MailAddress, terminal: LogicalTerminal, lan_subnet: str, office_code: str, circumstances: Circumstances
) -> Bound:
    ends = [day for day in (address.effective_until, terminal.effective_until) if day is not None]
    begins, until = max(address.effective_from, terminal.effective_from), min(ends, default=None)
    return Bound(
        address_id=address.id,
        address=address.address,
        terminal=terminal.name,
        office_code=office_code,
        ip_address=terminal.ip_address,
        port=terminal.port or circumstances.terminal_port,
        codec=terminal.codec,
        lan_subnet=lan_subnet,
        left_to_backend=tuple(terminal.left_to_backend.split()),
        effective_from=begins,
        effective_until=until,
        state=_state(begins, until, circumstances.today),
        awaits_check=_awaits_check(terminal, circumstances),
        refuses_before_check=_refuses(terminal, circumstances),
    )


def _state(begins: date, until: date | None, today: date) -> str:
    if until is not None and until <= begins:
        return "never_in_force"
    if until is not None and until <= today:
        return "ended"
    return "coming" if begins > today else "in_force"


def _awaits_check(terminal: LogicalTerminal, circumstances: Circumstances) -> bool:
    return not is_never_in_force(terminal) and awaits_check(terminal, circumstances.now)


def _refuses(terminal: LogicalTerminal, circumstances: Circumstances) -> bool:
    left = Check.TCC in terminal.left_to_backend.split()
    return circumstances.refuse_before_tcc and not left and _awaits_check(terminal, circumstances)


def _users(session: Session, office_code: str, circumstances: Circumstances) -> tuple[User, ...]:
    query = select(OfficeUser).join(Office, Office.id == OfficeUser.office_id).where(Office.code == office_code)
    rows = session.scalars(query.order_by(OfficeUser.code, OfficeUser.identification_number))
    users = []
    for row in rows:
        hours = row.service_hours or circumstances.service_hours
        users.append(
            User(
                code=row.code,
                identification_number=row.identification_number,
                procedures=tuple(row.procedures.split()),
                hours=hours,
                open=service_hours(hours).at(circumstances.now) is Service.OPEN,
                barred=row.barred,
            )
        )
    return tuple(users)


def by_destination(
    session: Session, name: str, circumstances: Circumstances
) -> list[TerminalExplanation | DestinationExplanation]:
    """The terminal, backend or smarthost lane of that name."""
    lane = None if "@" in name else lane_named(session, name, smarthost_lanes=circumstances.smarthost_lanes)
    if lane is None:
        return []
    (destination,) = lane_states(session, circumstances.now, [lane])
    if not lane.startswith("terminal:"):
        return [DestinationExplanation(destination=destination)]
    terminal = session.scalars(
        select(LogicalTerminal).where(LogicalTerminal.name == lane.removeprefix("terminal:"))
    ).one()
    addresses = _bindings(session, circumstances, MailAddress.terminal_id == terminal.id)
    since = circumstances.now - circumstances.retention
    return [
        TerminalExplanation(
            name=terminal.name,
            office_code=terminal.line.office.code,
            router_number=terminal.line.router_number,
            equipment=terminal.equipment,
            ip_address=terminal.ip_address,
            port=terminal.port or circumstances.terminal_port,
            effective_from=terminal.effective_from,
            effective_until=terminal.effective_until,
            state=_state(terminal.effective_from, terminal.effective_until, circumstances.today),
            awaits_check=_awaits_check(terminal, circumstances),
            refuses_before_check=_refuses(terminal, circumstances),
            checked_at=terminal.checked_at,
            addresses=tuple(addresses),
            destination=destination,
            undelivered=tuple(counts(session, [bound.address_id for bound in addresses], since=since)),
        )
    ]
