"""Notices made again from what the store knows of an application, for a look at them before they are sent.

They are queued by the functions that send them, so a preview says what the mail would say: the caller takes
everything back. Where the store does not know what a person would write, a mark stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handlers import case_notices, id_notices, notices
from handlers.allocation_order import Change, TerminalChange
from handlers.amendments import FieldChange
from handlers.applications import receipt_notices, register
from handlers.applications.contents import ApplicationContents
from handlers.calendar import BusinessCalendar, jst_date
from handlers.case_history import EntryKind, last_of, parts
from handlers.case_notices import ReminderKind
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notices import Notice
from storage.mail_queue import content_of
from storage.models import Application, Line, LogicalTerminal, Mail, MailAddress, Office, Recipient, Work

_WORDS = "（ここに、審査担当者または申込者が書いた文が入ります）"


class NotPreviewed(Exception):
    """There is nothing to make the notice from: `japanese` and `english` say why."""

    def __init__(self, japanese: str, english: str) -> None:
        super().__init__(english)
        self.japanese = japanese
        self.english = english


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The application a notice is made for."""

    session: Session
    desk: DeskSettings
    application: Application
    calendar: BusinessCalendar
    now: datetime

    @property
    def start(self) -> date:
        """利用開始日, which many notices are about."""
        if self.application.start_date is None:
            raise NotPreviewed("利用開始日がまだ確定していません", "the start date is not confirmed yet")
        return self.application.start_date

    def words(self, kind: EntryKind) -> str:
        """What was written last, or a mark in its place."""
        entry = last_of(self.session, self.application, kind)
        return entry.words if entry is not None and entry.words else _WORDS


def preview(
    session: Session,
    desk: DeskSettings,
    application: Application,
    name: str,
    calendar: BusinessCalendar,
    now: datetime,
) -> None:
    """Queue the notice `audience/name` about the application. Raises NotPreviewed, TemplateFault."""
    make = PREVIEWS.get(name)
    if make is None:
        raise NotPreviewed(
            "このお知らせは、受け付けた申込からは作られません", "this notice is not made from an application"
        )
    make(Subject(session=session, desk=desk, application=application, calendar=calendar, now=now))


def _received(subject: Subject) -> None:
    session, application = subject.session, subject.application
    contents = ApplicationContents.from_json(application.contents)
    office = session.get_one(Office, application.office_id)
    numbers = (line.router_number for line in contents.lines)
    acceptance = receipt_notices.Acceptance(
        mail=_mail_of(session, application),
        application=application,
        contents=contents,
        office=office,
        lines=register.line_facts(session, office, numbers, application.received_on),
        open_cases=[
            case for case in register.open_cases(session, office) if case.receipt_number != application.receipt_number
        ],
    )
    receipt_notices.send_received(session, subject.desk, acceptance, subject.now)


def _mail_of(session: Session, application: Application) -> InboundMail:
    """The mail that brought the application, read again."""
    row = session.get(Mail, application.mail_id)
    if row is None:
        raise NotPreviewed("申込のメールが残っていません", "the mail of the application is not in the store")
    rcpt_to = session.scalars(select(Recipient.rcpt_to).where(Recipient.mail_id == row.id)).first()
    return InboundMail(
        mail_id=row.id,
        listener=row.listener,
        peer=row.peer,
        helo=row.helo_name,
        mail_from=row.mail_from,
        rcpt_to=rcpt_to or "",
        received_at=row.received_at,
        trusted=False,
        raw=content_of(session, row.id),
    )


def _review_complete(subject: Subject) -> None:
    _ = subject.start
    contents = ApplicationContents.from_json(subject.application.contents)
    id_notices.send_review_complete(
        subject.session,
        subject.desk,
        subject.application,
        subject.calendar,
        subject.now,
        needs_system_settings=contents.needs_system_settings,
    )


def _id_notice(subject: Subject) -> None:
    _ = subject.start
    changes = tuple(_changes(subject.session, subject.application))
    id_notices.send_id_notice(subject.session, subject.desk, subject.application, changes, subject.now)


def _changes(session: Session, application: Application) -> Iterator[TerminalChange]:
    """The terminals that the application added, changed and deleted, as they were issued."""
    extended = select(MailAddress.terminal_id).where(MailAddress.application_id == application.id)
    of_case = or_(
        LogicalTerminal.application_id == application.id,
        LogicalTerminal.ended_by == application.id,
        LogicalTerminal.id.in_(extended),
    )
    for terminal in session.scalars(select(LogicalTerminal).where(of_case).order_by(LogicalTerminal.id)):
        change = Change.CHANGED
        if terminal.application_id == application.id:
            change = Change.ADDED
        elif terminal.ended_by == application.id:
            change = Change.DELETED
        addresses = sorted(terminal.mail_addresses, key=lambda address: address.id)
        yield TerminalChange(
            change=change,
            router_number=terminal.line.router_number,
            terminal_class=terminal.terminal_class,
            equipment=terminal.equipment,
            package=terminal.package,
            name=terminal.name,
            ip_address=terminal.ip_address or "",
            mail_addresses=tuple(
                address.address
                for address in addresses
                if application.id == (address.ended_by if change is Change.DELETED else address.application_id)
            ),
        )


def _inquiry(subject: Subject) -> None:
    case_notices.send_inquiry(*_case(subject), subject.words(EntryKind.INQUIRY), subject.now)


def _amendment(subject: Subject) -> None:
    changes = _last_changes(subject)
    if not changes:
        raise NotPreviewed("この申込は修正されていません", "the application was never amended")
    case_notices.send_amendment_received(*_case(subject), changes, subject.now)


def _last_changes(subject: Subject) -> list[FieldChange]:
    """The changes of the latest amendment, from the history of the case."""
    entry = last_of(subject.session, subject.application, EntryKind.AMENDMENT)
    kept = parts(entry).get("changes", []) if entry is not None else []
    return [FieldChange(**change) for change in kept]


def _withdrawal(subject: Subject) -> None:
    case_notices.send_withdrawal_received(*_case(subject), subject.now)


def _rejected(subject: Subject) -> None:
    case_notices.send_rejected(*_case(subject), subject.words(EntryKind.REJECTED), subject.now)


def _void(subject: Subject) -> None:
    deadline = subject.application.settings_deadline
    case_notices.send_void(*_case(subject), subject.words(EntryKind.VOID), deadline, subject.now)


def _settings(subject: Subject) -> None:
    case_notices.send_settings_received(*_case(subject), subject.now)


def _rescheduled(subject: Subject) -> None:
    entry = last_of(subject.session, subject.application, EntryKind.RESCHEDULED)
    if entry is None:
        raise NotPreviewed("この申込の利用開始日は変更されていません", "the start date was never moved")
    before = parts(entry).get("before")
    case_notices.send_rescheduled(*_case(subject), date.fromisoformat(before) if before else None, subject.now)


def _work_schedule(subject: Subject) -> None:
    query = select(Work).where(Work.application_id == subject.application.id, Work.cancelled_at.is_(None))
    work = subject.session.scalars(query.order_by(Work.id.desc())).first()
    if work is None:
        raise NotPreviewed("この申込の工事は予定されていません", "no work is arranged for the application")
    line = None if work.line_id is None else subject.session.get_one(Line, work.line_id)
    case_notices.send_work_schedule(*_case(subject), work, line, subject.now)


def _start_of_use(subject: Subject) -> None:
    _ = subject.start
    case_notices.send_start_of_use(*_case(subject), subject.now)


def _communication_checked(subject: Subject) -> None:
    _ = subject.start
    case_notices.send_communication_checked(*_case(subject), subject.now)


def _tcc_reminder(subject: Subject) -> None:
    _ = subject.start
    names = subject.session.scalars(
        select(LogicalTerminal.name)
        .where(LogicalTerminal.application_id == subject.application.id, LogicalTerminal.checked_at.is_(None))
        .order_by(LogicalTerminal.name)
    ).all()
    if not names:
        raise NotPreviewed("通信確認を待っている論理端末はありません", "no terminal waits for its communication check")
    case_notices.send_tcc_reminder(*_case(subject), names, subject.now)


def _passwords_closing(subject: Subject) -> None:
    _ = subject.start
    case_notices.send_passwords_closing(*_case(subject), subject.now)


def _passwords_reissued(subject: Subject) -> None:
    start = max(subject.start, jst_date(subject.now))
    until = subject.calendar.last_day_of_password_window(start)
    case_notices.send_passwords_reissued(*_case(subject), until, subject.now)


def _status_report(subject: Subject) -> None:
    office = subject.session.get_one(Office, subject.application.office_id)
    for person in notices.both(subject.application, office):
        case_notices.send_status_report(*_case(subject), person, subject.now)


def _case_news(subject: Subject) -> None:
    entry = last_of(subject.session, subject.application, *case_notices.NEWS)
    kind = EntryKind.QUESTION if entry is None else EntryKind(entry.kind)
    author = subject.application.applicant_email if entry is None else entry.actor
    changes = _last_changes(subject) if kind is EntryKind.AMENDMENT else ()
    case_notices.tell_reviewer(*_case(subject), kind, subject.words(kind), author, subject.now, changes=changes)


def _reminder(subject: Subject) -> None:
    case_notices.send_reminder(
        subject.session, subject.desk, [subject.application], ReminderKind.REVIEW_WAITING, subject.now
    )


def _no_administrator(subject: Subject) -> None:
    office = subject.session.get_one(Office, subject.application.office_id)
    notice = Notice(
        name="reviewer/no-administrator-address",
        to=notices.reviewer(subject.desk),
        application=subject.application,
        context={"notice_name": "application-received", "office_code": office.code},
    )
    notices.send(subject.session, subject.desk, notice, subject.now)


def _case(subject: Subject) -> tuple[Session, DeskSettings, Application]:
    return subject.session, subject.desk, subject.application


PREVIEWS: Mapping[str, Callable[[Subject], None]] = {
    "applicant/amendment-received": _amendment,
    "applicant/application-received": _received,
    "applicant/application-rejected": _rejected,
    "applicant/application-void": _void,
    "applicant/communication-checked": _communication_checked,
    "applicant/id-notice": _id_notice,
    "applicant/inquiry": _inquiry,
    "applicant/passwords-closing": _passwords_closing,
    "applicant/passwords-reissued": _passwords_reissued,
    "applicant/rescheduled": _rescheduled,
    "applicant/review-complete": _review_complete,
    "applicant/settings-received": _settings,
    "applicant/start-of-use": _start_of_use,
    "applicant/status-report": _status_report,
    "applicant/tcc-reminder": _tcc_reminder,
    "applicant/withdrawal-received": _withdrawal,
    "applicant/work-schedule": _work_schedule,
    "reviewer/case-news": _case_news,
    "reviewer/no-administrator-address": _no_administrator,
    "reviewer/reminder": _reminder,
    "reviewer/review-requested": _received,
}
