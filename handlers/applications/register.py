"""What the register says of an office when an application comes in: its people, lines, terminals and open cases.

Terminals and addresses that are to end already do not count: a change begins from what goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from handlers.applications.contents import ApplicationContents
from handlers.applications.field_rules import OfficeFacts
from handlers.notices import same_address
from handlers.reservations import Kind
from handlers.workflow import State
from storage.models import Application, Line, LogicalTerminal, MailAddress, Office, Reservation

OPEN_STATES = (State.RECEIVED, State.UNDER_REVIEW, State.INQUIRY, State.COMPLETED, State.IDS_ISSUED)
_MOST_OPEN_CASES = 50
_NOT_FOR_TERMINALS = 3  # network, broadcast and the router's own address


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase:
    """An application whose procedure has not ended, and the lines it asks to change."""

    receipt_number: str
    router_numbers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalFacts:
    """A terminal that goes on: its kind and how many mail addresses it has."""

    name: str
    equipment: str
    package: str
    mail_addresses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFacts:
    """A line with the terminals that go on, and how many LAN-side addresses are free for new ones."""

    router_number: str
    spare_router: bool
    terminals: tuple[TerminalFacts, ...]
    free_addresses: int


def find_office(session: Session, code: str) -> Office | None:
    """The office of that code (事業所コード), exactly as written."""
    return session.scalars(select(Office).where(Office.code == code)).first()


def get_office(session: Session, code: str) -> Office:
    """The office of a code that is known to be registered."""
    return session.scalars(select(Office).where(Office.code == code)).one()


def office_facts(session: Session, code: str) -> OfficeFacts | None:
    """What the rules of the form ask of an office: its lines, each with the terminals that go on."""
    office = find_office(session, code)
    if office is None:
        return None
    router_numbers: dict[str, tuple[str, ...]] = {line.router_number: () for line in _lines(session, office)}
    rows = session.execute(
        select(Line.router_number, LogicalTerminal.name)
        .join(LogicalTerminal, LogicalTerminal.line_id == Line.id)
        .where(Line.office_id == office.id, LogicalTerminal.effective_until.is_(None))
        .order_by(LogicalTerminal.name)
    )
    for router_number, name in rows:
        router_numbers[router_number] += (name,)
    return OfficeFacts(office_code=office.code, router_numbers=router_numbers)


def is_registered(office: Office, email: str) -> bool:
    """Whether the address is that of a contact or of the システム管理責任者 of the office."""
    addresses = [person.email for person in office.contacts] + [office.administrator_email]
    return any(same_address(address, email) for address in addresses if address)


def line_facts(session: Session, office: Office, router_numbers: Iterable[str], today: date) -> Mapping[str, LineFacts]:
    """The lines of those numbers, as they are on the JST day `today`."""
    wanted = set(router_numbers)
    lines = [line for line in _lines(session, office) if line.router_number in wanted]
    return {line.router_number: _line_facts(session, line, today) for line in lines}


def open_cases(session: Session, office: Office) -> Sequence[OpenCase]:
    """The latest applications of the office whose procedure has not ended, oldest first."""
    rows = session.scalars(
        select(Application)
        .where(Application.office_id == office.id, Application.state.in_(OPEN_STATES))
        .order_by(Application.id.desc())
        .limit(_MOST_OPEN_CASES)
    ).all()
    return [_open_case(row) for row in reversed(rows)]


def _open_case(application: Application) -> OpenCase:
    lines = ApplicationContents.from_json(application.contents).lines
    return OpenCase(
        receipt_number=application.receipt_number,
        router_numbers=frozenset(line.router_number for line in lines),
    )


def _lines(session: Session, office: Office) -> Sequence[Line]:
    return session.scalars(select(Line).where(Line.office_id == office.id).order_by(Line.router_number)).all()


def _line_facts(session: Session, line: Line, today: date) -> LineFacts:
    addresses = func.count(MailAddress.id).filter(MailAddress.effective_until.is_(None))
    rows = session.execute(
        select(LogicalTerminal.name, LogicalTerminal.equipment, LogicalTerminal.package, addresses)
        .outerjoin(MailAddress, MailAddress.terminal_id == LogicalTerminal.id)
        .where(LogicalTerminal.line_id == line.id, LogicalTerminal.effective_until.is_(None))
        .group_by(LogicalTerminal.id)
        .order_by(LogicalTerminal.name)
    )
    return LineFacts(
        router_number=line.router_number,
        spare_router=line.spare_router,
        terminals=tuple(
            TerminalFacts(name=name, equipment=equipment, package=package, mail_addresses=count)
            for name, equipment, package, count in rows
        ),
        free_addresses=_free_addresses(session, line, today),
    )


def _free_addresses(session: Session, line: Line, today: date) -> int:
    """A reservation of an IP address names its terminal, so those of the line are counted without a list."""
    taken = session.scalar(
        select(func.count())
        .select_from(Reservation)
        .join(LogicalTerminal, LogicalTerminal.id == Reservation.holder_id)
        .where(
            Reservation.kind == Kind.IP,
            LogicalTerminal.line_id == line.id,
            or_(Reservation.rests_until.is_(None), Reservation.rests_until > today),
        )
    )
    usable = ip_network(line.lan_subnet).num_addresses - _NOT_FOR_TERMINALS
    return max(0, usable - (taken or 0))
