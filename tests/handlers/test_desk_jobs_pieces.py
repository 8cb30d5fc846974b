"""How much the clock does for the desk in one unit of work: everybody else's work waits for it."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from sqlalchemy import delete, func, select

from handlers import desk_jobs
from handlers.desk_job_runs import MOST_JOBS
from handlers.desk_jobs import JobKind
from storage.models import DeskJob
from storage.store import Store
from tests.handlers.review_cases import CALENDAR, DESK, START, receive, take_contracts

MANY = MOST_JOBS + 2
LONGEST = 0.25  # seconds, by the clock; a machine under load is given the best of its tries


@pytest.fixture
def lacking(store: Store, now: datetime) -> Store:
    """Cases of two kinds without any job, more of each than one unit of work takes."""
    take_contracts(store, now)
    for number in range(1, MANY + 1):
        receive(store, now, f"26{number:04d}A")
        receive(store, now, f"26{number + 100:04d}A", state="ids_issued", start_date=START)
    store.run(lambda session: session.execute(delete(DeskJob)))
    return store


def test_a_sweep_plans_for_cases_of_one_kind_at_a_time(lacking: Store, now: datetime) -> None:
    seen: list[tuple[int, float]] = []
    while True:
        began = time.monotonic()
        if not lacking.run(lambda session: desk_jobs.sweep(session, DESK, CALENDAR, now)):
            break
        took = time.monotonic() - began
        cases = lacking.read(lambda s: s.scalar(select(func.count(DeskJob.application_id.distinct())))) or 0
        seen.append((cases - sum(number for number, _ in seen), took))
    assert [number for number, _ in seen] == [MOST_JOBS, MANY - MOST_JOBS, MOST_JOBS, MANY - MOST_JOBS]
    assert min(took for number, took in seen if number == MOST_JOBS) < LONGEST
    kinds = lacking.read(lambda s: dict(s.execute(select(DeskJob.kind, func.count()).group_by(DeskJob.kind)).all()))
    assert (kinds[JobKind.REVIEW_REMINDER], kinds[JobKind.BEGIN_USE]) == (MANY, MANY)
    assert not lacking.read(desk_jobs.sweep_is_due)
