"""Which jobs a case calls for: planned, moved and cancelled here alone.

What was done is not done again; what falls due later than before, or not at all, waits for nobody's attention.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from handlers.calendar import BusinessCalendar
from handlers.desk import DeskSettings
from handlers.desk_job_kinds import EXPIRING, KINDS, JobKind, facts_of, wanted
from storage.models import Application, DeskJob
from storage.store import new_key, note

UNDONE = (DeskJob.done_at.is_(None), DeskJob.cancelled_at.is_(None))


def plan(
    session: Session, desk: DeskSettings, application: Application, calendar: BusinessCalendar, now: datetime
) -> int:
    """Leave exactly the undone jobs that the case calls for; how many were added, moved or cancelled.

    What was done is not done again. The caller holds the application's row.
    """
    due = wanted(facts_of(session, desk, application, calendar))
    rows = session.scalars(select(DeskJob).where(DeskJob.application_id == application.id)).all()
    known = {(row.kind, row.key): row for row in rows}
    changed = 0
    for (kind, key), at in due.items():
        row = known.get((kind, key))
        if row is None:
            session.add(DeskJob(id=new_key(session), application_id=application.id, kind=kind, key=key, due_at=at))
        elif not _move(row, at, now):
            continue
        changed += 1
    for row in rows:
        if row.done_at is None and row.cancelled_at is None and (row.kind, row.key) not in due:
            row.cancelled_at = now
            changed += 1
    session.flush()
    if changed:
        note(session, "desk_jobs", None)
    return changed


def _move(row: DeskJob, due: datetime, now: datetime) -> bool:
    """Have a job undone at that instant, unless it is done."""
    if row.done_at is not None or (row.cancelled_at is None and row.due_at == due):
        return False
    if row.cancelled_at is None and row.failures and due <= now:
        return False  # it waits for its next try
    row.cancelled_at, row.due_at, row.failures = None, due, 0
    return True


def cancel_all(session: Session, application: Application, now: datetime) -> None:
    """Leave no job of the case undone."""
    session.execute(update(DeskJob).where(DeskJob.application_id == application.id, *UNDONE).values(cancelled_at=now))


def next_due(session: Session, *, expires: bool = True) -> datetime | None:
    """When the next job falls due, one that is due included; None without any. `expires` as in `run_due`."""
    return session.scalar(select(func.min(DeskJob.due_at)).where(*to_do(tuple(KINDS), expires=expires)))


def to_do(kinds: Collection[JobKind], *, expires: bool) -> tuple[ColumnElement[bool], ...]:
    """The undone jobs of those kinds; without what expires, and what comes after such a job in its case."""
    if expires:
        return (*UNDONE, DeskJob.kind.in_(kinds))
    before = aliased(DeskJob)
    waits = exists().where(
        before.application_id == DeskJob.application_id,
        before.kind.in_(EXPIRING),
        before.done_at.is_(None),
        before.cancelled_at.is_(None),
        before.due_at <= DeskJob.due_at,
    )
    return (*UNDONE, DeskJob.kind.in_(kinds), ~waits)
