"""The notices about an application on its way, and the answers to form@ and schedule@.

Each function queues its mails in the caller's transaction and returns their mail ids. What people wrote is made
harmless before a template sees it. Applicant mails go to 申込担当者 and システム管理責任者, one mail each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import notices
from handlers.applications.blank_form import example_reasons
from handlers.applications.contents import ApplicationContents
from handlers.calendar import jst_date
from handlers.case_view import IssuedTerminal, case_view
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_mail import NoticePart, is_message_id
from handlers.notice_templates import one_line, shown
from handlers.notices import Addressee, Notice
from handlers.reviewer_notices import (
    NEWS,
    KeptMail,
    NotTaken,
    ReminderKind,
    changes_shown,
    send_reminder,
    tell_not_taken,
    tell_reviewer,
)
from handlers.work_rows import replaced_by
from handlers.workflow import State
from storage.models import Application, Line, LogicalTerminal, Office, ScheduleDay, Work

if TYPE_CHECKING:
    from handlers.amendments import FieldChange

__all__ = [
    "NEWS",
    "KeptMail",
    "NotTaken",
    "ReminderKind",
    "ReplacedShown",
    "WorkShown",
    "send_amendment_received",
    "send_blank_form",
    "send_communication_checked",
    "send_inquiry",
    "send_passwords_closing",
    "send_passwords_reissued",
    "send_rejected",
    "send_reminder",
    "send_rescheduled",
    "send_schedule",
    "send_settings_received",
    "send_start_of_use",
    "send_status_report",
    "send_tcc_reminder",
    "send_void",
    "send_withdrawal_received",
    "send_work_schedule",
    "tell_not_taken",
    "tell_reviewer",
]

_REMOTE = "remote"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedShown:
    """The earlier work on the line that people were told of, and that is not done now."""

    remote: bool
    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkShown:
    """Work on a line as the mail prints it. `router_number` is empty for a line still to be made."""

    router_number: str
    remote: bool
    spare_router: bool
    begins_at: datetime
    ends_at: datetime
    router_installed_on: date | None
    contact: str
    phone: str
    fee: str
    note: str
    replaced: ReplacedShown | None


def send_inquiry(
    session: Session, desk: DeskSettings, application: Application, question: str, now: datetime
) -> list[int]:
    """Ask the applicant something (確認事項); システム管理責任者 gets a copy."""
    return _to_both(session, desk, application, "inquiry", {"question": shown(question)}, now)


def send_amendment_received(
    session: Session, desk: DeskSettings, application: Application, changes: Sequence[FieldChange], now: datetime
) -> list[int]:
    """Answer an amendment (修正) with each change, before and after."""
    return _to_both(session, desk, application, "amendment-received", {"changes": changes_shown(changes)}, now)


def send_withdrawal_received(
    session: Session, desk: DeskSettings, application: Application, now: datetime
) -> list[int]:
    """Say that the application is withdrawn (取下げ)."""
    return _to_both(session, desk, application, "withdrawal-received", {"withdrawn_on": jst_date(now)}, now)


def send_rejected(
    session: Session, desk: DeskSettings, application: Application, reason: str, now: datetime
) -> list[int]:
    """Say that the application was not approved (不承認), and why."""
    return _to_both(session, desk, application, "application-rejected", {"reason": shown(reason)}, now)


def send_void(
    session: Session,
    desk: DeskSettings,
    application: Application,
    reason: str,
    deadline: date | None,
    now: datetime,
) -> list[int]:
    """Say that the application is void (無効) and why; `deadline` is its システム設定申込締切日, if it has one."""
    # What was issued is still there: it is taken back after the mail is queued.
    terminals = _terminals(session, application)
    issued = _issued(session, application)
    context = {
        "reason": shown(reason),
        "deadline": deadline,
        "terminals": [terminal for terminal in terminals if terminal.name in issued],
        "addresses": [
            address for terminal in terminals if terminal.name not in issued for address in terminal.mail_addresses
        ],
    }
    return _to_both(session, desk, application, "application-void", context, now)


def send_settings_received(session: Session, desk: DeskSettings, application: Application, now: datetime) -> list[int]:
    """Say that the application for system settings (システム設定申込) came in."""
    context = {
        "settings_received_on": jst_date(application.settings_received_at or now),
        "settings_deadline": application.settings_deadline,
    }
    return _to_both(session, desk, application, "settings-received", context, now)


def send_rescheduled(
    session: Session, desk: DeskSettings, application: Application, before: date | None, now: datetime
) -> list[int]:
    """Say that the start moved from `before`, and what moved with it."""
    context = {
        "before": before,
        "after": application.start_date or application.desired_start_date,
        "confirmed": application.start_date is not None,
        "passwords_until": application.passwords_until,
        "settings_deadline": application.settings_deadline,
        "settings_received": application.settings_received_at is not None,
    }
    return _to_both(session, desk, application, "rescheduled", context, now)


def send_work_schedule(
    session: Session, desk: DeskSettings, application: Application, work: Work, line: Line | None, now: datetime
) -> list[int]:
    """Say when the work on a line is done, and how.

    システム管理責任者 of the other offices on the line get the notice too, without anything of the application.
    """
    contents = ApplicationContents.from_json(application.contents)
    attendant = contents.attendant
    context: dict[str, object] = {
        "work": _work_shown(work, line, replaced_by(session, work)),
        "work_contact": contents.work_contact,
        "attendant": attendant.person if attendant is not None else None,
        "shared_line": False,
    }
    sent = _to_both(session, desk, application, "work-schedule", context, now)
    context |= {"shared_line": True, "work_contact": None, "attendant": None}
    copies = [
        Notice(name="applicant/work-schedule", to=person, application=application, context=context)
        for person in _administrators_of_others(session, application, line)
    ]
    return [*sent, *notices.send_all(session, desk, copies, now)]


def send_start_of_use(session: Session, desk: DeskSettings, application: Application, now: datetime) -> list[int]:
    """Say on the start date what is in use from now on, and that TCC comes first."""
    context = {"terminals": _terminals(session, application)}
    return _to_both(session, desk, application, "start-of-use", context, now)


def send_communication_checked(
    session: Session, desk: DeskSettings, application: Application, now: datetime
) -> list[int]:
    """Say that every new terminal has had a normal TCC."""
    issued = _issued(session, application)
    context = {
        "terminals": [terminal for terminal in _terminals(session, application) if terminal.name in issued],
        "checked_on": jst_date(application.checked_at or now),
    }
    return _to_both(session, desk, application, "communication-checked", context, now)


def send_tcc_reminder(
    session: Session, desk: DeskSettings, application: Application, unchecked: Sequence[str], now: datetime
) -> list[int]:
    """Ask for the communication check of the terminals of those names, which have had none."""
    return _to_both(session, desk, application, "tcc-reminder", {"unchecked": list(unchecked)}, now)


def send_passwords_closing(session: Session, desk: DeskSettings, application: Application, now: datetime) -> list[int]:
    """Say on the last day that passwords can be seen until its end."""
    context = {"passwords_until": application.passwords_until or jst_date(now)}
    return _to_both(session, desk, application, "passwords-closing", context, now)


def send_passwords_reissued(
    session: Session, desk: DeskSettings, application: Application, until: date, now: datetime
) -> list[int]:
    """Say that passwords were issued anew, and until which day they can be seen."""
    context = {"window_from": jst_date(now), "passwords_until": until}
    return _to_both(session, desk, application, "passwords-reissued", context, now)


def send_status_report(
    session: Session,
    desk: DeskSettings,
    application: Application,
    to: Addressee,
    now: datetime,
    *,
    not_taken: NotTaken | None = None,
    mark: str = "",
    documents: Sequence[NoticePart] = (),
) -> list[int]:
    """Answer 【照会】 to one person; `not_taken`: why what a mail with the mark asked for was not done."""
    view = case_view(session, application)
    ended = application.state in _ENDED
    context = {
        "status": view.status_ja,
        "state": view.state,
        "in_review": application.state in _IN_REVIEW,
        "ended": ended,
        "review_completed_on": view.review_completed_on,
        "settings_deadline": application.settings_deadline,
        "settings_received": application.settings_received_at is not None,
        "passwords_until": None if ended else _still_open(application.passwords_until, jst_date(now)),
        "progress": list(view.progress),
        "documents": [one_line(part.file_name) for part in documents],
        "not_taken": str(not_taken or ""),
        "mark": mark,
    }
    notice = Notice(
        name="applicant/status-report", to=to, application=application, context=context, parts=tuple(documents)
    )
    return [notices.send(session, desk, notice, now)]


def send_blank_form(
    session: Session,
    desk: DeskSettings,
    mail: InboundMail,
    attachments: Sequence[NoticePart],
    schedule: Sequence[ScheduleDay],
    now: datetime,
) -> list[int]:
    """Answer a mail to form@ with the blank form and whatever else is attached."""
    context = {
        "files": [one_line(part.file_name) for part in attachments],
        "schedule": list(schedule),
        "reasons": list(example_reasons()),
    }
    return _answer(session, desk, mail, "applicant/blank-form", context, tuple(attachments), now)


def send_schedule(
    session: Session, desk: DeskSettings, mail: InboundMail, schedule: Sequence[ScheduleDay], now: datetime
) -> list[int]:
    """Answer a mail to schedule@ with the days still to come."""
    context = {"schedule": list(schedule)}
    return _answer(session, desk, mail, "applicant/schedule", context, (), now)


_IN_REVIEW = frozenset({State.RECEIVED, State.UNDER_REVIEW, State.INQUIRY})
_ENDED = frozenset({State.WITHDRAWN, State.VOID, State.REJECTED})


def _to_both(
    session: Session,
    desk: DeskSettings,
    application: Application,
    name: str,
    context: Mapping[str, object],
    now: datetime,
) -> list[int]:
    return notices.send_to_both(session, desk, application, f"applicant/{name}", context, now)


def _answer(
    session: Session,
    desk: DeskSettings,
    mail: InboundMail,
    name: str,
    context: Mapping[str, object],
    parts: tuple[NoticePart, ...],
    now: datetime,
) -> list[int]:
    """Answer the author of a mail that is about no application."""
    address = mail.header_from or ""
    to = notices.person_of(session, address) or Addressee(email=address, name="ご担当者")
    thread = mail.message_id if mail.message_id and is_message_id(mail.message_id) else ""
    notice = Notice(name=name, to=to, context=context, parts=parts, thread=thread)
    return [notices.send(session, desk, notice, now)]


def _work_shown(work: Work, line: Line | None, former: Work | None) -> WorkShown:
    return WorkShown(
        router_number=line.router_number if line is not None else "",
        remote=work.mode == _REMOTE,
        spare_router=line is not None and line.spare_router,
        begins_at=work.begins_at,
        ends_at=work.ends_at,
        router_installed_on=work.router_installed_on,
        contact=one_line(work.contact or ""),
        phone=one_line(work.phone or ""),
        fee=one_line(work.fee or ""),
        note=shown(work.note or ""),
        replaced=None
        if former is None
        else ReplacedShown(remote=former.mode == _REMOTE, begins_at=former.begins_at, ends_at=former.ends_at),
    )


def _administrators_of_others(session: Session, application: Application, line: Line | None) -> list[Addressee]:
    """システム管理責任者 of the other offices that share the line, in the order of their codes."""
    codes = (line.shared_with or "").split() if line is not None else []
    offices = session.scalars(
        select(Office).where(Office.code.in_(codes), Office.id != application.office_id).order_by(Office.code)
    )
    found = (notices.administrator(office) for office in offices)
    return [person for person in found if person is not None]


def _terminals(session: Session, application: Application) -> list[IssuedTerminal]:
    return list(case_view(session, application).terminals)


def _issued(session: Session, application: Application) -> set[str]:
    """The names of the terminals that are new with the application; others only got addresses by it."""
    names = select(LogicalTerminal.name).where(LogicalTerminal.application_id == application.id)
    return set(session.scalars(names))


def _still_open(last_day: date | None, today: date) -> date | None:
    return last_day if last_day is not None and last_day >= today else None
