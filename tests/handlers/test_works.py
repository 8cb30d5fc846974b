from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from handlers import works
from handlers.allocation import AllocationImpossible
from handlers.applications.contents import LineAction
from handlers.desk_jobs import JobKind
from handlers.lane_operations import lane_states, pause, resume
from handlers.workflow import Event
from handlers.works import NO_FEE, SPARE_ROUTER_REMOTE, WINDOW_PAST, WorkOrder
from storage.models import Lane, Line, Work
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


def test_a_line_of_another_office_is_refused(case, now):
    with pytest.raises(AllocationImpossible) as refused:
        schedule_in(case, now, router_number="00001")
    assert refused.value.subject == "00001"


def test_of_several_lines_one_has_to_be_named(store, now):
    take_contracts(store, now)
    new = line_change(action=LineAction.ADD, router_number="")
    receive(store, now, said=contents(line_change(), new))
    with pytest.raises(AllocationImpossible, match="ルータ番号"):
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


def test_a_spare_router_and_a_window_in_the_past_are_warned_of(now):
    spare, plain = Line(spare_router=True), Line(spare_router=False)
    remote = Work(mode="remote", ends_at=CLOSES, fee="")
    on_site = Work(mode="on_site", ends_at=CLOSES, fee="")
    paid = Work(mode="on_site", ends_at=CLOSES, fee="30,000円")
    assert works.warnings(remote, spare, now) == (SPARE_ROUTER_REMOTE,)
    assert works.warnings(on_site, spare, now) == (NO_FEE,)
    assert works.warnings(paid, spare, CLOSES) == (WINDOW_PAST,)
    assert works.warnings(remote, plain, now) == works.warnings(remote, None, now) == ()
