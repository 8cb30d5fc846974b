from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import update

from handlers import works
from handlers.applications.contents import LineAction
from handlers.work_warnings import (
    NO_FEE,
    NO_INSTALLATION_DATE,
    SPARE_ROUTER_REMOTE,
    WINDOW_AHEAD,
    WINDOW_BEGUN,
    warnings,
    window_text,
)
from handlers.workflow import Event
from storage.models import Line, Work
from tests.handlers.clock_cases import application_in, day, decide, jst, order, run_out, schedule, undone
from tests.handlers.review_cases import DESK, contents, line_change, no_servers, receive, take_contracts

OPENS = jst(day(12, 10), 13)  # of a wish of 2026-12-14
START = jst(day(12, 14))


@pytest.fixture
def case(store, now):
    take_contracts(store, now)
    receive(store, now)
    return store


def arranged(store, now, work):
    """The warnings of work that is arranged, and kept, outside a decision."""

    def in_session(session):
        row = works.schedule(session, DESK, application_in(session), work, "os:reviewer", now)
        line = None if row.line_id is None else session.get_one(Line, row.line_id)
        return warnings(row, line, now)

    return store.run(in_session)


def codes(store, now, work):
    return [warning.code for warning in arranged(store, now, work)]


def test_work_in_time_is_warned_of_nothing(case, now):
    assert arranged(case, now, order(OPENS)) == ()


def test_a_spare_router_is_warned_of(case, now):
    case.run(lambda session: session.execute(update(Line).values(spare_router=True)))
    assert SPARE_ROUTER_REMOTE in arranged(case, now, order(OPENS))
    assert NO_FEE in arranged(case, now, order(OPENS, mode="on_site"))
    assert not {SPARE_ROUTER_REMOTE, NO_FEE} & set(arranged(case, now, order(OPENS, fee="30,000円")))


def test_a_window_that_has_begun_is_warned_of(case, now):
    assert arranged(case, OPENS - timedelta(seconds=1), order(OPENS)) == ()
    assert WINDOW_BEGUN in arranged(case, OPENS, order(OPENS, note="入館証"))


def test_work_that_replaces_other_work_says_which_and_what_stays_as_it_was(case, now):
    arranged(case, now, order(OPENS, mode="on_site", contact="工事　太郎", fee="30,000円"))
    replaces, carried = arranged(case, now, order(OPENS + timedelta(hours=20), contact="別の者"))
    assert (replaces.code, carried.code) == ("replaces", "carried_over")
    assert "2026-12-10 13:00-15:00、現地" in replaces.text_ja
    assert "(2026-12-10 13:00-15:00, on site)" in replaces.text_en
    assert "始まっていた" not in replaces.text_ja
    assert "費用 30,000円" in carried.text_ja
    assert "連絡先" not in carried.text_ja
    assert "fee 30,000円" in carried.text_en
    assert codes(case, now, order(OPENS, contact="第三の者", fee="")) == ["replaces"]


def test_replacing_work_whose_window_is_open_says_that_delivery_goes_on(case, now):
    schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    (replaces,) = arranged(case, OPENS, order(OPENS + timedelta(days=1)))
    assert "配信を再開します" in replaces.text_ja
    assert "delivery goes on" in replaces.text_en


def test_work_after_work_that_is_done_replaces_nothing(case, now):
    schedule(case, now, order(OPENS))
    decide(case, Event.FINISH_WORK, now)
    assert codes(case, now, order(OPENS)) == []


@pytest.mark.parametrize(("ends", "found"), [(START, []), (START + timedelta(minutes=1), ["after_start"])])
def test_work_that_ends_after_the_start_of_use_is_warned_of(case, now, ends, found):
    assert codes(case, now, order(ends - timedelta(hours=2))) == found


def test_the_confirmed_start_counts_where_there_is_one(case, now):
    late = order(START + timedelta(hours=9))
    (wished,) = arranged(case, now, late)
    assert "利用開始希望日 2026-12-14" in wished.text_ja
    decide(case, Event.COMPLETE, now, start_date=date(2026, 12, 15))
    confirmed = arranged(case, now, order(START + timedelta(days=1, hours=9)))[-1]
    assert "利用開始日 2026-12-15" in confirmed.text_ja
    assert "the start of use, 2026-12-15" in confirmed.text_en
    assert "after_start" not in codes(case, now, late)


def test_what_is_taken_away_may_go_after_the_last_day(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(no_servers(action=LineAction.CANCEL), items=("naccs_lines",)))
    assert codes(store, now, order(START + timedelta(days=1))) == []


@pytest.fixture
def new_line(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(action=LineAction.ADD, router_number="")))
    return store


def test_work_on_a_new_line_is_done_by_the_day_before_its_router_is_installed(new_line, now):
    assert arranged(new_line, now, order(OPENS)) == (NO_INSTALLATION_DATE,)
    too_late = order(OPENS, router_installed_on=day(12, 10))
    assert codes(new_line, now, too_late) == ["replaces", "after_installation"]
    in_time = order(OPENS, router_installed_on=day(12, 11))
    assert codes(new_line, now, in_time) == ["replaces"]
    after = order(OPENS, router_installed_on=day(12, 15))
    assert codes(new_line, now, after) == ["replaces", "installed_after_start"]


@pytest.mark.parametrize(("start", "found"), [(10, True), (9, True), (11, False)])
@pytest.mark.parametrize("event", [Event.COMPLETE, Event.RESCHEDULE])
def test_a_start_before_the_work_is_over_is_warned_of(case, now, event, start, found):
    work = schedule(case, now, order(OPENS))
    told = decide(case, event, now, start_date=day(12, start)).work_warnings
    assert [warning.code for warning in told] == ["start_before_work_ends"] * found
    assert all(f"2026-12-10 13:00-15:00、--work {work.id}）。application schedule-work" in w.text_ja for w in told)


def test_a_confirmed_start_that_moves_before_the_work_is_warned_of(case, now):
    schedule(case, now, order(OPENS))
    assert decide(case, Event.COMPLETE, now, start_date=day(12, 14)).work_warnings == ()
    (told,) = decide(case, Event.RESCHEDULE, now, start_date=day(12, 10)).work_warnings
    assert "利用開始日 2026-12-10 の前日まで" in told.text_ja
    decide(case, Event.FINISH_WORK, now)
    assert decide(case, Event.RESCHEDULE, now, start_date=day(12, 9)).work_warnings == ()


def test_a_proposed_start_is_warned_of_too(case, now):
    schedule(case, now, order(OPENS))
    desk = replace(DESK, two_person=True)
    proposed = decide(case, Event.COMPLETE, now, start_date=day(12, 10), desk=desk)
    assert (proposed.proposed, [w.code for w in proposed.work_warnings]) == (True, ["start_before_work_ends"])


def test_a_start_of_today_leaves_only_to_record_the_work(case, now):
    schedule(case, now, order(OPENS))
    (told,) = decide(case, Event.COMPLETE, now, start_date=day(11, 24)).work_warnings
    assert "schedule-work --done" in told.text_ja
    assert "schedule-work --done" in told.text_en
    assert not [key for key in undone(case) if key[0] == "work_alert"]


def test_a_start_is_warned_of_neither_for_what_is_taken_away_nor_for_a_router_in_time(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(no_servers(action=LineAction.CANCEL), items=("naccs_lines",)))
    schedule(store, now, order(OPENS))
    assert decide(store, Event.RESCHEDULE, now, start_date=day(12, 9)).work_warnings == ()


def test_a_start_before_the_router_of_a_new_line_is_warned_of(new_line, now):
    schedule(new_line, now, order(OPENS, router_installed_on=day(12, 12)))
    told = decide(new_line, Event.RESCHEDULE, now, start_date=day(12, 11)).work_warnings
    assert [warning.code for warning in told] == ["installed_after_start"]


def test_work_recorded_done_before_its_window_is_warned_of(case, now):
    schedule(case, now, order(OPENS))
    done = decide(case, Event.FINISH_WORK, now)
    assert (done.work_warnings, done.work and done.work.state) == ((WINDOW_AHEAD,), "done")


def test_work_recorded_done_in_its_window_is_not(case, now):
    schedule(case, now, order(OPENS))
    assert decide(case, Event.FINISH_WORK, OPENS).work_warnings == ()


def test_work_that_no_session_holds_cannot_be_judged(now):
    with pytest.raises(ValueError, match="no session"):
        warnings(Work(), None, now)


@pytest.mark.parametrize(
    ("hours", "text"),
    [(2, "2026-12-10 13:00-15:00"), (12, "2026-12-10 13:00-2026-12-11 01:00")],
)
def test_a_window_is_written_as_it_is_in_japan(hours, text):
    assert window_text(OPENS, OPENS + timedelta(hours=hours)) == text
