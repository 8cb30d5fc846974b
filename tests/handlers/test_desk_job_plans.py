"""Whatever happens to the dates of a case, it has exactly the jobs it calls for."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.password_keys import PasswordKeys
from handlers.calendar import start_of_day
from handlers.desk_jobs import JobKind, cancel_all
from handlers.workflow import State
from tests.handlers.clock_cases import (
    application_in,
    complete,
    day,
    ended,
    jobs_of,
    jst,
    order,
    plan,
    schedule,
    set_application,
    set_jobs,
    undone,
    works_of,
)
from tests.handlers.review_cases import CALENDAR, DESK, START, contents, line_change, receive, take_contracts

NINE = timedelta(hours=9)
STARTS = st.dates(day(12, 7), day(2, 26, 2027))


@pytest.fixture
def case(store, now, tmp_path):
    """A completed application with system settings and passwords."""
    take_contracts(store, now)
    receive(store, now, said=contents(items=("naccs_terminals", "business_types")))
    complete(store, now, desk=replace(DESK, data_keys=PasswordKeys(tmp_path / "keys" / "passwords.key")))
    return store


def jobs_for(start: date) -> dict[tuple[str, str], object]:
    """What a case calls for that starts on that day and waits for everything."""
    deadline = CALENDAR.business_days_before(start, 4)
    closing = CALENDAR.add_business_days(start, 2)
    return {
        ("settings_deadline", deadline.isoformat()): start_of_day(deadline + timedelta(days=1)),
        ("work_alert", f"start {start.isoformat()}"): start_of_day(CALENDAR.business_days_before(start, 1)) + NINE,
        ("begin_use", ""): start_of_day(start),
        ("tcc_reminder", ""): start_of_day(CALENDAR.add_business_days(start, 3)) + NINE,
        ("passwords_closing", closing.isoformat()): start_of_day(closing) + NINE,
        ("destroy_secrets", closing.isoformat()): start_of_day(closing + timedelta(days=1)),
    }


def move(store, start: date) -> None:
    deadline = CALENDAR.settings_deadline(start)
    until = CALENDAR.last_day_of_password_window(start)
    set_application(store, start_date=start, settings_deadline=deadline, passwords_until=until)


def test_any_sequence_of_reschedules_leaves_exactly_the_right_jobs(case, now):
    @settings(max_examples=25)
    @given(st.lists(STARTS, min_size=1, max_size=5))
    def check(starts):
        for start in starts:
            move(case, start)
            plan(case, now)
            assert undone(case) == jobs_for(start)
            assert plan(case, now) == 0

    check()
    # One row a kind and key, however often its day came back.
    keys = [(job.kind, job.key) for job in jobs_of(case)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("start", "settings_end", "alert", "reminder", "closing"),
    [
        (day(12, 14), day(12, 8), day(12, 11), day(12, 17), day(12, 16)),
        (day(12, 12), day(12, 8), day(12, 11), day(12, 16), day(12, 15)),  # a Saturday
        (day(1, 4, 2027), day(12, 23), day(12, 28), day(1, 7, 2027), day(1, 6, 2027)),
        (day(12, 25), day(12, 21), day(12, 24), day(1, 5, 2027), day(1, 4, 2027)),
        (day(12, 28), day(12, 22), day(12, 25), day(1, 6, 2027), day(1, 5, 2027)),
    ],
)
def test_the_days_around_weekends_and_the_turn_of_the_year(case, now, start, settings_end, alert, reminder, closing):
    move(case, start)
    plan(case, now)
    assert undone(case) == {
        ("settings_deadline", settings_end.isoformat()): jst(settings_end + timedelta(days=1)),
        ("work_alert", f"start {start.isoformat()}"): jst(alert, 9),
        ("begin_use", ""): jst(start),
        ("tcc_reminder", ""): jst(reminder, 9),
        ("passwords_closing", closing.isoformat()): jst(closing, 9),
        ("destroy_secrets", closing.isoformat()): jst(closing + timedelta(days=1)),
    }


def test_what_was_done_is_not_done_again_for_the_same_day(case, now):
    set_jobs(case, JobKind.WORK_ALERT, done_at=now)
    move(case, day(12, 21))
    plan(case, now)
    move(case, START)
    plan(case, now)
    assert ("work_alert", "start 2026-12-14") not in undone(case)
    assert ("work_alert", "start 2026-12-21") not in undone(case)


def test_a_failing_job_that_moves_to_a_later_day_starts_anew(case, now):
    later = jst(START, 1)
    set_jobs(case, JobKind.BEGIN_USE, failures=3, due_at=later + timedelta(minutes=8))
    plan(case, later)
    assert undone(case)["begin_use", ""] == later + timedelta(minutes=8)
    move(case, day(12, 21))
    plan(case, later)
    (job,) = jobs_of(case, JobKind.BEGIN_USE)
    assert (job.due_at, job.failures) == (jst(day(12, 21)), 0)


@pytest.mark.parametrize("state", [State.WITHDRAWN, State.REJECTED, State.VOID])
def test_a_case_that_ended_keeps_only_the_destruction_of_its_secrets(case, now, state):
    set_application(case, state=state)
    plan(case, now)
    assert {kind for kind, _ in undone(case)} == {"destroy_secrets"}


def test_all_jobs_of_a_case_are_cancelled_at_once(case, now):
    case.run(lambda session: cancel_all(session, application_in(session), now))
    assert undone(case) == {}
    assert set(ended(case)) == {"cancelled"}


# --- work ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reviewed(store, now):
    """An application in review."""
    take_contracts(store, now)
    receive(store, now)
    return store


def test_work_in_review_has_its_window_and_after_completion_its_alert(reviewed, now):
    work = schedule(reviewed, now, order(jst(day(12, 10), 13)))
    assert undone(reviewed) == {
        ("review_reminder", "2026-11-26"): jst(day(11, 26), 9),
        ("work_open", str(work.id)): jst(day(12, 10), 13),
        ("work_close", str(work.id)): jst(day(12, 10), 15),
    }
    complete(reviewed, now)
    assert undone(reviewed)["work_alert", "start 2026-12-14"] == jst(day(12, 11), 9)


def test_a_new_line_is_looked_at_the_day_before_its_router_comes(reviewed, now):
    installed = day(12, 7)  # a Monday: the day before is a Sunday
    schedule(reviewed, now, order(jst(day(12, 4), 13), router_installed_on=installed))
    complete(reviewed, now)
    (work,) = works_of(reviewed)
    alerts = {key: due for (kind, key), due in undone(reviewed).items() if kind == "work_alert"}
    assert alerts == {f"router {work.id}": jst(day(12, 6), 9)}


def test_a_line_without_work_is_told_of_beside_one_whose_work_is_done(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(), line_change()))
    schedule(store, now, order(jst(day(12, 10), 13), router_number="09143"))
    complete(store, now)
    store.run(lambda session: setattr(session.merge(works_of(store)[0]), "done_at", now))
    plan(store, now)
    assert ("work_alert", "start 2026-12-14") in undone(store)
