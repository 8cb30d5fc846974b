from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from handlers import works
from handlers.applications.contents import LineAction
from handlers.desk_jobs import JobKind
from handlers.lane_operations import lane_states, pause, resume
from handlers.review_case import NewLine
from handlers.workflow import Event
from handlers.works import LineNotNamed, WindowEnded, WorkOrder, WorkUnchanged
from storage.models import Application, Lane, Line, LogicalTerminal
from storage.store import new_key
from tests.handlers import stuck_messages
from tests.handlers.clock_cases import (
    LANE,
    RECEIPT,
    application_in,
    complete,
    day,
    decide,
    ended,
    jst,
    order,
    pauses,
    run_out,
    schedule,
    undone,
    works_of,
)
from tests.handlers.review_cases import (
    DESK,
    WITH_SMTP_SERVER,
    audited,
    contents,
    line_change,
    notices_sent,
    receive,
    take_contracts,
)
from tests.handlers.test_explanations import recipient

OPENS = jst(day(12, 10), 13)
CLOSES = OPENS + timedelta(hours=2)
NEW = NewLine(router_number="09150", lan_subnet="127.20.50.0/24")


@pytest.fixture
def case(store, now):
    """An application in review, of an office whose line has a server in use."""
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now)
    return store


def reason(work):
    return f"work {work.id} {RECEIPT}"


def lane_state(store, at):
    (found,) = store.read(lambda session: lane_states(session, at, [LANE]))
    return found


def operator(store, verb, at, **given):
    return store.run(lambda session: verb(session, LANE, actor="os:op", now=at, **given))


# --- the window ------------------------------------------------------------------------------------------------------


def test_lanes_of_the_line_pause_for_the_window_of_the_work(case, now):
    work = schedule(case, now, order(OPENS))
    run_out(case, OPENS - timedelta(seconds=1))
    assert pauses(case) == []
    run_out(case, OPENS)
    assert pauses(case) == [("gateway", reason(work), True)]
    found = lane_state(case, OPENS).work
    assert (found.work_id, found.receipt_number, found.begins_at, found.ends_at) == (work.id, RECEIPT, OPENS, CLOSES)
    run_out(case, CLOSES)
    assert pauses(case) == [("gateway", reason(work), False)]
    assert lane_state(case, CLOSES).work is None
    assert case.read(lambda session: session.get_one(Lane, LANE).flushed_at) == CLOSES
    assert [event for event, *_ in audited(case, f"lane:{LANE}")] == ["destination-paused", "destination-resumed"]
    windows = [event for event in audited(case, f"application:{RECEIPT}") if event[0].startswith("work-")]
    assert windows == [
        ("work-opened", "gateway", f"work {work.id}, 3 lanes"),
        ("work-closed", "gateway", f"work {work.id}, 3 lanes"),
    ]


def test_new_terminals_of_the_line_pause_too(case, now):
    names = [terminal.name for terminal in complete(case, now).terminals]
    schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    assert [len(pauses(case, f"terminal:{name}")) for name in (*names, "60777S")] == [1, 1]


def test_work_that_is_done_early_closes_its_window_at_once(case, now):
    schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    decide(case, Event.FINISH_WORK, OPENS + timedelta(minutes=10))
    assert [is_open for *_, is_open in pauses(case)] == [False]
    (work,) = works_of(case)
    assert (work.done_at, work.closed_at) == (OPENS + timedelta(minutes=10),) * 2
    run_out(case, CLOSES)
    assert ended(case, JobKind.WORK_OPEN, JobKind.WORK_CLOSE) == ["done", "cancelled"]
    assert works_of(case)[0].closed_at == work.closed_at


def test_work_done_before_its_window_opens_none(case, now):
    schedule(case, now, order(OPENS))
    decide(case, Event.FINISH_WORK, now)
    run_out(case, OPENS)
    assert pauses(case) == []


def test_a_window_that_passed_while_the_service_was_down_is_not_opened(case, now):
    schedule(case, now, order(OPENS))
    run_out(case, CLOSES)
    assert pauses(case) == []
    assert {key for key in undone(case) if key[0].startswith("work_")} == set()


def test_work_that_is_arranged_again_replaces_what_was_arranged(case, now):
    first = schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    second = schedule(case, OPENS, order(OPENS + timedelta(days=1), router_number="09143"))
    assert [is_open for *_, is_open in pauses(case)] == [False]
    assert [work.cancelled_at for work in works_of(case)] == [OPENS, None]
    assert {key for key in undone(case) if key[0].startswith("work_")} == {
        ("work_open", str(second.id)), ("work_close", str(second.id)),
    }  # fmt: skip
    run_out(case, OPENS + timedelta(days=1))
    assert [why for _, why, _ in pauses(case)] == [reason(first), reason(second)]


def test_a_withdrawn_case_calls_its_work_off(case, now):
    schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    decide(case, Event.WITHDRAW, OPENS)
    assert [is_open for *_, is_open in pauses(case)] == [False]
    assert works_of(case)[0].cancelled_at == OPENS
    assert undone(case) == {}


def test_both_ends_of_a_window_are_done_once(case, now):
    schedule(case, now, order(OPENS))

    def ends(verb, at):
        def work(session):
            application = application_in(session)
            (found,) = works.undone(session, application)
            return verb(session, application, found, "gateway", at)

        return case.run(work)

    assert [ends(works.open_window, OPENS) for _ in range(2)] == [True, False]
    assert [ends(works.close_window, CLOSES) for _ in range(2)] == [True, False]
    assert ends(works.open_window, OPENS) is False


# --- beside operators ------------------------------------------------------------------------------------------------


def test_a_lane_that_an_operator_paused_stays_paused_after_the_work(case, now):
    work = schedule(case, now, order(OPENS))
    operator(case, pause, now, reason="mine")
    run_out(case, OPENS)
    state = lane_state(case, OPENS)
    assert (state.paused.reason, state.work.work_id, state.is_paused_by_work_alone) == ("mine", work.id, False)
    run_out(case, CLOSES)
    assert lane_state(case, CLOSES).paused.reason == "mine"


def test_an_operator_pauses_a_lane_for_longer_than_the_work(case, now):
    schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    assert operator(case, pause, OPENS, reason="mine") is None
    assert operator(case, pause, OPENS, reason="again").reason == "mine"
    run_out(case, CLOSES)
    assert lane_state(case, CLOSES).paused.reason == "mine"


def test_an_operator_ends_first_the_own_pause_then_that_of_the_work(case, now):
    schedule(case, now, order(OPENS))
    operator(case, pause, now, reason="mine")
    run_out(case, OPENS)
    assert operator(case, resume, OPENS)
    assert lane_state(case, OPENS).is_paused_by_work_alone
    assert operator(case, resume, OPENS)
    assert lane_state(case, OPENS).paused is None
    assert not operator(case, resume, OPENS)
    run_out(case, CLOSES)  # there is nothing left to resume
    assert works_of(case)[0].closed_at == CLOSES


def test_two_works_on_a_line_end_their_own_pauses(case, now):
    receive(case, now, "260002A")
    schedule(case, now, order(OPENS))
    schedule(case, now, order(OPENS, hours=4), "260002A")
    run_out(case, OPENS)
    run_out(case, CLOSES)
    assert lane_state(case, CLOSES).work.receipt_number == "260002A"
    run_out(case, OPENS + timedelta(hours=4))
    assert lane_state(case, CLOSES).paused is None


# --- what explain says -----------------------------------------------------------------------------------------------


def test_a_waiting_mail_names_the_work_and_its_end(case, now):
    binding = stuck_messages.bound(case)
    mail_id = stuck_messages.put(case, binding, "SAD4031", now)
    work = schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    found = recipient(case, OPENS, mail_id)
    assert (found.why, found.next_try_at, found.work.receipt_number, found.work.work_id) == (
        "work", CLOSES, RECEIPT, work.id,
    )  # fmt: skip
    operator(case, pause, OPENS, reason="mine")
    found = recipient(case, OPENS, mail_id)
    assert (found.why, found.next_try_at, found.work.receipt_number) == ("paused", None, RECEIPT)


# --- what is arranged ------------------------------------------------------------------------------------------------


def test_a_work_keeps_what_was_arranged_and_its_mail_goes_out(case, now):
    given = order(OPENS, mode="on_site", contact="工事　太郎", phone="0312345678", fee="30,000円", note="予備ルータ")
    work = schedule(case, now, given)
    assert (work.mode, work.contact, work.phone, work.fee, work.note, work.scheduled_by) == (
        "on_site", "工事　太郎", "0312345678", "30,000円", "予備ルータ", "os:reviewer",
    )  # fmt: skip
    line = case.read(lambda session: session.get_one(Line, work.line_id))
    assert line.router_number == "09143"
    assert [name for name, _ in notices_sent(case)].count("applicant/work-schedule") == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ends_at": OPENS}, "ends before"),
        ({"begins_at": datetime(2026, 12, 10, 13)}, "time zone"),  # noqa: DTZ001 - what is refused
        ({"mode": "by post"}, "by post"),
        ({"phone": "0" * 21}, "phone is longer"),
    ],
)
def test_what_no_work_can_be_is_an_error(values, words):
    with pytest.raises(ValueError, match=words):
        WorkOrder(**{"begins_at": OPENS, "ends_at": CLOSES, **values})


def schedule_in(store, now, **values):
    def work(session):
        return works.schedule(session, DESK, application_in(session), order(OPENS, **values), "os:reviewer", now)

    return store.run(work)


def test_a_line_of_another_office_is_refused_with_those_of_the_application(case, now):
    with pytest.raises(LineNotNamed) as refused:
        schedule_in(case, now, router_number="00001")
    assert refused.value.subject == "09143"


@pytest.mark.parametrize("given", [{}, {"mode": "on_site"}, {"contact": ""}, {"router_number": "09143"}])
def test_what_is_arranged_already_is_not_arranged_again(case, now, given):
    work = schedule(case, now, order(OPENS, mode="on_site", fee="30,000円"))
    with pytest.raises(WorkUnchanged, match="2026-12-10 13:00-15:00"):
        schedule_in(case, now, **given)
    assert [(row.id, row.cancelled_at) for row in works_of(case)] == [(work.id, None)]
    assert schedule_in(case, now, fee="").id != work.id


def test_of_several_lines_one_has_to_be_named(store, now):
    take_contracts(store, now)
    new = line_change(action=LineAction.ADD, router_number="")
    receive(store, now, said=contents(line_change(), new))
    with pytest.raises(LineNotNamed, match="09143"):
        schedule_in(store, now)
    assert schedule_in(store, now, router_number="09143").line_id is not None
    # A new line has a number only when it is made.
    assert schedule_in(store, now, router_number="00001").line_id is None


def test_work_on_a_line_still_to_be_made_pauses_nothing(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(action=LineAction.ADD, router_number="")))
    work = schedule(store, now, order(OPENS))
    assert work.line_id is None
    run_out(store, OPENS)
    run_out(store, CLOSES)
    (work,) = works_of(store)
    assert (work.opened_at, work.closed_at) == (OPENS, CLOSES)


def test_of_several_works_the_one_that_is_done_has_to_be_named(store, now):
    take_contracts(store, now)
    new = line_change(action=LineAction.ADD, router_number="")
    receive(store, now, said=contents(line_change(), new))
    first = schedule_in(store, now, router_number="09143")
    schedule_in(store, now, router_number="00001")

    def finish(work_id):
        done = store.run(lambda session: works.finish(session, application_in(session), work_id, "os:reviewer", now))
        return None if done is None else done.id

    assert finish(None) is None
    assert finish(17) is None
    assert finish(first.id) == first.id
    assert finish(None) == works_of(store)[1].id
    assert finish(None) is None


def test_a_window_that_has_ended_is_refused(case, now):
    with pytest.raises(WindowEnded) as refused:
        schedule_in(case, CLOSES)
    assert refused.value.subject == "2026-12-10 13:00-15:00"
    assert works_of(case) == []
    assert schedule_in(case, CLOSES - timedelta(seconds=1)).ends_at == CLOSES


def test_whoever_moves_only_the_window_leaves_the_rest_as_it_was(case, now):
    told: dict[str, Any] = {"contact": "工事　太郎", "phone": "0312345678", "fee": "30,000円", "note": "入館証"}
    schedule(case, now, order(OPENS, mode="on_site", router_installed_on=date(2026, 12, 12), **told))
    moved = schedule(case, now, order(OPENS + timedelta(days=1)))
    assert {name: getattr(moved, name) for name in told} == told
    assert (moved.mode, moved.router_installed_on) == ("on_site", date(2026, 12, 12))
    changed = schedule(case, now, order(OPENS, mode="remote", fee="", contact="別の者"))
    assert (changed.mode, changed.fee, changed.contact, changed.note) == ("remote", "", "別の者", "入館証")


def test_nothing_is_taken_over_from_work_that_is_done(case, now):
    schedule(case, now, order(OPENS, mode="on_site", contact="工事　太郎"))
    decide(case, Event.FINISH_WORK, now)
    again = schedule(case, now, order(OPENS))
    assert (again.mode, again.contact) == ("remote", "")


def test_work_on_a_new_line_is_arranged_again_once_the_line_is_made(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(action=LineAction.ADD, router_number="")))
    schedule(store, now, order(OPENS, contact="工事　太郎"))
    complete(store, now, new_lines=(NEW,))
    again = schedule(store, now, order(OPENS + timedelta(days=1), router_number="09150"))
    former, _ = works_of(store)
    assert (former.line_id, former.cancelled_at, again.contact) == (None, now, "工事　太郎")
    assert again.line_id is not None


# --- terminals that come to a line while its window is open -----------------------------------------------------------


@pytest.fixture
def open_window(case, now):
    """A window on the line, opened by the clock."""
    work = schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    return work


def add_terminal(store, name="60888S"):
    def work(session):
        line = session.scalars(select(Line).where(Line.router_number == "09143")).one()
        session.add(
            LogicalTerminal(
                id=new_key(session), name=name, line_id=line.id, equipment="SMTP", effective_from=day(12, 10)
            )
        )

    store.run(work)


def pause_newcomers(store, at):
    def work(session):
        office_id = session.scalars(select(Application.office_id)).first()
        works.hold_cases_with_work(session, [office_id])
        works.pause_newcomers(session, office_id, at)

    store.run(work)


def test_a_terminal_that_comes_to_the_line_waits_for_the_rest_of_the_window(case, open_window):
    add_terminal(case)
    for _ in range(2):
        pause_newcomers(case, OPENS + timedelta(minutes=30))
    assert pauses(case, "terminal:60888S") == [("gateway", reason(open_window), True)]
    assert len(pauses(case)) == 1
    run_out(case, CLOSES)
    assert pauses(case, "terminal:60888S") == [("gateway", reason(open_window), False)]
    events = [event for event, *_ in audited(case, "lane:terminal:60888S")]
    assert events == ["destination-paused", "destination-resumed"]
    pause_newcomers(case, CLOSES)
    assert len(pauses(case, "terminal:60888S")) == 1


def test_a_lane_that_an_operator_resumed_during_the_work_is_not_paused_again(case, open_window):
    assert operator(case, resume, OPENS)
    pause_newcomers(case, OPENS)
    assert pauses(case) == [("gateway", reason(open_window), False)]


def test_without_an_open_window_a_new_terminal_waits_for_nothing(case, now):
    schedule(case, now, order(OPENS))
    add_terminal(case)
    pause_newcomers(case, now)
    assert pauses(case, "terminal:60888S") == []
