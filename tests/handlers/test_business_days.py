"""The calendar of the store: what operators wrote counts, years it lacks come from the law."""

from __future__ import annotations

from datetime import date

import pytest

from handlers.business_days import calendar_of, fill_in, missing_years
from storage.models import CalendarDay
from storage.store import opened

TODAY = date(2026, 11, 22)


@pytest.fixture
def store(store_url):
    with opened(store_url) as store:
        yield store


def test_a_store_without_days_off_knows_them_all_the_same(store):
    calendar = store.read(lambda session: calendar_of(session, TODAY))
    assert not calendar.is_business_day(date(2026, 11, 23))  # 勤労感謝の日
    assert not calendar.is_business_day(date(2026, 12, 29))  # 年末年始
    assert calendar.is_business_day(date(2026, 11, 24))
    assert store.read(lambda session: session.query(CalendarDay).count()) == 0


def test_filled_in_it_lacks_no_year_and_is_filled_once(store):
    assert store.read(lambda session: missing_years(session, TODAY)) == {2026, 2027, 2028, 2029, 2030}
    added = store.run(lambda session: fill_in(session, TODAY))
    assert added > 80
    assert store.read(lambda session: missing_years(session, TODAY)) == set()
    assert store.run(lambda session: fill_in(session, TODAY)) == 0


def test_what_an_operator_changed_stays(store):
    store.run(lambda session: fill_in(session, TODAY))
    store.run(lambda session: session.delete(session.get_one(CalendarDay, date(2026, 11, 23))))
    store.run(lambda session: session.add(CalendarDay(day=date(2026, 11, 24), name="臨時休業")))
    store.run(lambda session: fill_in(session, TODAY))
    calendar = store.read(lambda session: calendar_of(session, TODAY))
    assert calendar.is_business_day(date(2026, 11, 23))
    assert not calendar.is_business_day(date(2026, 11, 24))
