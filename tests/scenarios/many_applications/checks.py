"""What must be true once every application is accepted and completed, read from the store; each violation in words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from email import message_from_bytes
from email.policy import default
from ipaddress import ip_network

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from handlers.applications.contents import ApplicationContents
from storage.mail_queue import content_of
from storage.models import (
    Application,
    AuditEvent,
    IssuedSecret,
    Line,
    LogicalTerminal,
    Mail,
    MailAddress,
    MapVersion,
    Office,
    Recipient,
    Reservation,
)
from tests.scenarios.many_applications.book import Asked, Book

_FIRST_NAMES = {"S": 60000, "M": 25000, "C": 27000}
_NAME = re.compile(r"\b[0-9]{5}[SMC]\b")
_TO_EACH = ("applicant/application-received", "applicant/review-complete", "applicant/id-notice")


def violations(session: Session, book: Book, start: date) -> Iterator[str]:
    """Everything that is not as it must be."""
    asked = book.asked()
    applications = session.scalars(select(Application).order_by(Application.receipt_number)).all()
    yield from _receipts(applications, len(asked))
    yield from _states(applications, start)
    yield from _names(session, asked)
    yield from _lans(session)
    yield from _addresses(session, asked)
    yield from _issued_to(session, applications)
    yield from _notices(session, applications)
    yield from _secrets(session, applications)
    yield from _trail(session, len(asked))


def deadlocks(session: Session) -> int:
    """How many deadlocks PostgreSQL has counted in this database; SQLite knows none."""
    if session.get_bind().dialect.name != "postgresql":
        return 0
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(session.scalar(text(query)) or 0)


def _receipts(applications: Iterable[Application], wanted: int) -> Iterator[str]:
    numbers = [int(application.receipt_number[2:-1]) for application in applications]
    if numbers != list(range(1, wanted + 1)):
        yield f"receipt numbers are not 1 to {wanted}: {_gaps(numbers, 1, wanted)}"


def _states(applications: Iterable[Application], start: date) -> Iterator[str]:
    states = Counter(f"{application.state} from {application.start_date}" for application in applications)
    if set(states) - {f"ids_issued from {start}"}:
        yield f"not every application was issued: {dict(states)}"


def _names(session: Session, asked: Iterable[Asked]) -> Iterator[str]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for name in session.scalars(select(LogicalTerminal.name).order_by(LogicalTerminal.name)):
        found[name[-1]].append(int(name[:-1]))
    wanted: Counter[str] = Counter()
    for one in asked:
        wanted.update(one.terminals)
    for letter, first in _FIRST_NAMES.items():
        last = first + wanted[letter] - 1
        if found[letter] != list(range(first, last + 1)):
            yield f"names of the pool {letter} are not {first} to {last}: {_gaps(found[letter], first, last)}"


def _lans(session: Session) -> Iterator[str]:
    """Each line's terminals have the first addresses behind the router's, every one once."""
    rows = session.execute(
        select(Line.lan_subnet, LogicalTerminal.ip_address).join(LogicalTerminal, LogicalTerminal.line_id == Line.id)
    )
    found: defaultdict[str, list[str]] = defaultdict(list)
    for lan, address in rows:
        found[lan].append(str(address))
    for lan, addresses in found.items():
        hosts = [str(host) for host in ip_network(lan).hosts()][1 : len(addresses) + 1]
        if sorted(addresses) != sorted(hosts):
            yield f"IP addresses of {lan} are not its first {len(addresses)}: {sorted(set(addresses) ^ set(hosts))}"
    reserved = session.scalar(select(func.count()).select_from(Reservation).where(Reservation.kind == "ip"))
    if reserved != sum(map(len, found.values())):
        yield f"{reserved} IP addresses are reserved, {sum(map(len, found.values()))} in use"


def _addresses(session: Session, asked: Iterable[Asked]) -> Iterator[str]:
    wanted: Counter[str] = Counter()
    for one in asked:
        wanted[one.office] += one.addresses
    rows = session.execute(
        select(Office.code, MailAddress.address)
        .join(Line, Line.office_id == Office.id)
        .join(LogicalTerminal, LogicalTerminal.line_id == Line.id)
        .join(MailAddress, MailAddress.terminal_id == LogicalTerminal.id)
    )
    found: defaultdict[str, list[str]] = defaultdict(list)
    for office, address in rows:
        found[office].append(address[:6])
    for office, count in wanted.items():
        serials = [f"3A{number:04d}" for number in range(1, count + 1)]
        if sorted(found[office]) != serials:
            yield f"mail addresses of {office} are not the first {count}: {sorted(set(found[office]) ^ set(serials))}"


def _issued_to(session: Session, applications: Iterable[Application]) -> Iterator[str]:
    """Every application has the terminals it asked for, on its line."""
    rows = session.execute(
        select(LogicalTerminal.application_id, LogicalTerminal.name, Line.router_number).join(
            Line, Line.id == LogicalTerminal.line_id
        )
    )
    found: defaultdict[int | None, Counter[tuple[str, str]]] = defaultdict(Counter)
    for identity, name, router_number in rows:
        found[identity][router_number, name[-1]] += 1
    for application in applications:
        wanted: Counter[tuple[str, str]] = Counter()
        for line in ApplicationContents.from_json(application.contents).lines:
            wanted[line.router_number, "S"] += line.smtp_servers or 0
            wanted[line.router_number, "M"] += line.gateway_servers or 0
            wanted[line.router_number, "C"] += line.interactive_terminals or 0
        if +wanted != found[application.id]:
            yield f"{application.receipt_number} asked for {dict(+wanted)} and has {dict(found[application.id])}"


def _notices(session: Session, applications: Iterable[Application]) -> Iterator[str]:
    """One mail of each kind to each addressee, and in the ID notice the application's own terminals alone."""
    names = _names_by_application(session)
    rows = session.execute(
        select(Mail.application_id, Mail.template, Recipient.rcpt_to, Mail.id)
        .join(Recipient, Recipient.mail_id == Mail.id)
        .where(Mail.application_id.is_not(None))
    )
    sent: defaultdict[int | None, Counter[tuple[str, str]]] = defaultdict(Counter)
    for identity, template, address, mail_id in rows:
        kind = template.partition("@")[0]
        sent[identity][kind, address] += 1
        if kind == "applicant/id-notice":
            shown = set(_NAME.findall(_text_of(content_of(session, mail_id))))
            if shown != names[identity]:
                yield f"an ID notice shows {sorted(shown)} instead of {sorted(names[identity])}"
    for application in applications:
        office = session.get_one(Office, application.office_id)
        wanted = {
            (kind, to): 1 for kind in _TO_EACH for to in (application.applicant_email, office.administrator_email)
        }
        told = {key: count for key, count in sent[application.id].items() if key[0] in _TO_EACH}
        if told != wanted:
            yield f"{application.receipt_number} was told {told}"


def _text_of(content: bytes) -> str:
    body = message_from_bytes(content, policy=default).get_body(("plain",))
    return "" if body is None else str(body.get_content())


def _names_by_application(session: Session) -> dict[int | None, set[str]]:
    names: defaultdict[int | None, set[str]] = defaultdict(set)
    for identity, name in session.execute(select(LogicalTerminal.application_id, LogicalTerminal.name)):
        names[identity].add(name)
    return names


def _secrets(session: Session, applications: Iterable[Application]) -> Iterator[str]:
    rows = session.execute(select(IssuedSecret.application_id, IssuedSecret.kind, IssuedSecret.key_name)).all()
    issued = Counter(row.application_id for row in rows)
    names = _names_by_application(session)
    for application in applications:
        wanted = len(names[application.id]) + 1
        if issued[application.id] != wanted:
            yield f"{application.receipt_number} has {issued[application.id]} passwords instead of {wanted}"
    if len({row.key_name for row in rows}) != len(rows):
        yield "two passwords have the same key"


def _trail(session: Session, wanted: int) -> Iterator[str]:
    """One audit event of each kind for each application, and a version of the map for each completion."""
    counted = select(AuditEvent.event, func.count()).where(AuditEvent.event.in_(["receive", "complete"]))
    events = {row[0]: row[1] for row in session.execute(counted.group_by(AuditEvent.event))}
    if events != {"receive": wanted, "complete": wanted}:
        yield f"the audit trail has {events}"
    version = session.scalar(select(MapVersion.version)) or 0
    if version != wanted + 1:  # the first is the contracts'
        yield f"the map has version {version} after {wanted} completions"


def _gaps(found: Iterable[int], first: int, last: int) -> str:
    counts = Counter(found)
    missing = [number for number in range(first, last + 1) if number not in counts]
    twice = [number for number, count in counts.items() if count > 1]
    beyond = [number for number in counts if not first <= number <= last]
    return f"missing {missing[:9]}, twice {twice[:9]}, beyond {beyond[:9]}"
