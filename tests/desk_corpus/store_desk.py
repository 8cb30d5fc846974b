"""The application desk on a real store, without sockets: a mail arrives as the listener stores it, and is handled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from gateway.desk_work import DeskWork
from gateway.password_keys import PasswordKeys
from handlers import case_tokens, reviews
from handlers.calendar import BusinessCalendar, seed_holidays
from handlers.contracts import import_contracts, read_contracts
from handlers.desk import DeskSettings
from handlers.reviews import Decided, Details, Refusal
from handlers.workflow import Event
from storage.committer import Committer
from storage.effects import Applied
from storage.mail_queue import Origin, arrival, content_of, load_arrival
from storage.models import (
    Application,
    ApplicationAttachment,
    Base,
    CalendarDay,
    CaseEntry,
    Contact,
    DeskJob,
    IssuedSecret,
    Line,
    LogicalTerminal,
    Mail,
    MailAddress,
    Office,
    OfficeUser,
    ReceiptCounter,
    Recipient,
    Reservation,
    ScheduleDay,
    Work,
)
from storage.states import Direction
from storage.store import Store
from tests.handlers.review_cases import DESK

DOMAIN = DESK.support_domain
CONTACT = "tsukan-hanako@applicant.example"
TRUSTED_PEER = "192.0.2.7"
TRUSTED = (ip_network("192.0.2.0/24"),)
CALENDAR = BusinessCalendar(holidays=seed_holidays({2026, 2027}))
REVIEWER_ACTOR = "os:shinsa"

# What an odd mail may never touch, and what it touches only when it is taken.
REGISTER: tuple[type[Base], ...] = (
    *(Office, Contact, Line, LogicalTerminal, MailAddress, OfficeUser, Reservation),
    *(Work, IssuedSecret, ScheduleDay, CalendarDay),
)
CASES: tuple[type[Base], ...] = (Application, ApplicationAttachment, ReceiptCounter, CaseEntry, DeskJob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """How a mail comes in: from a trusted network to the apply address, unless said otherwise."""

    to: str = f"apply@{DOMAIN}"
    mail_from: str = CONTACT
    peer: str = TRUSTED_PEER
    signed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMail:
    """A mail that was queued: folder of its template, addressee, bytes."""

    mail_id: int
    template: str
    to: str
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=default)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")

    @property
    def file_names(self) -> list[str]:
        return [str(part.get_filename()) for part in self.message.iter_attachments()]

    @property
    def faults(self) -> list[tuple[str, str, str]]:
        """(section, label, rule) of every wrong field in the part for machines."""
        for part in self.message.iter_attachments():
            if part.get_content_type() == "application/json":
                errors = json.loads(part.get_content())["errors"]
                return [(error["section"], error["label"], error["code"]) for error in errors]
        return []


class StoreDesk:
    """Store, settings and a clock that stands until it is set. Documents (PDF) are rendered as empty ones."""

    def __init__(self, store: Store, directory: Path, now: datetime, **settings: Any) -> None:
        self.store = store
        self.now = now
        self.desk: DeskSettings = replace(DESK, data_keys=PasswordKeys(directory / "password.keys"), **settings)
        self.calendar = CALENDAR
        self._seen = 0

    @cached_property
    def work(self) -> DeskWork:
        return DeskWork(self.desk, TRUSTED)

    def take_contracts(self, text: str, **_: Any) -> None:
        """Import an office file."""
        take_offices(self.store, text, self.desk, self.now)

    def receive(self, raw: bytes, envelope: Envelope) -> Recipient:
        """Store a mail as the public listener does, let the desk handle it, and return its row."""
        self.store.renew()  # to write the mail may have taken longer than keys are reserved for
        origin = Origin(
            listener="public",
            peer=envelope.peer,
            helo_name="client.applicant.example",
            mail_from=envelope.mail_from,
            signed_by=" ".join(envelope.signed_by),
        )
        key = f"public:{envelope.mail_from}"
        _, unit = arrival(self.store.new_key, origin, [(envelope.to, key)], raw, self.now)
        assert Committer(self.store).commit([unit]) == [Applied()]
        recipient_id = unit.notes[0].payload.recipient_id
        arrived = self.store.read(lambda session: load_arrival(session, recipient_id))
        assert arrived is not None
        prepared = self.store.read(lambda session: self.work.prepare(session, arrived, self.now))
        prepared = self.work.render(prepared)
        self.store.run(lambda session: self.work.handle(session, arrived, self.now, prepared))
        return self.store.read(lambda session: session.get_one(Recipient, recipient_id))

    def decide(self, receipt: str, event: Event, actor: str = REVIEWER_ACTOR, **details: Any) -> Decided | Refusal:
        """What a command of the reviewer does."""
        said = Details(**details)
        return self.store.run(
            lambda session: reviews.decide(session, self.desk, receipt, event, actor, self.now, self.calendar, said)
        )

    def sent(self) -> list[SentMail]:
        """The mails queued since this was asked last, in the order they were."""

        def read(session: Session) -> list[SentMail]:
            query = (
                select(Mail.id, Mail.template, Recipient.rcpt_to, Recipient.id.label("row"))
                .join(Recipient, Recipient.mail_id == Mail.id)
                .where(Mail.direction == Direction.OUTBOUND, Recipient.id > self._seen)
                .order_by(Recipient.id)
            )
            rows = session.execute(query).all()
            self._seen = max((row.row for row in rows), default=self._seen)
            return [
                SentMail(
                    mail_id=row.id,
                    template=row.template.partition("@")[0],
                    to=row.rcpt_to,
                    raw=content_of(session, row.id),
                )
                for row in rows
            ]

        return self.store.read(read)

    def applications(self) -> list[tuple[str, str]]:
        """(receipt number, state) of every application."""
        query = select(Application.receipt_number, Application.state).order_by(Application.receipt_number)
        return [(row.receipt_number, row.state) for row in self.store.read(lambda s: s.execute(query).all())]

    def application(self, receipt: str) -> Application:
        query = select(Application).where(Application.receipt_number == receipt)
        return self.store.read(lambda session: session.scalars(query).one())

    def files_of(self, receipt: str) -> list[tuple[str, str]]:
        """(kind, name) of the files of an application."""
        query = (
            select(ApplicationAttachment.kind, ApplicationAttachment.name)
            .join(Application, Application.id == ApplicationAttachment.application_id)
            .where(Application.receipt_number == receipt)
            .order_by(ApplicationAttachment.id)
        )
        return [(row.kind, row.name) for row in self.store.read(lambda s: s.execute(query).all())]

    def address(self, pattern: str) -> str:
        """An address of the support domain with what only the store and the keys know filled in.

        {token} is the contact's token of the case, {token:<address>} another addressee's, {notice} the bounce
        address of the latest notice to the contact.
        """
        if "{notice}" in pattern:
            return pattern.replace(
                "bounce+{notice}", case_tokens.bounce_local_part(self.desk.token_key, self._notice())
            )
        head, opening, rest = pattern.partition("{token")
        if not opening:
            return pattern
        person, _, tail = rest.partition("}")
        receipt = head.removeprefix("case+").rstrip(".")
        return head + case_tokens.case_token(self.desk.token_key, receipt, person.lstrip(":") or CONTACT) + tail

    def _notice(self) -> int:
        query = select(Recipient.mail_id).where(Recipient.rcpt_to == CONTACT).order_by(Recipient.id.desc())
        return self.store.read(lambda session: session.scalars(query).first() or 0)

    def digest(self, tables: Sequence[type[Base]]) -> Mapping[str, str]:
        """A hash of every row of some tables, by the table's name."""
        return self.store.read(lambda session: {table.__tablename__: _digest(session, table) for table in tables})


def take_offices(store: Store, text: str, desk: DeskSettings, now: datetime) -> None:
    """Import an office file; its passwords are not what is tested, so they are not hashed."""
    contracts = read_contracts(text)
    hashes = {office.code: "not-hashed-here" for office in contracts.offices}
    since = now - timedelta(days=30)
    store.run(lambda session: import_contracts(session, contracts, desk, since, password_hashes=hashes))


def _digest(session: Session, table: type[Base]) -> str:
    found = hashlib.sha256()
    for row in _rows(session, table):
        found.update(repr(row).encode())
    return found.hexdigest()


def _rows(session: Session, table: type[Base]) -> Iterator[tuple[Any, ...]]:
    mapper = inspect(table)
    columns = list(mapper.local_table.columns)
    key = list(mapper.primary_key)
    for row in session.execute(select(*columns).order_by(*key)):
        yield tuple(row)
