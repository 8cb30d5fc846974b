from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from handlers.applications.receipt_numbers import take_receipt_number
from storage.store import Store, opened

NEW_YEAR_IN_JAPAN = datetime(2026, 12, 31, 15, 0, tzinfo=UTC)
LAST_SECOND = datetime(2026, 12, 31, 14, 59, 59, tzinfo=UTC)


def take(store, instant):
    return store.run(lambda session: take_receipt_number(session, instant))


def test_numbers_run_from_one_through_the_year(store, now):
    assert [take(store, now) for _ in range(3)] == ["260001A", "260002A", "260003A"]


def test_the_year_is_that_of_the_day_in_japan(store):
    assert take(store, LAST_SECOND) == "260001A"
    assert take(store, NEW_YEAR_IN_JAPAN) == "270001A"


def test_a_mail_of_last_year_is_numbered_in_last_year(store):
    take(store, NEW_YEAR_IN_JAPAN)
    assert take(store, LAST_SECOND) == "260001A"


def test_a_year_of_more_than_9999_applications_gets_longer_numbers(store, now):
    take(store, now)
    store.run(lambda session: session.connection().exec_driver_sql("UPDATE receipt_counters SET last_number = 9998"))
    assert [take(store, now) for _ in range(3)] == ["269999A", "2610000A", "2610001A"]


def test_a_rolled_back_application_leaves_no_gap(store, now):
    def fail(session):
        assert take_receipt_number(session, now) == "260001A"
        raise RuntimeError("the application is not accepted after all")

    with pytest.raises(RuntimeError):
        store.run(fail)
    assert take(store, now) == "260001A"


def test_two_at_once_never_get_the_same_number(store: Store, store_url: str, now):
    def fifty(_worker: int) -> list[str]:
        with opened(store_url) as own:
            return [take(own, now) for _ in range(50)]

    with ThreadPoolExecutor(2) as workers:
        numbers = [number for worker in workers.map(fifty, range(2)) for number in worker]
    assert sorted(numbers) == [f"26{number:04d}A" for number in range(1, 101)]
