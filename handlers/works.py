"""Work on a line (回線工事): arranged, its window opened and closed, recorded done, or called off.

While a window is open the lanes of all terminals of the line are paused, so that mail waits and nobody is alarmed;
done early, called off or over, the window closes and the lanes go on. Work arranged again for the same line replaces
what was arranged before. The caller holds the application's row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from handlers import work_rows
from handlers.allocation import AllocationImpossible
from handlers.applications.contents import ApplicationContents, LineAction, LineChange
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.lane_pauses import GATEWAY, lanes_ever_paused, pause_for_work, resume_after_work
from handlers.work_rows import WorkMode, added_line, line_id_of
from handlers.work_warnings import WorkWarning, warnings, window_text
from storage.models import Application, AuditEvent, Line, LogicalTerminal, Work
from storage.store import new_key

__all__ = [
    "LineNotNamed",
    "WindowEnded",
    "WorkMode",
    "WorkOrder",
    "WorkUnchanged",
    "WorkWarning",
    "cancel_all",
    "close_window",
    "finish",
    "hold_cases_with_work",
    "open_window",
    "pause_newcomers",
    "schedule",
    "undone",
    "warnings",
]

# Widths of the store's columns.
_WIDTHS = {"contact": 200, "phone": 20, "fee": 200}


class LineNotNamed(AllocationImpossible):
    """The order names no line of the office, or none where it has to; `subject` lists those of the application."""


class WindowEnded(AllocationImpossible):
    """The window of the work is over already; `subject` says which."""


class WorkUnchanged(AllocationImpossible):
    """Exactly this is arranged already; `subject` is the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """What a reviewer arranges. Without `router_number` it is the one line of the application.

    `router_installed_on` is the day a new line gets its router. What is None stays as it is in the work that this one
    replaces, if there is any: whoever moves only the window leaves the rest out. An empty text clears one. ValueError
    for what no work can be.
    """

    router_number: str | None = None
    mode: str | None = None
    begins_at: datetime
    ends_at: datetime
    router_installed_on: date | None = None
    contact: str | None = None
    phone: str | None = None
    fee: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.mode is not None:
            WorkMode(self.mode)
        if self.begins_at.tzinfo is None or self.ends_at.tzinfo is None:
            raise ValueError("a window without a time zone has no place in Japan's day")
        if self.ends_at <= self.begins_at:
            raise ValueError("the window ends before it begins")
        for name, width in _WIDTHS.items():
            if len(getattr(self, name) or "") > width:
                raise ValueError(f"{name} is longer than {width} characters")


def schedule(
    session: Session, desk: DeskSettings, application: Application, order: WorkOrder, actor: str, now: datetime
) -> Work:
    """Arrange work; what was arranged for the same line and is not done is called off.

    Raises LineNotNamed when the line is not the office's or has to be named, WindowEnded, and WorkUnchanged when the
    work that would be called off is the same in everything people are told.
    """
    if order.ends_at <= now:
        raise WindowEnded(window_text(order.begins_at, order.ends_at))
    line = _line_meant(session, application, order.router_number)
    added, line_id = added_line(session, application.id), None if line is None else line.id
    former = [work for work in undone(session, application) if line_id_of(work, added) == line_id]
    details = _details(order, max(former, key=lambda each: each.id, default=None))
    if len(former) == 1 and all(getattr(former[0], name) == value for name, value in details.items()):
        raise WorkUnchanged(window_text(order.begins_at, order.ends_at))
    for each in former:
        _call_off(session, application, each, actor, now)
    work = Work(
        id=new_key(session),
        application_id=application.id,
        line_id=line_id,
        scheduled_by=actor,
        **details,
    )
    session.add(work)
    session.flush()
    return work


def _details(order: WorkOrder, former: Work | None) -> dict[str, Any]:
    """When and how the work is done and what is told of it: as ordered, else as before."""
    standard: dict[str, Any] = {
        "mode": str(WorkMode.REMOTE), "contact": "", "phone": "", "fee": "", "note": "", "router_installed_on": None
    }  # fmt: skip
    before = standard if former is None else {name: getattr(former, name) for name in standard}
    given = {name: getattr(order, name) for name in standard}
    kept = {name: before[name] if value is None else value for name, value in given.items()}
    return {"begins_at": order.begins_at, "ends_at": order.ends_at, **kept}


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
    return work_rows.undone(session, application.id)


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


def hold_cases_with_work(session: Session, office_ids: Collection[int], own: int | None = None) -> None:
    """Lock the offices' cases whose work may open or close its window, before terminals are put on the lines.

    Otherwise a window that opens or closes at the same moment would not see them. The map is locked before, lanes and
    addresses after; `own` is the case in hand, locked in its place among the others. Cases are locked in the order of
    their ids, so callers name all offices at once.
    """
    ahead = (Work.done_at.is_(None), Work.cancelled_at.is_(None), Work.closed_at.is_(None))
    with_work = Application.id.in_(select(Work.application_id).where(*ahead))
    cases = select(Application.id).where(
        or_(and_(Application.office_id.in_(office_ids), with_work), Application.id == own)
    )
    session.execute(cases.order_by(Application.id).with_for_update())


def pause_newcomers(session: Session, office_id: int, now: datetime) -> None:
    """Pause the terminals that came to a line of the office while a window on it is open; each goes on at its end.

    A lane that an operator resumed meanwhile is left alone. Callers hold the cases (`hold_cases_with_work`).
    """
    is_open = (Work.opened_at.is_not(None), Work.closed_at.is_(None), Work.ends_at > now)
    cases = select(Work, Application).join(Application, Application.id == Work.application_id)
    session.flush()
    for work, application in session.execute(
        cases.where(Application.office_id == office_id, *is_open).order_by(Work.id),
        execution_options={"populate_existing": True},
    ).all():
        receipt = application.receipt_number
        known = lanes_ever_paused(session, work.id, receipt)
        lanes = [lane for lane in _lanes(session, application, work, now) if lane not in known]
        pause_for_work(session, work.id, receipt, lanes, now)
        if lanes:
            _record(session, application, work, "work-lanes-added", GATEWAY, now, lanes)


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
            raise LineNotNamed(_listed(asked))
        router_number = next(iter(existing), None)
    if router_number is None:
        return added_line(session, application.id)
    found = session.scalars(
        select(Line).where(Line.router_number == router_number, Line.office_id == application.office_id)
    ).first()
    if found is None and not adds:
        raise LineNotNamed(_listed(asked))
    return found


def _listed(asked: Sequence[LineChange]) -> str:
    return ", ".join(sorted({line.router_number for line in asked if line.router_number})) or "-"


def _lanes(session: Session, application: Application, work: Work, now: datetime) -> list[str]:
    """The lanes of every terminal of the line, those that begin later included."""
    line_id = line_id_of(work, added_line(session, application.id))
    if line_id is None:
        return []
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
