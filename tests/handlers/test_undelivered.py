"""What is stuck of a mail-address row, and how it is queued again (semantics §1, §6, §8)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from handlers import undelivered
from handlers.undelivered import NO_CODE, StuckKind
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import RECIPIENT_OUTCOME, Applied, Change, Unit
from storage.models import MailAddress, Recipient
from storage.states import Direction, State, allowed
from storage.store import Store
from tests.handlers.review_cases import audited, take_contracts
from tests.handlers.stuck_messages import bound, change, give_up, in_lane, pause, put, row_of, set_lane
from tests.handlers.test_terminals import (
    ADDRESS,
    OFFICES_WITH_TWO_SERVERS,
    TODAY,
    only_sqlite,
    reissue,
    set_terminal,
)

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now - 30 * DAY, OFFICES_WITH_TWO_SERVERS)
    return bound(store)


@pytest.fixture
def other_store(store, store_url) -> Iterator[Store]:
    opened = Store.open(store_url, "command")
    yield opened
    opened.close()


def counted(store, binding, since=None):
    kinds = store.read(lambda session: undelivered.counts(session, [binding.address_id], since=since))
    return [(kind.output_code, kind.count) for kind in kinds]


def fetch(store, binding, code, now, **options):
    options.setdefault("actor", "terminal:60777S")
    return store.run(lambda session: undelivered.requeue(session, [binding.address_id], code, now=now, **options))


def test_what_was_given_up_is_counted_by_kind_the_kind_of_the_oldest_first(store, binding, now):
    for code in ("SAD4071", "SAD4031", "*SOTA", "SAD4031"):
        give_up(store, binding, code, now)
    put(store, binding, "SAD4031", now)  # its lane is up
    assert counted(store, binding) == [("SAD4071", 1), ("SAD4031", 2), ("*SOTA", 1)]


@pytest.mark.parametrize("trouble", ["down", "paused"])
def test_what_waits_behind_a_lane_that_is_down_or_paused_counts_too(store, binding, now, trouble):
    give_up(store, binding, "SAD4031", now)
    put(store, binding, "SAD4031", now)
    put(store, binding, "SAD4071", now)
    put(store, binding, "", now, lane="backend")  # a request on its way to the backend is the backend's trouble
    set_lane(store, "backend", down_since=now)
    assert counted(store, binding) == [("SAD4031", 1)]
    if trouble == "down":
        set_lane(store, binding.lane, down_since=now)
    else:
        pause(store, binding.lane, now)
    kinds = store.read(lambda session: undelivered.counts(session, [binding.address_id], since=None))
    assert kinds == [
        StuckKind(output_code="SAD4031", count=2, waiting=1),
        StuckKind(output_code="SAD4071", count=1, waiting=1),
    ]


@only_sqlite
def test_what_waits_behind_a_lane_that_goes_on_again_is_not_stuck(store, binding, now):
    put(store, binding, "SAD4031", now)
    pause(store, binding.lane, now, resumed_at=now + SECOND)
    assert counted(store, binding) == []


@only_sqlite
def test_messages_without_a_code_have_a_kind_of_their_own_and_filling_makes_none(store, binding, now):
    for code in ("", "       ", "*CCMSG ", "*CCMSG"):
        give_up(store, binding, code, now)
    assert counted(store, binding) == [(NO_CODE, 2), ("*CCMSG", 2)]
    assert len(fetch(store, binding, NO_CODE, now)) == 2
    assert len(fetch(store, binding, "*CCMSG", now)) == 2


def test_what_is_fetched_stands_in_its_old_order_behind_the_end_of_the_lane(store, binding, now):
    first, other, second = (give_up(store, binding, code, now) for code in ("SAD4031", "SAD4071", "SAD4031"))
    waiting = put(store, binding, "SAD4031", now)
    later = now + 60 * SECOND
    before = row_of(store, first)
    assert fetch(store, binding, "SAD4031", later) == [first, second]
    newest = put(store, binding, "SAD4031", later)
    assert in_lane(store, binding.lane) == [waiting, first, second, newest]
    assert row_of(store, other).state == "undelivered"
    row = row_of(store, first)
    assert (row.state, row.waiting_since, row.due_at, row.finished_at) == ("queued", later, later, None)
    assert (row.attempts, row.last_reply, row.created_at) == (1, "450 4.2.0 full", before.created_at)


@only_sqlite
def test_everything_is_fetched_where_no_kind_is_named(store, binding, now):
    mails = [give_up(store, binding, code, now) for code in ("SAD4031", "", "*SOTA")]
    assert fetch(store, binding, None, now) == mails
    assert counted(store, binding) == []


@only_sqlite
def test_the_messages_of_two_addresses_of_a_terminal_keep_the_order_of_their_lane(store, binding, now):
    reissued = reissue(store, to="60777S", today=TODAY)  # the same terminal: a second row of its lane
    another = bound(store)
    assert another.address_id == reissued
    store.run(lambda session: session.execute(update(MailAddress).values(effective_until=None)))
    rows = [binding, another, binding, another]
    mails = [give_up(store, row, "SAD4031", now) for row in rows]
    ids = [binding.address_id, another.address_id]
    moved = store.run(lambda session: undelivered.requeue(session, ids, None, actor="os:op", now=now))
    assert moved == mails == in_lane(store, binding.lane)


@pytest.mark.parametrize("state", State)
@only_sqlite
def test_of_every_state_only_the_undelivered_is_moved_as_the_transition_table_says(store, binding, now, state):
    mail_id = give_up(store, binding, "SAD4031", now)
    change(store, mail_id, state=state)
    before = row_of(store, mail_id)
    moved = fetch(store, binding, "SAD4031", now + SECOND)
    row = row_of(store, mail_id)
    assert moved == ([mail_id] if state is State.UNDELIVERED else [])
    if moved:
        assert allowed(Direction.OUTBOUND, state, State(row.state))
    else:
        assert (row.state, row.lane_sequence, row.due_at) == (before.state, before.lane_sequence, before.due_at)


def test_two_fetches_at_once_move_each_message_once(store, other_store, binding, now):
    mails = [give_up(store, binding, "SAD4031", now) for _ in range(20)]
    second: list[int] = []
    thread = threading.Thread(target=lambda: second.extend(fetch(other_store, binding, "SAD4031", now)))

    def first(session):
        moved = undelivered.requeue(session, [binding.address_id], "SAD4031", actor="terminal:60777S", now=now)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()  # it waits for the end of this transaction
        return moved

    assert store.run(first) == mails
    thread.join()
    assert second == []
    assert in_lane(store, binding.lane) == mails
    assert [len(audited(store, f"mail:{mail}")) for mail in mails] == [1] * 20


def test_a_message_given_up_while_others_are_fetched_is_either_moved_or_still_listed(store, other_store, binding, now):
    given_up = give_up(store, binding, "SAD4031", now)
    in_flight = put(store, binding, "SAD4031", now)
    set_lane(store, binding.lane, lease_token=7)
    micros = to_micros(now)
    values = (row_of(store, in_flight).id, 7, "undelivered", micros, micros, 1, 0, "554 no")
    outcome = Unit(changes=(Change(RECIPIENT_OUTCOME, values),))
    written: list[object] = []
    thread = threading.Thread(target=lambda: written.extend(Committer(other_store).commit([outcome])))

    def work(session):
        thread.start()
        thread.join(0.1)
        return undelivered.requeue(session, [binding.address_id], "SAD4031", actor="terminal:60777S", now=now)

    moved = store.run(work)
    thread.join()
    assert [type(each) for each in written] == [Applied]
    assert moved in ([given_up], [given_up, in_flight])
    stuck = counted(store, binding)
    assert (len(moved), stuck) in ((1, [("SAD4031", 1)]), (2, []))
    places = store.read(lambda session: session.scalars(select(Recipient.lane_sequence)).all())
    assert len(set(places)) == len(places)


def test_a_message_in_flight_keeps_its_place_and_gets_its_outcome(store, binding, now):
    in_flight = put(store, binding, "SAD4031", now)
    set_lane(store, binding.lane, lease_token=7, down_since=now)
    place = row_of(store, in_flight).lane_sequence
    assert fetch(store, binding, "SAD4031", now) == []
    assert row_of(store, in_flight).lane_sequence == place
    micros = to_micros(now)
    values = (row_of(store, in_flight).id, 7, "delivered", micros, micros, 1, 0, "250 taken")
    (outcome,) = Committer(store).commit([Unit(changes=(Change(RECIPIENT_OUTCOME, values),))])
    assert isinstance(outcome, Applied)
    assert fetch(store, binding, "SAD4031", now) == []


def test_what_was_given_up_before_the_retention_is_neither_counted_nor_fetched_and_stays(store, binding, now):
    old = give_up(store, binding, "SAD4031", now - 32 * DAY)
    kept = give_up(store, binding, "SAD4031", now - 30 * DAY)
    since = now - 31 * DAY
    assert counted(store, binding, since) == [("SAD4031", 1)]
    assert fetch(store, binding, "SAD4031", now, since=since) == [kept]
    assert row_of(store, old).state == "undelivered"
    assert counted(store, binding) == [("SAD4031", 1)]
    assert fetch(store, binding, None, now) == [old]


def test_an_address_reissued_to_another_owner_is_another_row(store, binding, now):
    old = give_up(store, binding, "SAD4031", now)
    reissue(store)
    owner = bound(store)
    assert (owner.address, owner.address_id != binding.address_id) == (ADDRESS, True)
    assert counted(store, owner) == []
    assert fetch(store, owner, None, now) == []
    theirs = give_up(store, owner, "SAD4031", now)
    assert fetch(store, owner, "SAD4031", now) == [theirs]
    assert row_of(store, old).state == "undelivered"
    assert counted(store, binding) == [("SAD4031", 1)]


@pytest.mark.parametrize("ended", ["address", "terminal", "not begun"])
def test_a_message_whose_binding_does_not_apply_today_stays_listed_and_is_not_queued(store, binding, now, ended):
    mail_id = give_up(store, binding, "SAD4031", now)
    if ended == "address":
        store.run(lambda session: session.execute(update(MailAddress).values(effective_until=TODAY)))
    else:
        set_terminal(store, **{"effective_until" if ended == "terminal" else "effective_from": TODAY + DAY})
    # Until 15:00 UTC it is today in Japan, and after it tomorrow.
    at = now if ended != "terminal" else now.replace(hour=15)
    assert fetch(store, binding, "SAD4031", at) == []
    ids = [binding.address_id]
    assert store.read(lambda session: undelivered.fetchable(session, ids, "SAD4031", now=at)) == 0
    assert counted(store, binding) == [("SAD4031", 1)]
    (message,) = store.read(lambda session: undelivered.messages(session, ids, now=at, since=None))
    assert (message.mail_id, message.bound) == (mail_id, False)


def test_who_took_what_is_recorded_and_the_lanes_are_woken_once(store, binding, now):
    mails = [give_up(store, binding, "SAD4031", now) for _ in range(2)]

    def work(session):
        ids = [binding.address_id]
        return undelivered.requeue(session, ids, None, actor="terminal:60777S", now=now, detail="by TST01 001")

    moved, notes, queued = store.run_noting(work)
    assert moved == mails
    assert [note.topic for note in notes] == ["foreign"]
    assert queued == []
    for mail in mails:
        assert audited(store, f"mail:{mail}") == [("undelivered-fetched", "terminal:60777S", f"{ADDRESS} by TST01 001")]
    assert store.run_noting(work)[:2] == ([], [])


def test_messages_are_listed_in_the_order_of_their_lane_with_the_reason(store, binding, now):
    given_up = give_up(store, binding, "SAD4031", now, content=b"12345\r\n")
    waiting = put(store, binding, "", now + SECOND)
    set_lane(store, binding.lane, down_since=now, last_failure="connect: refused")

    def listed(limit=None):
        ids = [binding.address_id]
        return store.read(lambda session: undelivered.messages(session, ids, now=now, since=None, limit=limit))

    first, second = listed()
    assert (first.mail_id, first.output_code, first.state, first.since) == (given_up, "SAD4031", "undelivered", now)
    assert (first.address, first.size, first.reason, first.bound) == (ADDRESS, 7, "450 4.2.0 full", True)
    assert (second.mail_id, second.output_code, second.state) == (waiting, NO_CODE, "queued")
    assert (second.since, second.reason) == (now + SECOND, "connect: refused")
    assert listed(limit=1) == [first]
    pause(store, binding.lane, now)
    assert listed()[1].reason == "paused by os:op works"


@only_sqlite
def test_of_no_address_nothing_is_stuck(store, binding, now):
    give_up(store, binding, "SAD4031", now)
    assert store.read(lambda session: undelivered.counts(session, [], since=None)) == []
    assert store.run(lambda session: undelivered.requeue(session, [], None, actor="os:op", now=now)) == []
    assert store.read(lambda session: session.scalar(select(func.count()).select_from(Recipient))) == 1
