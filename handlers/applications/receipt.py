"""Receiving an application mail: answered, numbered and acknowledged, or held; each mail once.

An author is believed when the mail came from a trusted network and its one From mailbox is a registered contact or the
システム管理責任者 of the office named. A form with errors is answered to a trusted network only. Every other mail is
held, and nothing is sent to the address it came from.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from handlers import case_tokens, notices
from handlers.applications import register
from handlers.applications.checks import Accepted, AcceptedFile, Invalid, read_application
from handlers.applications.field_rules import ApplicationLimits
from handlers.applications.receipt_holds import Hold, HoldReason, hold
from handlers.applications.receipt_notices import Acceptance, send_invalid, send_received
from handlers.applications.receipt_numbers import take_receipt_number
from handlers.applications.receipt_repeats import Meeting, Recognition, recognise
from handlers.automatic_mail import why_automatic
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_mail import is_message_id
from handlers.notice_templates import shown
from handlers.notices import Addressee
from handlers.outcomes import Duplicate, Handled, Outcome, Refused
from handlers.workflow import State
from storage.models import Application, ApplicationAttachment, AuditEvent, Office
from storage.store import new_key

# Widths of the store's columns. What is cut is whole in the application's contents and in its mail.
_NAME_WIDTH = 80
_ACTOR_WIDTH = 80
_FILE_NAME_WIDTH = 255


def receive(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Outcome:
    """Handle a mail to the apply address; its effects are in the session. Raises TemplateFault."""
    automatic = why_automatic(mail, desk)
    if automatic is not None:
        return Refused(f"automatic mail, not answered: {automatic}")
    recognition = recognise(session, mail)
    if recognition.meeting is Meeting.REPEAT:
        return Duplicate(f"the same mail as {recognition.earlier_mail_id}")
    read = _read(session, mail, desk)
    office = _office_named(session, read)
    reason = _why_held(mail, read, office, recognition)
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
    return _accept(session, mail, desk, read, now)


def _read(session: Session, mail: InboundMail, desk: DeskSettings) -> Accepted | Invalid:
    limits = ApplicationLimits(
        greatest_count=desk.greatest_count, addresses_per_new_server=desk.addresses_per_new_server
    )
    return read_application(
        mail,
        lambda code: register.office_facts(session, code),
        today=jst_date(mail.received_at),
        limits=limits,
    )


def _office_named(session: Session, read: Accepted | Invalid) -> Office | None:
    code = read.contents.office_code if isinstance(read, Accepted) else read.office_code
    return None if code is None else register.find_office(session, code)


def _why_held(
    mail: InboundMail, read: Accepted | Invalid, office: Office | None, recognition: Recognition
) -> HoldReason | None:
    if recognition.meeting is Meeting.OTHER_CONTENT:
        return HoldReason.MESSAGE_ID_REUSED
    if mail.header_from is None:
        return HoldReason.NO_SINGLE_AUTHOR
    if not mail.trusted:
        return HoldReason.UNVERIFIED
    is_known = office is not None and register.is_registered(office, mail.header_from)
    return HoldReason.NOT_REGISTERED if isinstance(read, Accepted) and not is_known else None


def _author(mail: InboundMail, office: Office | None) -> Addressee:
    """The author of a mail that is answered, with name and office where the register has the address."""
    address = mail.header_from or ""
    known = notices.registered_people(office) if office is not None else []
    person = next((person for person in known if notices.same_address(person.email, address)), None)
    return person or Addressee(email=address, name="ご担当者")


def _accept(session: Session, mail: InboundMail, desk: DeskSettings, accepted: Accepted, now: datetime) -> Outcome:
    contents = accepted.contents
    receipt_number = take_receipt_number(session, mail.received_at)
    office = register.get_office(session, contents.office_code)
    open_cases = register.open_cases(session, office)
    application = _application(mail, desk, accepted, office, receipt_number, new_key(session))
    session.add(application)
    session.add_all(_attachment(new_key(session), application, file) for file in accepted.attachments)
    acceptance = Acceptance(
        mail=mail,
        application=application,
        contents=contents,
        office=office,
        lines=register.line_facts(
            session, office, (line.router_number for line in contents.lines), jst_date(mail.received_at)
        ),
        open_cases=open_cases,
        email_registered=register.is_registered(office, contents.applicant.email),
    )
    send_received(session, desk, acceptance, now)
    session.add(
        AuditEvent(
            id=new_key(session),
            occurred_at=now,
            actor=f"applicant:{mail.header_from}"[:_ACTOR_WIDTH],
            event="receive",
            subject=f"application:{receipt_number}",
            detail=f"mail {mail.mail_id} from {mail.header_from}",
        )
    )
    return Handled(f"received as {receipt_number}")


def _application(
    mail: InboundMail, desk: DeskSettings, accepted: Accepted, office: Office, receipt_number: str, identity: int
) -> Application:
    contents = accepted.contents
    message_id = mail.message_id or ""
    return Application(
        id=identity,
        receipt_number=receipt_number,
        office_id=office.id,
        mail_id=mail.mail_id,
        state=State.RECEIVED,
        arrived_at=mail.received_at,
        received_on=jst_date(mail.received_at),
        desired_start_date=contents.desired_start_date,
        applicant_name=contents.applicant.name[:_NAME_WIDTH],
        applicant_department=(contents.applicant.department or "")[:_NAME_WIDTH],
        applicant_email=contents.applicant.email,
        contents=contents.to_json(),
        case_token=case_tokens.case_token(desk.token_key, receipt_number, ""),
        last_message_id=message_id if is_message_id(message_id) else "",
    )


def _attachment(identity: int, application: Application, accepted: AcceptedFile) -> ApplicationAttachment:
    return ApplicationAttachment(
        id=identity,
        application_id=application.id,
        kind=accepted.role.value,
        name=shown(accepted.file.name)[:_FILE_NAME_WIDTH],
        size=len(accepted.file.content),
        content=accepted.file.content,
    )
