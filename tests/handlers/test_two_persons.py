from __future__ import annotations

import json
from datetime import date

import pytest

from handlers.reviews import Decided, NewLine, Reason, Refusal
from handlers.workflow import Event, State
from tests.handlers.deciding import amended, application, decide, desk_with_keys, entries, fingerprint
from tests.handlers.review_cases import START, contents, line_change, notices_sent, receive, take_contracts

DESK = desk_with_keys(two_person=True)
OTHER_DAY = date(2026, 12, 16)
NEW_LINE = {
    "router_number": "",
    "action": "追加",
    "line_class": "港湾",
    "connection": "ルータ",
    "edifact": "否",
    "line_type": "光",
    "access_speed": "100Mbps",
    "wiring": "要",
    "maintenance_hours": "24時間",
    "site_option": "本社",
    "shared_with_other_offices": "なし",
}
ROUTERS = (NewLine(router_number="09150", lan_subnet="127.20.50.0/24"),)


def complete(store, now, actor, **details):
    return decide(store, now, Event.COMPLETE, desk=DESK, actor=actor, **details)


@pytest.fixture
def case(store, now):
    take_contracts(store, now)
    receive(store, now)
    return store


def test_the_first_person_proposes_and_another_one_decides(case, now):
    proposed = complete(case, now, "os:first")
    assert isinstance(proposed, Decided)
    assert (proposed.proposed, proposed.state, proposed.terminals) == (True, State.UNDER_REVIEW, ())
    assert (application(case).proposed_by, application(case).proposed_start) == ("os:first", START)
    assert notices_sent(case) == [("reviewer/case-news", DESK.reviewer_address)]
    decided = complete(case, now, "os:second")
    assert (decided.proposed, decided.state, decided.start_date) == (False, State.IDS_ISSUED, START)
    assert json.loads(entries(case)[-1].detail) == {"start_date": "2026-12-14", "proposed_by": "os:first"}


def test_the_same_person_again_is_refused(case, now):
    complete(case, now, "os:first")
    before = fingerprint(case)
    assert complete(case, now, "os:first") == Refusal(Reason.SAME_PERSON, "os:first")
    assert complete(case, now, "os:first", start_date=START) == Refusal(Reason.SAME_PERSON, "os:first")
    assert fingerprint(case) == before


def test_whoever_says_something_else_proposes_anew(case, now):
    complete(case, now, "os:first")
    assert complete(case, now, "os:second", start_date=OTHER_DAY).proposed
    assert complete(case, now, "os:second") == Refusal(Reason.SAME_PERSON, "os:second")
    assert complete(case, now, "os:first").start_date == OTHER_DAY


def test_a_proposer_may_correct_what_he_proposed_but_never_decide_it(case, now):
    complete(case, now, "os:first")
    assert complete(case, now, "os:first", start_date=OTHER_DAY).proposed
    assert complete(case, now, "os:first", start_date=OTHER_DAY).reason is Reason.SAME_PERSON


@pytest.mark.parametrize(
    ("event", "details"),
    [
        (Event.AMEND, {"amendment": amended(contents(), reason="別の理由")}),
        (Event.RESCHEDULE, {"start_date": OTHER_DAY}),
        (Event.INQUIRE, {"words": "台数をお知らせください。"}),
    ],
)
def test_what_changes_the_case_drops_the_proposal(case, now, event, details):
    complete(case, now, "os:first")
    decide(case, now, event, **details)
    assert (application(case).proposed_by, application(case).proposed_start) == ("", None)
    if event is Event.INQUIRE:
        decide(case, now, Event.ANSWER, words="はい")
    assert complete(case, now, "os:second").proposed


def test_a_proposal_is_checked_as_the_completion_would_be(case, now):
    assert complete(case, now, "os:first", start_date=date(2026, 11, 23)).reason is Reason.START_IN_THE_PAST
    assert complete(case, now, "os:first", new_lines=ROUTERS) == Refusal(Reason.NEW_LINE_NEEDED, "0")
    assert application(case).proposed_by == ""


def test_the_second_person_decides_on_the_lines_and_the_inquiry_of_the_first(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(**NEW_LINE), items=("naccs_lines", "naccs_terminals")))
    assert complete(store, now, "os:first") == Refusal(Reason.NEW_LINE_NEEDED, "1")
    assert complete(store, now, "os:first", new_lines=ROUTERS).proposed
    others = (NewLine(router_number="09151", lan_subnet="127.20.51.0/24"),)
    assert complete(store, now, "os:second", new_lines=others).proposed
    decided = complete(store, now, "os:first")
    assert [(terminal.router_number, terminal.ip_address) for terminal in decided.terminals] == [
        ("09151", "127.20.51.2")
    ]


def test_a_ticked_inquiry_stays_ticked(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(items=(), other_items=("shared_equipment",)))
    assert complete(store, now, "os:first").reason is Reason.INQUIRY_NEEDED
    assert complete(store, now, "os:first", inquiry_made=True).proposed
    assert complete(store, now, "os:second").state is State.IDS_ISSUED


def test_where_one_person_is_enough_a_proposal_left_behind_does_not_matter(case, now):
    complete(case, now, "os:first")
    assert decide(case, now, Event.COMPLETE, actor="os:first").state is State.IDS_ISSUED
