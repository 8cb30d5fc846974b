"""Notices: name + addressee + values -> a rendered mail in the outbound queue, in the caller's transaction.

A notice that cannot be written raises TemplateFault and sends nothing. Every mail about an application leaves
by one lane, so that its notices arrive in the order in which they were sent; the others go by recipient.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from handlers import case_tokens
from handlers.desk import DeskSettings, SupportDesk
from handlers.mail import parse_address
from handlers.notice_mail import NoticeHeader, NoticePart, build
from handlers.notice_templates import one_line, render
from handlers.outcomes import TemplateFault
from storage.mail_queue import Origin, enqueue
from storage.models import Application, Contact, Office
from storage.store import new_key

# RFC 3834 §4: an automatic reply has a null sender, so that nothing can be sent back to it.
_ERROR_REPLIES = frozenset({"applicant/application-invalid", "applicant/amendment-invalid"})
# RFC 3834 §5: what answers one mail, to its author.
_REPLIES = _ERROR_REPLIES | {"applicant/blank-form", "applicant/schedule", "applicant/status-report"}
# Their addressee may be of any office, or of none.
_ALWAYS_BILINGUAL = _ERROR_REPLIES
_APPLICANTS = "applicant/"
_REVIEWERS = "reviewer/"
_TEST_MARK = "【テスト】"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """Who is written to. `administrator`: as システム管理責任者, with a copy of what another asked for.

    `bilingual`: the office wants its mails in English too.
    """

    email: str
    company: str = ""
    office: str = ""
    department: str = ""
    name: str = ""
    administrator: bool = False
    bilingual: bool = False

    @property
    def affiliation(self) -> str:
        """企業名 事業所名 部課, as the salutation has it."""
        return " ".join(part for part in (self.company, self.office, self.department) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A mail to be sent: the folder of its template (`audience/name`), its addressee and the values it shows.

    Templates also see `addressee`, `bilingual`, `support` (Support) and, with an application, `case` (Case). Without
    `reply_to` answers go to the case, or to the apply address where there is none. `thread` is the Message-ID
    that is answered; without it the notice is filed under its application.
    """

    name: str
    to: Addressee
    application: Application | None = None
    context: Mapping[str, object] = field(default_factory=dict)
    reply_to: str | None = None
    thread: str = ""
    parts: tuple[NoticePart, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What every template may print of the settings; no key is among it."""

    domain: str
    from_address: str
    apply_address: str
    portal_url: str
    package_url: str
    desks: tuple[SupportDesk, ...]
    test_system: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What every template may print of the application it is about.

    `address_unknown`: replies from its notice address do not act, since nobody of the office is registered with it and
    no reviewer accepted it.
    """

    receipt_number: str
    received_on: date
    desired_start_date: date
    start_date: date | None
    applicant_name: str
    applicant_email: str
    address_unknown: bool


def send(session: Session, desk: DeskSettings, notice: Notice, now: datetime) -> int:
    """Render the notice and queue it; returns its mail id. Raises TemplateFault, with nothing queued."""
    application = notice.application
    mail_id = new_key(session)
    message_id = f"<{mail_id}@{desk.support_domain}>"
    standing = _standing_values(session, desk, notice)
    rendered = render(notice.name, {**notice.context, **standing}, bilingual=_is_bilingual(notice))
    is_error_reply = notice.name in _ERROR_REPLIES
    header = NoticeHeader(
        from_address=desk.from_address,
        to=notice.to.email,
        reply_to=notice.reply_to or _reply_address(desk, notice),
        subject=(_TEST_MARK if desk.test_marks else "") + rendered.subject,
        message_id=message_id,
        thread=notice.thread or (application.last_message_id if application else ""),
        auto_submitted="auto-replied" if notice.name in _REPLIES else "auto-generated",
    )
    content = build(header, rendered.body, notice.parts, now)
    bounces = f"{case_tokens.bounce_local_part(desk.token_key, mail_id)}@{desk.support_domain}"
    sender = "" if is_error_reply else bounces
    origin = Origin(
        listener="gateway",
        mail_from=sender,
        message_id=message_id,
        template=rendered.template,
        application_id=application.id if application else None,
    )
    enqueue(session, origin, lane_of(desk, notice), sender, notice.to.email, content, now, mail_id=mail_id)
    if application is not None and not application.last_message_id:
        application.last_message_id = message_id
    return mail_id


def send_all(session: Session, desk: DeskSettings, notices: Iterable[Notice], now: datetime) -> list[int]:
    """Send several; their lanes are locked in the order of the lanes' names, as every writer does."""
    ordered = sorted(notices, key=lambda notice: lane_of(desk, notice))
    return [send(session, desk, notice, now) for notice in ordered]


def send_to_both(
    session: Session,
    desk: DeskSettings,
    application: Application,
    name: str,
    context: Mapping[str, object],
    now: datetime,
) -> list[int]:
    """Send to 申込担当者 and システム管理責任者, one mail each; one person in both roles gets one mail.

    Where the register has no usable administrator address, the reviewer is told that no copy went out.
    """
    office = session.get_one(Office, application.office_id)
    addressees = both(application, office)
    notices = [Notice(name=name, to=to, application=application, context=context) for to in addressees]
    if administrator(office) is None:
        notices.append(
            Notice(
                name="reviewer/no-administrator-address",
                to=reviewer(desk),
                application=application,
                context={"notice_name": name.rpartition("/")[2], "office_code": office.code},
            )
        )
    return send_all(session, desk, notices, now)


def both(application: Application, office: Office) -> list[Addressee]:
    """申込担当者 and, where it is another address (ASCII case does not count), システム管理責任者."""
    applicant = Addressee(
        email=application.applicant_email,
        company=office.company_name,
        office=office.name,
        department=application.applicant_department,
        name=application.applicant_name,
        bilingual=office.bilingual,
    )
    copy = administrator(office)
    if copy is None or same_address(copy.email, applicant.email):
        return [applicant]
    return [applicant, copy]


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are the same, in ASCII and without regard to case."""
    return one.isascii() and other.isascii() and one.lower() == other.lower()


def administrator(office: Office) -> Addressee | None:
    """The office's システム管理責任者, or None when the register has no address to write to."""
    if parse_address(office.administrator_email) is None:
        return None
    return Addressee(
        email=office.administrator_email,
        company=office.company_name,
        office=office.name,
        department=office.administrator_department,
        name=office.administrator_name or "システム管理責任者",
        administrator=True,
        bilingual=office.bilingual,
    )


def contact(office: Office, person: Contact) -> Addressee:
    """A person of the register who may apply for the office."""
    return Addressee(
        email=person.email,
        company=office.company_name,
        office=office.name,
        department=person.department,
        name=person.name,
        bilingual=office.bilingual,
    )


def registered_people(office: Office) -> list[Addressee]:
    """Contacts and システム管理責任者 of the register, each usable address once."""
    people = [contact(office, person) for person in office.contacts]
    people += [person for person in (administrator(office),) if person is not None]
    by_address: dict[str, Addressee] = {}
    for person in people:
        if parse_address(person.email) is not None:
            by_address.setdefault(person.email.lower(), person)
    return list(by_address.values())


def person_of(session: Session, email: str) -> Addressee | None:
    """The contact or システム管理責任者 with that address; None unless just one office of the register has it."""
    key = email.lower()
    if not key or not email.isascii():
        return None
    ids = select(Contact.office_id).where(func.lower(Contact.email) == key)
    query = select(Office).where(or_(Office.id.in_(ids), func.lower(Office.administrator_email) == key)).limit(2)
    offices = session.scalars(query).all()
    if len(offices) != 1:
        return None
    return next((person for person in registered_people(offices[0]) if same_address(person.email, email)), None)


def reviewer(desk: DeskSettings) -> Addressee:
    """Whoever reviews applications."""
    return Addressee(email=desk.reviewer_address, name="審査担当者")


def operator(desk: DeskSettings) -> Addressee:
    """Whoever runs the gateway."""
    return Addressee(email=desk.operator_address, name="運用担当者")


def lane_of(desk: DeskSettings, notice: Notice) -> str:
    """The smarthost lane of a notice: always the same one for an application, or else for a recipient."""
    application = notice.application
    key = application.receipt_number if application else notice.to.email.lower()
    return f"smarthost:{zlib.crc32(key.encode()) % desk.smarthost_lanes}"


def _reply_address(desk: DeskSettings, notice: Notice) -> str:
    if notice.name.startswith(_REVIEWERS):
        return desk.reviewer_address  # among themselves: a reviewer decides by command, not by a reply to the case
    if notice.application is None:
        return desk.apply_address
    local_part = case_tokens.case_local_part(desk.token_key, notice.application.receipt_number, notice.to.email)
    return f"{local_part}@{desk.support_domain}"


def _is_bilingual(notice: Notice) -> bool:
    return notice.name in _ALWAYS_BILINGUAL or (notice.to.bilingual and notice.name.startswith(_APPLICANTS))


def _standing_values(session: Session, desk: DeskSettings, notice: Notice) -> dict[str, object]:
    values: dict[str, object] = {
        "addressee": _harmless(notice.to),
        "bilingual": _is_bilingual(notice),
        "support": Support(
            domain=desk.support_domain,
            from_address=desk.from_address,
            apply_address=desk.apply_address,
            portal_url=desk.portal_url,
            package_url=desk.package_url,
            desks=desk.desks,
            test_system=desk.test_marks,
        ),
    }
    if notice.application is not None:
        values["case"] = _case(session, notice.application)
    overridden = values.keys() & notice.context.keys()
    if overridden:
        raise TemplateFault(f"{notice.name}: {', '.join(sorted(overridden))} must not be given")
    return values


def _harmless(to: Addressee) -> Addressee:
    """The salutation takes a line for who it is and one for the name, whatever the register says."""
    return replace(
        to,
        company=one_line(to.company),
        office=one_line(to.office),
        department=one_line(to.department),
        name=one_line(to.name),
    )


def _case(session: Session, application: Application) -> Case:
    people = registered_people(session.get_one(Office, application.office_id))
    registered = any(same_address(person.email, application.applicant_email) for person in people)
    return Case(
        receipt_number=application.receipt_number,
        received_on=application.received_on,
        desired_start_date=application.desired_start_date,
        start_date=application.start_date,
        applicant_name=one_line(application.applicant_name),
        applicant_email=application.applicant_email,
        address_unknown=not registered and not application.address_accepted,
    )
