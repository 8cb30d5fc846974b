"""When the clock's jobs of a case fall due, by facts of the store alone.

Each function answers for one kind: by key the instants (UTC) at which something is to be done, as the case stands. A
day that may move is part of the key, so that what was done for the old day is done again for the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handlers.applications.contents import ApplicationContents, LineAction
from handlers.calendar import BusinessCalendar, jst_date, start_of_day
from handlers.workflow import State
from storage.models import Application, DeskJob, IssuedSecret, LogicalTerminal, Work

IN_REVIEW = frozenset({State.RECEIVED, State.UNDER_REVIEW, State.INQUIRY})
_GIVEN_UP = frozenset({State.WITHDRAWN, State.VOID, State.REJECTED})
_BEGUN = frozenset({State.IN_USE, State.CHECKED})
_ONE_DAY = timedelta(days=1)
_MORNING = timedelta(hours=9)
_TCC_BUSINESS_DAYS = 2

Due = Mapping[str, datetime]  # by key
_NEVER: Due = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides when the jobs of a case fall due.

    `lines_with_work` counts the lines whose router has to learn a new IP address before the start. `unchecked` are the
    new terminals without a normal TCC; `all_checked_at` is None as long as there are any, and where none is new.
    `reminded_on` is the last day the reviewer was reminded of the case.
    """

    application: Application
    calendar: BusinessCalendar
    remind_after: int
    works: tuple[Work, ...]
    lines_with_work: int
    unchecked: tuple[str, ...]
    all_checked_at: datetime | None
    has_secrets: bool
    reminded_on: date | None

    @property
    def state(self) -> State:
        """Where the case stands."""
        return State(self.application.state)


def gather(
    session: Session, application: Application, calendar: BusinessCalendar, *, remind_after: int, reminder: str
) -> Facts:
    """Read the facts of a case; `reminder` is the kind of job that reminds of it."""
    of_case = (Work.application_id == application.id, Work.cancelled_at.is_(None))
    of_case_terminals = (LogicalTerminal.application_id == application.id, LogicalTerminal.effective_until.is_(None))
    checks = session.execute(
        select(LogicalTerminal.name, LogicalTerminal.checked_at).where(*of_case_terminals).order_by(LogicalTerminal.id)
    ).all()
    unchecked = tuple(row.name for row in checks if row.checked_at is None)
    sealed = (IssuedSecret.application_id == application.id, IssuedSecret.destroyed_at.is_(None))
    reminded_at = session.scalar(
        select(func.max(DeskJob.done_at)).where(DeskJob.application_id == application.id, DeskJob.kind == reminder)
    )
    return Facts(
        application=application,
        calendar=calendar,
        remind_after=remind_after,
        works=tuple(session.scalars(select(Work).where(*of_case).order_by(Work.id))),
        lines_with_work=_lines_with_work(application),
        unchecked=unchecked,
        all_checked_at=None if unchecked else max((row.checked_at for row in checks), default=None),
        has_secrets=session.scalar(select(IssuedSecret.id).where(*sealed).limit(1)) is not None,
        reminded_on=None if reminded_at is None else jst_date(reminded_at),
    )


def _lines_with_work(application: Application) -> int:
    lines = ApplicationContents.from_json(application.contents).lines
    return sum(line.action is LineAction.ADD or line.adds_terminals for line in lines)


def morning(day: date) -> datetime:
    """09:00 JST of a day, when people are told of what waits."""
    return start_of_day(day) + _MORNING


def while_under_review(facts: Facts) -> Due:
    """A morning some business days after receipt, then the morning of each business day after."""
    if facts.state not in IN_REVIEW:
        return _NEVER
    day = facts.calendar.add_business_days(facts.application.received_on, facts.remind_after)
    if facts.reminded_on is not None:
        day = max(day, facts.calendar.add_business_days(facts.reminded_on, 1))
    return {day.isoformat(): morning(day)}


def after_settings_deadline(facts: Facts) -> Due:
    """00:00 JST after システム設定申込締切日, as long as the application for system settings did not come."""
    case = facts.application
    if facts.state is not State.IDS_ISSUED or case.settings_deadline is None or case.settings_received_at is not None:
        return _NEVER
    return {case.settings_deadline.isoformat(): start_of_day(case.settings_deadline + _ONE_DAY)}


def before_work_is_late(facts: Facts) -> Due:
    """For a new line the morning before its router comes; otherwise the morning of a business day before the start.

    Once the use has begun there is nothing left to be late for: neither the work nor the start can be moved.
    """
    if facts.state in _GIVEN_UP | _BEGUN:
        return _NEVER
    undone = [work for work in facts.works if work.done_at is None]
    due = {
        f"router {work.id}": morning(work.router_installed_on - _ONE_DAY)
        for work in undone
        if work.router_installed_on is not None
    }
    not_arranged = facts.lines_with_work > len({work.line_id for work in facts.works})
    start = facts.application.start_date
    if start is not None and (not_arranged or any(work.router_installed_on is None for work in undone)):
        due[f"start {start.isoformat()}"] = morning(facts.calendar.business_days_before(start, 1))
    return due


def as_windows_open(facts: Facts) -> Due:
    """The beginning of each window of work; the key is the work's."""
    if facts.state in _GIVEN_UP:
        return _NEVER
    return {str(work.id): work.begins_at for work in facts.works if work.done_at is None and work.opened_at is None}


def as_windows_close(facts: Facts) -> Due:
    """The end of each window of work; the key is the work's."""
    if facts.state in _GIVEN_UP:
        return _NEVER
    return {str(work.id): work.ends_at for work in facts.works if work.done_at is None and work.closed_at is None}


def at_start(facts: Facts) -> Due:
    """00:00 JST of 利用開始日."""
    start = facts.application.start_date
    if facts.state is not State.IDS_ISSUED or start is None:
        return _NEVER
    return {"": start_of_day(start)}


def once_checked(facts: Facts) -> Due:
    """When the last new terminal had its first normal TCC."""
    if facts.state is not State.IN_USE or facts.all_checked_at is None:
        return _NEVER
    return {"": facts.all_checked_at}


def after_two_business_days(facts: Facts) -> Due:
    """The morning of the first business day after two of them have passed since the start, with terminals unchecked."""
    start = facts.application.start_date
    if facts.state not in (State.IDS_ISSUED, State.IN_USE) or start is None or not facts.unchecked:
        return _NEVER
    return {"": morning(facts.calendar.add_business_days(start, _TCC_BUSINESS_DAYS + 1))}


def on_last_password_day(facts: Facts) -> Due:
    """The morning of the last day on which passwords can be seen."""
    until = facts.application.passwords_until
    if facts.state in _GIVEN_UP or until is None or not facts.has_secrets:
        return _NEVER
    return {until.isoformat(): morning(until)}


def after_password_window(facts: Facts) -> Due:
    """The end of that day."""
    until = facts.application.passwords_until
    if until is None or not facts.has_secrets:
        return _NEVER
    return {until.isoformat(): start_of_day(until + _ONE_DAY)}
