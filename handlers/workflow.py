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
    INQUIRE = "inquire"
    ANSWER = "answer"
    COMPLETE = "complete"
    ISSUE = "issue"
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

    CONFIRM_START_DATE = "confirm_start_date"
    SEND_REVIEW_COMPLETE = "send_review_complete"
    ISSUE_IDS = "issue_ids"
    SEND_ID_NOTICE = "send_id_notice"
    TAKE_IDS_BACK = "take_ids_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of the table."""

    next: State
    guard: Guard = Guard.NONE
    effects: tuple[Effect, ...] = ()
    first: Event | None = None
    then: Event | None = None


TRANSITIONS: dict[tuple[State, Event], Transition] = {
    (State.RECEIVED, Event.TAKE): Transition(next=State.UNDER_REVIEW),
    (State.RECEIVED, Event.COMPLETE): Transition(next=State.COMPLETED, first=Event.TAKE),
    (State.RECEIVED, Event.WITHDRAW): Transition(next=State.WITHDRAWN),
    (State.UNDER_REVIEW, Event.INQUIRE): Transition(next=State.INQUIRY),
    (State.UNDER_REVIEW, Event.COMPLETE): Transition(
        next=State.COMPLETED,
        guard=Guard.START_NOT_PAST,
        effects=(Effect.CONFIRM_START_DATE, Effect.SEND_REVIEW_COMPLETE),
        then=Event.ISSUE,
    ),
    (State.UNDER_REVIEW, Event.REJECT): Transition(next=State.REJECTED),
    (State.UNDER_REVIEW, Event.WITHDRAW): Transition(next=State.WITHDRAWN),
    (State.INQUIRY, Event.ANSWER): Transition(next=State.UNDER_REVIEW),
    (State.INQUIRY, Event.REJECT): Transition(next=State.REJECTED),
    (State.INQUIRY, Event.WITHDRAW): Transition(next=State.WITHDRAWN),
    (State.COMPLETED, Event.ISSUE): Transition(
        next=State.IDS_ISSUED,
        effects=(Effect.ISSUE_IDS, Effect.SEND_ID_NOTICE),
        then=Event.BEGIN_USE,
    ),
    (State.IDS_ISSUED, Event.BEGIN_USE): Transition(next=State.IN_USE, guard=Guard.START_REACHED),
    (State.IDS_ISSUED, Event.VOID): Transition(next=State.VOID, effects=(Effect.TAKE_IDS_BACK,)),
    (State.IN_USE, Event.CONFIRM): Transition(next=State.CHECKED),
}

_MAP_EFFECTS = frozenset({Effect.ISSUE_IDS, Effect.TAKE_IDS_BACK})

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
