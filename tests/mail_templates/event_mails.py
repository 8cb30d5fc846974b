"""The mails that events of the workflow send: which, in which states, and what they say there.

What is expected comes from the table of the workflow and from `SENT_BY`; what is sent comes from the decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from handlers.desk import DeskSettings
from handlers.workflow import TRANSITIONS, Effect, Event, State, steps
from storage.store import Store
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, mail_to
from tests.handlers.review_cases import START, notices_sent
from tests.mail_templates.case_stories import bilingual_offices, bring, happen_from

# The notices that each effect sends; every effect is named.
SENT_BY: Mapping[Effect, tuple[str, ...]] = {
    **dict.fromkeys(Effect, ()),
    Effect.SEND_INQUIRY: ("applicant/inquiry",),
    Effect.TELL_REVIEWER: ("reviewer/case-news",),
    Effect.SEND_AMENDMENT_RECEIVED: ("applicant/amendment-received",),
    Effect.SEND_REVIEW_COMPLETE: ("applicant/review-complete",),
    Effect.SEND_ID_NOTICE: ("applicant/id-notice",),
    Effect.SEND_SETTINGS_RECEIVED: ("applicant/settings-received",),
    Effect.SEND_RESCHEDULED: ("applicant/rescheduled",),
    Effect.SEND_WORK_SCHEDULE: ("applicant/work-schedule",),
    Effect.SEND_PASSWORDS_REISSUED: ("applicant/passwords-reissued",),
    Effect.SEND_START_OF_USE: ("applicant/start-of-use",),
    Effect.SEND_COMMUNICATION_CHECKED: ("applicant/communication-checked",),
    Effect.SEND_WITHDRAWAL_RECEIVED: ("applicant/withdrawal-received",),
    Effect.SEND_REJECTED: ("applicant/application-rejected",),
    Effect.SEND_VOID: ("applicant/application-void",),
}


def sent_with(state: State, event: Event) -> set[str]:
    """The notices an event sends in a state, by the tables."""
    moves = steps(state, event, START, date.min)
    return {name for step in moves for effect in step.transition.effects for name in SENT_BY[effect]}


def sending() -> Iterator[tuple[State, Event]]:
    """The pairs of the table that send something to anybody and that an application can meet from outside."""
    return ((state, event) for state, event in TRANSITIONS if sent_with(state, event) and state is not State.COMPLETED)


def read_mails(store: Store, desk: DeskSettings, state: State, event: Event) -> dict[str, bytes]:
    """What the event sends in that state, by template: to the applicant, or to the reviewer."""
    return _read(store, desk, state, event, CONTACT)


def read_bilingual_mails(store: Store, desk: DeskSettings, state: State, event: Event) -> dict[str, bytes]:
    """The same to the administrator of an office that wants English too; without those to the reviewer."""
    with bilingual_offices():
        mails = _read(store, desk, state, event, ADMINISTRATOR)
    return {name: raw for name, raw in mails.items() if name.startswith("applicant/")}


def _read(store: Store, desk: DeskSettings, state: State, event: Event, person: str) -> dict[str, bytes]:
    bring(store, desk, state)
    before = len(notices_sent(store))
    happen_from(store, desk, state, event)
    return {
        name: mail_to(store, name, person if name.startswith("applicant/") else desk.reviewer_address)
        for name in dict.fromkeys(name for name, _ in notices_sent(store)[before:])
    }
