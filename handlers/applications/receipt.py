"""Receiving an application mail: answered, numbered and acknowledged, or held; each mail once.

A form with errors is answered to a verified author only, and an application is accepted from those who are believed
(`authenticity`). Every other mail is held, and nothing is sent to the address it came from.
"""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy.orm import Session

from handlers import case_history, desk_jobs, notices
from handlers.applications import reading, register
from handlers.applications.application_rows import new_application, new_attachment
from handlers.applications.authenticity import Verdict, believed, verified_by
from handlers.applications.checks import Accepted, Invalid
from handlers.applications.reading import Reading
from handlers.applications.receipt_holds import Hold, HoldReason, hold
from handlers.applications.receipt_notices import Acceptance, send_invalid, send_received
from handlers.applications.receipt_numbers import take_receipt_number
from handlers.applications.receipt_repeats import Meeting, Recognition, recognise
from handlers.automatic_mail import why_automatic
from handlers.business_days import calendar_of
from handlers.calendar import BusinessCalendar, jst_date
from handlers.case_history import EntryKind
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notices import Addressee
from handlers.outcomes import Duplicate, Handled, Outcome, Refused
from storage.models import Application, AuditEvent, Office
from storage.store import new_key

_ACTOR_WIDTH = 80


def receive(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, prepared: Reading | None = None
) -> Outcome:
    """Handle a mail to the apply address; its effects are in the session. Raises TemplateFault.

    `prepared` is what was read of its form beforehand.
    """
    automatic = why_automatic(mail, desk)
    if automatic is not None:
        return Refused(f"automatic mail, not answered: {automatic}")
    recognition = recognise(session, mail)
    if recognition.meeting is Meeting.REPEAT:
        return Duplicate(f"the same mail as {recognition.earlier_mail_id}")
    read = reading.renewed(session, mail, desk, prepared).result
    office = office_named(session, read)
    verdict = believed(mail, office)
    reason = _why_held(mail, read, verdict, recognition)
    if reason is not None:
        held = Hold(
            mail=mail,
            reason=reason,
            office=office,
            error_count=len(read.errors) if isinstance(read, Invalid) else 0,
            earlier_mail_id=recognition.earlier_mail_id,
        )
        return hold(session, desk, held, now)
    if isinstance(read, Invalid):
        send_invalid(session, desk, mail, _author(mail, office), read.errors, now)
        return Refused(f"application with {len(read.errors)} errors, answered to its author")
    application = accept(session, mail, desk, read, verdict, now)
    return Handled(f"received as {application.receipt_number}")


def office_named(session: Session, read: Accepted | Invalid) -> Office | None:
    """The registered office that the form names, if it names one."""
    code = read.contents.office_code if isinstance(read, Accepted) else read.office_code
    return None if code is None else register.find_office(session, code)


def _why_held(
    mail: InboundMail, read: Accepted | Invalid, verdict: Verdict, recognition: Recognition
) -> HoldReason | None:
    if recognition.meeting is Meeting.OTHER_CONTENT:
        return HoldReason.MESSAGE_ID_REUSED
    if isinstance(read, Invalid) and verified_by(mail):
        return None
    return verdict.doubt


def _author(mail: InboundMail, office: Office | None) -> Addressee:
    """The author of a mail that is answered, with name and office where the register has the address."""
    address = mail.header_from or ""
    known = notices.registered_people(office) if office is not None else []
    person = next((person for person in known if notices.same_address(person.email, address)), None)
    return person or Addressee(email=address, name="ご担当者")


def accept(
    session: Session,
    mail: InboundMail,
    desk: DeskSettings,
    accepted: Accepted,
    verdict: Verdict,
    now: datetime,
    calendar: BusinessCalendar | None = None,
) -> Application:
    """Number the application, keep it, tell everybody and plan what the clock does about it.

    Number and day are those of the mail's arrival.
    """
    contents = accepted.contents
    receipt_number = take_receipt_number(session, mail.received_at)
    office = register.get_office(session, contents.office_code)
    open_cases = register.open_cases(session, office)
    application = new_application(session, desk, mail, contents, office, receipt_number)
    application.sender_verdict = verdict.why
    session.add(application)
    session.add_all(new_attachment(session, application, file) for file in accepted.attachments)
    session.flush()
    acceptance = Acceptance(
        mail=mail,
        application=application,
        contents=contents,
        office=office,
        lines=register.line_facts(
            session, office, (line.router_number for line in contents.lines), jst_date(mail.received_at)
        ),
        open_cases=open_cases,
    )
    send_received(session, desk, acceptance, now)
    _record(session, mail, application, now)
    desk_jobs.plan(session, desk, application, calendar or calendar_of(session, jst_date(now)), now)
    return application


def _record(session: Session, mail: InboundMail, application: Application, now: datetime) -> None:
    actor = f"applicant:{mail.header_from or 'unknown'}"
    case_history.record(
        session,
        application,
        EntryKind.RECEIVED,
        actor,
        now,
        mail_id=mail.mail_id,
        detail=json.dumps({"believed": application.sender_verdict}, ensure_ascii=False),
    )
    session.add(
        AuditEvent(
            id=new_key(session),
            occurred_at=now,
            actor=actor[:_ACTOR_WIDTH],
            event="receive",
            subject=f"application:{application.receipt_number}",
            detail=f"mail {mail.mail_id} from {mail.header_from}",
        )
    )
