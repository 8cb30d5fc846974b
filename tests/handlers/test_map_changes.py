"""Lines, terminals and addresses added, changed, moved and ended by an operator."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from handlers import contract_history
from handlers.allocation_order import INTERACTIVE, SMTP_SERVER
from handlers.allocation_undone import take_back
from handlers.contract_faults import ContractsRefused
from handlers.line_changes import add_line, change_line, end_line
from handlers.map_changes import Change, Changed
from handlers.terminal_changes import add_address, add_terminal, end_address, end_terminal, move_terminal
from handlers.terminals import change_map, load
from storage.models import Line, LogicalTerminal, MailAddress, MapVersion
from tests.handlers.allocation_cases import FIRST_ADDRESS, TODAY, issue, order_in, rests
from tests.handlers.review_cases import DESK, OFFICES, START, WITH_SMTP_SERVER, audited, no_servers, take_contracts
from tests.handlers.stuck_messages import bound, give_up, put

KEY = FIRST_ADDRESS.lower()
LATER = TODAY + timedelta(days=7)
SECOND_OFFICE = (
    OFFICES.replace("CT0001", "CT0002").replace("TST01", "TST02").replace("09143", "09144")
    .replace("127.20.13", "127.20.14").replace("25130M", "25131M").replace("27264C", "27265C")
)  # fmt: skip
NEW_LINE: dict[str, Any] = {
    "router_number": "09500",
    "class": "共用",
    "connection": "一般",
    "edifact": False,
    "line_type": "専用線",
    "access_speed": "1Mbps",
    "wiring": "",
    "maintenance_hours": "平日",
    "shared_with_other_offices": False,
    "lan_subnet": "127.20.50.0/28",
    "spare_router": True,
}


@pytest.fixture
def contracts(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return store


@pytest.fixture
def change(contracts, now):
    """Make a change in a unit of work of its own."""

    def make(work, *arguments, effective=None, desk=DESK, **options) -> Changed:
        order = Change(desk=desk, actor="os:tester", now=now, effective=effective)
        done: Changed = contracts.run(lambda session: work(session, order, *arguments, **options))
        return done

    return make


@pytest.fixture
def refused(change, contracts):
    """The faults a change is refused for; nothing of it stays."""

    def make(work, *arguments, **options) -> list[tuple[str, str, str]]:
        before = contracts.read(lambda session: session.scalar(select(MapVersion.version)))
        with pytest.raises(ContractsRefused) as found:
            change(work, *arguments, **options)
        assert contracts.read(lambda session: session.scalar(select(MapVersion.version))) == before
        return [(fault.place, fault.rule, fault.value) for fault in found.value.faults]

    return make


def row(store, model, **values):
    return store.read(lambda session: session.scalars(select(model).filter_by(**values)).one())


def subjects(changed: Changed) -> list[tuple[str, str]]:
    return [(step.event, step.subject) for step in changed.steps]


# --- lines -----------------------------------------------------------------------------------------------------------


def test_a_line_is_added_from_its_day_on_and_takes_terminals_then(contracts, change, refused):
    changed = change(add_line, "CT0001", NEW_LINE, effective=LATER)
    assert (changed.map_version, changed.effective, subjects(changed)) == (2, LATER, [("line_added", "line:09500")])
    added = row(contracts, Line, router_number="09500")
    assert (added.effective_from, added.lan_subnet, added.spare_router) == (LATER, "127.20.50.0/28", True)
    assert audited(contracts, "line:09500") == [("line_added", "os:tester", "CT0001 127.20.50.0/28 from 2026-12-01")]
    assert refused(add_terminal, "09500", SMTP_SERVER, {}) == [("line 09500", "not_begun", "2026-12-01")]
    change(add_terminal, "09500", SMTP_SERVER, {}, effective=LATER)


@pytest.mark.parametrize(
    ("office", "values", "expected"),
    [
        ("CT0009", {}, ("line 09500", "no_office", "CT0009")),
        ("CT0001", {"router_number": "09143"}, ("line 09143", "line_taken", "09143")),
        ("CT0001", {"lan_subnet": "127.20.0.0/16"}, ("line 09500", "lan_taken", "127.20.0.0/16 (09143)")),
        ("CT0001", {"lan_subnet": "127.20.50.1/28"}, ("line 09500, lan_subnet", "lan_subnet", "127.20.50.1/28")),
        ("CT0001", {"shared_with": ["CT0002"]}, ("line 09500, shared_with", "no_office", "CT0002")),
    ],
)
def test_a_line_that_collides_or_breaks_a_rule_is_refused_with_what_is_in_the_way(refused, office, values, expected):
    assert expected in refused(add_line, office, NEW_LINE | values)


def test_values_of_a_line_change_at_once(contracts, change, refused):
    changed = change(change_line, "09143", {"access_speed": "1Mbps", "spare_router": True})
    assert changed.steps[0].detail == "access_speed: 128kbps -> 1Mbps, spare_router: False -> True"
    assert (row(contracts, Line, router_number="09143").access_speed) == "1Mbps"
    assert refused(change_line, "09143", {"access_speed": "1Mbps"}) == [("line 09143", "unchanged", "")]
    assert refused(change_line, "09143", {"wiring": "x"}, effective=LATER) == [
        ("line 09143", "today_only", "2026-12-01")
    ]
    assert refused(change_line, "09999", {"wiring": "x"}) == [("line 09999", "no_line", "09999")]


def test_a_lan_is_not_changed_under_its_terminals_nor_into_another_lines(contracts, change, refused, now):
    take_contracts(contracts, now, SECOND_OFFICE, password_hashes={"CT0002": "x"})
    assert refused(change_line, "09143", {"lan_subnet": "127.20.13.0/29"}) == [
        ("terminal 25130M", "outside_lan", "127.20.13.0/29"),
        ("terminal 27264C", "outside_lan", "127.20.13.0/29"),
        ("terminal 60777S", "outside_lan", "127.20.13.0/29"),
    ]
    assert refused(change_line, "09143", {"lan_subnet": "127.20.12.0/22"}) == [
        ("line 09143", "lan_taken", "127.20.12.0/22 (09144)")
    ]
    change(change_line, "09143", {"lan_subnet": "127.20.13.0/28", "shared_with": ["CT0002"]})
    assert row(contracts, Line, router_number="09143").shared_with == "CT0002"


def test_a_line_ends_with_everything_on_it_and_names_the_mail_it_leaves_behind(contracts, change, refused, now):
    binding = bound(contracts)
    waiting, given_up = put(contracts, binding, "SAD4031", now), give_up(contracts, binding, "", now)
    changed = change(end_line, "09143", effective=LATER)
    assert subjects(changed) == [
        ("terminal_ended", "terminal:25130M"),
        ("terminal_ended", "terminal:27264C"),
        ("terminal_ended", "terminal:60777S"),
        ("address_ended", f"address:{FIRST_ADDRESS}"),
        ("line_ended", "line:09143"),
    ]
    assert changed.affected.count == 2
    assert [(mail.mail_id, mail.address, mail.terminal, mail.state) for mail in changed.affected.mails] == [
        (waiting, FIRST_ADDRESS, "60777S", "queued"),
        (given_up, FIRST_ADDRESS, "60777S", "undelivered"),
    ]
    view = contracts.read(load)
    assert view.binding(KEY, LATER - timedelta(days=1)) is not None
    assert view.binding(KEY, LATER) is None
    assert set(rests(contracts).values()) == {LATER + DESK.quarantine}
    assert refused(end_line, "09143") == [("line 09143", "ends_already", "2026-12-01")]


def test_a_line_that_has_ended_is_neither_changed_nor_brought_back_by_its_file(contracts, change, refused, now):
    change(end_line, "09143")
    assert refused(change_line, "09143", {"wiring": "x"}) == [("line 09143", "ends_already", "2026-11-24")]
    report = take_contracts(contracts, now, WITH_SMTP_SERVER.replace("128kbps", "1Mbps"))
    assert (report.ended_lines, report.ended, report.map_version) == (("09143",), (), None)


def test_a_terminal_of_an_open_application_is_in_the_way_of_its_lines_end(contracts, refused, now):
    (issued,) = issue(contracts, now)
    issue(contracts, now, no_servers(terminals_to_delete=("25130M",)), application_id=78)
    assert refused(end_line, "09143") == [
        ("terminal 25130M", "ends_already", START.isoformat()),
        (f"terminal {issued.name}", "not_begun", START.isoformat()),
    ]


def void(store, now, *lines, application_id=77):
    """Take back what a case was issued, as when it becomes void."""

    def work(session):
        change_map(session, now)
        take_back(session, DESK, order_in(session, *lines, application_id=application_id))

    store.run(work)


def test_a_terminal_that_was_taken_back_before_it_began_is_in_nobodys_way(contracts, change, refused, now):
    (issued,) = issue(contracts, now)
    void(contracts, now)
    taken_back = row(contracts, LogicalTerminal, name=issued.name)
    assert taken_back.effective_until == taken_back.effective_from == START
    assert refused(end_terminal, issued.name) == [(f"terminal {issued.name}", "ends_already", START.isoformat())]
    outside = change(change_line, "09143", {"lan_subnet": "127.20.13.8/29"})
    assert outside.steps[0].detail == "lan_subnet: 127.20.13.0/24 -> 127.20.13.8/29"
    ended = change(end_line, "09143")
    assert ("terminal_ended", f"terminal:{issued.name}") not in subjects(ended)
    assert [subject for _, subject in subjects(ended) if "terminal" in subject] == [
        "terminal:25130M",
        "terminal:27264C",
        "terminal:60777S",
    ]
    assert row(contracts, LogicalTerminal, name=issued.name).ended_by == 77


def test_an_address_that_was_taken_back_does_not_end_again_with_its_terminal(contracts, change, now):
    more = no_servers(mail_addresses=1, target_terminal="60777S")
    (changed,) = issue(contracts, now, more)
    void(contracts, now, more)
    (address,) = changed.mail_addresses
    before = row(contracts, MailAddress, address=address)
    assert before.effective_until == before.effective_from == START
    assert subjects(change(end_terminal, "60777S")) == [
        ("terminal_ended", "terminal:60777S"),
        ("address_ended", f"address:{FIRST_ADDRESS}"),
    ]
    assert row(contracts, MailAddress, address=address).ended_by == before.ended_by == 77


def test_a_line_that_was_taken_back_before_it_began_is_not_changed(contracts, change, refused, now):
    change(add_line, "CT0001", NEW_LINE, effective=LATER)
    dates = update(Line).where(Line.router_number == "09500").values(effective_until=LATER)
    contracts.run(lambda session: session.execute(dates))
    assert refused(change_line, "09500", {"wiring": "x"}) == [("line 09500", "ends_already", "2026-12-01")]
    assert refused(add_terminal, "09500", SMTP_SERVER, {}) == [("line 09500", "ends_already", "2026-12-01")]


# --- terminals -------------------------------------------------------------------------------------------------------


def test_a_terminal_is_added_by_the_rules_that_applications_are_served_by(contracts, change):
    changed = change(add_terminal, "09143", SMTP_SERVER, {"port": 2526}, addresses=2)
    assert subjects(changed) == [
        ("terminal_added", "terminal:60000S"),
        ("address_added", "address:3A0002@SMTP.CT0001.CENTER.EXAMPLE"),
        ("address_added", "address:3A0003@SMTP.CT0001.CENTER.EXAMPLE"),
    ]
    added = row(contracts, LogicalTerminal, name="60000S")
    assert (added.ip_address, added.port, added.terminal_class) == ("127.20.13.2", 2526, "共用")
    assert (added.effective_from, added.application_id) == (TODAY, None)
    (pc,) = change(add_terminal, "09143", INTERACTIVE, {}).steps
    assert pc.subject == "terminal:27000C"


def test_name_and_ip_address_of_a_terminal_may_be_given(contracts, change, refused):
    change(add_terminal, "09143", SMTP_SERVER, {"name": "60999S", "ip_address": "127.20.13.99", "class": "港湾"})
    added = row(contracts, LogicalTerminal, name="60999S")
    assert (added.ip_address, added.terminal_class) == ("127.20.13.99", "港湾")
    change(end_terminal, "60999S")
    again = {"name": "60999S"}
    assert refused(add_terminal, "09143", SMTP_SERVER, again) == [("terminal 60999S", "name_used", "60999S")]
    taken = {"name": "60998S", "ip_address": "127.20.13.99"}
    assert refused(add_terminal, "09143", SMTP_SERVER, taken) == [("terminal 60998S, ip_address", "taken", "60999S")]
    outside = {"name": "60998S", "ip_address": "127.20.14.99"}
    assert refused(add_terminal, "09143", SMTP_SERVER, outside) == [
        ("terminal 60998S, ip_address", "outside_lan", "127.20.13.0/24")
    ]
    assert refused(add_terminal, "09143", SMTP_SERVER, {"name": "609"}) == [
        ("terminal 609, name", "terminal_name", "609")
    ]


def test_what_is_exhausted_is_named_with_its_line(change, refused):
    desk = replace(
        DESK, terminal_pools={**DESK.terminal_pools, "S": (60000, 60000)}, address_pattern="a@{office}.example"
    )
    change(add_terminal, "09143", SMTP_SERVER, {}, desk=desk, addresses=1)
    assert refused(add_terminal, "09143", SMTP_SERVER, {}, desk=desk) == [
        ("line 09143", "exhausted", "09143 (60000S-60000S)")
    ]
    assert refused(add_address, "60000S", None, desk=desk) == [
        ("terminal 60000S", "exhausted", "09143 (a@CT0001.example)")
    ]


def test_a_small_lan_that_is_exhausted_is_named(change, refused):
    change(add_line, "CT0001", NEW_LINE | {"lan_subnet": "127.20.50.0/30"})
    change(add_terminal, "09500", SMTP_SERVER, {})
    assert refused(add_terminal, "09500", SMTP_SERVER, {}) == [
        ("terminal 60001S", "exhausted", "09500 (127.20.50.0/30)")
    ]


def test_a_terminal_ends_on_its_day_with_its_addresses(contracts, change, refused):
    changed = change(end_terminal, "60777S", effective=LATER)
    assert subjects(changed) == [
        ("terminal_ended", "terminal:60777S"),
        ("address_ended", f"address:{FIRST_ADDRESS}"),
    ]
    ended = row(contracts, LogicalTerminal, name="60777S")
    assert (ended.effective_until, ended.ended_by) == (LATER, None)
    assert refused(end_terminal, "60777S") == [("terminal 60777S", "ends_already", "2026-12-01")]
    assert refused(end_terminal, "60999S") == [("terminal 60999S", "no_terminal", "60999S")]
    assert refused(add_address, "60777S", None) == [("terminal 60777S", "ends_already", "2026-12-01")]


def test_a_terminal_moves_to_another_line_and_keeps_name_addresses_and_mail(contracts, change, now):
    waiting = put(contracts, bound(contracts), "SAD4031", now)
    change(add_line, "CT0001", NEW_LINE)
    changed = change(move_terminal, "60777S", "09500", None)
    assert changed.steps[0].detail == "09143 127.20.13.13 -> 09500 127.20.50.2"
    assert [mail.mail_id for mail in changed.affected.mails] == [waiting]
    binding = bound(contracts)
    assert (binding.ip, binding.terminal, str(binding.lan)) == ("127.20.50.2", "60777S", "127.20.50.0/28")
    assert rests(contracts)["127.20.13.13"] == TODAY + DESK.quarantine
    assert rests(contracts)["127.20.50.2"] is None


def test_a_terminal_moves_to_another_ip_address_of_its_line(contracts, change, refused):
    change(move_terminal, "60777S", None, "127.20.13.44")
    assert bound(contracts).ip == "127.20.13.44"
    assert refused(move_terminal, "60777S", None, "127.20.13.44") == [("terminal 60777S", "unchanged", "")]
    assert refused(move_terminal, "60777S", None, "127.20.13.11") == [
        ("terminal 60777S, ip_address", "taken", "25130M")
    ]
    assert refused(move_terminal, "60777S", None, "127.20.13")[0][1] == "ip_address"
    assert refused(move_terminal, "60777S", None, "127.20.13.45", effective=LATER) == [
        ("terminal 60777S", "today_only", "2026-12-01")
    ]


def test_a_terminal_does_not_move_to_another_office(contracts, refused, now):
    take_contracts(contracts, now, SECOND_OFFICE, password_hashes={"CT0002": "x"})
    assert refused(move_terminal, "60777S", "09144", None) == [("line 09144", "other_office", "CT0002")]


# --- addresses -------------------------------------------------------------------------------------------------------


def test_an_address_is_added_from_its_day_on(contracts, change):
    changed = change(add_address, "60777S", None, effective=LATER)
    assert subjects(changed) == [("address_added", "address:3A0002@SMTP.CT0001.CENTER.EXAMPLE")]
    view = contracts.read(load)
    key = "3a0002@smtp.ct0001.center.example"
    assert view.binding(key, LATER - timedelta(days=1)) is None
    assert view.binding(key, LATER).terminal == "60777S"


def test_an_address_may_be_given_and_must_be_nobodys(contracts, change, refused):
    change(add_address, "60777S", "Own@smtp.ct0001.center.example")
    assert contracts.read(load).binding("own@smtp.ct0001.center.example", TODAY).terminal == "60777S"
    assert refused(add_address, "60777S", "OWN@smtp.ct0001.center.example") == [
        ("address OWN@smtp.ct0001.center.example", "taken", "60777S")
    ]
    assert refused(add_address, "60777S", "no address")[0][1] == "terminal_address"


def test_an_address_ends_alone_and_names_its_mail(contracts, change, refused, now):
    waiting = put(contracts, bound(contracts), "SAD4031", now)
    changed = change(end_address, FIRST_ADDRESS)
    assert [mail.mail_id for mail in changed.affected.mails] == [waiting]
    assert contracts.read(load).binding(KEY, TODAY) is None
    assert row(contracts, LogicalTerminal, name="60777S").effective_until is None
    assert refused(end_address, FIRST_ADDRESS) == [(f"address {FIRST_ADDRESS}", "ends_already", "2026-11-24")]
    assert refused(end_address, "x@y.example") == [("address x@y.example", "no_address", "")]
    change(add_address, "60777S", "own@smtp.ct0001.center.example", effective=LATER)
    assert refused(end_address, "own@smtp.ct0001.center.example") == [
        ("address own@smtp.ct0001.center.example", "ends_before_it_begins", "2026-12-01")
    ]


@pytest.mark.parametrize(
    "work",
    [
        partial(add_line, office_code="CT0001", values=NEW_LINE),
        partial(end_line, router_number="09143"),
        partial(add_terminal, router_number="09143", kind=SMTP_SERVER, values={}),
        partial(end_address, address=FIRST_ADDRESS),
    ],
)
def test_a_day_that_has_passed_is_refused(refused, work):
    yesterday: date = TODAY - timedelta(days=1)
    assert refused(work, effective=yesterday) == [("--effective", "in_the_past", "2026-11-23")]


# --- history ---------------------------------------------------------------------------------------------------------


def test_the_history_of_each_thing_is_what_the_audit_trail_says_of_it(contracts, change):
    change(add_address, "60777S", None)
    change(end_address, FIRST_ADDRESS)
    change(end_terminal, "60777S")

    def events(read, name):
        found = contracts.read(lambda session: read(session, name))
        return [(event.event, event.subject.partition(":")[2]) for event in found]

    second = "3A0002@SMTP.CT0001.CENTER.EXAMPLE"
    of_the_terminal = [
        ("terminal_added", "60777S"),
        ("address_added", FIRST_ADDRESS),
        ("address_added", second),
        ("address_ended", FIRST_ADDRESS),
        ("terminal_ended", "60777S"),
        ("address_ended", second),
    ]
    assert events(contract_history.of_terminal, "60777S") == of_the_terminal
    assert events(contract_history.of_address, KEY) == [
        ("address_added", FIRST_ADDRESS),
        ("address_ended", FIRST_ADDRESS),
    ]
    assert events(contract_history.of_line, "09143") == [
        ("line_added", "09143"),
        ("terminal_added", "25130M"),
        ("terminal_added", "27264C"),
        ("terminal_added", "60777S"),
        ("terminal_ended", "60777S"),
    ]
    for read in (contract_history.of_line, contract_history.of_terminal, contract_history.of_address):
        assert contracts.read(lambda session, read=read: read(session, "none")) is None
