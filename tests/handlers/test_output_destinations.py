"""Registered output destinations (宛先管理, EXC), from files and by command."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from handlers.contract_faults import ContractsRefused
from handlers.output_destination_file import WantedDestination, read_destinations
from handlers.output_destinations import end_destination, register_destinations, registered
from storage.models import AuditEvent, MapVersion
from tests.handlers.review_cases import take_contracts
from tests.handlers.test_terminals import ADDRESS, OFFICES_WITH_TWO_SERVERS, TODAY, only_sqlite, reissue

TOMORROW = TODAY + timedelta(days=1)

TOML = """# third parties
[[output]]
code = "SAD4011"
address = "3a0001@smtp.ct0001.center.example"
from = 2026-11-24

[[output]]
code = "*SOTA"
user = "TST01"
address = "3A0001@SMTP.CT0001.CENTER.EXAMPLE"
from = "2026-12-01"
until = "2027-01-01"
"""
CSV = """code,user,address,from,until
SAD4011,,3a0001@smtp.ct0001.center.example,2026-11-24,
*SOTA,TST01,3A0001@SMTP.CT0001.CENTER.EXAMPLE,2026-12-01,2027-01-01
"""


@pytest.fixture
def offices(store, now):
    take_contracts(store, now, OFFICES_WITH_TWO_SERVERS)


def wanted(code="SAD4011", **values):
    given: dict[str, Any] = {"place": "line 2", "address": ADDRESS, "effective_from": TODAY}
    return WantedDestination(output_code=code, **(given | values))


def take(store, now, *rows):
    return store.run(lambda session: register_destinations(session, rows, actor="os:op", now=now))


def end(store, now, row_id, on):
    return store.run(lambda session: end_destination(session, row_id, on, actor="os:op", now=now))


def rows(store, **only):
    found = store.read(lambda session: registered(session, **only))
    return [(row.output_code, row.user_code, row.effective_from, row.effective_until) for row in found]


def version(store):
    return store.read(lambda session: session.scalar(select(MapVersion.version)))


def faults(store, now, *given):
    with pytest.raises(ContractsRefused) as refused:
        take(store, now, *given)
    return [(fault.place, fault.rule, fault.value) for fault in refused.value.faults]


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "as_csv"), [(TOML, False), (CSV, True), (CSV.replace("\n", "\r\n"), True)])
def test_toml_and_csv_say_the_same(text, as_csv):
    first, second = read_destinations(text, as_csv=as_csv)
    assert (first.output_code, first.user_code, first.effective_from, first.effective_until) == (
        "SAD4011", "", date(2026, 11, 24), None,
    )  # fmt: skip
    assert (second.output_code, second.user_code) == ("*SOTA", "TST01")
    assert (second.effective_from, second.effective_until) == (date(2026, 12, 1), date(2027, 1, 1))
    assert (first.place, second.place) == (("line 2", "line 3") if as_csv else ("line 2", "line 7"))


@pytest.mark.parametrize(
    ("text", "as_csv", "fault"),
    [
        ("output = 1", False, ("output", "list", "")),
        ("output = [1]", False, ("output #1", "table", "")),
        ("[[output]\n", False, ("", "toml", None)),
        ("colour = 1", False, ("colour", "unknown_key", "")),
        (TOML.replace('"SAD4011"', '"sad4011"'), False, ("line 2, code", "output_code", "sad4011")),
        (TOML.replace('"SAD4011"', "4011"), False, ("line 2, code", "text", "4011")),
        (TOML.replace('"SAD4011"', '"SAD40111"'), False, ("line 2, code", "output_code", "SAD40111")),
        (TOML.replace('"TST01"', '"TST1"'), False, ("line 7, user", "user_code", "TST1")),
        (TOML.replace('"2026-12-01"', '"1 Dec"'), False, ("line 7, from", "date", "1 Dec")),
        (TOML.replace('"2027-01-01"', '"2026-12-01"'), False, ("line 7, until", "ends_before_it_begins", "2026-12-01")),
        (TOML.replace("user =", "users ="), False, ("line 7, users", "unknown_key", "")),
        ('[[output]]\ncode = "SAD4011"', False, ("line 1, address", "missing", "")),
        ("", True, ("line 1", "csv", "")),
        ("code,colour\n", True, ("line 1", "csv", "code,colour")),
        ("code,code,address\n", True, ("line 1", "csv", "code,code,address")),
        ("code,address\nSAD4011\n", True, ("line 2", "csv", "code, user, address, from, until")),
        ("code,address\nSAD4011,a,b\n", True, ("line 2", "csv", "code, user, address, from, until")),
        ('code,address\n"SAD4011,a\n', True, ("line 2", "csv", None)),
        (CSV.replace("SAD4011", ""), True, ("line 2, code", "missing", "")),
    ],
)
def test_a_fault_names_its_line_and_rule(text, as_csv, fault):
    with pytest.raises(ContractsRefused) as refused:
        read_destinations(text, as_csv=as_csv)
    found = [(one.place, one.rule, one.value) for one in refused.value.faults]
    assert fault in found or (fault[0], fault[1]) in [(place, rule) for place, rule, _ in found if fault[2] is None]


def test_every_fault_of_a_file_is_named_at_once():
    with pytest.raises(ContractsRefused) as refused:
        read_destinations(CSV.replace("SAD4011", "x").replace("TST01", "y"), as_csv=True)
    assert [fault.place for fault in refused.value.faults] == ["line 2, code", "line 3, user"]


# --- the register ----------------------------------------------------------------------------------------------------


def test_a_file_is_taken_whole_and_again_changes_nothing(store, now, offices):
    given = read_destinations(TOML, as_csv=False)
    report = take(store, now, *given)
    assert (report.added, report.updated, report.ended, report.map_version) == (2, 0, (), 2)
    expected = [
        ("*SOTA", "TST01", date(2026, 12, 1), date(2027, 1, 1)),
        ("SAD4011", "", TODAY, None),
    ]
    assert rows(store) == expected
    again = take(store, now + timedelta(days=3), *given)
    assert (again.added, again.updated, again.map_version) == (0, 0, None)
    assert rows(store) == expected
    assert version(store) == 2
    events = store.read(lambda session: session.scalars(select(AuditEvent.event)).all())
    assert events.count("output-destination-added") == 2


def test_one_wrong_row_keeps_the_whole_file_out(store, now, offices):
    found = faults(store, now, wanted(), wanted("SAD4021", address="NOBODY@X.EXAMPLE", place="line 7"))
    assert found == [("line 7, address", "unknown_address", "NOBODY@X.EXAMPLE")]
    assert rows(store) == []
    assert version(store) == 1


def test_rows_of_one_code_user_and_address_may_not_overlap(store, now, offices):
    take(store, now, wanted(effective_until=date(2027, 1, 1)))
    assert faults(store, now, wanted(effective_from=TOMORROW)) == [("line 2", "overlap", "2026-11-24 - 2027-01-01")]
    assert take(store, now, wanted(effective_from=date(2027, 1, 1))).added == 1
    assert take(store, now, wanted(user_code="TST01"), wanted("SAD4021")).added == 2


def test_two_rows_of_one_file_may_not_overlap_either(store, now, offices):
    assert faults(store, now, wanted(), wanted(effective_from=TOMORROW, place="line 3")) == [
        ("line 3", "overlap", "2026-11-24 -")
    ]
    assert rows(store) == []


def test_a_row_without_a_first_day_begins_today_and_is_the_same_row_later(store, now, offices):
    take(store, now, wanted(effective_from=None))
    assert rows(store) == [("SAD4011", "", TODAY, None)]
    assert take(store, now + timedelta(days=9), wanted(effective_from=None)).map_version is None


def test_the_address_row_of_the_first_day_is_the_one_that_gets_it(store, now, offices):
    reissue(store, today=TOMORROW)
    take(store, now, wanted(), wanted("SAD4021", effective_from=TOMORROW))
    found = store.read(registered)
    assert [row.terminal for row in found] == ["60777S", "60778S"]


def test_a_row_is_ended_and_a_file_does_not_revive_it(store, now, offices):
    take(store, now, wanted(effective_from=None))
    (row,) = store.read(registered)
    report = end(store, now, row.id, TOMORROW)
    assert (report.updated, report.map_version) == (1, 3)
    assert rows(store) == [("SAD4011", "", TODAY, TOMORROW)]
    assert end(store, now, row.id, TOMORROW).map_version is None
    for days in (0, 30):
        again = take(store, now + timedelta(days=days), wanted(effective_from=None))
        assert (again.ended, again.map_version) == ((f"SAD4011 {ADDRESS}",), None)
    assert take(store, now + timedelta(days=1), wanted(effective_from=TOMORROW)).added == 1


def test_a_last_day_in_the_file_ends_an_open_row(store, now, offices):
    take(store, now, wanted())
    assert take(store, now, wanted(effective_until=date(2027, 1, 1))).updated == 1
    assert rows(store) == [("SAD4011", "", TODAY, date(2027, 1, 1))]


def test_an_end_in_the_past_or_before_the_beginning_is_refused(store, now, offices):
    take(store, now, wanted(effective_from=date(2026, 12, 1)))
    (row,) = store.read(registered)
    for on, rule in ((TODAY - timedelta(days=1), "in_the_past"), (TODAY, "ends_before_it_begins")):
        with pytest.raises(ContractsRefused) as refused:
            end(store, now, row.id, on)
        assert refused.value.faults[0].rule == rule
    assert end(store, now, 17, TODAY) is None
    assert version(store) == 2


@only_sqlite
def test_a_list_may_be_of_a_code_an_address_or_a_day(store, now, offices):
    take(store, now, wanted(), wanted("SAD4021", effective_from=TOMORROW))
    assert rows(store, output_code="sad4011") == rows(store, on=TODAY) == [("SAD4011", "", TODAY, None)]
    assert len(rows(store, address=ADDRESS.lower())) == 2
    assert rows(store, address="b@x.example") == []
