"""Days on which the center does not work, as operators edit them: added (臨時休業), or made working days again.

A day off by law that was made a working day comes back as the law's.

Dates that were told to somebody already, such as a deadline, stay as they were told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.audit import audit
from handlers.calendar import holiday_names
from storage.models import CalendarDay

_NAME_WIDTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOff:
    """A day off and what it is called."""

    day: date
    name: str


def days_off(session: Session, first: date, last: date) -> list[DayOff]:
    """The days off from one day to another, both included, in order; weekends apart."""
    query = select(CalendarDay).where(CalendarDay.day >= first, CalendarDay.day <= last).order_by(CalendarDay.day)
    return [DayOff(day=row.day, name=row.name) for row in session.scalars(query)]


def day_off(session: Session, day: date) -> DayOff | None:
    """The day off that a day is, also in a year the store knows nothing of; None for a working day."""
    row = session.get(CalendarDay, day)
    if row is not None:
        return DayOff(day=day, name=row.name)
    if _knows_year(session, day.year):
        return None
    name = name_by_law(day)
    return None if name is None else DayOff(day=day, name=name)


def name_by_law(day: date) -> str | None:
    """What a day is called that is off by law: a national holiday, or between 12/29 and 1/3; None for other days."""
    return holiday_names({day.year}).get(day)


def off_by_law(day: date) -> bool:
    """Whether a day is off by law."""
    return name_by_law(day) is not None


def add_day_off(session: Session, day: date, name: str, actor: str, now: datetime) -> bool:
    """Add a day off; False when it is one already. One that is off by law is what the law calls it.

    A year the store knew nothing of gets its holidays too: a year with one day counts as known.
    """
    _fill_year(session, day.year)
    if session.get(CalendarDay, day) is not None:
        return False
    called = name_by_law(day) or name
    session.add(CalendarDay(day=day, name=called[:_NAME_WIDTH]))
    audit(session, actor, "day_off_added", f"calendar:{day}", called, now)
    session.flush()
    return True


def remove_day_off(session: Session, day: date, actor: str, now: datetime) -> bool:
    """Make a day off a working day; False when it is none."""
    _fill_year(session, day.year)
    row = session.get(CalendarDay, day)
    if row is None:
        return False
    audit(session, actor, "day_off_removed", f"calendar:{day}", row.name, now)
    session.delete(row)
    session.flush()
    return True


def _knows_year(session: Session, year: int) -> bool:
    return bool(days_off(session, date(year, 1, 1), date(year, 12, 31)))


def _fill_year(session: Session, year: int) -> None:
    if _knows_year(session, year):
        return
    for day, name in holiday_names({year}).items():
        session.add(CalendarDay(day=day, name=name))
    session.flush()
