"""Mails about an application: which one they mean, whether their author may act on it, and holding all others.

A case address `case+<receipt>.<token>@` finds the case and authorises nothing. A mail without a valid token that names
the number of one open application joins it, when it comes from a registered person or the accepted notice address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import case_actions, case_tokens, documents, notices, unanswered_mail
from handlers.applications import reading, register
from handlers.applications.authenticity import believed_about, released
from handlers.applications.field_rules import ApplicationLimits, RuleContext
from handlers.applications.form import ParsedForm
from handlers.applications.form_sources import find_form
from handlers.applications.receipt_holds import Hold, HoldReason, hold
from handlers.applications.receipt_repeats import Meeting, recognise
from handlers.automatic_mail import why_absent
from handlers.business_days import calendar_of
from handlers.calendar import BusinessCalendar, jst_date
from handlers.case_actions import Reply
from handlers.case_marks import Mark, read_marks, receipt_numbers
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notices import Addressee
from handlers.outcomes import Duplicate, Outcome
from handlers.preparation import Prepared
from handlers.workflow import TRANSITIONS, Event, State
from storage.models import Application, Office


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """The application a mail is about. `number` is what it says, also where there is none of that number.

    `doubt`: why the mail cannot join it, whoever wrote it.
    """

    number: str
    application: Application | None = None
    doubt: HoldReason | None = None


def meant_by_address(session: Session, mail: InboundMail, desk: DeskSettings) -> Meant | None:
    """The application of the case address the mail was sent to; None when it is no case address."""
    case = case_tokens.read_case(mail.rcpt_to.rpartition("@")[0])
    if case is None:
        return None
    application = _find(session, case.receipt_number)
    if application is None:
        return Meant(number=case.receipt_number, doubt=HoldReason.CASE_UNKNOWN)
    if not _has_token(session, mail, desk, case, application):
        return _without_token(application)
    return Meant(number=application.receipt_number, application=application)


def meant_by_number(session: Session, mail: InboundMail) -> Meant | None:
    """The application whose number a mail to the apply address names; None when it is an application of its own."""
    numbers = receipt_numbers(mail)
    if not numbers or _is_application(mail):
        return None
    found = session.scalars(select(Application).where(Application.receipt_number.in_(numbers))).all()
    if not found:
        return None
    if len(found) > 1:
        return Meant(number="", doubt=HoldReason.SEVERAL_CASES)
    return _without_token(found[0])


def receive(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, meant: Meant, prepared: Prepared | None
) -> Outcome:
    """Act on a mail about a case, or hold it; its effects are in the session. Raises TemplateFault, CaseChanged."""
    said = read_marks(mail)
    absent = why_absent(mail) if said.mark is None else None
    if absent is not None:
        return unanswered_mail.refuse(session, mail, desk, absent, now)
    recognition = recognise(session, mail, about=f"case:{meant.number}")
    if recognition.meeting is Meeting.REPEAT:
        return Duplicate(f"the same mail as {recognition.earlier_mail_id}")
    application, office = meant.application, _office(session, meant.application)
    reason = HoldReason.MESSAGE_ID_REUSED if recognition.meeting is Meeting.OTHER_CONTENT else meant.doubt
    if application is not None and office is not None:
        verdict = believed_about(mail, application, office)
        reason = reason or verdict.doubt
        if reason is None:
            reply = Reply(
                session=session,
                mail=mail,
                desk=desk,
                now=now,
                application=application,
                author=_answered(mail, application, office),
                said=said,
                prepared=prepared,
                calendar=calendar_of(session, jst_date(now)),
            )
            return case_actions.act(reply)
    held = Hold(
        mail=mail,
        reason=reason or HoldReason.CASE_UNKNOWN,
        office=office,
        earlier_mail_id=recognition.earlier_mail_id,
        receipt_number=meant.number,
    )
    return hold(session, desk, held, now)


def act_released(
    session: Session,
    mail: InboundMail,
    desk: DeskSettings,
    now: datetime,
    application: Application,
    actor: str,
    calendar: BusinessCalendar,
) -> Outcome:
    """Act on a mail about a case that a reviewer released, whoever wrote it."""
    office = session.get_one(Office, application.office_id)
    reply = Reply(
        session=session,
        mail=mail,
        desk=desk,
        now=now,
        application=application,
        author=_answered(mail, application, office),
        said=read_marks(mail),
        prepared=None,
        calendar=calendar,
    )
    return case_actions.act(reply, released(actor, office, mail))


def prepare(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, meant: Meant) -> Prepared:
    """What takes long about a mail about a case: its form, or the documents it asks for. Writes nothing."""
    application, office = meant.application, _office(session, meant.application)
    if application is None or office is None or meant.doubt:
        return Prepared(mail=mail)
    if not believed_about(mail, application, office).authentic:
        return Prepared(mail=mail)
    mark = case_actions.mark_in_force(mail, read_marks(mail), application)
    amends = mark is Mark.AMENDMENT and (State(application.state), Event.AMEND) in TRANSITIONS
    wanted = documents.allowed(session, application, jst_date(now)) if mark is Mark.QUESTION else ()
    return Prepared(
        mail=mail,
        reading=reading.read(session, mail, desk, base=application.contents) if amends else None,
        application_id=application.id,
        row_version=application.row_version,
        documents=wanted,
    )


def _find(session: Session, number: str) -> Application | None:
    return session.scalars(select(Application).where(Application.receipt_number == number)).first()


def _office(session: Session, application: Application | None) -> Office | None:
    return None if application is None else session.get_one(Office, application.office_id)


def _without_token(application: Application) -> Meant:
    is_open = application.state in register.OPEN_STATES
    return Meant(
        number=application.receipt_number,
        application=application,
        doubt=None if is_open else HoldReason.CASE_CLOSED,
    )


def _has_token(
    session: Session, mail: InboundMail, desk: DeskSettings, case: case_tokens.CaseAddress, application: Application
) -> bool:
    """Whether the token was given to anybody who gets mails about the case, or to the author of this one."""
    office = session.get_one(Office, application.office_id)
    given_to = [person.email for person in notices.registered_people(office)]
    given_to += [application.applicant_email, desk.reviewer_address, mail.header_from or "", ""]
    return any(case_tokens.is_of(case, desk.token_key, email) for email in given_to)


def _is_application(mail: InboundMail) -> bool:
    """Whether a mail holds an application of its own: a whole form, or without a mark any form at all."""
    has_mark = read_marks(mail).mark is not None
    context = RuleContext(today=jst_date(mail.received_at), limits=ApplicationLimits())
    form = find_form(mail, context, amending=has_mark).form
    return form is not None and (_is_whole(form) if has_mark else bool(form.blocks))


def _is_whole(form: ParsedForm) -> bool:
    """What an application cannot do without and an amendment does not repeat."""
    names_office = any(block.value("office_code") for block in form.of("application"))
    return names_office and bool(form.of("applicant"))


def _answered(mail: InboundMail, application: Application, office: Office) -> Addressee:
    """Who is answered: the author where the case knows them, else 申込担当者; never an address of a stranger."""
    known: Sequence[Addressee] = (*notices.both(application, office), *notices.registered_people(office))
    author = mail.header_from or ""
    return next((person for person in known if notices.same_address(person.email, author)), known[0])
