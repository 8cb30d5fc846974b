"""The business calendar of the store: days off that operators may edit, filled in for years it knows nothing of."""

from __future__ import annotations

from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.calendar import BusinessCalendar, holiday_names
from storage.models import CalendarDay

_YEARS_AHEAD = 4


def calendar_of(session: Session, today: date) -> BusinessCalendar:
    """The calendar as it stands.

    A year from `today`'s on of which the store has no day is taken from the law as it is known now, and not stored.
    """
    days = _days_off(session)
    return BusinessCalendar(holidays=frozenset(days | holiday_names(_without(days, today)).keys()))


def missing_years(session: Session, today: date) -> set[int]:
    """The years, from `today`'s four ahead, of which the store has no day."""
    return _without(_days_off(session), today)


def fill_in(session: Session, today: date) -> int:
    """Store the days off of years that have none, from `today`'s four years ahead; how many days were added."""
    names = holiday_names(missing_years(session, today))
    for day, name in names.items():
        session.merge(CalendarDay(day=day, name=name))
    session.flush()
    return len(names)


def _days_off(session: Session) -> set[date]:
    return set(session.scalars(select(CalendarDay.day)))


def _without(days: set[date], today: date) -> set[int]:
    return set(range(today.year, today.year + _YEARS_AHEAD + 1)) - {day.year for day in days}
