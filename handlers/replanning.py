"""Open cases after the calendar or the schedule was edited: which of their dates move, and their jobs planned again.

What was told to an applicant stays as it was told: such a date is named with the day that would be right now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import zip_longest

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import Session

from handlers.applications.contents import ApplicationContents
from handlers.calendar import BusinessCalendar, jst_date
from handlers.desk import DeskSettings
from handlers.desk_job_dates import IN_REVIEW
from handlers.desk_job_kinds import facts_of, wanted
from handlers.desk_job_plans import UNDONE, plan
from handlers.workflow import State
from storage.models import Application, DeskJob

CASES_AT_ONCE = 50

_PENDING = (*IN_REVIEW, State.COMPLETED, State.IDS_ISSUED, State.IN_USE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DateMoved:
    """A JST day of a case by the calendar before and after an edit; None: there is no such day.

    `what` is settings_deadline, passwords_until or a kind of job. `told`: the applicant knows the day, so it stays.
    """

    receipt_number: str
    what: str
    before: date | None
    after: date | None
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The calendar before and after an edit that was made or is thought of, on a JST day."""

    before: BusinessCalendar
    after: BusinessCalendar
    today: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was found or done in one unit of work; `last_id` None: there are no more cases."""

    last_id: int | None
    cases: int
    moved: tuple[DateMoved, ...] = ()
    jobs: int = 0


def open_cases(session: Session) -> int:
    """How many cases the clock has something to do for."""
    return session.scalar(select(func.count()).select_from(Application).where(_open())) or 0


def dates_moved(session: Session, desk: DeskSettings, edit: Edit, after_id: int = 0) -> Page:
    """The dates that the edit moves, of the next fifty open cases with ids above `after_id`; it only reads."""
    rows = session.scalars(_next(after_id)).all()
    moved = [found for row in rows for found in _moved(session, desk, row, edit)]
    return Page(last_id=_last(rows), cases=len(rows), moved=tuple(moved))


def plan_again(
    session: Session, desk: DeskSettings, calendar: BusinessCalendar, now: datetime, after_id: int = 0
) -> Page:
    """Leave the next fifty open cases with exactly the jobs they call for; `jobs` counts those that changed."""
    rows = session.scalars(_next(after_id).with_for_update()).all()
    changed = sum(plan(session, desk, row, calendar, now) for row in rows)
    return Page(last_id=_last(rows), cases=len(rows), jobs=changed)


def _next(after_id: int) -> Select[Application]:
    query = select(Application).where(Application.id > after_id, _open())
    return query.order_by(Application.id).limit(CASES_AT_ONCE)


def _open() -> ColumnElement[bool]:
    undone = exists().where(DeskJob.application_id == Application.id, *UNDONE)
    return or_(Application.state.in_(_PENDING), undone)


def _last(rows: Sequence[Application]) -> int | None:
    return rows[-1].id if len(rows) == CASES_AT_ONCE else None


def _moved(session: Session, desk: DeskSettings, application: Application, edit: Edit) -> Iterator[DateMoved]:
    receipt = application.receipt_number
    for what, day_by, told in _dates_of(application, edit):
        before, after = day_by(edit.before), day_by(edit.after)
        if before != after:
            yield DateMoved(receipt_number=receipt, what=what, before=before, after=after, told=told)
    planned, called_for = _job_days(session, desk, application, edit.after)
    for kind in sorted(planned.keys() | called_for.keys()):
        gone, come = sorted(planned[kind] - called_for[kind]), sorted(called_for[kind] - planned[kind])
        for before, after in zip_longest(gone, come):
            yield DateMoved(receipt_number=receipt, what=kind, before=before, after=after)


_DayBy = Callable[[BusinessCalendar], date]


def _dates_of(application: Application, edit: Edit) -> Iterator[tuple[str, _DayBy, bool]]:
    """Deadline and end of the password window: as told when the review was completed, before it by the wish."""
    start = application.start_date
    if start is None:
        wish = application.desired_start_date
        if ApplicationContents.from_json(application.contents).needs_system_settings:
            yield "settings_deadline", lambda calendar: calendar.settings_deadline(wish), False
        yield "passwords_until", lambda calendar: calendar.last_day_of_password_window(wish), False
        return
    deadline, until = application.settings_deadline, application.passwords_until
    waits = application.settings_received_at is None and deadline is not None and deadline >= edit.today
    if waits and deadline == edit.before.settings_deadline(start):
        yield "settings_deadline", lambda calendar: calendar.settings_deadline(start), True
    # A window that a reissue opened hangs on the day of that.
    if until is not None and until >= edit.today and until == edit.before.last_day_of_password_window(start):
        yield "passwords_until", lambda calendar: calendar.last_day_of_password_window(start), True


def _job_days(
    session: Session, desk: DeskSettings, application: Application, calendar: BusinessCalendar
) -> tuple[dict[str, set[date]], dict[str, set[date]]]:
    """The days of the jobs that are planned, and of those the case calls for by the calendar, by kind."""
    query = select(DeskJob).where(DeskJob.application_id == application.id)
    rows = {(row.kind, row.key): row for row in session.scalars(query)}
    planned, called_for = defaultdict[str, set[date]](set), defaultdict[str, set[date]](set)
    for row in rows.values():
        if row.done_at is None and row.cancelled_at is None and not row.failures:
            planned[row.kind].add(jst_date(row.due_at))
    for (kind, key), due in wanted(facts_of(session, desk, application, calendar)).items():
        known = rows.get((kind, key))
        # What was done stays done, and what fails waits for its next try.
        if known is None or (known.done_at is None and not known.failures):
            called_for[kind].add(jst_date(due))
    return planned, called_for
