"""Work on a line (回線工事): arranged, its window opened and closed, recorded done, or called off.

While a window is open the lanes of all terminals of the line are paused, so that mail waits and nobody is alarmed;
done early, called off or over, the window closes and the lanes go on. Work arranged again for the same line replaces
what was arranged before. The caller holds the application's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handlers.allocation import AllocationImpossible
from handlers.applications.contents import ApplicationContents, LineAction
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.lane_pauses import GATEWAY, pause_for_work, resume_after_work
from storage.models import Application, AuditEvent, Line, LogicalTerminal, Work
from storage.store import new_key

# Widths of the store's columns.
_WIDTHS = {"contact": 200, "phone": 20, "fee": 200}
_ROUTER_NUMBER = "ルータ番号"


class WorkMode(StrEnum):
    """How work is done."""

    REMOTE = "remote"
    ON_SITE = "on_site"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """What a reviewer arranges. Without `router_number` it is the one line of the application.

    `router_installed_on` is the day a new line gets its router. ValueError for what no work can be.
    """

    router_number: str | None = None
    mode: str = WorkMode.REMOTE
    begins_at: datetime
    ends_at: datetime
    router_installed_on: date | None = None
    contact: str = ""
    phone: str = ""
    fee: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        WorkMode(self.mode)
        if self.begins_at.tzinfo is None or self.ends_at.tzinfo is None:
            raise ValueError("a window without a time zone has no place in Japan's day")
        if self.ends_at <= self.begins_at:
            raise ValueError("the window ends before it begins")
        for name, width in _WIDTHS.items():
            if len(getattr(self, name)) > width:
                raise ValueError(f"{name} is longer than {width} characters")


@dataclass(frozen=True, slots=True)
class WorkWarning:
    """Something a reviewer should know of work that was arranged all the same."""

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
WINDOW_PAST = WorkWarning("window_past", "工事の時間帯はすでに過ぎています", "the window of the work lies in the past")


def schedule(
    session: Session, desk: DeskSettings, application: Application, order: WorkOrder, actor: str, now: datetime
) -> Work:
    """Arrange work; what was arranged for the same line and is not done is called off.

    Raises AllocationImpossible when the line is not the office's, or has to be named.
    """
    line = _line_meant(session, application, order.router_number)
    for former in undone(session, application):
        if former.line_id == (None if line is None else line.id):
            _call_off(session, application, former, actor, now)
    work = Work(
        id=new_key(session),
        application_id=application.id,
        line_id=None if line is None else line.id,
        mode=str(order.mode),
        begins_at=order.begins_at,
        ends_at=order.ends_at,
        router_installed_on=order.router_installed_on,
        contact=order.contact,
        phone=order.phone,
        fee=order.fee,
        note=order.note,
        scheduled_by=actor,
    )
    session.add(work)
    session.flush()
    return work


def warnings(work: Work, line: Line | None, now: datetime) -> tuple[WorkWarning, ...]:
    """What to tell whoever arranged the work."""
    found = []
    if line is not None and line.spare_router:
        if work.mode == WorkMode.REMOTE:
            found.append(SPARE_ROUTER_REMOTE)
        elif not work.fee:
            found.append(NO_FEE)
    if work.ends_at <= now:
        found.append(WINDOW_PAST)
    return tuple(found)


def finish(session: Session, application: Application, work_id: int | None, actor: str, now: datetime) -> Work | None:
    """Record work as done and close its window; None when there is none, or several and none is named."""
    found = [work for work in undone(session, application) if work_id in (None, work.id)]
    if len(found) != 1:
        return None
    work = found[0]
    work.done_at = now
    close_window(session, application, work, actor, now)
    return work


def cancel_all(session: Session, application: Application, now: datetime, actor: str = GATEWAY) -> None:
    """Call off whatever is not done."""
    for work in undone(session, application):
        _call_off(session, application, work, actor, now)


def undone(session: Session, application: Application) -> Sequence[Work]:
    """What is arranged and not recorded done, in the order of the windows."""
    query = select(Work).where(
        Work.application_id == application.id, Work.done_at.is_(None), Work.cancelled_at.is_(None)
    )
    return session.scalars(query.order_by(Work.begins_at, Work.id)).all()


def open_window(session: Session, application: Application, work: Work, actor: str, now: datetime) -> bool:
    """Pause the line's lanes; False when there is no window to open any more."""
    if work.opened_at is not None or work.ends_at <= now or not _is_ahead(work):
        return False
    work.opened_at = now
    lanes = _lanes(session, application, work, now)
    session.flush()
    pause_for_work(session, work.id, application.receipt_number, lanes, now)
    _record(session, application, work, "work-opened", actor, now, lanes)
    return True


def close_window(session: Session, application: Application, work: Work, actor: str, now: datetime) -> bool:
    """Let the line's lanes go on; False when the window is not open."""
    if work.opened_at is None or work.closed_at is not None:
        return False
    work.closed_at = now
    session.flush()
    lanes = resume_after_work(session, work.id, application.receipt_number, now)
    _record(session, application, work, "work-closed", actor, now, lanes)
    return True


def _call_off(session: Session, application: Application, work: Work, actor: str, now: datetime) -> None:
    work.cancelled_at = now
    close_window(session, application, work, actor, now)
    _record(session, application, work, "work-cancelled", actor, now)


def _is_ahead(work: Work) -> bool:
    return work.done_at is None and work.cancelled_at is None and work.closed_at is None


def _line_meant(session: Session, application: Application, router_number: str | None) -> Line | None:
    """The line of the order; None for one that is still to be made."""
    asked = ApplicationContents.from_json(application.contents).lines
    adds = any(line.action is LineAction.ADD for line in asked)
    if router_number is None:
        existing = {line.router_number for line in asked if line.action is not LineAction.ADD}
        if not asked or len(existing) + adds != 1:
            raise AllocationImpossible(_ROUTER_NUMBER)
        router_number = next(iter(existing), None)
    if router_number is None:
        return _added_line(session, application)
    found = session.scalars(
        select(Line).where(Line.router_number == router_number, Line.office_id == application.office_id)
    ).first()
    if found is None and not adds:
        raise AllocationImpossible(router_number)
    return found


def _added_line(session: Session, application: Application) -> Line | None:
    """The line that the application added, once it is made; None for several, too."""
    lines = session.scalars(select(Line).where(Line.application_id == application.id)).all()
    return lines[0] if len(lines) == 1 else None


def _lanes(session: Session, application: Application, work: Work, now: datetime) -> list[str]:
    """The lanes of every terminal of the line, those that begin later included."""
    line_id = work.line_id
    if line_id is None:
        added = _added_line(session, application)
        if added is None:
            return []
        line_id = added.id
    ends = or_(LogicalTerminal.effective_until.is_(None), LogicalTerminal.effective_until > jst_date(now))
    names = session.scalars(select(LogicalTerminal.name).where(LogicalTerminal.line_id == line_id, ends))
    return [f"terminal:{name}" for name in sorted(names)]


def _record(
    session: Session,
    application: Application,
    work: Work,
    event: str,
    actor: str,
    now: datetime,
    lanes: Sequence[str] = (),
) -> None:
    detail = f"work {work.id}, {len(lanes)} lanes" if lanes else f"work {work.id}"
    subject = f"application:{application.receipt_number}"
    session.add(
        AuditEvent(id=new_key(session), occurred_at=now, actor=actor, event=event, subject=subject, detail=detail)
    )
