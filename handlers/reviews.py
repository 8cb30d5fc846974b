"""The review of applications: the one place that moves them, for mail, portal, command line and the clock.

What an event does stands in the table of `handlers.workflow`, how an effect is done in `handlers.review_effects`;
here a decision is carried out in one transaction, with an audit event and a history entry for each move. What
cannot be done is a `Refusal`, a value, and leaves nothing behind.
"""

from __future__ import annotations

import json
import unicodedata
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import case_history, works
from handlers.allocation import AllocationExhausted, AllocationImpossible, NewLineNeeded, NewLineTaken
from handlers.applications.contents import ApplicationContents
from handlers.audit import audit
from handlers.calendar import BusinessCalendar
from handlers.case_history import EntryKind
from handlers.case_works import work_view
from handlers.desk import DeskSettings
from handlers.review_case import Case, Caution, Decided, Details, NewLine, Reason, Refusal, TurnedDown
from handlers.review_effects import EFFECTS
from handlers.review_proposals import as_two_persons
from handlers.schedule import start_days
from handlers.terminals import change_map
from handlers.workflow import TRANSITIONS, Event, Guard, State, Step, changes_map, holds, steps
from storage.models import Application, MapVersion
from storage.savepoint import whole_or_nothing

__all__ = [
    "Caution",
    "Decided",
    "Details",
    "NewLine",
    "Reason",
    "Refusal",
    "complete",
    "decide",
    "find",
]

_NO_DETAILS = Details()
_WORDS_NEEDED = frozenset({Event.INQUIRE, Event.REJECT, Event.VOID})

# What people are told of an event; what is not here stands in another entry of the same decision.
_ENTRIES: dict[Event, EntryKind] = {
    Event.TAKE: EntryKind.TAKEN,
    Event.ACCEPT_ADDRESS: EntryKind.ADDRESS_ACCEPTED,
    Event.INQUIRE: EntryKind.INQUIRY,
    Event.ANSWER: EntryKind.ANSWER,
    Event.PROPOSE: EntryKind.PROPOSED,
    Event.COMPLETE: EntryKind.COMPLETED,
    Event.RECEIVE_SETTINGS: EntryKind.SETTINGS,
    Event.RESCHEDULE: EntryKind.RESCHEDULED,
    Event.SCHEDULE_WORK: EntryKind.WORK,
    Event.FINISH_WORK: EntryKind.WORK,
    Event.REISSUE_SECRETS: EntryKind.SECRETS_REISSUED,
    Event.BEGIN_USE: EntryKind.IN_USE,
    Event.CONFIRM: EntryKind.CHECKED,
    Event.WITHDRAW: EntryKind.WITHDRAWAL,
    Event.REJECT: EntryKind.REJECTED,
    Event.VOID: EntryKind.VOID,
}


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
    **details: Any,
) -> Decided | Refusal:
    """Complete the review (審査終了): issue the IDs and tell the applicant.

    Without `start_date` the wish is confirmed. A start before today (JST) is refused, one of today is in use
    at once. Where two persons are needed, the first call proposes and another person's call decides.
    """
    given = Details(start_date=start_date, **details)
    return decide(session, desk, receipt, Event.COMPLETE, actor, now, calendar, given)


def decide(
    session: Session,
    desk: DeskSettings,
    receipt: str,
    event: Event,
    actor: str,
    now: datetime,
    calendar: BusinessCalendar,
    details: Details = _NO_DETAILS,
) -> Decided | Refusal:
    """Let an event happen to an application, whole or not at all.

    `actor` is applicant:<address>, os:<user> or gateway.
    """
    application = find(session, receipt)
    if application is None:
        return Refusal(Reason.NOT_FOUND, receipt)
    try:
        with whole_or_nothing(session):
            _lock(session, application, event)
            if event is Event.COMPLETE and desk.two_person:
                event, details = as_two_persons(session, application, actor, details)
            if changes_map(State(application.state), event):
                change_map(session, now)
            case = Case(
                session=session,
                desk=desk,
                calendar=calendar,
                application=application,
                contents=ApplicationContents.from_json(application.contents),
                start=_start(application, event, details.start_date),
                actor=actor,
                now=now,
                details=details,
                event=event,
            )
            if details.accept_address:
                _carry_out(case, Event.ACCEPT_ADDRESS)
            return _carry_out(case, event)
    except TurnedDown as turned_down:
        return turned_down.refusal
    except AllocationExhausted as exhausted:
        return Refusal(Reason.EXHAUSTED, exhausted.source)
    except NewLineNeeded as needed:
        return Refusal(Reason.NEW_LINE_NEEDED, needed.subject)
    except NewLineTaken as taken:
        return Refusal(Reason.NEW_LINE_TAKEN, taken.subject)
    except AllocationImpossible as impossible:
        return Refusal(Reason.IMPOSSIBLE, impossible.subject)


def _lock(session: Session, application: Application, event: Event) -> None:
    """Refuse what the state does not allow; lock the map first where it may change, then the application."""
    _refuse_other_states(application, event)
    if any(changes_map(state, event) for state in State):
        session.execute(select(MapVersion.version).where(MapVersion.id == 1).with_for_update())
    if event is Event.COMPLETE:
        # What is issued joins the windows of work that are open on its lines, whosever work it is.
        works.hold_cases_with_work(session, [application.office_id], application.id)
    # Before the lanes, though rows come last in the order of locks: nobody waits for an application with a lane.
    session.refresh(application, with_for_update=True)
    _refuse_other_states(application, event)


def _refuse_other_states(application: Application, event: Event) -> None:
    if (State(application.state), event) not in TRANSITIONS:
        raise TurnedDown(Refusal(Reason.WRONG_STATE, application.state))


def _start(application: Application, event: Event, start_date: date | None) -> date | None:
    """The start date that the guards of the event look at."""
    if event in (Event.COMPLETE, Event.PROPOSE):
        return start_date or application.desired_start_date
    return start_date if event is Event.RESCHEDULE else application.start_date


def _carry_out(case: Case, event: Event) -> Decided:
    if event in _WORDS_NEEDED and not case.details.words.strip():
        raise TurnedDown(Refusal(Reason.WORDS_NEEDED))
    for step in steps(State(case.application.state), event, case.start, case.today):
        if not holds(step.transition.guard, case.start, case.today):
            raise TurnedDown(_refusal_of(step.transition.guard, case.start))
        _move(case.session, case.application, step, case.actor, case.now)
        case.event, case.facts, case.sent = step.event, {}, []
        for effect in step.transition.effects:
            EFFECTS[effect](case)
        _tell_history(case, own=step.event is event)
        case.all_sent += case.sent
    case.session.flush()
    return Decided(
        receipt_number=case.application.receipt_number,
        state=State(case.application.state),
        start_date=case.application.start_date,
        terminals=case.terminals,
        proposed=event is Event.PROPOSE,
        cautions=_cautions(case, event),
        mail_ids=tuple(case.all_sent),
        work=None if case.work is None else work_view(case.session, case.application, case.work),
        work_warnings=case.work_warnings,
    )


def _tell_history(case: Case, *, own: bool) -> None:
    """Write the entry of a step; the words and the mail of the decision belong to its own event alone."""
    kind = _ENTRIES.get(case.event)
    if kind is None:
        return
    brought = case.details.mail_id if own else None
    case_history.record(
        case.session,
        case.application,
        kind,
        case.actor,
        case.now,
        mail_id=brought if brought is not None else next(iter(case.sent), None),
        words=case.details.words if own else "",
        detail=json.dumps(case.facts, ensure_ascii=False) if case.facts else "",
    )


def _cautions(case: Case, event: Event) -> tuple[Caution, ...]:
    if event not in (Event.COMPLETE, Event.PROPOSE, Event.RESCHEDULE) or case.start is None:
        return ()
    days = start_days(case.session, case.today)
    found = {
        Caution.STARTS_TODAY: case.application.state == State.IN_USE,
        Caution.OFF_SCHEDULE: bool(days) and case.start not in days,
    }
    return tuple(caution for caution, holds_true in found.items() if holds_true)


def _refusal_of(guard: Guard, start: date | None) -> Refusal:
    past = guard is Guard.START_NOT_PAST
    reason = Reason.START_IN_THE_PAST if past else Reason.START_NOT_REACHED
    return Refusal(reason, "" if start is None else start.isoformat())


def _move(session: Session, application: Application, step: Step, actor: str, now: datetime) -> None:
    application.state = step.transition.next
    audit(
        session,
        actor,
        str(step.event),
        f"application:{application.receipt_number}",
        f"{step.before} -> {step.transition.next}",
        now,
    )
