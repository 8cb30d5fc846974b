"""The schedule of registration days (システム登録日), each with the last day to apply for it (申込締切日)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.audit import audit
from handlers.schedule_file import PlannedDay
from storage.models import ScheduleDay


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleReport:
    """What an import did to the registration days: new, with another last day to apply, or as they were."""

    added: tuple[date, ...]
    changed: tuple[date, ...]
    unchanged: int


def start_days(session: Session, today: date) -> frozenset[date]:
    """The days a wish may name on the JST day `today` without being off the schedule; empty: there is no schedule.

    Past days are among them, which no wish names: a schedule that has run out is still a schedule.
    """
    rows = session.scalars(select(ScheduleDay)).all()
    return frozenset(row.start_on for row in rows if row.apply_by >= today or row.start_on < today)


def coming(session: Session, today: date, at_most: int | None = 10) -> list[ScheduleDay]:
    """The next registration days that can still be applied for on the JST day `today`, in order."""
    query = select(ScheduleDay).where(ScheduleDay.apply_by >= today, ScheduleDay.start_on >= today)
    return list(session.scalars(query.order_by(ScheduleDay.start_on).limit(at_most)))


def all_days(session: Session) -> list[ScheduleDay]:
    """Every registration day, past ones too, in order."""
    return list(session.scalars(select(ScheduleDay).order_by(ScheduleDay.start_on)))


def import_schedule(session: Session, days: Sequence[PlannedDay], actor: str, now: datetime) -> ScheduleReport:
    """Let the table say what the days say; other days stay. The same days again change nothing."""
    known = {row.start_on: row for row in session.scalars(select(ScheduleDay))}
    added, changed = [], []
    for day in days:
        row = known.get(day.start_on)
        if row is None:
            session.add(ScheduleDay(start_on=day.start_on, apply_by=day.apply_by))
            added.append(day.start_on)
        elif row.apply_by != day.apply_by:
            row.apply_by = day.apply_by
            changed.append(day.start_on)
    if added or changed:
        audit(session, actor, "schedule_imported", "schedule", f"{len(added)} added, {len(changed)} changed", now)
    session.flush()
    return ScheduleReport(added=tuple(added), changed=tuple(changed), unchanged=len(days) - len(added) - len(changed))
