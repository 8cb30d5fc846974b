"""The notices that answer an application mail: received, to both persons and the reviewer, or invalid.

Only plain values go to the templates; what somebody wrote is made harmless first (`notice_templates.shown`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from handlers import notices
from handlers.applications import error_answers
from handlers.applications.application_copy import Acceptance, copy_of_application
from handlers.applications.field_rules import FieldError
from handlers.business_days import calendar_of
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_templates import one_line
from handlers.notices import Addressee, Notice
from handlers.schedule import start_days
from storage.models import Application

__all__ = ["Acceptance", "send_invalid", "send_received", "verdict_in_words"]

_UNREADABLE_AUTHOR = "（一人の差出人として読み取れません）"

# Why an author was believed (authenticity), in the words of the reviewer's mail.
_VERDICTS: Mapping[str, str] = {
    "dkim ": "DKIM署名を確認しました（{}）",
    "network ": "信頼するネットワーク（{}）から届きました",
    "released by ": "止めていたメールを、審査担当者（{}）が確かめて受け付けました",
}


def send_received(session: Session, desk: DeskSettings, acceptance: Acceptance, now: datetime) -> list[int]:
    """Tell 申込担当者 and システム管理責任者 that the application was received, and ask the reviewer to review it.

    Returns the mail ids.
    """
    copy = copy_of_application(session, acceptance)
    application = acceptance.application
    sent = notices.send_to_both(session, desk, application, "applicant/application-received", copy, now)
    request = Notice(
        name="reviewer/review-requested",
        to=notices.reviewer(desk),
        application=application,
        context={**copy, **_hints_for_reviewer(session, acceptance, now)},
    )
    return [*sent, notices.send(session, desk, request, now)]


def send_invalid(
    session: Session,
    desk: DeskSettings,
    mail: InboundMail,
    to: Addressee,
    errors: Sequence[FieldError],
    now: datetime,
) -> list[int]:
    """Answer the sender with every wrong field, in Japanese and English and for machines; the mail ids."""
    return [error_answers.send_errors(session, desk, "applicant/application-invalid", mail, to, errors, now)]


def verdict_in_words(why: str) -> str:
    """Why an author was believed, as a reviewer reads it."""
    for beginning, words in _VERDICTS.items():
        if why.startswith(beginning):
            return words.format(why.removeprefix(beginning))
    return why


def _hints_for_reviewer(session: Session, acceptance: Acceptance, now: datetime) -> dict[str, object]:
    application, contents, office = acceptance.application, acceptance.contents, acceptance.office
    return {
        "company_name": one_line(office.company_name),
        "office_name": one_line(office.name),
        "age": _age(session, application, now),
        "header_from": _author(acceptance),
        "sender_verdict": one_line(verdict_in_words(application.sender_verdict)),
        "schedule_verdict": _schedule_verdict(session, application),
        "needs_inquiry": contents.needs_inquiry,
        "needs_system_settings": contents.needs_system_settings,
    }


def _author(acceptance: Acceptance) -> str:
    address = acceptance.mail.header_from
    if address is None:
        return _UNREADABLE_AUTHOR
    people = notices.registered_people(acceptance.office)
    known = any(notices.same_address(person.email, address) for person in people)
    return f"{one_line(address)}（{'登録連絡先' if known else '登録連絡先ではありません'}）"


def _schedule_verdict(session: Session, application: Application) -> str:
    days = start_days(session, application.received_on)
    if not days:
        return "スケジュールが登録されていません"
    return "希望日はシステム登録日です" if application.desired_start_date in days else "希望日はスケジュール外です"


def _age(session: Session, application: Application, now: datetime) -> str:
    """How long the application has waited: business days, and the time on the clock."""
    minutes = (now - application.arrived_at) // timedelta(minutes=1)
    on_the_clock = f"{minutes // 60}時間{minutes % 60}分"
    today = jst_date(now)
    if application.received_on >= today:
        return f"0営業日（{on_the_clock}）"
    days = calendar_of(session, today).business_days_between(application.received_on, today)
    return f"{days}営業日（{on_the_clock}）"
