"""Mails about an application, as its people write them, and the desk that takes them up as the worker does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email import policy
from email.message import EmailMessage
from itertools import count
from typing import Any

from sqlalchemy import select, update

from handlers import desk_mail, reviews
from handlers.case_tokens import case_local_part
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.outcomes import Outcome
from handlers.reviews import Decided, Details
from handlers.workflow import Event
from storage.models import Application, CaseEntry
from storage.store import Store
from tests.handlers.applications.receipt_cases import CONTACT, application_mail
from tests.handlers.review_cases import CALENDAR, DESK

NUMBER = "260001A"
STATUS = "applicant/status-report"
NEWS = "reviewer/case-news"
REVIEWER = DESK.reviewer_address
STRANGER = "someone@elsewhere.example"

_message_ids = count(1000)


def written(
    text: str, *, sender: str = CONTACT, subject: str = "Re: 【NSS】お知らせ", files: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    """A mail with a Message-ID of its own."""
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = sender
    mail["To"] = "nss@nss.center.example"
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{next(_message_ids)}@applicant.example>"
    mail.set_content(text)
    for name, content in files:
        mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return mail.as_bytes()


def reply(
    now: datetime,
    text: str,
    *,
    sender: str = CONTACT,
    token_of: str = CONTACT,
    number: str = NUMBER,
    files: Sequence[tuple[str, bytes]] = (),
    **envelope: Any,
) -> InboundMail:
    """A reply to the case address of one addressee, from a trusted network unless said otherwise."""
    local_part = case_local_part(DESK.token_key, number, token_of)
    defaults = {"rcpt_to": f"{local_part}@nss.center.example", "mail_from": sender, "mail_id": next(_message_ids)}
    raw = envelope.pop("raw", None) or written(text, sender=sender, files=files)
    return application_mail(now, raw, **{**defaults, **envelope})


def to_apply(
    now: datetime, text: str, *, subject: str = "お問い合わせ", sender: str = CONTACT, **envelope: Any
) -> InboundMail:
    """A mail to the apply address."""
    raw = written(text, sender=sender, subject=subject)
    return application_mail(now, raw, **{"mail_id": next(_message_ids), "mail_from": sender, **envelope})


def take_up(store: Store, mail: InboundMail, now: datetime, desk: DeskSettings = DESK) -> Outcome:
    """Prepare a mail and handle it, each in a transaction of its own."""
    prepared = store.read(lambda session: desk_mail.prepare(session, mail, desk, now))
    return store.run(lambda session: desk_mail.handle(session, mail, desk, now, prepared))


def decided(store: Store, event: Event, now: datetime, **details: Any) -> Decided:
    """What a reviewer decides."""
    said = Details(**details)
    result = store.run(lambda session: reviews.decide(session, DESK, NUMBER, event, "os:shinsa", now, CALENDAR, said))
    assert isinstance(result, Decided), result
    return result


def entries(store: Store, kind: str | None = None) -> list[CaseEntry]:
    """What the history of the applications says, oldest first."""
    query = select(CaseEntry).order_by(CaseEntry.id)
    if kind is not None:
        query = query.where(CaseEntry.kind == kind)
    return list(store.read(lambda session: session.scalars(query).all()))


def application(store: Store, number: str = NUMBER) -> Application:
    """The application of that number."""
    query = select(Application).where(Application.receipt_number == number)
    return store.read(lambda session: session.scalars(query).one())


def change_application(store: Store, **values: Any) -> None:
    """Set columns of every application."""
    store.run(lambda session: session.execute(update(Application).values(**values)))
