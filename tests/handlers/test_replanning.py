"""Open cases after the calendar was edited: which of their dates move, and their jobs planned again."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from gateway.password_keys import PasswordKeys
from handlers import replanning
from handlers.calendar import BusinessCalendar, jst_date
from handlers.desk_jobs import JobKind
from handlers.replanning import DateMoved, Edit, Page
from handlers.workflow import Event
from tests.handlers.clock_cases import complete, day, decide, jst, plan, set_application, set_jobs, undone
from tests.handlers.review_cases import CALENDAR, DESK, contents, receive, take_contracts

WITH_SETTINGS = contents(items=("naccs_terminals", "business_types"))


@pytest.fixture
def desk(tmp_path):
    return replace(DESK, data_keys=PasswordKeys(tmp_path / "keys" / "passwords.key"))


@pytest.fixture
def issued(store, now, desk):
    """An application whose IDs were issued: deadline 2026-12-08, passwords until 2026-12-16."""
    take_contracts(store, now)
    receive(store, now, said=WITH_SETTINGS)
    complete(store, now, desk=desk)
    return store


def with_days_off(*days: date) -> BusinessCalendar:
    return BusinessCalendar(holidays=CALENDAR.holidays | set(days))


def moved_by(store, now, *days: date, desk=DESK):
    edit = Edit(before=CALENDAR, after=with_days_off(*days), today=jst_date(now))
    page = store.read(lambda session: replanning.dates_moved(session, desk, edit))
    assert page.last_id is None
    return {(one.receipt_number, one.what): one for one in page.moved}


def planned_again(store, now, *days: date, desk=DESK) -> int:
    calendar = with_days_off(*days)
    page = store.run(lambda session: replanning.plan_again(session, desk, calendar, now))
    assert isinstance(page, Page)
    return page.jobs


def test_a_day_that_was_told_stays_and_is_named_with_the_day_that_would_be_right(issued, now):
    moved = moved_by(issued, now, day(12, 9), day(12, 15))
    assert moved["260001A", "settings_deadline"] == DateMoved(
        receipt_number="260001A", what="settings_deadline", before=day(12, 8), after=day(12, 7), told=True
    )
    assert moved["260001A", "passwords_until"].after == day(12, 17)
    assert moved["260001A", "passwords_until"].told
    assert (moved["260001A", "tcc_reminder"].before, moved["260001A", "tcc_reminder"].after) == (
        day(12, 17),
        day(12, 18),
    )
    assert {what for _, what in moved} == {"settings_deadline", "passwords_until", "tcc_reminder"}


def test_before_the_completion_everything_hangs_on_the_wish(store, now):
    take_contracts(store, now)
    receive(store, now, said=WITH_SETTINGS)
    plan(store, now)
    moved = moved_by(store, now, day(11, 25), day(12, 9), day(12, 15))
    assert {what for _, what in moved} == {"settings_deadline", "passwords_until", "review_reminder"}
    assert not any(one.told for one in moved.values())


def test_what_is_over_does_not_move(issued, now, desk):
    decide(issued, Event.RECEIVE_SETTINGS, now, desk=desk)
    assert ("260001A", "settings_deadline") not in moved_by(issued, now, day(12, 9))
    set_application(issued, passwords_until=day(12, 22))  # issued again since: another window
    plan(issued, now, desk=desk)
    assert ("260001A", "passwords_until") not in moved_by(issued, now, day(12, 15))
    set_jobs(issued, JobKind.TCC_REMINDER, done_at=now)
    assert moved_by(issued, now, day(12, 15)) == {}
    decide(issued, Event.VOID, now, desk=desk, words="お申し出により")
    assert issued.read(replanning.open_cases) == 0


def test_a_job_moves_earlier_as_well_as_later_when_the_cases_are_planned_again(issued, now, desk):
    assert planned_again(issued, now, day(12, 15), desk=desk) == 1
    assert undone(issued)["tcc_reminder", ""] == jst(day(12, 18), 9)
    assert planned_again(issued, now, desk=desk) == 1
    assert undone(issued)["tcc_reminder", ""] == jst(day(12, 17), 9)
    assert planned_again(issued, now, desk=desk) == 0


def test_cases_are_planned_in_bounded_units_of_work(store, now, monkeypatch):
    take_contracts(store, now)
    for number in range(1, 6):
        receive(store, now, f"26000{number}A")
    monkeypatch.setattr(replanning, "CASES_AT_ONCE", 2)
    pages, last = [], 0
    while last is not None:
        page = store.run(lambda session, after=last: replanning.plan_again(session, DESK, CALENDAR, now, after))
        pages.append((page.cases, page.jobs > 0))
        last = page.last_id
    assert pages == [(2, True), (2, True), (1, True)]
    edit = Edit(before=CALENDAR, after=with_days_off(day(12, 15)), today=jst_date(now))
    assert store.read(lambda session: replanning.dates_moved(session, DESK, edit)).last_id is not None
