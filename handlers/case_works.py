"""The works on lines (回線工事) of a case as its people are shown them, called-off ones too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.work_rows import WorkMode, added_line, line_id_of, with_replaced
from storage.models import Application, Line, Work


class WorkState(StrEnum):
    """How far a work is."""

    PLANNED = "planned"
    OPEN = "open"  # its window is open: the line's lanes are paused
    CLOSED = "closed"  # its window is over, and nobody recorded it done
    DONE = "done"
    CALLED_OFF = "called_off"  # replaced by a later one, or its case ended


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkReplaced:
    """The work that another one replaced."""

    id: int
    mode: WorkMode
    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkView:
    """A work as the case view shows it. `router_number` is empty for a line still to be made."""

    id: int
    router_number: str
    mode: WorkMode
    begins_at: datetime
    ends_at: datetime
    state: WorkState
    router_installed_on: date | None
    contact: str
    phone: str
    fee: str
    note: str
    scheduled_by: str
    replaces: WorkReplaced | None


def works_of(session: Session, application: Application) -> tuple[WorkView, ...]:
    """Every work of the case, in the order they were arranged."""
    added = added_line(session, application.id)
    pairs = with_replaced(session, application.id)
    ids = {line_id_of(work, added) for work, _ in pairs}
    rows = session.execute(select(Line.id, Line.router_number).where(Line.id.in_(ids)))
    numbers = {row.id: row.router_number for row in rows}
    return tuple(_view(work, numbers.get(line_id_of(work, added) or 0, ""), former) for work, former in pairs)


def work_view(session: Session, application: Application, work: Work) -> WorkView:
    """One work of the case."""
    return next(view for view in works_of(session, application) if view.id == work.id)


def _view(work: Work, router_number: str, former: Work | None) -> WorkView:
    return WorkView(
        id=work.id,
        router_number=router_number,
        mode=WorkMode(work.mode),
        begins_at=work.begins_at,
        ends_at=work.ends_at,
        state=_state(work),
        router_installed_on=work.router_installed_on,
        contact=work.contact,
        phone=work.phone,
        fee=work.fee,
        note=work.note,
        scheduled_by=work.scheduled_by,
        replaces=None
        if former is None
        else WorkReplaced(id=former.id, mode=WorkMode(former.mode), begins_at=former.begins_at, ends_at=former.ends_at),
    )


def _state(work: Work) -> WorkState:
    if work.done_at is not None:
        return WorkState.DONE
    if work.cancelled_at is not None:
        return WorkState.CALLED_OFF
    if work.closed_at is not None:
        return WorkState.CLOSED
    return WorkState.PLANNED if work.opened_at is None else WorkState.OPEN
