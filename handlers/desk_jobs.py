"""Jobs of the application desk that fall due by the clock: planned, done once, tried again when they fail.

What there is to do stands in the table of `handlers.desk_job_kinds`. Jobs are rows, so that a restart loses none, and
several processes may ask for them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from handlers.applications import held_mails
from handlers.calendar import BusinessCalendar
from handlers.desk import DeskSettings
from handlers.desk_job_dates import IN_REVIEW
from handlers.desk_job_kinds import KINDS, JobKind
from handlers.desk_job_plans import UNDONE, cancel_all, next_due, plan
from handlers.desk_job_runs import MOST_JOBS, Run
from handlers.workflow import State
from storage.models import Application, DeskJob, IssuedSecret, LogicalTerminal

__all__ = ["JobKind", "cancel_all", "next_due", "plan", "run_due", "sweep", "sweep_is_due"]


def run_due(
    session: Session, desk: DeskSettings, calendar: BusinessCalendar, now: datetime, *, expires: bool = True
) -> int:
    """Do what is due of one case, or one reminder; how many jobs were handled, 0 when nothing is left to do.

    With `expires` False the wall clock is not to be trusted: nothing is voided or destroyed, nor is any job done that
    comes after such a one in its case.
    """
    run = Run(session=session, desk=desk, calendar=calendar, now=now, expires=expires)
    return run.first(tuple(KINDS))


def sweep(
    session: Session, desk: DeskSettings, calendar: BusinessCalendar, now: datetime, *, expires: bool = True
) -> int:
    """Do one piece of what no job was planned for; how much, 0 when nothing is left.

    Cases that lack a job get it, a few cases of one kind a time; those whose new terminals all had a normal TCC are
    confirmed, held mail expires.
    """
    for lack in _lacks():
        lacking = select(Application).where(*lack).order_by(Application.id).limit(MOST_JOBS)
        cases = session.scalars(lacking.with_for_update(skip_locked=True)).all()
        planned = sum(plan(session, desk, application, calendar, now) for application in cases)
        if planned:
            return planned
    run = Run(session=session, desk=desk, calendar=calendar, now=now, expires=expires)
    confirmed = run.first((JobKind.CONFIRM,))
    if confirmed or not expires:
        return confirmed
    return held_mails.expire(session, desk, now)


def sweep_is_due(session: Session) -> bool:
    """Whether a case lacks a job. It only reads; held mail is not looked at."""
    return any(session.scalar(select(Application.id).where(*lack).limit(1)) is not None for lack in _lacks())


def _lacks() -> Sequence[tuple[ColumnElement[bool], ...]]:
    """Cases that call for a job that is not planned: left by an older version, or since a terminal was checked."""
    own = LogicalTerminal.application_id == Application.id
    terminals = exists().where(own, LogicalTerminal.effective_until.is_(None))
    unchecked = exists().where(own, LogicalTerminal.effective_until.is_(None), LogicalTerminal.checked_at.is_(None))
    sealed = select(IssuedSecret.application_id).where(IssuedSecret.destroyed_at.is_(None))
    return (
        (Application.state.in_(IN_REVIEW), _without(JobKind.REVIEW_REMINDER)),
        (Application.state == State.IDS_ISSUED, Application.start_date.is_not(None), _without(JobKind.BEGIN_USE)),
        (Application.state == State.IN_USE, terminals, ~unchecked, _without(JobKind.CONFIRM)),
        (Application.id.in_(sealed), Application.passwords_until.is_not(None), _without(JobKind.DESTROY_SECRETS)),
    )


def _without(kind: JobKind) -> ColumnElement[bool]:
    return ~exists().where(DeskJob.application_id == Application.id, DeskJob.kind == kind, *UNDONE)
