from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import inspect, select, text

from gateway.password_keys import PasswordKeys
from handlers import issued_secrets
from handlers.allocation import allocate, take_back
from handlers.issued_secrets import Hidden, SecretKind
from handlers.terminals import change_map
from storage.models import Application, CaseEntry, IssuedSecret
from storage.savepoint import whole_or_nothing
from storage.store import Store
from tests.handlers.allocation_cases import order_in
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    START,
    audited,
    contents,
    line_change,
    no_servers,
    receive,
    take_contracts,
)

LAST_DAY = date(2026, 12, 16)
WANTED = line_change(interactive_terminals=1)


@pytest.fixture
def desk(tmp_path):
    return replace(DESK, data_keys=PasswordKeys(tmp_path / "keys" / "passwords.key"))


@pytest.fixture
def issued(store, desk, now):
    """An application with two new terminals, its passwords issued."""
    take_contracts(store, now)
    receive(store, now, said=contents(WANTED), start_date=START, passwords_until=LAST_DAY, state="ids_issued")
    assert store.run(lambda session: issue(session, desk, now)) == 3


def application_in(session):
    return session.scalars(select(Application)).one()


def issue(session, desk, now, *lines):
    application = application_in(session)
    change_map(session, now)
    changes = allocate(session, desk, order_in(session, *(lines or (WANTED,)), application_id=application.id))
    return issued_secrets.issue(session, desk, application, changes, now)


def reveal(store: Store, desk, now, actor="os:tester"):
    return store.run(
        lambda session: issued_secrets.reveal(session, desk, application_in(session), actor, now, CALENDAR)
    )


def rows(store) -> list[IssuedSecret]:
    return list(store.read(lambda session: session.scalars(select(IssuedSecret).order_by(IssuedSecret.id)).all()))


def everything_in(store):
    """All columns of all tables, as a backup has them."""

    def read(session):
        names = inspect(session.connection()).get_table_names()
        found = [session.execute(text(f"SELECT * FROM {name}")).all() for name in names]
        return " ".join(
            value.hex() if isinstance(value, bytes) else str(value) for rows in found for row in rows for value in row
        )

    return store.read(read)


def test_an_office_password_and_a_key_for_each_new_terminal_are_issued_and_shown(issued, store, desk, now):
    shown = reveal(store, desk, now)
    assert [(one.kind, one.terminal) for one in shown] == [
        (SecretKind.OFFICE_PASSWORD, ""),
        (SecretKind.TERMINAL_ACCESS_KEY, "27000C"),
        (SecretKind.TERMINAL_ACCESS_KEY, "60000S"),
    ]
    values = [one.value for one in shown]
    assert len(set(values)) == 3
    assert all(len(value) == 12 and not set(value) & set("IO01") for value in values)
    assert not any(value in repr(shown) for value in values)
    assert [one.value for one in reveal(store, desk, now)] == values


def test_every_view_is_recorded_with_who_saw_them(issued, store, desk, now):
    reveal(store, desk, now, "os:first")
    reveal(store, desk, now, "applicant:someone@applicant.example")
    assert [event[:2] for event in audited(store, "application:260001A")] == [
        ("secrets_viewed", "os:first"),
        ("secrets_viewed", "applicant:someone@applicant.example"),
    ]
    entries = store.read(lambda session: session.scalars(select(CaseEntry.kind)).all())
    assert entries == ["secrets_viewed", "secrets_viewed"]


def test_they_are_shown_until_the_end_of_the_last_day_in_japan(issued, store, desk, now):
    last = now.replace(month=12, day=16, hour=14, minute=59, second=59)
    assert len(reveal(store, desk, last)) == 3
    assert reveal(store, desk, last + timedelta(seconds=1)) is Hidden.WINDOW_CLOSED


def test_without_a_stored_last_day_the_calendar_says_it(issued, store, desk, now):
    def forget(session):
        application_in(session).passwords_until = None

    store.run(forget)
    assert len(reveal(store, desk, now.replace(month=12, day=16, hour=14))) == 3
    assert reveal(store, desk, now.replace(month=12, day=16, hour=15)) is Hidden.WINDOW_CLOSED


def test_a_backup_of_the_store_shows_no_password(issued, store, desk, now, tmp_path):
    values = [one.value for one in reveal(store, desk, now)]
    backup = everything_in(store)
    for value in values:
        assert value not in backup
        assert value.encode().hex() not in backup
    for line in (tmp_path / "keys" / "passwords.key").read_text(encoding="ascii").splitlines():
        assert line.split()[2] not in backup


def test_what_a_backup_holds_opens_no_more_once_the_key_is_destroyed(issued, store, desk, now):
    before = {row.id: bytes(row.sealed) for row in rows(store)}
    assert store.run(lambda session: issued_secrets.destroy(session, desk, application_in(session), now)) == 3
    assert {bytes(row.sealed) for row in rows(store)} == {b""}
    assert reveal(store, desk, now) is Hidden.GONE

    def restore(session):
        for row in session.scalars(select(IssuedSecret)):
            row.sealed, row.destroyed_at = before[row.id], None

    store.run(restore)
    assert reveal(store, desk, now) is Hidden.GONE


def test_a_sealed_value_opens_in_its_own_row_only(issued, store, desk, now):
    def swap(session):
        first, second, _ = session.scalars(select(IssuedSecret).order_by(IssuedSecret.id))
        first.sealed, second.sealed = second.sealed, first.sealed
        first.key_name, second.key_name = second.key_name, first.key_name

    store.run(swap)
    assert reveal(store, desk, now) is Hidden.GONE


def test_keys_stay_while_their_destruction_is_not_committed(issued, store, desk, now):
    def destroyed_and_rolled_back(session):
        issued_secrets.destroy(session, desk, application_in(session), now)
        raise LookupError

    with pytest.raises(LookupError):
        store.run(destroyed_and_rolled_back)
    assert len(reveal(store, desk, now)) == 3

    def destroyed_in_a_part_that_was_undone(session):
        with pytest.raises(LookupError), whole_or_nothing(session):
            destroyed_and_rolled_back(session)

    store.run(destroyed_in_a_part_that_was_undone)
    assert len(reveal(store, desk, now)) == 3


def test_a_crash_between_the_deletion_of_keys_and_the_commit_is_made_good(issued, store, desk, now):
    desk.data_keys.destroy([row.key_name for row in rows(store)])  # and the process died
    assert reveal(store, desk, now) is Hidden.GONE
    after = LAST_DAY + timedelta(days=1)
    assert store.run(lambda session: issued_secrets.destroy_due(session, desk, after, now)) == 3
    assert all(row.destroyed_at is not None for row in rows(store))


def test_what_is_due_is_destroyed_on_the_day_after_the_window_and_once(issued, store, desk, now):
    def destroy(day):
        return store.run(lambda session: issued_secrets.destroy_due(session, desk, day, now))

    assert destroy(LAST_DAY) == 0
    assert destroy(LAST_DAY + timedelta(days=1)) == 3
    assert destroy(LAST_DAY + timedelta(days=1)) == 0
    assert all(desk.data_keys.get(row.key_name) is None for row in rows(store))
    assert [event[0] for event in audited(store, "application:260001A")] == ["secrets_destroyed"]


def test_they_are_issued_again_with_a_window_of_their_own(issued, store, desk, now):
    before = {one.value for one in reveal(store, desk, now)}
    until = date(2027, 1, 8)
    later = now + timedelta(days=40)
    assert reveal(store, desk, later) is Hidden.WINDOW_CLOSED
    reissue = lambda session: issued_secrets.reissue(session, desk, application_in(session), until, later)  # noqa: E731
    assert store.run(reissue) == 3
    shown = reveal(store, desk, later)
    assert [one.terminal for one in shown] == ["", "27000C", "60000S"]
    assert before.isdisjoint(one.value for one in shown)
    assert sum(row.destroyed_at is None for row in rows(store)) == 3
    assert store.run(reissue) == 3  # also a second time


def test_terminals_that_ended_get_no_key_again(issued, store, desk, now):
    def work(session):
        application = application_in(session)
        change_map(session, now)
        take_back(session, desk, order_in(session, WANTED, application_id=application.id))

    store.run(work)
    after = now.replace(month=12, day=20)
    assert (
        store.run(lambda session: issued_secrets.reissue(session, desk, application_in(session), LAST_DAY, after)) == 1
    )


def test_the_passwords_of_a_void_case_are_taken_back_with_its_ids(issued, store, desk, now):
    def void(session):
        application_in(session).state = "void"
        issued_secrets.destroy(session, desk, application_in(session), now)

    store.run(void)
    assert reveal(store, desk, now) is Hidden.TAKEN_BACK
    assert reveal(store, desk, now + timedelta(days=90)) is Hidden.TAKEN_BACK


def test_nothing_is_issued_where_no_terminal_is_new(store, desk, now):
    take_contracts(store, now)
    receive(store, now, start_date=START)
    deletion = no_servers(terminals_to_delete=("25130M",))
    assert store.run(lambda session: issue(session, desk, now, deletion)) == 0
    assert reveal(store, desk, now) is Hidden.NOT_ISSUED
    assert store.run(lambda session: issued_secrets.reissue(session, desk, application_in(session), START, now)) == 0


def test_without_a_key_file_nothing_is_issued_and_nothing_shown(store, now):
    take_contracts(store, now)
    receive(store, now)
    assert reveal(store, DESK, now) is Hidden.NOT_ISSUED  # not completed yet
    assert store.run(lambda session: issue(session, DESK, now)) == 0
    assert rows(store) == []


def test_where_the_key_file_is_lost_nothing_is_shown_and_rows_are_still_closed(issued, store, now):
    assert reveal(store, DESK, now) is Hidden.GONE
    assert store.run(lambda session: issued_secrets.destroy(session, DESK, application_in(session), now)) == 3


def test_keys_that_open_nothing_are_told_from_those_that_do(issued, store, desk, now):
    names = [row.key_name for row in rows(store)]
    assert store.read(lambda session: issued_secrets.orphans(session, ["1", *names, "2"])) == ["1", "2"]
    store.run(lambda session: issued_secrets.destroy(session, desk, application_in(session), now))
    assert store.read(lambda session: issued_secrets.orphans(session, names)) == names
