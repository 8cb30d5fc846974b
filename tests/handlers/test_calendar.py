from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from handlers.calendar import (
    BusinessCalendar,
    document_date,
    end_of_day,
    form_date,
    holiday_names,
    jst_date,
    mail_date,
    parse_form_date,
    seed_holidays,
    slash_date,
    start_of_day,
)

CALENDAR = BusinessCalendar(holidays=seed_holidays([2026, 2027]))


def test_the_day_in_japan_begins_at_15_utc():
    assert jst_date(datetime(2026, 12, 13, 14, 59, 59, tzinfo=UTC)) == date(2026, 12, 13)
    assert jst_date(datetime(2026, 12, 13, 15, 0, tzinfo=UTC)) == date(2026, 12, 14)


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        jst_date(datetime(2026, 12, 13, 15, 0))  # noqa: DTZ001


def test_a_day_runs_from_midnight_to_its_last_second():
    assert start_of_day(date(2026, 12, 14)) == datetime(2026, 12, 13, 15, 0, tzinfo=UTC)
    assert end_of_day(date(2026, 12, 14)) == datetime(2026, 12, 14, 14, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "last_day"),
    [
        (date(2026, 12, 12), date(2026, 12, 15)),
        (date(2026, 12, 14), date(2026, 12, 16)),
        (date(2026, 12, 25), date(2027, 1, 4)),
        (date(2026, 12, 28), date(2027, 1, 5)),
        (date(2026, 5, 1), date(2026, 5, 8)),
        (date(2026, 9, 18), date(2026, 9, 25)),
    ],
)
def test_the_password_window_closes_with_the_second_business_day_after_the_start(start, last_day):
    assert CALENDAR.last_day_of_password_window(start) == last_day
    assert CALENDAR.end_of_password_window(start) == end_of_day(last_day)


@pytest.mark.parametrize(
    ("start", "deadline"),
    [(date(2026, 12, 14), date(2026, 12, 8)), (date(2027, 1, 4), date(2026, 12, 23))],
)
def test_system_settings_are_due_on_the_fourth_business_day_before_the_start(start, deadline):
    assert CALENDAR.settings_deadline(start) == deadline
    assert CALENDAR.business_days_before(start, 4) == deadline


@pytest.mark.parametrize(
    "day",
    [date(2026, 12, 29), date(2026, 12, 31), date(2027, 1, 1), date(2027, 1, 3), date(2026, 9, 22), date(2026, 5, 6)],
)
def test_holidays_and_the_turn_of_the_year_are_no_business_days(day):
    assert not CALENDAR.is_business_day(day)


def test_a_weekday_is_a_business_day_and_a_weekend_is_none():
    assert CALENDAR.is_business_day(date(2026, 12, 28))
    assert not CALENDAR.is_business_day(date(2026, 12, 26))


def test_no_business_day_later_is_the_day_itself_even_on_a_sunday():
    assert CALENDAR.add_business_days(date(2026, 12, 13), 0) == date(2026, 12, 13)


def test_business_days_are_not_counted_backwards_by_a_negative_number():
    with pytest.raises(ValueError, match="direction"):
        CALENDAR.add_business_days(date(2026, 12, 13), -1)


def test_business_days_between_two_days_leave_out_the_first():
    assert CALENDAR.business_days_between(date(2026, 12, 25), date(2027, 1, 4)) == 2
    assert CALENDAR.business_days_between(date(2027, 1, 4), date(2026, 12, 25)) == 0


def test_the_calendar_is_what_it_is_given():
    closed_today = BusinessCalendar(holidays=frozenset({date(2026, 12, 14)}))
    assert closed_today.add_business_days(date(2026, 12, 11), 1) == date(2026, 12, 15)


def test_seeded_days_have_names_and_come_in_order():
    names = holiday_names([2027, 2026])
    assert list(names) == sorted(names)
    assert names[date(2026, 12, 30)] == "年末年始"
    assert names[date(2026, 11, 3)] == "文化の日"


def test_each_place_writes_a_date_its_own_way():
    day = date(2026, 4, 1)
    assert mail_date(day) == "2026年4月1日"
    assert document_date(day) == "2026年04月01日"
    assert slash_date(day) == "2026/04/01"
    assert form_date(day) == "20260401"


@pytest.mark.parametrize("text", ["20270229", "2026041", "２０２６０４０１", "2026-4-1", "", "20261301", "00000101"])
def test_what_is_no_date_of_the_form_is_none(text):
    assert parse_form_date(text) is None


def test_a_date_of_the_form_is_read_back():
    assert parse_form_date("20280229") == date(2028, 2, 29)
