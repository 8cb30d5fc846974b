from __future__ import annotations

from datetime import date

from handlers.business_days import calendar_of
from handlers.days_off import DayOff, add_day_off, day_off, days_off, off_by_law, remove_day_off
from tests.handlers.review_cases import audited

SUMMER = date(2026, 8, 14)
TODAY = date(2026, 8, 1)


def is_business_day(store, day):
    return store.read(lambda session: calendar_of(session, TODAY)).is_business_day(day)


def test_a_day_off_that_is_added_counts_at_once_and_the_holidays_of_its_year_stay(store, now):
    assert is_business_day(store, SUMMER)
    assert store.run(lambda session: add_day_off(session, SUMMER, "臨時休業", "os:tester", now))
    assert not is_business_day(store, SUMMER)
    assert not is_business_day(store, date(2026, 11, 23))
    assert audited(store, "calendar:2026-08-14") == [("day_off_added", "os:tester", "臨時休業")]


def test_a_day_is_added_once(store, now):
    store.run(lambda session: add_day_off(session, SUMMER, "臨時休業", "os:tester", now))
    assert not store.run(lambda session: add_day_off(session, SUMMER, "休み", "os:tester", now))
    (row,) = store.read(lambda session: days_off(session, SUMMER, SUMMER))
    assert row.name == "臨時休業"


def test_a_holiday_can_be_made_a_working_day(store, now):
    holiday = date(2026, 11, 23)
    assert not is_business_day(store, holiday)
    assert store.run(lambda session: remove_day_off(session, holiday, "os:tester", now))
    assert is_business_day(store, holiday)
    assert not store.run(lambda session: remove_day_off(session, holiday, "os:tester", now))
    store.run(lambda session: add_day_off(session, holiday, "臨時休業", "os:tester", now))
    assert store.read(lambda session: day_off(session, holiday)) == DayOff(day=holiday, name="勤労感謝の日")
    assert audited(store, f"calendar:{holiday}")[-1] == ("day_off_added", "os:tester", "勤労感謝の日")


def test_a_day_off_is_known_also_in_a_year_the_store_knows_nothing_of(store, now):
    holiday = DayOff(day=date(2040, 11, 23), name="勤労感謝の日")
    assert store.read(lambda session: day_off(session, holiday.day)) == holiday
    assert store.read(lambda session: day_off(session, date(2040, 11, 20))) is None
    store.run(lambda session: add_day_off(session, date(2040, 11, 20), "移転", "os:tester", now))
    store.run(lambda session: remove_day_off(session, holiday.day, "os:tester", now))
    assert store.read(lambda session: day_off(session, holiday.day)) is None
    assert store.read(lambda session: day_off(session, date(2040, 11, 20))).name == "移転"


def test_the_turn_of_the_year_is_off_by_law_as_holidays_are():
    days = (date(2026, 11, 23), date(2026, 12, 29), date(2027, 1, 3), date(2026, 8, 14))
    assert [off_by_law(day) for day in days] == [True, True, True, False]
