"""What to tell whoever arranges work on a line, or sets the start of use beside it, though it is done all the same.

Texts hold for a preview, too. Moments are written as they are in Japan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.orm import Session, object_session

from handlers.applications.contents import ApplicationContents, LineAction
from handlers.calendar import JST, start_of_day
from handlers.work_rows import WorkMode, added_line, line_id_of, replaced_by, undone
from storage.models import Application, Line, Work


@dataclass(frozen=True, slots=True)
class WorkWarning:
    """Something a reviewer should know of work, though the decision stands."""

    code: str
    text_ja: str
    text_en: str


SPARE_ROUTER_REMOTE = WorkWarning(
    "spare_router_remote",
    "予備ルータのある回線です。工事は現地で行い、費用が発生します",
    "the line has a spare router: work on it is done on site and costs extra",
)
NO_FEE = WorkWarning(
    "spare_router_no_fee",
    "予備ルータのある回線の現地工事には費用が発生します。費用を記入してください",
    "work on site for a line with a spare router costs extra: say how much",
)
WINDOW_BEGUN = WorkWarning(
    "window_begun",
    "工事の時間帯はすでに始まっています。回線の端末への配信はすぐに止まります",
    "the window of the work has begun already: delivery to the line's terminals stops at once",
)
WINDOW_AHEAD = WorkWarning(
    "window_ahead",
    "終了を記録する工事の時間帯は、まだ始まっていません。その時間帯になっても配信は止まりません",
    "the window of the work that is recorded done has not begun yet: delivery will not stop for it",
)
NO_INSTALLATION_DATE = WorkWarning(
    "no_installation_date",
    "新しい回線の工事にルータ設置日がありません。--router-installed-on で指定してください",
    "work for a new line has no date on which its router is installed; give it with --router-installed-on",
)

_MODES = {WorkMode.REMOTE: ("リモート", "remote"), WorkMode.ON_SITE: ("現地", "on site")}
# What a work is told with, as it is named in Japanese and English.
_WORDS = {
    "contact": ("連絡先", "contact"),
    "phone": ("電話番号", "phone"),
    "fee": ("費用", "fee"),
    "note": ("備考", "note"),
    "router_installed_on": ("ルータ設置日", "router installed on"),
}


def warnings(work: Work, line: Line | None, now: datetime) -> tuple[WorkWarning, ...]:
    """What to tell whoever arranged the work; `line` is None for one still to be made.

    ValueError for a work that no session holds: what it replaced and the start of use are read beside it.
    """
    session = object_session(work)
    if session is None:
        raise ValueError("work that no session holds has no case to compare it with")
    application = session.get_one(Application, work.application_id)
    return (
        *_of_the_work_before(session, work),
        *_of_spare_router(work, line),
        *((WINDOW_BEGUN,) if work.begins_at <= now else ()),
        *_of_dates(application, work, line),
    )


def warnings_of_start(session: Session, application: Application, start: date, today: date) -> tuple[WorkWarning, ...]:
    """What to tell whoever makes `start` the start of use: the work that is not done and ends too late for it."""
    added, found = added_line(session, application.id), []
    for work in undone(session, application.id):
        line_id = line_id_of(work, added)
        line = None if line_id is None else session.get_one(Line, line_id)
        if _is_cancelled(application, line):
            continue
        if work.ends_at > start_of_day(start):
            found.append(_start_before_end(work, start, today))
        if work.router_installed_on is not None and work.router_installed_on > start:
            found.append(_installed_after_start(work.router_installed_on, start))
    return tuple(found)


def window_text(begins_at: datetime, ends_at: datetime) -> str:
    """A window as an operator reads it, in Japan: 2026-12-10 13:00-15:00."""
    begins, ends = begins_at.astimezone(JST), ends_at.astimezone(JST)
    last = f"{ends:%H:%M}" if ends.date() == begins.date() else f"{ends:%Y-%m-%d %H:%M}"
    return f"{begins:%Y-%m-%d %H:%M}-{last}"


def _of_the_work_before(session: Session, work: Work) -> Iterator[WorkWarning]:
    former = replaced_by(session, work)
    if former is None:
        return
    window, (mode_ja, mode_en) = window_text(former.begins_at, former.ends_at), _MODES[WorkMode(former.mode)]
    opened = former.opened_at is not None and former.closed_at == former.cancelled_at
    yield WorkWarning(
        "replaces",
        f"同じ回線で先に決めた工事（{window}、{mode_ja}）は取消しとなり、この工事に替わります"
        + ("。その時間帯は始まっているため閉じ、配信を再開します" if opened else ""),
        f"this replaces the work arranged before on the same line ({window}, {mode_en}), which is called off"
        + ("; its window was open and is closed, delivery goes on" if opened else ""),
    )
    kept = [name for name in _WORDS if getattr(work, name) and getattr(work, name) == getattr(former, name)]
    if kept:
        ja = "、".join(f"{_WORDS[name][0]} {getattr(work, name)}" for name in kept)
        en = ", ".join(f"{_WORDS[name][1]} {getattr(work, name)}" for name in kept)
        yield WorkWarning(
            "carried_over",
            f"先の工事から引き継いだ内容: {ja}。空にするには空文字列（''）を指定してください",
            f"as in the work before: {en}; an empty value ('') clears one",
        )


def _of_spare_router(work: Work, line: Line | None) -> Iterator[WorkWarning]:
    if line is None or not line.spare_router:
        return
    if work.mode == WorkMode.REMOTE:
        yield SPARE_ROUTER_REMOTE
    elif not work.fee:
        yield NO_FEE


def _of_dates(application: Application, work: Work, line: Line | None) -> Iterator[WorkWarning]:
    """Work that comes too late: after the start of use, and for a new line once its router is installed."""
    if _is_cancelled(application, line):
        return  # what is taken away goes after its last day
    start = application.start_date or application.desired_start_date
    if work.ends_at > start_of_day(start):
        confirmed = (
            ("利用開始日", "the start of use") if application.start_date else ("利用開始希望日", "the wished start")
        )
        yield WorkWarning(
            "after_start",
            f"工事の終わりが{confirmed[0]} {start} より後です。"
            "前日までに終わる時間帯にするか、application reschedule で利用開始日を移してください",
            f"the work ends after {confirmed[1]}, {start}; arrange it to end by the day before, "
            "or move the start with application reschedule",
        )
    if line is not None and line.application_id != application.id:
        return
    installed = work.router_installed_on
    if installed is None:
        yield NO_INSTALLATION_DATE
        return
    if work.ends_at > start_of_day(installed):
        yield _after_installation(installed)
    if installed > start:
        yield _installed_after_start(installed, start)


def _start_before_end(work: Work, start: date, today: date) -> WorkWarning:
    window = window_text(work.begins_at, work.ends_at)
    # Once the use has begun, neither the work nor the start can be moved.
    advice = (
        "application schedule-work で前日までに終わる時間帯に移すか、利用開始日を見直してください",
        "move it with application schedule-work to end by the day before, or choose another start",
    )
    if start <= today:
        advice = (
            "利用が始まると工事も利用開始日も移せません。終われば application schedule-work --done で記録します",
            "once the use has begun neither can be moved; record the work with application schedule-work --done",
        )
    return WorkWarning(
        "start_before_work_ends",
        f"利用開始日 {start} の前日までに終わらない工事があります（{window}、--work {work.id}）。{advice[0]}",
        f"work does not end by the day before the start of use, {start} ({window}, --work {work.id}); {advice[1]}",
    )


def _installed_after_start(installed: date, start: date) -> WorkWarning:
    return WorkWarning(
        "installed_after_start",
        f"ルータ設置日 {installed} が利用開始日 {start} より後です",
        f"the router is installed on {installed}, after the start of use on {start}",
    )


def _after_installation(installed: date) -> WorkWarning:
    return WorkWarning(
        "after_installation",
        f"新しい回線の工事は、ルータ設置日 {installed} の前日までに終えます。時間帯か設置日を見直してください",
        f"work for a new line is done by the day before its router is installed, {installed}; "
        "change the window or that date",
    )


def _is_cancelled(application: Application, line: Line | None) -> bool:
    asked = ApplicationContents.from_json(application.contents).lines
    return line is not None and any(
        wanted.action is LineAction.CANCEL and wanted.router_number == line.router_number for wanted in asked
    )
