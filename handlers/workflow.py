"""The workflow of an application as one literal table; the row's `state` is the state, nothing else moves it.

A transition says what must hold before it, where it leads, what is done with it, and which events belong to
the same commit: one taken before it (`first`) and one that follows as soon as its own guard holds (`then`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class State(StrEnum):
    """Where an application stands."""

    RECEIVED = "received"
    UNDER_REVIEW = "under_review"
    INQUIRY = "inquiry"
    COMPLETED = "completed"
    IDS_ISSUED = "ids_issued"
    IN_USE = "in_use"
    CHECKED = "checked"
    WITHDRAWN = "withdrawn"
    VOID = "void"
    REJECTED = "rejected"


class Event(StrEnum):
    """What a reviewer, the applicant or the calendar does to an application."""

    TAKE = "take"
    ACCEPT_ADDRESS = "accept_address"  # replies of an unregistered notice address act from now on
    INQUIRE = "inquire"
    ANSWER = "answer"
    AMEND = "amend"
    PROPOSE = "propose"  # the first of two persons would complete it
    COMPLETE = "complete"
    ISSUE = "issue"
    RECEIVE_SETTINGS = "receive_settings"
    RESCHEDULE = "reschedule"
    SCHEDULE_WORK = "schedule_work"
    FINISH_WORK = "finish_work"
    REISSUE_SECRETS = "reissue_secrets"
    BEGIN_USE = "begin_use"
    CONFIRM = "confirm"  # every new terminal has had one normal TCC
    WITHDRAW = "withdraw"
    REJECT = "reject"
    VOID = "void"


class Guard(StrEnum):
    """What must hold on the JST day of the event."""

    NONE = "none"
    START_NOT_PAST = "start_not_past"
    START_REACHED = "start_reached"


class Effect(StrEnum):
    """What is done with a transition, in its transaction and in the order written."""

    TAKE_OVER = "take_over"
    ACCEPT_ADDRESS = "accept_address"
    SEND_INQUIRY = "send_inquiry"
    TELL_REVIEWER = "tell_reviewer"
    AMEND = "amend"
    SEND_AMENDMENT_RECEIVED = "send_amendment_received"
    PROPOSE = "propose"
    DROP_PROPOSAL = "drop_proposal"  # what was proposed is no longer what would be completed
    CONFIRM_START_DATE = "confirm_start_date"
    SEND_REVIEW_COMPLETE = "send_review_complete"
    ISSUE_IDS = "issue_ids"
    ISSUE_SECRETS = "issue_secrets"
    SEND_ID_NOTICE = "send_id_notice"
    PLAN_JOBS = "plan_jobs"
    RECORD_SETTINGS = "record_settings"
    SEND_SETTINGS_RECEIVED = "send_settings_received"
    MOVE_START = "move_start"  # the dates of the application
    MOVE_IDS = "move_ids"  # and of what it issued
    SEND_RESCHEDULED = "send_rescheduled"
    RECORD_WORK = "record_work"
    SEND_WORK_SCHEDULE = "send_work_schedule"
    RECORD_WORK_DONE = "record_work_done"
    REISSUE_SECRETS = "reissue_secrets"
    SEND_PASSWORDS_REISSUED = "send_passwords_reissued"
    CHANGE_LINES = "change_lines"  # the columns of lines that go on
    SEND_START_OF_USE = "send_start_of_use"
    RECORD_CHECKED = "record_checked"
    SEND_COMMUNICATION_CHECKED = "send_communication_checked"
    CANCEL_JOBS = "cancel_jobs"
    CANCEL_WORK = "cancel_work"
    SEND_WITHDRAWAL_RECEIVED = "send_withdrawal_received"
    SEND_REJECTED = "send_rejected"
    TAKE_IDS_BACK = "take_ids_back"
    DESTROY_SECRETS = "destroy_secrets"
    SEND_VOID = "send_void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of the table."""

    next: State
    guard: Guard = Guard.NONE
    effects: tuple[Effect, ...] = ()
    first: Event | None = None
    then: Event | None = None


# Mails come before what locks lanes of terminals and addresses: the order of the locks is map, application, lanes of
# the smarthost, lanes of terminals, addresses.
_TAKEN = (Effect.TAKE_OVER,)
_ASKED = (Effect.DROP_PROPOSAL, Effect.SEND_INQUIRY)
_AMENDED = (Effect.AMEND, Effect.DROP_PROPOSAL, Effect.SEND_AMENDMENT_RECEIVED, Effect.TELL_REVIEWER)
_SETTINGS = (Effect.RECORD_SETTINGS, Effect.PLAN_JOBS, Effect.SEND_SETTINGS_RECEIVED)
_WISH_MOVED = (Effect.MOVE_START, Effect.DROP_PROPOSAL, Effect.SEND_RESCHEDULED, Effect.PLAN_JOBS)
_START_MOVED = (Effect.MOVE_START, Effect.SEND_RESCHEDULED, Effect.MOVE_IDS, Effect.PLAN_JOBS)
_WORK = (Effect.RECORD_WORK, Effect.PLAN_JOBS, Effect.SEND_WORK_SCHEDULE)
_WORK_DONE = (Effect.RECORD_WORK_DONE, Effect.PLAN_JOBS)
_REISSUED = (Effect.REISSUE_SECRETS, Effect.SEND_PASSWORDS_REISSUED, Effect.PLAN_JOBS)
_IN_USE = (Effect.CHANGE_LINES, Effect.SEND_START_OF_USE, Effect.PLAN_JOBS)
_CHECKED = (Effect.RECORD_CHECKED, Effect.SEND_COMMUNICATION_CHECKED, Effect.PLAN_JOBS)
_ENDED = (Effect.CANCEL_JOBS, Effect.CANCEL_WORK)
_WITHDRAWN = (Effect.SEND_WITHDRAWAL_RECEIVED, Effect.TELL_REVIEWER, *_ENDED)
_REJECTED = (Effect.SEND_REJECTED, *_ENDED)
_VOID = (Effect.SEND_VOID, Effect.TELL_REVIEWER, *_ENDED, Effect.TAKE_IDS_BACK, Effect.DESTROY_SECRETS)

_REVIEW_STATES = (State.RECEIVED, State.UNDER_REVIEW, State.INQUIRY)
_ISSUED_STATES = (State.IDS_ISSUED, State.IN_USE, State.CHECKED)


def _in_place(
    event: Event, states: tuple[State, ...], *effects: Effect, guard: Guard = Guard.NONE
) -> dict[tuple[State, Event], Transition]:
    """An event that leaves the state as it is."""
    return {(state, event): Transition(next=state, effects=effects, guard=guard) for state in states}


TRANSITIONS: dict[tuple[State, Event], Transition] = {
    (State.RECEIVED, Event.TAKE): Transition(next=State.UNDER_REVIEW, effects=_TAKEN),
    (State.UNDER_REVIEW, Event.TAKE): Transition(next=State.UNDER_REVIEW, effects=_TAKEN),  # by another reviewer
    **_in_place(Event.ACCEPT_ADDRESS, (*_REVIEW_STATES, *_ISSUED_STATES), Effect.ACCEPT_ADDRESS),
    (State.RECEIVED, Event.INQUIRE): Transition(next=State.INQUIRY, first=Event.TAKE),
    (State.UNDER_REVIEW, Event.INQUIRE): Transition(next=State.INQUIRY, effects=_ASKED),
    (State.INQUIRY, Event.INQUIRE): Transition(next=State.INQUIRY, effects=_ASKED),
    (State.INQUIRY, Event.ANSWER): Transition(next=State.UNDER_REVIEW, effects=(Effect.TELL_REVIEWER,)),
    (State.RECEIVED, Event.AMEND): Transition(next=State.RECEIVED, effects=_AMENDED),
    (State.UNDER_REVIEW, Event.AMEND): Transition(next=State.UNDER_REVIEW, effects=_AMENDED),
    (State.INQUIRY, Event.AMEND): Transition(next=State.UNDER_REVIEW, effects=_AMENDED),
    (State.RECEIVED, Event.PROPOSE): Transition(next=State.UNDER_REVIEW, first=Event.TAKE),
    (State.UNDER_REVIEW, Event.PROPOSE): Transition(
        next=State.UNDER_REVIEW, guard=Guard.START_NOT_PAST, effects=(Effect.PROPOSE, Effect.TELL_REVIEWER)
    ),
    (State.RECEIVED, Event.COMPLETE): Transition(next=State.COMPLETED, first=Event.TAKE),
    (State.UNDER_REVIEW, Event.COMPLETE): Transition(
        next=State.COMPLETED,
        guard=Guard.START_NOT_PAST,
        effects=(Effect.CONFIRM_START_DATE, Effect.SEND_REVIEW_COMPLETE),
        then=Event.ISSUE,
    ),
    (State.COMPLETED, Event.ISSUE): Transition(
        next=State.IDS_ISSUED,
        effects=(Effect.ISSUE_IDS, Effect.ISSUE_SECRETS, Effect.SEND_ID_NOTICE, Effect.PLAN_JOBS),
        then=Event.BEGIN_USE,
    ),
    **_in_place(Event.RECEIVE_SETTINGS, (*_REVIEW_STATES, State.IDS_ISSUED), *_SETTINGS),
    **_in_place(Event.RESCHEDULE, _REVIEW_STATES, *_WISH_MOVED, guard=Guard.START_NOT_PAST),
    (State.IDS_ISSUED, Event.RESCHEDULE): Transition(
        next=State.IDS_ISSUED, guard=Guard.START_NOT_PAST, effects=_START_MOVED, then=Event.BEGIN_USE
    ),
    **_in_place(Event.SCHEDULE_WORK, (*_REVIEW_STATES, State.IDS_ISSUED), *_WORK),
    **_in_place(Event.FINISH_WORK, (*_REVIEW_STATES, *_ISSUED_STATES), *_WORK_DONE),
    **_in_place(Event.REISSUE_SECRETS, _ISSUED_STATES, *_REISSUED),
    (State.IDS_ISSUED, Event.BEGIN_USE): Transition(next=State.IN_USE, guard=Guard.START_REACHED, effects=_IN_USE),
    (State.IN_USE, Event.CONFIRM): Transition(next=State.CHECKED, effects=_CHECKED),
    (State.RECEIVED, Event.WITHDRAW): Transition(next=State.WITHDRAWN, effects=_WITHDRAWN),
    (State.UNDER_REVIEW, Event.WITHDRAW): Transition(next=State.WITHDRAWN, effects=_WITHDRAWN),
    (State.INQUIRY, Event.WITHDRAW): Transition(next=State.WITHDRAWN, effects=_WITHDRAWN),
    (State.RECEIVED, Event.REJECT): Transition(next=State.REJECTED, first=Event.TAKE),
    (State.UNDER_REVIEW, Event.REJECT): Transition(next=State.REJECTED, effects=_REJECTED),
    (State.INQUIRY, Event.REJECT): Transition(next=State.REJECTED, effects=_REJECTED),
    (State.IDS_ISSUED, Event.VOID): Transition(next=State.VOID, effects=_VOID),
}

_MAP_EFFECTS = frozenset({Effect.ISSUE_IDS, Effect.TAKE_IDS_BACK, Effect.MOVE_IDS})

# ステータス as the case view prints it: what comes after 審査終了 stands in 進行状況.
STATUS_JA: dict[State, str] = {
    State.RECEIVED: "受付",
    State.UNDER_REVIEW: "審査中",
    State.INQUIRY: "確認事項あり",
    State.COMPLETED: "審査終了",
    State.IDS_ISSUED: "審査終了",
    State.IN_USE: "審査終了",
    State.CHECKED: "審査終了",
    State.WITHDRAWN: "取下げ",
    State.VOID: "無効",
    State.REJECTED: "不承認",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One move of an application."""

    event: Event
    before: State
    transition: Transition


def steps(state: State, event: Event, start: date | None, today: date) -> Iterator[Step]:
    """The moves that one commit makes when `event` comes in `state`; none when the table has no such pair.

    A follow-up whose guard does not hold on the JST day `today` is left for later; the guard of the event
    itself is for the caller to ask.
    """
    transition = TRANSITIONS.get((state, event))
    while transition is not None:
        if transition.first is not None:
            prior = TRANSITIONS[state, transition.first]
            yield Step(transition.first, state, prior)
            state = prior.next
            transition = TRANSITIONS[state, event]
        yield Step(event, state, transition)
        if transition.then is None:
            return
        state, event = transition.next, transition.then
        transition = TRANSITIONS[state, event]
        if not holds(transition.guard, start, today):
            return


def changes_map(state: State, event: Event) -> bool:
    """Whether the event may change the map, whatever the dates."""
    # On the last day of all dates every guard holds.
    planned = steps(state, event, date.max, date.max)
    return any(effect in _MAP_EFFECTS for step in planned for effect in step.transition.effects)


def holds(guard: Guard, start: date | None, today: date) -> bool:
    """Whether a guard holds for the confirmed start date on a JST day; without a date only `NONE` does."""
    if guard is Guard.NONE:
        return True
    if start is None:
        return False
    return start >= today if guard is Guard.START_NOT_PAST else start <= today
