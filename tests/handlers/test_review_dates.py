from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from handlers.applications.contents import ApplicationContents
from handlers.review_conditions import first_start_in_time
from handlers.reviews import Caution, Reason, Refusal
from handlers.terminals import load
from handlers.workflow import Event, State
from storage.models import ScheduleDay
from tests.handlers.deciding import application, decide, desk_with_keys, entries, fingerprint, open_jobs
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    START,
    WITH_SMTP_SERVER,
    contents,
    line_change,
    no_servers,
    notices_sent,
    receive,
    take_contracts,
)

TODAY = date(2026, 11, 24)
LATER = date(2026, 12, 21)
ADDRESS_KEY = "3a0001@smtp.ct0001.center.example"
WITH_SETTINGS = contents(items=("naccs_terminals", "user_codes"))


def jst(day: date, hour: int = 0) -> datetime:
    return (datetime(day.year, day.month, day.day, hour, tzinfo=UTC) - timedelta(hours=9)).astimezone(UTC)


@pytest.fixture
def case(store, now):
    take_contracts(store, now)
    receive(store, now, said=WITH_SETTINGS)
    return store


def test_completing_sets_the_deadline_and_the_password_window(case, now):
    decide(case, now, Event.COMPLETE)
    row = application(case)
    assert (row.start_date, row.settings_deadline, row.passwords_until) == (
        START,
        date(2026, 12, 8),
        date(2026, 12, 16),
    )
    assert row.completed_at == now


def test_without_system_settings_there_is_no_deadline(store, now):
    take_contracts(store, now)
    receive(store, now)
    decide(store, now, Event.COMPLETE)
    assert application(store).settings_deadline is None
    assert decide(store, now, Event.RECEIVE_SETTINGS) == Refusal(Reason.SETTINGS_NOT_NEEDED)


def test_settings_applied_for_before_the_completion_lift_the_deadline(case, now):
    assert decide(case, now, Event.COMPLETE, start_date=date(2026, 11, 26)).reason is Reason.DEADLINE_PASSED
    decide(case, now, Event.RECEIVE_SETTINGS)
    assert decide(case, now, Event.COMPLETE, start_date=date(2026, 11, 26)).state is State.IDS_ISSUED


def test_settings_are_taken_until_the_end_of_the_deadline_day(case, now):
    decide(case, now, Event.COMPLETE)
    late = decide(case, jst(date(2026, 12, 9)), Event.RECEIVE_SETTINGS)
    assert late == Refusal(Reason.SETTINGS_LATE, "2026-12-08")
    decide(case, jst(date(2026, 12, 9)) - timedelta(seconds=1), Event.RECEIVE_SETTINGS)
    assert "settings_deadline" not in open_jobs(case)


@pytest.mark.parametrize(
    ("today", "first"),
    [
        (date(2026, 12, 8), date(2026, 12, 12)),  # a Saturday: four business days before it is the 8th
        (date(2026, 12, 23), date(2026, 12, 29)),
        (date(2026, 12, 24), date(2027, 1, 5)),
    ],
)
def test_the_first_start_in_time_has_a_deadline_of_today_or_later(today, first):
    assert first_start_in_time(CALENDAR, today) == first
    assert CALENDAR.settings_deadline(first) >= today
    assert CALENDAR.settings_deadline(first - timedelta(days=1)) < today


def test_before_the_completion_a_reschedule_moves_the_wish_everywhere(case, now):
    assert decide(case, now, Event.RESCHEDULE, start_date=LATER).start_date is None
    row = application(case)
    said = ApplicationContents.from_json(row.contents)
    assert (row.desired_start_date, row.start_date, said.desired_start_date) == (LATER, None, LATER)
    # Only terminals change, so the work is wished for the same day; what the form said is kept.
    assert [(line.construction_date, line.construction_date_given) for line in said.lines] == [(LATER, START)]
    assert notices_sent(case)[-1][0] == "applicant/rescheduled"
    assert json.loads(entries(case)[-1].detail) == {"before": "2026-12-14", "after": "2026-12-21"}
    assert decide(case, now, Event.COMPLETE).start_date == LATER


def test_a_line_change_keeps_its_own_date_of_work(store, now):
    take_contracts(store, now)
    line = no_servers(access_speed="100Mbps", construction_date=date(2026, 12, 10))
    receive(store, now, said=contents(line, items=("naccs_lines",)))
    decide(store, now, Event.RESCHEDULE, start_date=LATER)
    (moved,) = ApplicationContents.from_json(application(store).contents).lines
    assert moved.construction_date == date(2026, 12, 10)


def test_after_the_completion_a_reschedule_moves_everything_and_keeps_the_ids(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(
        store,
        now,
        said=contents(
            line_change(), no_servers(terminals_to_delete=("60777S",)), items=("naccs_terminals", "user_codes")
        ),
    )
    desk = desk_with_keys()
    decide(store, now, Event.COMPLETE, desk=desk)
    issued = store.read(load)
    moved = decide(store, now, Event.RESCHEDULE, start_date=LATER, desk=desk)
    row = application(store)
    assert (moved.state, moved.start_date, row.desired_start_date) == (State.IDS_ISSUED, LATER, START)
    assert (row.settings_deadline, row.passwords_until) == (date(2026, 12, 15), date(2026, 12, 23))
    view = store.read(load)
    (new,) = view.bindings_of_terminal("60000S", LATER)
    assert new.address == issued.bindings_of_terminal("60000S", START)[0].address
    assert view.bindings_of_terminal("60000S", START) == []
    assert view.binding(ADDRESS_KEY, START) is not None  # what was to end goes on as long
    assert view.binding(ADDRESS_KEY, LATER) is None
    jobs = open_jobs(store)
    assert (jobs["begin_use"], jobs["settings_deadline"], jobs["destroy_secrets"]) == (
        jst(LATER),
        jst(date(2026, 12, 16)),
        jst(date(2026, 12, 24)),
    )


def test_a_start_moved_to_today_is_in_use_at_once(store, now):
    take_contracts(store, now)
    receive(store, now)
    decide(store, now, Event.COMPLETE)
    moved = decide(store, now, Event.RESCHEDULE, start_date=TODAY)
    assert (moved.state, moved.cautions) == (State.IN_USE, (Caution.STARTS_TODAY,))
    assert store.read(load).binding(ADDRESS_KEY, TODAY) is not None
    assert [name for name, _ in notices_sent(store)][-4:] == ["applicant/rescheduled"] * 2 + [
        "applicant/start-of-use"
    ] * 2


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize(
    ("start", "refusal"),
    [
        (date(2026, 11, 23), Refusal(Reason.START_IN_THE_PAST, "2026-11-23")),
        (START, Refusal(Reason.START_UNCHANGED, "2026-12-14")),
    ],
)
def test_a_start_that_cannot_be_moved_changes_nothing(case, now, complete, start, refusal):
    if complete:
        decide(case, now, Event.COMPLETE)
    before = fingerprint(case)
    assert decide(case, now, Event.RESCHEDULE, start_date=start) == refusal
    assert fingerprint(case) == before


def test_a_confirmed_start_is_not_moved_where_its_deadline_has_passed(case, now):
    decide(case, now, Event.COMPLETE)
    before = fingerprint(case)
    refused = decide(case, now, Event.RESCHEDULE, start_date=date(2026, 11, 27))
    assert refused == Refusal(Reason.DEADLINE_PASSED, "2026-11-20", first_start=date(2026, 11, 28))
    assert fingerprint(case) == before


def test_a_day_off_the_schedule_is_taken_with_a_caution(case, now):
    days = [ScheduleDay(start_on=START, apply_by=date(2026, 11, 27))]
    case.run(lambda session: session.add_all(days))
    off = decide(case, now, Event.RESCHEDULE, start_date=LATER)
    assert off.cautions == (Caution.OFF_SCHEDULE,)
    assert [found.code for found in ApplicationContents.from_json(application(case).contents).warnings] == [
        "off_schedule"
    ]
    on = decide(case, now, Event.RESCHEDULE, start_date=START)
    assert on.cautions == ()
    assert ApplicationContents.from_json(application(case).contents).warnings == ()
    assert decide(case, now, Event.COMPLETE, start_date=LATER).cautions == (Caution.OFF_SCHEDULE,)


def test_passwords_issued_anew_can_be_seen_for_two_business_days_more(case, now):
    desk = desk_with_keys()
    decide(case, now, Event.RECEIVE_SETTINGS)
    decide(case, now, Event.COMPLETE, start_date=TODAY, desk=desk)
    assert application(case).passwords_until == date(2026, 11, 26)
    later = jst(date(2026, 12, 10), 10)
    decide(case, later, Event.REISSUE_SECRETS, desk=desk)
    assert application(case).passwords_until == date(2026, 12, 14)
    assert open_jobs(case)["destroy_secrets"] == jst(date(2026, 12, 15))
    assert json.loads(entries(case)[-1].detail) == {"until": "2026-12-14"}


def test_passwords_issued_anew_before_the_start_keep_the_window_of_the_start(case, now):
    desk = desk_with_keys()
    decide(case, now, Event.COMPLETE, desk=desk)
    decide(case, now, Event.REISSUE_SECRETS, desk=desk)
    assert application(case).passwords_until == date(2026, 12, 16)


def test_without_issued_passwords_none_is_issued_again(case, now):
    decide(case, now, Event.COMPLETE, desk=replace(DESK, data_keys=None))
    assert decide(case, now, Event.REISSUE_SECRETS) == Refusal(Reason.SECRETS_GONE)
