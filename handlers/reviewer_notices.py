"""What the reviewer is told of a case on its way: what happened to it, and that it waits.

Each function queues its mail in the caller's transaction and returns its id in a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from handlers import notices
from handlers.business_days import calendar_of
from handlers.calendar import jst_date
from handlers.case_history import EntryKind
from handlers.desk import DeskSettings
from handlers.notice_templates import one_line, shown
from handlers.notices import Notice
from handlers.workflow import STATUS_JA, State
from storage.models import Application, Office

if TYPE_CHECKING:
    from handlers.amendments import FieldChange

_MOST_REMINDED = 50


class ReminderKind(StrEnum):
    """What the reviewer is reminded of."""

    REVIEW_WAITING = "review_waiting"
    WORK_NOT_DONE = "work_not_done"


class NotTaken(StrEnum):
    """Why what a mail about a case asked for, by its mark, was not done."""

    TOO_LATE = "too_late"  # 修正 or 取下げ after the review was complete
    ENDED = "ended"  # the case is withdrawn, void or rejected
    NO_INQUIRY = "no_inquiry"  # 回答, and no inquiry is open
    NO_SETTINGS = "no_settings"  # システム設定申込 that the case does not need
    SETTINGS_LATE = "settings_late"  # システム設定申込 after its deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMail:
    """A mail about a case that changed nothing: its mark, whose words they are, and whether a report answered it."""

    not_taken: NotTaken
    mark: str
    words: str
    author: str
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeShown:
    """A value of the form before and after; `place` is 【section】label."""

    place: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderRow:
    """An application that waits; `waited` in business days since it was received."""

    receipt_number: str
    office: str
    status: str
    taken_by: str
    received_on: date
    waited: int
    start_date: date


# What the reviewer is told of, as the subject has it.
NEWS: Mapping[EntryKind, str] = {
    EntryKind.ANSWER: "確認事項への回答",
    EntryKind.AMENDMENT: "申込内容の修正",
    EntryKind.WITHDRAWAL: "申込の取下げ",
    EntryKind.QUESTION: "申込者からの照会",
    EntryKind.SETTINGS: "システム設定申込",
    EntryKind.VOID: "申込の無効",
    EntryKind.BOUNCED: "お知らせの不達",
    EntryKind.PROPOSED: "審査終了の提案",
}
_OTHER_NEWS = "申込の動き"
# The same of what was not taken; the blank is for its mark.
_NEWS_OF_NOT_TAKEN: Mapping[NotTaken, str] = {
    NotTaken.TOO_LATE: "審査終了後の{}",
    NotTaken.ENDED: "手続き終了後の{}",
    NotTaken.NO_INQUIRY: "確認事項のないときの{}",
    NotTaken.NO_SETTINGS: "不要な{}",
    NotTaken.SETTINGS_LATE: "締切日を過ぎた{}",
}
# What its author was answered, beside where the case stands.
_ANSWERS: Mapping[NotTaken, str] = {
    NotTaken.TOO_LATE: "審査が終わっているため受け付けられないこと、変更や取りやめはお問い合わせ先へ電話いただくこと",
    NotTaken.ENDED: "手続きが終わっているため何も変わらないこと",
    NotTaken.NO_INQUIRY: "回答をお待ちしている確認事項はなく、内容は審査担当者に伝えたこと",
    NotTaken.NO_SETTINGS: "システム設定申込は必要のない申込であること",
    NotTaken.SETTINGS_LATE: "締切日を過ぎているため受け付けられないこと、お問い合わせ先へ電話いただくこと",
}
_NOT_ANSWERED = "ありません（同じ宛先への1時間のお知らせの上限に達したため、お答えしていません）"


def tell_reviewer(
    session: Session,
    desk: DeskSettings,
    application: Application,
    what: EntryKind,
    words: str,
    author: str,
    now: datetime,
    *,
    changes: Sequence[FieldChange] = (),
) -> list[int]:
    """Tell the reviewer what happened; `author` is whose words they are, `changes` those of an amendment."""
    news = {
        "news": NEWS.get(what, _OTHER_NEWS),
        "what": str(what),
        "mark": "",
        "answered": "",
        "proposed_start": application.proposed_start if what is EntryKind.PROPOSED else None,
        "changes": changes_shown(changes),
    }
    return _tell(session, desk, application, news, words, author, now)


def tell_not_taken(
    session: Session, desk: DeskSettings, application: Application, mail: KeptMail, now: datetime
) -> list[int]:
    """Tell the reviewer of a mail that changed nothing, and what its author was answered."""
    answer = f"{_ANSWERS[mail.not_taken]}、手続きの状況" if mail.answered else _NOT_ANSWERED
    news: dict[str, object] = {
        "news": _NEWS_OF_NOT_TAKEN[mail.not_taken].format(mail.mark),
        "what": str(mail.not_taken),
        "mark": mail.mark,
        "answered": answer,
        "proposed_start": None,
        "changes": [],
    }
    return _tell(session, desk, application, news, mail.words, mail.author, now)


def _tell(
    session: Session,
    desk: DeskSettings,
    application: Application,
    news: Mapping[str, object],
    words: str,
    author: str,
    now: datetime,
) -> list[int]:
    office = session.get_one(Office, application.office_id)
    context = {
        **news,
        "status": STATUS_JA[State(application.state)],
        "taken_by": one_line(application.taken_by or ""),
        "office": _office_shown(office),
        "office_code": office.code,
        "author": one_line(author),
        "words": shown(words),
    }
    notice = Notice(name="reviewer/case-news", to=notices.reviewer(desk), application=application, context=context)
    return [notices.send(session, desk, notice, now)]


def send_reminder(
    session: Session, desk: DeskSettings, applications: Sequence[Application], kind: ReminderKind, now: datetime
) -> list[int]:
    """Remind the reviewer of applications that wait, all in one mail; no mail without any."""
    if not applications:
        return []
    today = jst_date(now)
    calendar = calendar_of(session, today)
    rows = [
        ReminderRow(
            receipt_number=each.receipt_number,
            office=_office_shown(session.get_one(Office, each.office_id)),
            status=STATUS_JA[State(each.state)],
            taken_by=one_line(each.taken_by or ""),
            received_on=each.received_on,
            waited=calendar.business_days_between(each.received_on, today),
            start_date=each.start_date or each.desired_start_date,
        )
        for each in applications[:_MOST_REMINDED]
    ]
    notice = Notice(
        name="reviewer/reminder",
        to=notices.reviewer(desk),
        application=applications[0] if len(applications) == 1 else None,
        context={"kind": str(ReminderKind(kind)), "rows": rows, "total": len(applications)},
        reply_to=desk.reviewer_address,
    )
    return [notices.send(session, desk, notice, now)]


def changes_shown(changes: Iterable[FieldChange]) -> list[ChangeShown]:
    """The changes of an amendment as a mail prints them."""
    return [
        ChangeShown(
            place=one_line(f"【{change.section}】{change.label}" if change.section else change.label),
            before=shown(change.before),
            after=shown(change.after),
        )
        for change in changes
    ]


def _office_shown(office: Office) -> str:
    return one_line(f"{office.company_name} {office.name}（{office.code}）")
