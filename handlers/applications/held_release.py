"""Releasing held mail: a reviewer vouches for it.

A release runs the normal acceptance or case reply, dated by the mail's arrival, by the register of today. A form with
errors is answered to the registered person who wrote it or whom it names; where there is none, the mail stays held.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import case_history, case_replies, case_tokens, notices
from handlers.applications import reading, receipt
from handlers.applications.authenticity import released
from handlers.applications.checks import Accepted, Invalid
from handlers.applications.field_rules import ApplicationLimits, FieldError, RuleContext
from handlers.applications.form_sources import find_form
from handlers.applications.held_mails import HeldMail, expire, held, held_bytes
from handlers.applications.receipt_notices import send_invalid
from handlers.calendar import BusinessCalendar, jst_date
from handlers.case_history import EntryKind
from handlers.desk import DeskSettings
from handlers.mail import InboundMail, parse_address
from handlers.mail_search import in_state
from handlers.notices import Addressee
from handlers.outcomes import Handled, Outcome, Refused
from storage.mail_queue import content_of
from storage.models import Application, AuditEvent, Mail, Office, Recipient
from storage.savepoint import whole_or_nothing
from storage.states import Direction, State
from storage.store import new_key

__all__ = ["HeldMail", "NotReleased", "ReleaseReason", "Released", "expire", "held", "held_bytes", "release"]


class ReleaseReason(StrEnum):
    """Why nothing was released."""

    NOT_FOUND = "not_found"  # no mail has this id
    NOT_HELD = "not_held"  # detail: the state it is in
    NO_CASE = "no_case"  # the mail is about an application that is not there, or about several
    INVALID = "invalid"  # its form has errors, and nobody registered could be told


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReleased:
    """Nothing was done; the mail stays as it was. `errors` are those of its form."""

    reason: ReleaseReason
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The mail was released: its state now, what was done, and the application it made or is about, if any."""

    mail_id: int
    state: State
    said: str
    receipt_number: str | None


class _Stays(Exception):
    def __init__(self, refusal: NotReleased) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def release(
    session: Session, desk: DeskSettings, mail_id: int, actor: str, now: datetime, calendar: BusinessCalendar
) -> Released | NotReleased:
    """Let a held mail act as if its author had been believed, whole or not at all. Raises TemplateFault.

    `actor` is os:<user>. A mail held for several recipients is released for the first of them.
    """
    row = session.scalars(
        select(Recipient)
        .where(Recipient.mail_id == mail_id, Recipient.direction == Direction.INBOUND, in_state(State.HELD))
        .order_by(Recipient.id)
        .with_for_update()
    ).first()
    if row is None:
        return _not_held(session, mail_id)
    mail = _inbound(session, session.get_one(Mail, mail_id), row)
    try:
        with whole_or_nothing(session):
            _audit(session, mail_id, actor, "mail_released", f"to {case_tokens.masked(row.rcpt_to)}", now)
            outcome, application = _act(session, desk, mail, actor, now, calendar)
            row.state, row.last_reply, row.finished_at = outcome.state, outcome.reason[:512], now
            session.flush()
    except _Stays as stays:
        return stays.refusal
    number = None if application is None else application.receipt_number
    return Released(mail_id=mail_id, state=outcome.state, said=outcome.reason, receipt_number=number)


def _act(
    session: Session, desk: DeskSettings, mail: InboundMail, actor: str, now: datetime, calendar: BusinessCalendar
) -> tuple[Outcome, Application | None]:
    meant = case_replies.meant_by_address(session, mail, desk) or case_replies.meant_by_number(session, mail)
    if meant is not None:
        if meant.application is None:
            raise _Stays(NotReleased(reason=ReleaseReason.NO_CASE, detail=meant.number))
        outcome = case_replies.act_released(session, mail, desk, now, meant.application, actor, calendar)
        return outcome, meant.application
    read = reading.read(session, mail, desk).result
    office = receipt.office_named(session, read)
    if isinstance(read, Invalid):
        return _answer_errors(session, desk, mail, read, office, now), None
    return _accept(session, desk, mail, read, office, actor, now, calendar)


def _accept(
    session: Session,
    desk: DeskSettings,
    mail: InboundMail,
    read: Accepted,
    office: Office | None,
    actor: str,
    now: datetime,
    calendar: BusinessCalendar,
) -> tuple[Outcome, Application]:
    verdict = released(actor, office, mail)
    application = receipt.accept(session, mail, desk, read, verdict, now, calendar)
    case_history.record(session, application, EntryKind.RELEASED, actor, now, mail_id=mail.mail_id)
    return Handled(f"released and received as {application.receipt_number}"), application


def _answer_errors(
    session: Session, desk: DeskSettings, mail: InboundMail, read: Invalid, office: Office | None, now: datetime
) -> Outcome:
    to = _registered_person(mail, office)
    if to is None:
        raise _Stays(NotReleased(reason=ReleaseReason.INVALID, errors=read.errors))
    send_invalid(session, desk, mail, to, read.errors, now)
    return Refused(f"released with {len(read.errors)} errors, answered to a registered person")


def _registered_person(mail: InboundMail, office: Office | None) -> Addressee | None:
    """The registered person who wrote the mail, or whom its form names as 申込担当者."""
    if office is None:
        return None
    context = RuleContext(today=jst_date(mail.received_at), limits=ApplicationLimits())
    form = find_form(mail, context, amending=False).form
    named = [] if form is None else [block.value("email") for block in form.of("applicant")]
    wanted = [mail.header_from, *(parse_address(email) for email in named)]
    people = notices.registered_people(office)
    found = (person for email in wanted if email for person in people if notices.same_address(person.email, email))
    return next(found, None)


def _not_held(session: Session, mail_id: int) -> NotReleased:
    query = select(Recipient.state).where(Recipient.mail_id == mail_id).order_by(Recipient.id)
    state = session.scalars(query.limit(1)).first()
    if state is None:
        return NotReleased(reason=ReleaseReason.NOT_FOUND, detail=str(mail_id))
    return NotReleased(reason=ReleaseReason.NOT_HELD, detail=state)


def _inbound(session: Session, mail: Mail, row: Recipient) -> InboundMail:
    """The mail as it arrived; nothing is believed of it here."""
    return InboundMail(
        mail_id=mail.id,
        listener=mail.listener,
        peer=mail.peer,
        helo=mail.helo_name,
        mail_from=mail.mail_from,
        rcpt_to=row.rcpt_to,
        received_at=mail.received_at,
        trusted=False,
        raw=content_of(session, mail.id),
        signed_by=tuple(mail.signed_by.split()),
    )


def _audit(session: Session, mail_id: int, actor: str, event: str, detail: str, now: datetime) -> None:
    session.add(
        AuditEvent(
            id=new_key(session), occurred_at=now, actor=actor, event=event, subject=f"mail:{mail_id}", detail=detail
        )
    )
