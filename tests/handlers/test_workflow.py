from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from handlers.review_effects import EFFECTS
from handlers.workflow import STATUS_JA, TRANSITIONS, Effect, Event, Guard, State, changes_map, holds, steps
from handlers.workflow_diagram import page

TODAY = date(2026, 11, 24)
TOMORROW = TODAY + timedelta(days=1)

IN_REVIEW = ("received", "under_review", "inquiry")
ISSUED = ("ids_issued", "in_use", "checked")

# What each state answers to each event; a pair that is not here is refused.
LEADS_TO = {
    ("received", "take"): "under_review",
    ("received", "inquire"): "inquiry",
    ("received", "amend"): "received",
    ("received", "propose"): "under_review",
    ("received", "complete"): "completed",
    ("received", "withdraw"): "withdrawn",
    ("received", "reject"): "rejected",
    ("under_review", "take"): "under_review",
    ("under_review", "inquire"): "inquiry",
    ("under_review", "amend"): "under_review",
    ("under_review", "propose"): "under_review",
    ("under_review", "complete"): "completed",
    ("under_review", "reject"): "rejected",
    ("under_review", "withdraw"): "withdrawn",
    ("inquiry", "inquire"): "inquiry",
    ("inquiry", "answer"): "under_review",
    ("inquiry", "amend"): "under_review",
    ("inquiry", "reject"): "rejected",
    ("inquiry", "withdraw"): "withdrawn",
    ("completed", "issue"): "ids_issued",
    ("ids_issued", "begin_use"): "in_use",
    ("ids_issued", "void"): "void",
    ("in_use", "confirm"): "checked",
    **{(state, "accept_address"): state for state in IN_REVIEW + ISSUED},
    **{(state, "receive_settings"): state for state in (*IN_REVIEW, "ids_issued")},
    **{(state, "reschedule"): state for state in (*IN_REVIEW, "ids_issued")},
    **{(state, "schedule_work"): state for state in (*IN_REVIEW, "ids_issued")},
    **{(state, "finish_work"): state for state in IN_REVIEW + ISSUED},
    **{(state, "reissue_secrets"): state for state in ISSUED},
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
    reached = {transition.next for (state, _), transition in TRANSITIONS.items() if transition.next is not state}
    assert reached == set(State) - {State.RECEIVED}


def test_completing_a_received_application_takes_it_first_and_issues_ids():
    assert moves("received", "complete") == [
        ("take", "received", "under_review"),
        ("complete", "under_review", "completed"),
        ("issue", "completed", "ids_issued"),
    ]


def test_a_start_of_today_is_passed_to_in_use_in_the_same_go():
    assert moves("under_review", "complete", TODAY)[-1] == ("begin_use", "ids_issued", "in_use")


def test_only_what_issues_moves_or_takes_back_ids_changes_the_map():
    assert {(str(state), str(event)) for state, event in TRANSITIONS if changes_map(state, event)} == {
        ("received", "complete"),
        ("under_review", "complete"),
        ("completed", "issue"),
        ("ids_issued", "void"),
        ("ids_issued", "reschedule"),
    }


def test_a_start_moved_to_today_is_in_use_in_the_same_go():
    assert moves("ids_issued", "reschedule", TODAY)[-1] == ("begin_use", "ids_issued", "in_use")
    assert moves("ids_issued", "reschedule") == [("reschedule", "ids_issued", "ids_issued")]


def test_mails_come_before_what_locks_lanes_of_terminals_and_addresses():
    late = {Effect.CANCEL_WORK, Effect.ISSUE_IDS, Effect.MOVE_IDS, Effect.TAKE_IDS_BACK}
    wrong = [
        (state, event)
        for (state, event), transition in TRANSITIONS.items()
        for at, effect in enumerate(transition.effects)
        if effect in late
        and any(other.startswith(("send_", "tell_")) for other in transition.effects[at:])
        and event is not Event.ISSUE  # its mail names the IDs; the lane is locked since review-complete
    ]
    assert wrong == []


def test_every_effect_is_used_and_can_be_done():
    used = {effect for transition in TRANSITIONS.values() for effect in transition.effects}
    assert used == set(Effect) == set(EFFECTS)


def test_the_page_of_the_documentation_is_made_from_the_table():
    written = (Path(__file__).parents[2] / "docs" / "workflow.md").read_text(encoding="utf-8")
    assert written == page()


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
