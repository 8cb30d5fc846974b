"""The review of applications: the one place that moves them, for mail, portal, command line and the calendar.

What an event does stands in the table of `handlers.workflow`; here it is carried out, in one transaction with
an audit event for each move. What cannot be done is a `Refusal`, a value, and leaves nothing behind.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import id_notices
from handlers.allocation import (
    AllocationExhausted,
    AllocationImpossible,
    Order,
    TerminalChange,
    allocate,
    take_back,
)
from handlers.applications.contents import ApplicationContents
from handlers.calendar import BusinessCalendar, jst_date
from handlers.desk import DeskSettings
from handlers.terminals import change_map
from handlers.workflow import TRANSITIONS, Effect, Event, Guard, State, Step, changes_map, holds, steps
from storage.models import Application, AuditEvent, Office
from storage.savepoint import whole_or_nothing
from storage.store import new_key

_MOST_AT_ONCE = 100
_CALENDAR_ACTOR = "gateway"


class Reason(StrEnum):
    """Why nothing was done."""

    NOT_FOUND = "not_found"  # no application has this receipt number
    WRONG_STATE = "wrong_state"  # detail: the state it is in
    START_IN_THE_PAST = "start_in_the_past"  # detail: the date
    START_NOT_REACHED = "start_not_reached"  # detail: the date
    DEADLINE_PASSED = "deadline_passed"  # detail: システム設定申込締切日; a later start is needed
    EXHAUSTED = "exhausted"  # detail: the pool or line in which nothing is free
    IMPOSSIBLE = "impossible"  # detail: the line or terminal that is not the office's or not in use


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was done."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The application was moved; `terminals` are the IDs issued on the way."""

    receipt_number: str
    state: State
    start_date: date | None
    terminals: tuple[TerminalChange, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Case:
    """One decision while it is carried out."""

    session: Session
    desk: DeskSettings
    calendar: BusinessCalendar
    application: Application
    contents: ApplicationContents
    start: date | None
    actor: str
    now: datetime
    terminals: tuple[TerminalChange, ...] = ()

    @property
    def today(self) -> date:
        return jst_date(self.now)

    def order(self) -> Order:
        return Order(
            application_id=self.application.id,
            office=self.session.get_one(Office, self.application.office_id),
            lines=self.contents.lines,
            start=id_notices.confirmed_start(self.application),
            today=self.today,
        )


class _TurnedDown(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def find(session: Session, receipt: str) -> Application | None:
    """The application with that receipt number (申込受付番号), written in any width and case."""
    number = unicodedata.normalize("NFKC", receipt).strip(" 【】[]").upper()
    return session.scalars(select(Application).where(Application.receipt_number == number)).first()


def complete(
    session: Session,
    desk: DeskSettings,
    receipt: str,
    start_date: date | None,
    actor: str,
    now: datetime,
    calendar: BusinessCalendar,
) -> Decided | Refusal:
    """Complete the review (審査終了): issue the IDs and tell the applicant.

    Without `start_date` the wish is confirmed. A start before today (JST) is refused, one of today is in use
    at once.
    """
    return decide(session, desk, receipt, Event.COMPLETE, actor, now, calendar, start_date=start_date)


def decide(
    session: Session,
    desk: DeskSettings,
    receipt: str,
    event: Event,
    actor: str,
    now: datetime,
    calendar: BusinessCalendar,
    *,
    start_date: date | None = None,
) -> Decided | Refusal:
    """Let an event happen to an application, whole or not at all.

    `actor` is applicant:<address>, os:<user> or gateway.
    """
    application = find(session, receipt)
    if application is None:
        return Refusal(Reason.NOT_FOUND, receipt)
    try:
        with whole_or_nothing(session):
            _lock(session, application, event, now)
            case = _Case(
                session=session,
                desk=desk,
                calendar=calendar,
                application=application,
                contents=ApplicationContents.from_json(application.contents),
                start=_start(application, event, start_date),
                actor=actor,
                now=now,
            )
            return _carry_out(case, event)
    except _TurnedDown as turned_down:
        return turned_down.refusal
    except AllocationExhausted as exhausted:
        return Refusal(Reason.EXHAUSTED, exhausted.source)
    except AllocationImpossible as impossible:
        return Refusal(Reason.IMPOSSIBLE, impossible.subject)


def begin_use(session: Session, now: datetime) -> tuple[str, ...]:
    """Move applications whose start date has come to `in_use`; their receipt numbers.

    At most a hundred at a time, so that a unit of work stays short: call it until it returns none.
    """
    today = jst_date(now)
    due = session.scalars(
        select(Application)
        .where(Application.state == State.IDS_ISSUED, Application.start_date <= today)
        .order_by(Application.id)
        .limit(_MOST_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    for application in due:
        for step in steps(State.IDS_ISSUED, Event.BEGIN_USE, application.start_date, today):
            _move(session, application, step, _CALENDAR_ACTOR, now)
    session.flush()
    return tuple(application.receipt_number for application in due)


def _lock(session: Session, application: Application, event: Event, now: datetime) -> None:
    """Refuse what the state does not allow; lock the map first where it will change, then the application."""
    _refuse_other_states(application, event)
    if changes_map(State(application.state), event):
        change_map(session, now)
    # Before the lanes, though rows come last in the order of locks: nobody waits for an application with a lane.
    session.refresh(application, with_for_update=True)
    _refuse_other_states(application, event)


def _refuse_other_states(application: Application, event: Event) -> None:
    if (State(application.state), event) not in TRANSITIONS:
        raise _TurnedDown(Refusal(Reason.WRONG_STATE, application.state))


def _start(application: Application, event: Event, start_date: date | None) -> date | None:
    if event is not Event.COMPLETE:
        return application.start_date
    return start_date or application.desired_start_date


def _carry_out(case: _Case, event: Event) -> Decided:
    for step in steps(State(case.application.state), event, case.start, case.today):
        if not holds(step.transition.guard, case.start, case.today):
            raise _TurnedDown(_refusal_of(step.transition.guard, case.start))
        _move(case.session, case.application, step, case.actor, case.now)
        for effect in step.transition.effects:
            _EFFECTS[effect](case)
    case.session.flush()
    return Decided(
        receipt_number=case.application.receipt_number,
        state=State(case.application.state),
        start_date=case.application.start_date,
        terminals=case.terminals,
    )


def _refusal_of(guard: Guard, start: date | None) -> Refusal:
    past = guard is Guard.START_NOT_PAST
    reason = Reason.START_IN_THE_PAST if past else Reason.START_NOT_REACHED
    return Refusal(reason, "" if start is None else start.isoformat())


def _move(session: Session, application: Application, step: Step, actor: str, now: datetime) -> None:
    application.state = step.transition.next
    _record(
        session,
        actor,
        str(step.event),
        f"application:{application.receipt_number}",
        f"{step.before} -> {step.transition.next}",
        now,
    )


def _record(session: Session, actor: str, event: str, subject: str, detail: str, now: datetime) -> None:
    session.add(
        AuditEvent(id=new_key(session), occurred_at=now, actor=actor, event=event, subject=subject, detail=detail)
    )


def _confirm_start_date(case: _Case) -> None:
    start = case.start or case.application.desired_start_date
    if case.contents.needs_system_settings:
        deadline = case.calendar.settings_deadline(start)
        if deadline < case.today:
            raise _TurnedDown(Refusal(Reason.DEADLINE_PASSED, deadline.isoformat()))
    case.application.start_date = start
    case.application.completed_at = case.now


def _send_review_complete(case: _Case) -> None:
    # Queued before anything is allocated: lanes are locked before addresses.
    id_notices.send_review_complete(
        case.session,
        case.desk,
        case.application,
        case.calendar,
        case.now,
        needs_system_settings=case.contents.needs_system_settings,
    )


def _issue_ids(case: _Case) -> None:
    case.terminals = allocate(case.session, case.desk, case.order())
    for terminal in case.terminals:
        addresses = " ".join(terminal.mail_addresses)
        _record(
            case.session,
            case.actor,
            f"terminal_{terminal.change}",
            f"terminal:{terminal.name}",
            f"{case.application.receipt_number} {terminal.ip_address} {addresses}".strip(),
            case.now,
        )


def _send_id_notice(case: _Case) -> None:
    id_notices.send_id_notice(case.session, case.desk, case.application, case.terminals, case.now)


def _take_ids_back(case: _Case) -> None:
    take_back(case.session, case.desk, case.order())


_EFFECTS: dict[Effect, Callable[[_Case], None]] = {
    Effect.CONFIRM_START_DATE: _confirm_start_date,
    Effect.SEND_REVIEW_COMPLETE: _send_review_complete,
    Effect.ISSUE_IDS: _issue_ids,
    Effect.SEND_ID_NOTICE: _send_id_notice,
    Effect.TAKE_IDS_BACK: _take_ids_back,
}
