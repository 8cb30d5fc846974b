"""An imported office and application mails of its people, as the tests of receiving need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.applications.receipt import receive
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.outcomes import Outcome
from storage.mail_queue import content_of
from storage.models import Mail, Office, Recipient
from storage.store import Store
from tests.handlers.applications.application_mails import form_with, inbound, mail_with
from tests.handlers.review_cases import DESK

CONTACT = "tsukan-hanako@applicant.example"
ADMINISTRATOR = "kanri@applicant.example"


def application_mail(now: datetime, raw: bytes | None = None, **envelope: Any) -> InboundMail:
    """The seed's application from the office's contact over a trusted network, unless said otherwise."""
    mail = inbound(mail_with() if raw is None else raw)
    return replace(mail, **{"received_at": now, **envelope})


def numbered(number: int) -> bytes:
    """The seed's application under a Message-ID of its own."""
    return mail_with().replace(b"<1@applicant.example>", f"<{number}@applicant.example>".encode())


def wrong_mail() -> bytes:
    """The seed's application with two wrong fields."""
    return mail_with(form_with({"申込担当者/電話番号": "012-0794-550", "申込担当者/氏名（名）": ""}))


def take_in(store: Store, mail: InboundMail, now: datetime, desk: DeskSettings = DESK) -> Outcome:
    """Receive a mail in a unit of work of its own."""
    return store.run(lambda session: receive(session, mail, desk, now))


def change_office(store: Store, change: Callable[[Office], None]) -> None:
    """Change the register's office CT0001."""

    def work(session: Session) -> None:
        change(session.scalars(select(Office).where(Office.code == "CT0001")).one())

    store.run(work)


def queued(store: Store) -> list[tuple[str, str]]:
    """(template, recipient) of what was queued, in the order in which it was."""
    query = select(Mail.template, Recipient.rcpt_to).join(Recipient, Recipient.mail_id == Mail.id)
    rows = store.read(lambda session: session.execute(query.order_by(Recipient.id)).all())
    return [(template.partition("@")[0], rcpt_to) for template, rcpt_to in rows]


def mail_to(store: Store, template: str, address: str) -> bytes:
    """The bytes of the latest mail of a template to an address."""
    query = (
        select(Mail.id)
        .join(Recipient, Recipient.mail_id == Mail.id)
        .where(Mail.template.startswith(f"{template}@"), Recipient.rcpt_to == address)
        .order_by(Mail.id.desc())
    )
    return store.read(lambda session: content_of(session, session.scalars(query).first() or 0))
