"""Lines that applications add, change and cancel, with everything on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from handlers.allocation import (
    AllocationImpossible,
    Change,
    NewLineNeeded,
    NewLineTaken,
    change_lines,
    move_start,
    take_back,
)
from handlers.applications.contents import LineAction
from handlers.terminals import change_map, load
from storage.models import Line, LogicalTerminal, Reservation
from tests.handlers.allocation_cases import FIRST_ADDRESS, TODAY, issue, order_in, rests
from tests.handlers.review_cases import DESK, START, WITH_SMTP_SERVER, line_change, no_servers, take_contracts

COLUMNS = {
    "line_class": "港湾",
    "connection": "一般",
    "edifact": "要",
    "line_type": "専用線",
    "access_speed": "1Mbps",
    "wiring": "自社手配",
    "maintenance_hours": "24時間",
    "site_option": "ラック",
    "shared_with_other_offices": "あり",
}
CANCELLED = no_servers(action=LineAction.CANCEL)


@dataclass(frozen=True)
class Given:
    router_number: str = "09500"
    lan_subnet: str = "127.20.50.0/24"


def added_line(**values):
    return line_change(router_number="", action=LineAction.ADD, **{**COLUMNS, **values})


def line(store, router_number="09500"):
    return store.read(lambda session: session.scalars(select(Line).where(Line.router_number == router_number)).one())


def terminals(store):
    rows = store.read(lambda session: session.scalars(select(LogicalTerminal)).all())
    return {row.name: (row.effective_from, row.effective_until) for row in rows}


def undo(store, now, *lines, **options):
    def work(session):
        change_map(session, now)
        take_back(session, DESK, order_in(session, *lines, **options))

    store.run(work)


def test_a_line_that_is_added_has_the_columns_of_the_application_and_its_terminals_the_lines_lan(store, now):
    take_contracts(store, now)
    server, pc = issue(store, now, added_line(interactive_terminals=1), new_lines=(Given(),))
    assert (server.router_number, server.terminal_class, server.ip_address) == ("09500", "港湾", "127.20.50.2")
    assert (pc.name, pc.ip_address) == ("27000C", "127.20.50.3")
    row = line(store)
    assert {name: getattr(row, name) for name in COLUMNS} == {
        **COLUMNS,
        "edifact": True,
        "shared_with_other_offices": True,
    }
    assert (row.effective_from, row.effective_until, row.application_id) == (START, None, 77)


def test_lines_to_be_added_are_given_their_numbers_in_the_order_of_the_application(store, now):
    take_contracts(store, now)
    given = (Given(), Given("09501", "127.20.51.0/24"))
    first, changed, second = issue(store, now, added_line(), line_change(), added_line(), new_lines=given)
    assert [row.router_number for row in (first, changed, second)] == ["09500", "09143", "09501"]


def test_a_line_that_was_given_no_number_is_counted(store, now):
    take_contracts(store, now)
    with pytest.raises(NewLineNeeded) as needed:
        issue(store, now, added_line(), added_line(access_speed="64kbps"), new_lines=(Given(),))
    assert needed.value.subject == "2"


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        (Given(router_number="09143"), "09143"),
        (Given(lan_subnet="127.20.13.128/25"), "127.20.13.128/25 (09143)"),
    ],
)
def test_a_router_number_or_lan_that_another_line_has_is_named(store, now, given, subject):
    take_contracts(store, now)
    with pytest.raises(NewLineTaken) as taken:
        issue(store, now, added_line(), new_lines=(given,))
    assert taken.value.subject == subject


def test_the_lan_of_a_line_that_is_to_end_is_not_given_away_while_that_may_be_taken_back(store, now):
    take_contracts(store, now)
    issue(store, now, CANCELLED, application_id=78)
    same_lan = Given(lan_subnet="127.20.13.0/24")
    with pytest.raises(NewLineTaken, match="09143"):
        issue(store, now, added_line(), new_lines=(same_lan,))
    issue(store, now, added_line(), new_lines=(same_lan,), start=LATER, today=START)


def test_a_line_that_is_cancelled_ends_with_everything_on_it(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    changes = issue(store, now, CANCELLED)
    assert [(change.change, change.name) for change in changes] == [
        (Change.DELETED, "25130M"),
        (Change.DELETED, "27264C"),
        (Change.DELETED, "60777S"),
    ]
    assert changes[2].mail_addresses == (FIRST_ADDRESS,)
    assert line(store, "09143").effective_until == START
    view = store.read(load)
    assert view.binding(FIRST_ADDRESS.lower(), START - timedelta(days=1)) is not None
    assert view.binding(FIRST_ADDRESS.lower(), START) is None
    assert set(rests(store).values()) == {START + DESK.quarantine}


def test_a_cancelled_line_that_is_taken_back_goes_on_with_everything_on_it(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    issue(store, now, CANCELLED)
    undo(store, now, CANCELLED)
    assert line(store, "09143").effective_until is None
    assert {until for _, until in terminals(store).values()} == {None}
    assert set(rests(store).values()) == {None}
    assert store.read(load).binding(FIRST_ADDRESS.lower(), START) is not None


def test_a_line_that_is_to_end_takes_nothing_new_and_is_not_cancelled_again(store, now):
    take_contracts(store, now)
    issue(store, now, CANCELLED)
    for wanted in (line_change(), CANCELLED):
        with pytest.raises(AllocationImpossible, match="09143"):
            issue(store, now, wanted, application_id=78)


def test_a_line_on_which_another_case_begins_or_ends_a_terminal_is_not_cancelled_under_it(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    issue(store, now, no_servers(terminals_to_delete=("60777S",)), start=START + timedelta(days=7))
    with pytest.raises(AllocationImpossible, match="60777S"):
        issue(store, now, CANCELLED, application_id=78)


def test_a_terminal_that_ended_before_the_line_is_left_as_it_is(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    issue(store, now, no_servers(terminals_to_delete=("60777S",)))
    later = START + timedelta(days=7)
    changes = issue(store, now, CANCELLED, start=later, application_id=78)
    assert [change.name for change in changes] == ["25130M", "27264C"]
    assert terminals(store)["60777S"] == (TODAY, START)


def test_an_added_line_that_is_taken_back_never_takes_effect_nor_does_what_another_case_put_on_it(store, now):
    take_contracts(store, now)
    wanted = added_line()
    (own,) = issue(store, now, wanted, new_lines=(Given(),))
    (other,) = issue(store, now, line_change(router_number="09500"), application_id=78)
    undo(store, now, wanted)
    row = line(store)
    assert row.effective_until == row.effective_from
    assert terminals(store)[own.name] == terminals(store)[other.name] == (START, START)
    undo(store, now, line_change(router_number="09500"), application_id=78)
    assert terminals(store)[other.name] == (START, START)
    view = store.read(load)
    assert all(view.binding(address.lower(), START) is None for address in own.mail_addresses + other.mail_addresses)


def test_columns_of_a_line_that_exists_change_when_the_order_takes_effect(store, now):
    take_contracts(store, now)
    wanted = no_servers(access_speed="1Mbps", edifact="要", gateway_servers=1)
    issue(store, now, wanted)
    assert (line(store, "09143").access_speed, line(store, "09143").edifact) == ("128kbps", False)
    assert store.run(lambda session: change_lines(session, order_in(session, wanted))) == ("09143",)
    assert (line(store, "09143").access_speed, line(store, "09143").edifact) == ("1Mbps", True)
    assert store.run(lambda session: change_lines(session, order_in(session, wanted, CANCELLED))) == ()


# --- another start ---------------------------------------------------------------------------------------------------


LATER = START + timedelta(days=7)


def move(store, now, *lines, start=START, to=LATER, **options):
    def work(session):
        change_map(session, now)
        move_start(session, order_in(session, *lines, start=start, **options), to)

    store.run(work)


def test_a_case_that_is_moved_keeps_its_ids_and_begins_and_ends_everything_on_the_other_day(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    lines = (
        no_servers(gateway_servers=1, terminals_to_delete=("60777S",)),
        added_line(),
    )
    changes = issue(store, now, *lines, new_lines=(Given(),))
    before = terminals(store)
    move(store, now, *lines)
    after = terminals(store)
    assert after.keys() == before.keys()
    assert {name for name, dates in after.items() if dates[0] == LATER} == {changes[0].name, changes[2].name}
    assert after["60777S"] == (TODAY, LATER)
    assert line(store).effective_from == LATER
    view = store.read(load)
    (issued,) = changes[2].mail_addresses
    assert view.binding(issued.lower(), LATER - timedelta(days=1)) is None
    assert view.binding(issued.lower(), LATER) is not None
    assert view.binding(FIRST_ADDRESS.lower(), LATER - timedelta(days=1)) is not None
    assert view.binding(FIRST_ADDRESS.lower(), LATER) is None
    assert rests(store)["127.20.13.13"] == rests(store)[FIRST_ADDRESS.lower()] == LATER + DESK.quarantine
    assert rests(store)[issued.lower()] is None


def test_a_cancelled_line_is_moved_with_everything_on_it(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    issue(store, now, CANCELLED)
    move(store, now, CANCELLED)
    assert line(store, "09143").effective_until == LATER
    assert {until for _, until in terminals(store).values()} == {LATER}


def test_addresses_issued_to_a_terminal_that_exists_are_moved_alone(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    wanted = no_servers(mail_addresses=1, target_terminal="60777S")
    (change,) = issue(store, now, wanted)
    move(store, now, wanted)
    view = store.read(load)
    assert view.binding(change.mail_addresses[0].lower(), START) is None
    assert view.binding(change.mail_addresses[0].lower(), LATER) is not None
    assert view.binding(FIRST_ADDRESS.lower(), START) is not None


def test_a_move_to_the_same_day_changes_nothing(store, now):
    take_contracts(store, now)
    issue(store, now)
    before = terminals(store)
    move(store, now, to=START)
    assert terminals(store) == before


@pytest.mark.parametrize("days", [3, 7])
def test_a_terminal_that_another_case_ends_first_is_named_instead_of_being_moved_behind_its_end(store, now, days):
    take_contracts(store, now)
    (change,) = issue(store, now)
    issue(
        store,
        now,
        no_servers(terminals_to_delete=(change.name,)),
        start=START + timedelta(days=2),
        application_id=78,
    )
    with pytest.raises(AllocationImpossible, match=change.name):
        move(store, now, to=START + timedelta(days=days))
    assert terminals(store)[change.name] == (START, START + timedelta(days=2))


def test_an_end_is_not_moved_before_the_terminal_begins(store, now):
    take_contracts(store, now)
    (change,) = issue(store, now)
    deletion = no_servers(terminals_to_delete=(change.name,))
    issue(store, now, deletion, start=LATER, application_id=78)
    with pytest.raises(AllocationImpossible, match=change.name):
        move(store, now, deletion, start=LATER, to=START - timedelta(days=1), application_id=78)


def test_a_line_is_not_moved_behind_what_another_case_put_on_it(store, now):
    take_contracts(store, now)
    wanted = added_line()
    issue(store, now, wanted, new_lines=(Given(),))
    issue(store, now, line_change(router_number="09500"), application_id=78, start=START + timedelta(days=1))
    with pytest.raises(AllocationImpossible, match="09500"):
        move(store, now, wanted)


def test_a_terminal_is_not_moved_before_its_line_nor_behind_addresses_of_another_case(store, now):
    take_contracts(store, now)
    wanted, on_it = added_line(), no_servers(router_number="09500", interactive_terminals=1)
    (server,) = issue(store, now, wanted, new_lines=(Given(),))
    (pc,) = issue(store, now, on_it, application_id=78, start=LATER)
    with pytest.raises(AllocationImpossible, match=pc.name):
        move(store, now, on_it, start=LATER, to=START - timedelta(days=1), application_id=78)
    more = no_servers(router_number="09500", mail_addresses=1, target_terminal=server.name)
    issue(store, now, more, application_id=79, start=START + timedelta(days=8))
    with pytest.raises(AllocationImpossible):
        move(store, now, wanted, to=START + timedelta(days=9))


# --- two cases on one terminal ---------------------------------------------------------------------------------------


def test_a_terminal_that_an_open_case_deletes_is_not_deleted_again_until_that_case_is_void(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    deletion = no_servers(terminals_to_delete=("60777S",))
    issue(store, now, deletion)
    with pytest.raises(AllocationImpossible, match="60777S"):
        issue(store, now, deletion, application_id=78, start=LATER)
    undo(store, now, deletion)
    issue(store, now, deletion, application_id=78, start=LATER)
    undo(store, now, deletion)  # whoever does not end it now does not let it go on
    assert terminals(store)["60777S"] == (TODAY, LATER)


@pytest.mark.parametrize("days", [0, 3])
def test_a_terminal_is_not_deleted_before_addresses_that_another_case_gives_it_begin(store, now, days):
    take_contracts(store, now, WITH_SMTP_SERVER)
    more, deletion = (
        no_servers(mail_addresses=1, target_terminal="60777S"),
        no_servers(terminals_to_delete=("60777S",)),
    )
    (change,) = issue(store, now, more, start=START + timedelta(days=days))
    with pytest.raises(AllocationImpossible, match="60777S"):
        issue(store, now, deletion, application_id=78)
    assert store.read(load).binding(change.mail_addresses[0].lower(), START + timedelta(days=days)) is not None
    undo(store, now, more, start=START + timedelta(days=days))
    issue(store, now, deletion, application_id=78)
    assert terminals(store)["60777S"] == (TODAY, START)


def test_a_terminal_is_not_deleted_on_the_day_on_which_it_begins(store, now):
    take_contracts(store, now)
    (change,) = issue(store, now)
    with pytest.raises(AllocationImpossible, match=change.name):
        issue(store, now, no_servers(terminals_to_delete=(change.name,)), application_id=78)


def test_a_terminal_that_another_open_case_begins_on_that_day_is_not_deleted_under_it(store, now):
    take_contracts(store, now)
    (change,) = issue(store, now)
    deletion = no_servers(terminals_to_delete=(change.name,))
    with pytest.raises(AllocationImpossible, match=change.name):
        issue(store, now, deletion, application_id=78)
    with pytest.raises(AllocationImpossible, match=change.name):
        issue(store, now, CANCELLED, application_id=78)
    issue(store, now, deletion, application_id=78, start=LATER)


def test_what_a_void_case_issued_does_not_come_back_with_a_deletion_of_it_that_is_void_too(store, now):
    take_contracts(store, now)
    (change,) = issue(store, now)
    deletion = no_servers(terminals_to_delete=(change.name,))
    issue(store, now, deletion, application_id=78, start=LATER)
    undo(store, now)
    undo(store, now, deletion, application_id=78, start=LATER)
    assert terminals(store)[change.name] == (START, START)
    assert store.read(load).binding(change.mail_addresses[0].lower(), START) is None


def test_a_name_that_was_taken_back_is_never_issued_again(store, now):
    take_contracts(store, now)
    (first,) = issue(store, now)
    undo(store, now)
    (second,) = issue(store, now, application_id=78, today=TODAY + DESK.quarantine)
    assert (first.name, second.name) == ("60000S", "60001S")
    assert (second.ip_address, second.mail_addresses) == (first.ip_address, first.mail_addresses)  # these have rested


@pytest.mark.parametrize("field", ["terminals_to_delete", "target_terminal"])
def test_a_terminal_of_another_line_or_office_is_named(store, now, field):
    take_contracts(store, now, WITH_SMTP_SERVER)
    issue(store, now, added_line(), new_lines=(Given(),))
    values = (
        {"terminals_to_delete": ("60777S",)}
        if field == "terminals_to_delete"
        else {
            "target_terminal": "60777S",
            "mail_addresses": 1,
        }
    )
    with pytest.raises(AllocationImpossible, match="60777S"):
        issue(store, now, no_servers(router_number="09500", **values), application_id=78)


def test_names_that_are_no_numbers_stand_in_nobodys_way(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER.replace("60777S", "6000AS"))
    desk = replace(DESK, terminal_pools={**DESK.terminal_pools, "S": (60000, 60011)})
    names = [issue(store, now, desk=desk, application_id=number)[0].name for number in range(12)]
    assert names == [f"{60000 + number}S" for number in range(12)]


def test_every_reservation_of_an_undone_order_has_an_end(store, now):
    take_contracts(store, now)
    wanted = added_line(smtp_servers=2, addresses_of_new_servers=(2, 1))
    issue(store, now, wanted, new_lines=(Given(),))
    undo(store, now, wanted)
    rows = store.read(lambda session: session.scalars(select(Reservation)).all())
    open_ended = {row.value for row in rows if row.rests_until is None}
    assert open_ended == {"127.20.13.11", "127.20.13.12"}
