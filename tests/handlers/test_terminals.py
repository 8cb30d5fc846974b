"""The map as its readers see it (semantics §8)."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from handlers.terminals import EMPTY_MAP, Binding, MapView, change_map, load
from storage.models import Line, LogicalTerminal, MailAddress, MapVersion, OfficeUser, OutputDestination
from storage.store import Store, new_key
from tests.handlers.review_cases import WITH_SMTP_SERVER, take_contracts

ADDRESS = "3A0001@SMTP.CT0001.CENTER.EXAMPLE"
KEY = ADDRESS.lower()
TODAY = date(2026, 11, 24)
NEXT_OWNER = "60778S"

only_sqlite = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)

OFFICES_WITH_TWO_SERVERS = WITH_SMTP_SERVER.replace(
    "[[office.user]]",
    f"""[[office.line.terminal]]
name = "{NEXT_OWNER}"
equipment = "SMTP"
ip_address = "127.20.13.14"

[[office.user]]""",
)


def reissue(store: Store, to: str = NEXT_OWNER, today: date = TODAY) -> int:
    """Give the address of 60777S to another terminal from `today` on, whatever quarantine says; the new row's id."""

    def work(session) -> int:
        change_map(session, datetime.now(UTC))
        session.execute(update(MailAddress).where(MailAddress.address_key == KEY).values(effective_until=today))
        terminal = session.scalars(select(LogicalTerminal).where(LogicalTerminal.name == to)).one()
        row = MailAddress(
            id=new_key(session), address=ADDRESS, address_key=KEY, terminal_id=terminal.id, effective_from=today
        )
        session.add(row)
        return row.id

    return store.run(work)


def set_terminal(store: Store, **values: object) -> None:
    """Change the row of 60777S as a map change does; without values only the map's version moves."""

    def work(session) -> None:
        change_map(session, datetime.now(UTC))
        if values:
            session.execute(update(LogicalTerminal).where(LogicalTerminal.name == "60777S").values(**values))

    store.run(work)


def binding(**changes: object) -> Binding:
    made = Binding(
        address_id=1,
        address=ADDRESS,
        terminal_id=2,
        terminal="60777S",
        office_code="CT0001",
        ip="127.20.13.13",
        lan=ip_network("127.20.13.0/24"),
        port=None,
        codec="euc_jp",
        effective_from=TODAY,
        effective_until=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def view_of(*bindings: Binding) -> MapView:
    return replace(EMPTY_MAP, version=1, by_address={KEY: bindings})


@only_sqlite
def test_the_map_of_an_empty_store_is_version_0_and_knows_nothing(store):
    view = store.read(load)
    assert (view.version, dict(view.by_address), dict(view.users)) == (0, {}, {})


def test_a_map_that_was_never_read_is_older_than_any_and_knows_nothing():
    assert EMPTY_MAP.version < 0
    assert EMPTY_MAP.binding(KEY, TODAY) is None
    assert EMPTY_MAP.binding_of_row(KEY, 1) is None
    assert not EMPTY_MAP.has_address(KEY)
    assert EMPTY_MAP.user("TST01", "001") is None
    assert EMPTY_MAP.user_code_offices("TST01") == frozenset()


def test_an_address_leads_to_its_terminal_line_and_office(store, now):
    report = take_contracts(store, now, WITH_SMTP_SERVER)
    view = store.read(load)
    found = view.binding(KEY, TODAY)
    assert found is not None
    assert view.version == report.map_version == 1
    assert (found.address, found.terminal, found.office_code) == (ADDRESS, "60777S", "CT0001")
    assert (found.ip, found.lan, found.port) == ("127.20.13.13", ip_network("127.20.13.0/24"), 2525)
    assert (found.codec, found.lane) == ("euc_jp", "terminal:60777S")
    assert view.by_terminal["60777S"] == (found,)
    assert view.binding_of_row(KEY, found.address_id) == found
    assert view.has_address(KEY)
    assert not view.has_address(ADDRESS)  # keys are lower-case


@only_sqlite
def test_users_are_found_by_code_and_number_with_their_office(store, now):
    another = """
[[office.user]]
code = "TST01"
identification_number = "002"
password = "PASSWD02"
procedures = ["OTA", "TCC"]
"""
    take_contracts(store, now, WITH_SMTP_SERVER + another)
    view = store.read(load)
    first, second = view.user("TST01", "001"), view.user("TST01", "002")
    assert first is not None
    assert second is not None
    assert (first.office_code, first.procedures) == ("CT0001", ("*",))
    assert second.procedures == ("OTA", "TCC")
    assert first.password_mac != second.password_mac
    assert len(first.password_mac) == 32
    assert view.user("TST01", "003") is None
    assert view.user_code_offices("TST01") == {"CT0001"}
    assert view.user_code_offices("NOONE") == frozenset()


@only_sqlite
def test_a_line_without_a_subnet_has_no_lan(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    store.run(lambda session: session.execute(update(Line).values(lan_subnet="")))
    found = store.read(load).binding(KEY, TODAY)
    assert found is not None
    assert found.lan is None


DAY = timedelta(days=1)
TERMS = {
    "from its first day": ({}, TODAY, True),
    "not the day before": ({}, TODAY - DAY, False),
    "to the day before its end": ({"effective_until": TODAY + DAY}, TODAY, True),
    "not on its end": ({"effective_until": TODAY + DAY}, TODAY + DAY, False),
    "not in an empty term": ({"effective_until": TODAY}, TODAY, False),
}


@pytest.mark.parametrize("name", TERMS)
def test_a_binding_applies(name):
    term, day, applies = TERMS[name]
    bound = binding(**term)
    assert bound.applies(day) is applies
    assert (view_of(bound).binding(KEY, day) is not None) is applies


@only_sqlite
def test_a_binding_lives_as_long_as_both_its_address_and_its_terminal(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    set_terminal(store, effective_from=TODAY + DAY, effective_until=TODAY + 9 * DAY)
    store.run(lambda session: session.execute(update(MailAddress).values(effective_until=TODAY + 5 * DAY)))
    (found,) = store.read(load).by_address[KEY]
    assert (found.effective_from, found.effective_until) == (TODAY + DAY, TODAY + 5 * DAY)


def test_of_two_bindings_of_a_day_none_is_guessed():
    twice = view_of(binding(), binding(address_id=9, terminal="60778S"))
    assert twice.binding(KEY, TODAY) is None
    assert twice.has_address(KEY)


def test_a_reissued_address_is_another_row(store, now):
    take_contracts(store, now - 30 * DAY, OFFICES_WITH_TWO_SERVERS)
    before = store.read(load).binding(KEY, TODAY)
    assert before is not None
    row = reissue(store)
    view = store.read(load)
    today, yesterday = view.binding(KEY, TODAY), view.binding(KEY, TODAY - DAY)
    assert today is not None
    assert yesterday is not None
    assert (today.address_id, today.terminal) == (row, NEXT_OWNER)
    assert (yesterday.address_id, yesterday.terminal) == (before.address_id, "60777S")
    old = view.binding_of_row(KEY, before.address_id)
    assert old is not None
    assert old.terminal == "60777S"
    assert view.binding_of_row(KEY, None) is None
    assert view.binding_of_row("nobody@x.example", row) is None


def test_a_binding_is_found_by_its_row_alone_whatever_the_day():
    ended = binding(address_id=7, effective_until=TODAY)
    view = view_of(ended, binding(address_id=9, terminal=NEXT_OWNER))
    assert view.binding_of(7) == ended
    assert view.binding_of(8) is None
    assert view.binding_of(None) is None
    assert EMPTY_MAP.binding_of(7) is None


def test_a_terminal_has_the_addresses_of_the_day():
    first, later = binding(), binding(address_id=2, effective_from=TODAY + DAY)
    ended = binding(address_id=3, effective_until=TODAY)
    view = replace(EMPTY_MAP, by_terminal={"60777S": (first, later, ended)})
    assert view.bindings_of_terminal("60777S", TODAY) == [first]
    assert view.bindings_of_terminal("60777S", TODAY + DAY) == [first, later]
    assert view.bindings_of_terminal("60777S", TODAY - DAY) == []
    assert view.bindings_of_terminal("60777s", TODAY) == []
    assert view.bindings_of_terminal(NEXT_OWNER, TODAY) == []


def output_destination(store: Store, output_code: str, **values: Any) -> None:
    """Register the address of 60777S for outputs of a code, from TODAY on."""

    def work(session: Session) -> None:
        change_map(session, datetime.now(UTC))
        address_id = session.scalars(select(MailAddress.id).where(MailAddress.address_key == KEY)).first()
        about = {"effective_from": TODAY, "address_id": address_id} | values
        session.add(OutputDestination(id=new_key(session), output_code=output_code, **about))

    store.run(work)


def test_registered_destinations_are_read_with_their_days_users_and_rows(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    output_destination(store, "SAD4031", effective_until=TODAY + DAY)
    output_destination(store, "SAD4031", user_code="TST01", effective_from=TODAY + DAY)
    output_destination(store, "SAD4071", user_code="OTHER")
    view = store.read(load)
    found = view.binding(KEY, TODAY)
    assert found is not None

    def of(code: str, user: str = "TST01", day: date = TODAY) -> list[int]:
        return [each.address_id for each in view.third_parties(code, user, day)]

    assert of("SAD4031") == of("SAD4031", "OTHER") == [found.address_id]
    assert of("SAD4031", day=TODAY - DAY) == []
    assert of("SAD4031", day=TODAY + DAY) == [found.address_id]
    assert of("SAD4031", "OTHER", TODAY + DAY) == []
    assert of("SAD4071") == []
    assert of("SAD4071", "OTHER") == [found.address_id]
    assert of("SAD9999") == []


@only_sqlite
def test_a_registered_destination_stays_with_its_address_row(store, now):
    take_contracts(store, now - 30 * DAY, OFFICES_WITH_TWO_SERVERS)
    output_destination(store, "SAD4031")
    (before,) = store.read(load).third_parties("SAD4031", "", TODAY)
    reissue(store, today=TODAY + DAY)
    view = store.read(load)
    assert view.third_parties("SAD4031", "", TODAY) == [replace(before, effective_until=TODAY + DAY)]
    # The next owner of the address has not asked for these outputs.
    assert view.third_parties("SAD4031", "", TODAY + DAY) == []


@only_sqlite
def test_a_terminal_says_which_checks_are_left_to_the_backend_and_a_user_when_it_may_work(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    set_terminal(store, left_to_backend="password hours", codec="cp932")
    store.run(lambda session: session.execute(update(OfficeUser).values(service_hours="08:30-19:00", barred=True)))
    view = store.read(load)
    found, user = view.binding(KEY, TODAY), view.user("TST01", "001")
    assert found is not None
    assert user is not None
    assert (found.left_to_backend, found.codec) == ({"password", "hours"}, "cp932")
    assert (user.service_hours, user.barred) == ("08:30-19:00", True)


def test_a_map_change_raises_the_version_and_is_announced_once_it_is_committed(store, now):
    value, notes, _ = store.run_noting(lambda session: change_map(session, now))
    assert value == 1
    assert [(note.topic, note.payload) for note in notes] == [("map", 1)]
    assert store.run(lambda session: change_map(session, now)) == 2
    row = store.read(lambda session: session.get_one(MapVersion, 1))
    assert (row.version, row.changed_at) == (2, now)


@only_sqlite
def test_a_map_change_that_fails_leaves_the_version(store, now):
    def work(session) -> None:
        change_map(session, now)
        raise LookupError("no")

    with pytest.raises(LookupError):
        store.run(work)
    assert store.read(load).version == 0


def test_two_map_changes_at_once_follow_each_other(store, store_url, now):
    other = Store.open(store_url, "test")
    inside, seen = threading.Event(), []

    def slow(session) -> int:
        version = change_map(session, now)
        inside.set()
        threading.Event().wait(0.2)
        return version

    thread = threading.Thread(target=lambda: seen.append(store.run(slow)))
    thread.start()
    inside.wait()
    seen.append(other.run(lambda session: change_map(session, now)))
    thread.join()
    other.close()
    assert seen == [1, 2]
