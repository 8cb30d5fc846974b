from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import reviews
from handlers.allocation import (
    AllocationExhausted,
    AllocationImpossible,
    Change,
    TerminalChange,
    allocate,
    take_back,
)
from handlers.applications.contents import LineAction
from handlers.reservations import end_of_rest
from handlers.terminals import change_map, load
from storage.models import LogicalTerminal, MailAddress, Office, Reservation
from storage.store import Store, new_key
from tests.handlers.allocation_cases import FIRST_ADDRESS, TODAY, issue, order_in, rests
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    OFFICES,
    START,
    WITH_SMTP_SERVER,
    contents,
    line_change,
    no_servers,
    receive,
    take_contracts,
)


def brief(changes):
    return [(change.name, change.ip_address, change.mail_addresses) for change in changes]


def add_terminal(store: Store, name: str, ip: str | None = None) -> None:
    def work(session):
        office = session.scalars(select(Office)).one()
        row = LogicalTerminal(
            id=new_key(session),
            name=name,
            line_id=office.lines[0].id,
            equipment="SMTP",
            ip_address=ip,
            effective_from=TODAY,
            effective_until=TODAY,
        )
        session.add(row)

    store.run(work)


def test_the_seeds_case_issues_one_smtp_server_with_one_address(store, now):
    take_contracts(store, now)
    (change,) = issue(store, now)
    assert change == TerminalChange(
        change=Change.ADDED,
        router_number="09143",
        terminal_class="共用",
        equipment="SMTP",
        package="",
        name="60000S",
        ip_address="127.20.13.2",
        mail_addresses=(FIRST_ADDRESS,),
    )


def test_each_kind_of_terminal_is_named_from_its_own_pool(store, now):
    take_contracts(store, now)
    changes = issue(store, now, line_change(gateway_servers=1, interactive_terminals=2))
    assert [(change.name, change.equipment, change.package) for change in changes] == [
        ("60000S", "SMTP", ""),
        ("25000M", "GW", ""),
        ("27000C", "PC", "インタ"),
        ("27001C", "PC", "インタ"),
    ]
    assert [change.mail_addresses for change in changes[1:]] == [(), (), ()]


def test_extra_addresses_go_to_the_first_new_server(store, now):
    take_contracts(store, now)
    wanted = line_change(smtp_servers=2, mail_addresses=4, addresses_of_new_servers=(3, 1))
    first, second = issue(store, now, wanted)
    assert [address[:6] for address in first.mail_addresses] == ["3A0001", "3A0002", "3A0003"]
    assert [address[:6] for address in second.mail_addresses] == ["3A0004"]


def test_addresses_without_a_server_go_to_the_named_terminal(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    (change,) = issue(store, now, no_servers(mail_addresses=2, target_terminal="60777S"))
    assert (change.change, change.name, change.ip_address) == (Change.CHANGED, "60777S", "127.20.13.13")
    assert [address[:6] for address in change.mail_addresses] == ["3A0002", "3A0003"]
    view = store.read(load)
    assert view.binding(change.mail_addresses[0].lower(), START - timedelta(days=1)) is None
    assert view.binding(change.mail_addresses[0].lower(), START).terminal == "60777S"


def test_names_that_were_ever_used_are_skipped_also_those_that_ended(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    add_terminal(store, "60000S")
    add_terminal(store, "60002S")
    changes = issue(store, now, line_change(smtp_servers=2, addresses_of_new_servers=(1, 1)))
    assert [change.name for change in changes] == ["60001S", "60003S"]


def test_ip_addresses_skip_the_router_and_what_is_taken(store, now):
    small = OFFICES.replace("127.20.13.0/24", "127.20.13.8/29")  # hosts 9 to 14, of which 11 and 12 are taken
    take_contracts(store, now, small)
    changes = issue(store, now, line_change(smtp_servers=3, addresses_of_new_servers=(1, 1, 1)))
    assert [change.ip_address for change in changes] == ["127.20.13.10", "127.20.13.13", "127.20.13.14"]
    with pytest.raises(AllocationExhausted, match=r"09143 \(127\.20\.13\.8/29\)"):
        issue(store, now)


def test_a_pool_without_free_names_is_named(store, now):
    take_contracts(store, now)
    desk = replace(DESK, terminal_pools={**DESK.terminal_pools, "S": (60000, 60000)})
    issue(store, now, desk=desk)
    with pytest.raises(AllocationExhausted) as exhausted:
        issue(store, now, desk=desk)
    assert exhausted.value.source == "09143 (60000S-60000S)"  # the line it was for, and the pool


def test_an_office_without_free_mail_addresses_is_named(store, now):
    take_contracts(store, now)
    desk = replace(DESK, address_pattern="one@SMTP.{office}.CENTER.EXAMPLE")
    issue(store, now, desk=desk)
    with pytest.raises(AllocationExhausted, match="one@SMTP"):
        issue(store, now, desk=desk)


def test_serials_are_counted_for_each_office(store, now):
    take_contracts(store, now)
    other = OFFICES.replace("CT0001", "CT0002").replace("TST01", "TST02").replace("09143", "09144")
    other = other.replace("127.20.13", "127.20.14").replace("25130M", "25131M").replace("27264C", "27265C")
    take_contracts(store, now, other, password_hashes={"CT0002": "x"})
    issue(store, now)

    def work(session):
        change_map(session, now)
        office = session.scalars(select(Office).where(Office.code == "CT0002")).one()
        order = replace(order_in(session, line_change(router_number="09144")), office=office)
        return allocate(session, DESK, order)

    (change,) = store.run(work)
    assert change.mail_addresses == ("3A0001@SMTP.CT0002.CENTER.EXAMPLE",)


def test_the_serial_goes_on_with_the_next_letter(store, now):
    take_contracts(store, now)

    def fill(session):
        for number in range(1, 10000):
            value = f"3a{number:04d}@smtp.ct0001.center.example"
            session.add(Reservation(kind="mail_address", value=value, holder_id=1))

    store.run(fill)
    (change,) = issue(store, now)
    assert change.mail_addresses == ("3B0001@SMTP.CT0001.CENTER.EXAMPLE",)


def test_a_deleted_terminal_ends_on_the_start_date_and_its_addresses_rest(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    (change,) = issue(store, now, no_servers(terminals_to_delete=("60777S",)))
    assert (change.change, change.name, change.mail_addresses) == (Change.DELETED, "60777S", (FIRST_ADDRESS,))
    view = store.read(load)
    assert view.binding(FIRST_ADDRESS.lower(), START - timedelta(days=1)) is not None
    assert view.binding(FIRST_ADDRESS.lower(), START) is None
    resting = rests(store)
    assert resting["127.20.13.13"] == resting[FIRST_ADDRESS.lower()] == START + timedelta(days=365)


def test_what_rests_is_not_issued_before_its_rest_has_ended(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER.replace("127.20.13.13", "127.20.13.2"))
    issue(store, now, no_servers(terminals_to_delete=("60777S",)))
    rest_ends = START + DESK.quarantine
    (early,) = issue(store, now, today=rest_ends - timedelta(days=1))
    (late,) = issue(store, now, today=rest_ends)
    assert (early.ip_address, early.mail_addresses[0][:6]) == ("127.20.13.3", "3A0002")
    assert (late.ip_address, late.mail_addresses[0][:6]) == ("127.20.13.2", "3A0001")
    assert late.name not in ("60777S", early.name)
    rows = store.read(
        lambda session: session.scalars(select(MailAddress).where(MailAddress.address == FIRST_ADDRESS)).all()
    )
    assert len(rows) == 2  # reissued, it is another row


@pytest.mark.parametrize(
    ("lines", "subject"),
    [
        ((line_change(router_number="09999"),), "09999"),
        ((line_change(router_number="09999", action=LineAction.CANCEL),), "09999"),
        ((no_servers(terminals_to_delete=("60999S",)),), "60999S"),
        ((no_servers(mail_addresses=1, target_terminal="25130M"),), "25130M"),
        ((no_servers(terminals_to_delete=("60777S", "60777S")),), "60777S"),
    ],
)
def test_a_line_or_terminal_that_cannot_be_had_is_named(store, now, lines, subject):
    take_contracts(store, now, WITH_SMTP_SERVER)
    with pytest.raises(AllocationImpossible) as impossible:
        issue(store, now, *lines)
    assert impossible.value.subject == subject


def test_a_terminal_that_is_not_in_use_yet_on_the_start_date_cannot_be_changed(store, now):
    take_contracts(store, now)
    (change,) = issue(store, now)
    with pytest.raises(AllocationImpossible, match=change.name):
        issue(store, now, no_servers(terminals_to_delete=(change.name,)), start=START - timedelta(days=1))


def test_an_order_that_is_taken_back_leaves_the_map_as_it_was_and_its_addresses_at_rest(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    lines = (
        line_change(),
        no_servers(mail_addresses=1, target_terminal="60777S"),
        no_servers(terminals_to_delete=("25130M",)),
    )
    added, changed, deleted = issue(store, now, *lines)

    def work(session):
        change_map(session, now)
        take_back(session, DESK, order_in(session, *lines))

    store.run(work)
    view = store.read(load)
    for address in (*added.mail_addresses, *changed.mail_addresses):
        assert view.binding(address.lower(), START) is None
        assert rests(store)[address.lower()] == TODAY + DESK.quarantine
    assert view.binding(FIRST_ADDRESS.lower(), START) is not None
    assert rests(store)[added.ip_address] == TODAY + DESK.quarantine
    assert rests(store)[deleted.ip_address] is None
    rows = store.read(lambda session: session.scalars(select(LogicalTerminal)).all())
    assert {row.name: row.effective_until for row in rows} == {
        "25130M": None,
        "27264C": None,
        "60777S": None,
        "60000S": START,
    }


def test_a_deletion_that_is_taken_back_gives_the_addresses_back(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    lines = (no_servers(terminals_to_delete=("60777S",)),)
    issue(store, now, *lines)
    store.run(lambda session: take_back(session, DESK, order_in(session, *lines)))
    assert store.read(load).binding(FIRST_ADDRESS.lower(), START) is not None
    assert rests(store)[FIRST_ADDRESS.lower()] is None


@pytest.mark.parametrize(("hours", "days"), [(0, 0), (1, 1), (24, 1), (25, 2)])
def test_a_rest_is_counted_in_whole_days(hours, days):
    assert end_of_rest(TODAY, timedelta(hours=hours)) == TODAY + timedelta(days=days)


def test_applications_completed_at_the_same_moment_never_share_a_name_ip_or_address(store, store_url, now):
    take_contracts(store, now)
    wanted = contents(line_change(smtp_servers=2, addresses_of_new_servers=(2, 1), interactive_terminals=1))
    receipts = [receive(store, now, f"26000{number}A", wanted) for number in range(1, 9)]
    results: list[Any] = []
    together = Barrier(2)

    def complete(ours: list[str]) -> None:
        own_store = Store.open(store_url, "test")
        try:
            for receipt in ours:
                together.wait()
                results.append(own_store.run(_completion(receipt, now)))
        finally:
            own_store.close()

    threads = [Thread(target=complete, args=(ours,)) for ours in (receipts[::2], receipts[1::2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    terminals = [terminal for result in results for terminal in result.terminals]
    assert len(terminals) == 24
    assert len({terminal.name for terminal in terminals}) == 24
    assert len({terminal.ip_address for terminal in terminals}) == 24
    addresses = [address for terminal in terminals for address in terminal.mail_addresses]
    assert len(addresses) == len(set(addresses)) == 24


def _completion(receipt: str, now) -> Callable[[Session], Any]:
    return lambda session: reviews.complete(session, DESK, receipt, None, "os:tester", now, CALENDAR)
