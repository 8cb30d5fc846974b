from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import func, select

from handlers.contract_faults import ContractsRefused
from handlers.schedule import all_days, coming, import_schedule, start_days
from handlers.schedule_file import PlannedDay, read_schedule
from storage.models import AuditEvent

TODAY = date(2026, 11, 24)
CSV = "申込締切日,システム登録日\n2026-11-27,2026-12-14\n2026/11/20,2026/12/7\n20261204,20261221\n"
TOML = """
[[schedule]]
apply_by = 2026-11-27
start_on = 2026-12-14
[[schedule]]
"申込締切日" = "2026-11-20"
"システム登録日" = "2026-12-07"
[[schedule]]
apply_by = "20261204"
start_on = "20261221"
"""
DAYS = (
    PlannedDay(apply_by=date(2026, 11, 20), start_on=date(2026, 12, 7)),
    PlannedDay(apply_by=date(2026, 11, 27), start_on=date(2026, 12, 14)),
    PlannedDay(apply_by=date(2026, 12, 4), start_on=date(2026, 12, 21)),
)


def take(store, now, days=DAYS):
    return store.run(lambda session: import_schedule(session, days, "os:tester", now))


def faults_of(text, *, as_csv=True):
    with pytest.raises(ContractsRefused) as refused:
        read_schedule(text, as_csv=as_csv)
    return [(fault.place, fault.rule, fault.value) for fault in refused.value.faults]


@pytest.mark.parametrize(("text", "as_csv"), [(CSV, True), (TOML, False)])
def test_a_file_is_read_in_either_form_and_put_in_order(text, as_csv):
    assert read_schedule(text, as_csv=as_csv) == DAYS


def test_every_fault_of_a_file_is_told_at_once():
    text = (
        "システム登録日,申込締切日\n2026-12-14,2026-12-15\n2026-02-30,\n2026-12-07,2026-11-20\n2026-12-07,2026-11-19\n"
    )
    assert faults_of(text) == [
        ("line 2, 申込締切日", "after_registration", "2026-12-14"),
        ("line 3, 申込締切日", "missing", ""),
        ("line 3, システム登録日", "date", "2026-02-30"),
        ("line 5", "repeated", "2026-12-07"),
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "csv"),
        ("a,b\n1,2\n", "csv"),
        ("申込締切日,システム登録日\n2026-11-27\n", "csv"),
        ("申込締切日,システム登録日\n2026-11-27,2026-12-14,3\n", "csv"),
        ('申込締切日,システム登録日\n"2026-11-27,2026-12-14\n', "csv"),
        ("申込締切日,システム登録日\n", "missing"),
    ],
)
def test_what_is_no_csv_of_days_is_refused(text, rule):
    assert [found[1] for found in faults_of(text)] == [rule]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("= 1", ["toml"]),
        ("days = 1", ["unknown_key"]),
        ("schedule = 1", ["list"]),
        ("schedule = [1]", ["table"]),
        ("", ["missing"]),
        ('[[schedule]]\nwhen = "x"\nstart_on = 2026-12-14T09:00:00\n', ["unknown_key", "missing", "date"]),
    ],
)
def test_what_is_no_toml_of_days_is_refused(text, rules):
    assert [found[1] for found in faults_of(text, as_csv=False)] == rules


def test_importing_again_changes_nothing_and_other_days_stay(store, now):
    assert len(take(store, now).added) == 3
    again = take(store, now)
    assert (again.added, again.changed, again.unchanged) == ((), (), 3)
    moved = take(store, now, (PlannedDay(apply_by=date(2026, 11, 26), start_on=date(2026, 12, 14)),))
    assert (moved.added, moved.changed, moved.unchanged) == ((), (date(2026, 12, 14),), 0)
    assert [(row.start_on, row.apply_by) for row in store.read(all_days)] == [
        (date(2026, 12, 7), date(2026, 11, 20)),
        (date(2026, 12, 14), date(2026, 11, 26)),
        (date(2026, 12, 21), date(2026, 12, 4)),
    ]
    assert store.read(lambda session: session.scalar(select(func.count()).select_from(AuditEvent))) == 2


def test_a_wish_may_name_a_day_that_can_still_be_applied_for(store, now):
    assert store.read(lambda session: start_days(session, TODAY)) == frozenset()
    take(store, now)
    assert store.read(lambda session: start_days(session, TODAY)) == {date(2026, 12, 14), date(2026, 12, 21)}
    assert [row.start_on for row in store.read(lambda session: coming(session, TODAY))] == [
        date(2026, 12, 14),
        date(2026, 12, 21),
    ]
    assert len(store.read(lambda session: coming(session, TODAY, 1))) == 1


def test_a_schedule_that_has_run_out_is_still_one(store, now):
    take(store, now)
    days = store.read(lambda session: start_days(session, date(2027, 1, 4)))
    assert days
    assert max(days) < date(2027, 1, 4)
