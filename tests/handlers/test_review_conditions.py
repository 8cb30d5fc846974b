from __future__ import annotations

import json
from datetime import timedelta

import pytest

from handlers.reviews import NewLine, Reason, Refusal
from handlers.workflow import Event, State
from handlers.works import WorkOrder
from tests.handlers.deciding import application, decide, entries, fingerprint
from tests.handlers.review_cases import (
    audited,
    contents,
    line_change,
    no_servers,
    receive,
    take_contracts,
)
from tests.handlers.test_two_persons import NEW_LINE

FIRST = NewLine(router_number="09150", lan_subnet="127.20.50.0/24")


def two_new_lines():
    return contents(
        line_change(**NEW_LINE), no_servers(**NEW_LINE, gateway_servers=1), items=("naccs_lines", "naccs_terminals")
    )


def test_an_item_that_asks_for_an_inquiry_needs_it_ticked(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(items=(), other_items=("shared_equipment", "joint_use"), lines=()))
    before = fingerprint(store)
    refused = decide(store, now, Event.COMPLETE)
    assert refused == Refusal(Reason.INQUIRY_NEEDED, "機器共用（追加・解約）、共同利用（追加・削除）")
    assert fingerprint(store) == before
    assert decide(store, now, Event.COMPLETE, inquiry_made=True).state is State.IDS_ISSUED
    assert application(store).inquiry_made


def test_the_end_of_a_contract_needs_no_inquiry(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(items=(), other_items=("cancellation",), lines=()))
    assert decide(store, now, Event.COMPLETE).state is State.IDS_ISSUED


def test_each_line_to_be_added_needs_its_router_and_lan(store, now):
    take_contracts(store, now)
    receive(store, now, said=two_new_lines())
    for given in ((), (FIRST,), (FIRST,) * 3):
        assert decide(store, now, Event.COMPLETE, new_lines=given) == Refusal(Reason.NEW_LINE_NEEDED, "2")
    second = NewLine(router_number="09151", lan_subnet="127.20.51.0/24")
    done = decide(store, now, Event.COMPLETE, new_lines=(FIRST, second))
    assert [(row.router_number, row.ip_address) for row in done.terminals] == [
        ("09150", "127.20.50.2"),
        ("09151", "127.20.51.2"),
    ]


@pytest.mark.parametrize(
    ("second", "taken"),
    [
        (NewLine(router_number="09143", lan_subnet="127.20.51.0/24"), "09143"),
        (NewLine(router_number="09151", lan_subnet="127.20.13.128/25"), "127.20.13.128/25 (09143)"),
        (NewLine(router_number="09150", lan_subnet="127.20.51.0/24"), "09150"),
        (NewLine(router_number="09151", lan_subnet="127.20.50.64/26"), "127.20.50.64/26"),
    ],
)
def test_a_new_line_is_never_given_what_another_line_has(store, now, second, taken):
    take_contracts(store, now)
    receive(store, now, said=two_new_lines())
    before = fingerprint(store)
    assert decide(store, now, Event.COMPLETE, new_lines=(FIRST, second)) == Refusal(Reason.NEW_LINE_TAKEN, taken)
    assert fingerprint(store) == before


@pytest.mark.parametrize(
    ("router_number", "lan_subnet"),
    [("", "10.1.1.0/24"), ("0914A", "10.1.1.0/24"), ("12345678901", "10.1.1.0/24"), ("1", "10.1.1.1/24"), ("1", ""),
     ("1", "10.1.1.0/31")],
)  # fmt: skip
def test_what_is_no_router_number_or_no_lan_cannot_be_a_new_line(router_number, lan_subnet):
    with pytest.raises(ValueError, match=r"."):
        NewLine(router_number=router_number, lan_subnet=lan_subnet)


def test_networks_of_two_kinds_do_not_clash():
    assert FIRST.clash_with(NewLine(router_number="09151", lan_subnet="fd00::/64")) == ""


def test_another_reviewer_may_take_a_case_over(store, now):
    take_contracts(store, now)
    receive(store, now)
    decide(store, now, Event.TAKE, actor="os:first")
    decide(store, now, Event.TAKE, actor="os:second")
    assert application(store).taken_by == "os:second"
    assert [(entry.kind, entry.actor, entry.detail) for entry in entries(store)] == [
        ("taken", "os:first", ""),
        ("taken", "os:second", '{"taken_from": "os:first"}'),
    ]


def test_a_notice_address_can_be_accepted_with_the_completion(store, now):
    take_contracts(store, now)
    receive(store, now)
    decide(store, now, Event.COMPLETE, accept_address=True)
    assert application(store).address_accepted
    assert audited(store, "application:260001A")[0][0] == "accept_address"


def test_a_refused_completion_accepts_no_address(store, now):
    take_contracts(store, now)
    receive(store, now, said=two_new_lines())
    assert decide(store, now, Event.COMPLETE, accept_address=True).reason is Reason.NEW_LINE_NEEDED
    assert not application(store).address_accepted


def test_work_is_recorded_done_once(store, now):
    take_contracts(store, now)
    receive(store, now)
    assert decide(store, now, Event.SCHEDULE_WORK) == Refusal(Reason.NO_WORK)
    assert decide(store, now, Event.FINISH_WORK) == Refusal(Reason.NO_WORK)
    order = WorkOrder(begins_at=now, ends_at=now.replace(hour=5))
    decide(store, now, Event.SCHEDULE_WORK, work=order)
    assert decide(store, now, Event.FINISH_WORK).state is State.RECEIVED
    assert decide(store, now, Event.FINISH_WORK) == Refusal(Reason.NO_WORK)
    assert [json.loads(entry.detail)["done"] for entry in entries(store)] == [False, True]


def test_work_in_a_window_that_has_ended_is_refused(store, now):
    take_contracts(store, now)
    receive(store, now)
    before = fingerprint(store)
    order = WorkOrder(begins_at=now - timedelta(hours=2), ends_at=now)
    assert decide(store, now, Event.SCHEDULE_WORK, work=order) == Refusal(Reason.WINDOW_ENDED, "2026-11-24 08:00-10:00")
    assert fingerprint(store) == before


def test_work_that_is_arranged_already_is_told_and_leaves_nothing(store, now):
    take_contracts(store, now)
    receive(store, now)
    order = WorkOrder(begins_at=now, ends_at=now.replace(hour=5))
    decide(store, now, Event.SCHEDULE_WORK, work=order)
    before = fingerprint(store)
    window = "2026-11-24 10:00-14:00"
    assert decide(store, now, Event.SCHEDULE_WORK, work=order) == Refusal(Reason.WORK_UNCHANGED, window)
    assert fingerprint(store) == before


def test_work_that_is_not_there_cannot_be_recorded_done(store, now):
    take_contracts(store, now)
    receive(store, now)
    assert decide(store, now, Event.FINISH_WORK, work_id=5) == Refusal(Reason.WORK_NOT_FOUND, "-")
    work = decide(store, now, Event.SCHEDULE_WORK, work=WorkOrder(begins_at=now, ends_at=now.replace(hour=5))).work
    assert decide(store, now, Event.FINISH_WORK, work_id=work.id + 1) == Refusal(Reason.WORK_NOT_FOUND, str(work.id))


def test_work_on_a_line_of_another_office_is_refused(store, now):
    take_contracts(store, now)
    receive(store, now)
    order = WorkOrder(router_number="99999", begins_at=now, ends_at=now.replace(hour=5))
    assert decide(store, now, Event.SCHEDULE_WORK, work=order) == Refusal(Reason.LINE_NOT_NAMED, "09143")


def test_an_amendment_without_what_it_changes_is_refused(store, now):
    take_contracts(store, now)
    receive(store, now)
    assert decide(store, now, Event.AMEND) == Refusal(Reason.WORDS_NEEDED)
