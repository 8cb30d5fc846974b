from __future__ import annotations

from datetime import date, timedelta

import pytest

from handlers.workflow import STATUS_JA, TRANSITIONS, Event, Guard, State, changes_map, holds, steps

TODAY = date(2026, 11, 24)
TOMORROW = TODAY + timedelta(days=1)

# What each state answers to each event; a pair that is not here is refused.
LEADS_TO = {
    ("received", "take"): "under_review",
    ("received", "complete"): "completed",
    ("received", "withdraw"): "withdrawn",
    ("under_review", "inquire"): "inquiry",
    ("under_review", "complete"): "completed",
    ("under_review", "reject"): "rejected",
    ("under_review", "withdraw"): "withdrawn",
    ("inquiry", "answer"): "under_review",
    ("inquiry", "reject"): "rejected",
    ("inquiry", "withdraw"): "withdrawn",
    ("completed", "issue"): "ids_issued",
    ("ids_issued", "begin_use"): "in_use",
    ("ids_issued", "void"): "void",
    ("in_use", "confirm"): "checked",
}


def moves(state: str, event: str, start: date | None = TOMORROW) -> list[tuple[str, str, str]]:
    found = steps(State(state), Event(event), start, TODAY)
    return [(str(step.event), str(step.before), str(step.transition.next)) for step in found]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_each_pair_of_state_and_event_leads_where_the_design_says_or_nowhere(state, event):
    transition = TRANSITIONS.get((state, event))
    expected = LEADS_TO.get((state, event))
    assert (transition and transition.next) == expected
    assert bool(moves(state, event)) == (expected is not None)


def test_every_state_but_the_first_can_be_reached():
    assert {transition.next for transition in TRANSITIONS.values()} == set(State) - {State.RECEIVED}


def test_completing_a_received_application_takes_it_first_and_issues_ids():
    assert moves("received", "complete") == [
        ("take", "received", "under_review"),
        ("complete", "under_review", "completed"),
        ("issue", "completed", "ids_issued"),
    ]


def test_a_start_of_today_is_passed_to_in_use_in_the_same_go():
    assert moves("under_review", "complete", TODAY)[-1] == ("begin_use", "ids_issued", "in_use")


def test_only_what_issues_or_takes_back_ids_changes_the_map():
    assert {(str(state), str(event)) for state, event in TRANSITIONS if changes_map(state, event)} == {
        ("received", "complete"),
        ("under_review", "complete"),
        ("completed", "issue"),
        ("ids_issued", "void"),
    }


@pytest.mark.parametrize(
    ("guard", "yesterday", "today", "tomorrow", "without_a_date"),
    [
        (Guard.NONE, True, True, True, True),
        (Guard.START_NOT_PAST, False, True, True, False),
        (Guard.START_REACHED, True, True, False, False),
    ],
)
def test_a_guard_looks_at_the_start_date(guard, yesterday, today, tomorrow, without_a_date):
    starts = [TODAY - timedelta(days=1), TODAY, TOMORROW, None]
    assert [holds(guard, start, TODAY) for start in starts] == [yesterday, today, tomorrow, without_a_date]


def test_the_case_view_shows_everything_after_the_review_as_finished_review():
    assert {STATUS_JA[state] for state in (State.COMPLETED, State.IDS_ISSUED, State.IN_USE, State.CHECKED)} == {
        "審査終了"
    }
    assert set(STATUS_JA) == set(State)
