"""The queue's verbs (semantics §1, §3, §7, §11)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text

from storage import mail_queue
from storage.clock import Clock, move_clock
from storage.columns import UtcTimestamp, from_micros, to_micros
from storage.committer import Committer
from storage.effects import RECIPIENT_HANDLED, REQUEST, SECRET_FORGOTTEN, UNCLEAN_END, Change, Insert, Unit
from storage.lane_leases import LaneLease, lease_lane, release_lanes
from storage.mail_queue import Origin, Secret, arrival, content_of, load_arrival
from storage.models import AuditEvent, Mail, Recipient
from storage.states import State
from storage.store import Store
from tests.storage.units import accepted, handled, outbound

LANE = "terminal:60777S"


def commit(store: Store, *units: Unit) -> None:
    Committer(store).commit(units)


def test_an_arrival_is_loaded_as_it_was_announced(store: Store, now: datetime) -> None:
    found, unit = accepted(store.new_key, now, content=b"bytes \xff\r\n")
    commit(store, unit)
    assert store.read(lambda s: load_arrival(s, found.recipient_id)) == found
    assert store.read(lambda s: mail_queue.waiting_inbound(s, 10)) == [(found.recipient_id, found.order_key, now)]
    commit(store, Unit(changes=(handled(found, now),)))
    assert store.read(lambda s: load_arrival(s, found.recipient_id)) is None
    assert store.read(lambda s: mail_queue.waiting_inbound(s, 10)) == []


def test_the_store_shows_a_mail_without_its_password_and_restores_it_for_the_hand_over(
    store: Store, now: datetime
) -> None:
    origin = Origin(listener="naccs", mail_from="A@X.EXAMPLE")
    secret = Secret(content=b"user            end", offset=4, original=b"PASSWD01")
    mail_id, unit = arrival(store.new_key, origin, [("C@X.EXAMPLE", "a")], b"userPASSWD01    end", now, secret)
    commit(store, unit)
    raw = store.read(lambda s: s.execute(text("SELECT content FROM mail_contents")).scalar_one())
    assert bytes(raw) == secret.content
    assert store.read(lambda s: content_of(s, mail_id)) == secret.content
    assert store.read(lambda s: content_of(s, mail_id, unmasked=True)) == b"userPASSWD01    end"
    recipient = unit.notes[0].payload.recipient_id
    loaded = store.read(lambda s: load_arrival(s, recipient))
    assert loaded is not None
    assert loaded.content == b"userPASSWD01    end"
    commit(store, Unit(changes=(Change(SECRET_FORGOTTEN, (mail_id,)),)))
    assert store.read(lambda s: content_of(s, mail_id, unmasked=True)) == secret.content


def test_a_lane_lists_what_waits_in_order_behind_a_sequence(store: Store, now: datetime) -> None:
    found, unit = accepted(store.new_key, now)
    queued = [outbound(store.new_key, found.mail_id, LANE, now) for _ in range(3)]
    about: dict[str, Any] = {
        "request_id": found.recipient_id,
        "waiting_since": to_micros(now) - 5,
        "output_code": "*AOTA",
    }
    queued[2] = replace(queued[2], recipient=replace(queued[2].recipient, **about))
    commit(store, unit, *(Unit(queued=(one,)) for one in queued))
    listed = store.read(lambda s: mail_queue.queued_in_lane(s, LANE, 1, 10))
    assert [row.recipient_id for row in listed] == [one.recipient.id for one in queued[1:]]
    assert [row.sequence for row in listed] == [2, 3]
    assert [row.waiting_since for row in listed] == [now, from_micros(to_micros(now) - 5)]
    assert [row.request_id for row in listed] == [None, found.recipient_id]
    assert [row.output_code for row in listed] == ["", "*AOTA"]
    assert store.read(mail_queue.lanes_with_queued) == [LANE]


def test_wire_bytes_put_another_header_block_over_an_untouched_body() -> None:
    plain = mail_queue.Outbound(
        recipient_id=1,
        mail_id=1,
        lane=LANE,
        sequence=1,
        sender="",
        rcpt_to="",
        created_at=from_micros(0),
        due_at=from_micros(0),
        waiting_since=from_micros(0),
        header=None,
        body_offset=0,
        attempts=0,
        in_doubt=0,
        address_id=None,
    )
    content = b"Old: 1\r\n\r\nbody\xa4"
    assert plain.wire_bytes(content) == content
    headed = replace(plain, header=b"New: 2\r\n\r\n", body_offset=10)
    assert headed.wire_bytes(content) == b"New: 2\r\n\r\nbody\xa4"


def test_a_lane_has_one_living_holder(store: Store, store_url: str) -> None:
    other = Store.open(store_url, "test")

    def lease(holder: Store, *, alone: bool = False) -> LaneLease | None:
        return holder.run(lambda s: lease_lane(s, LANE, holder.claim.node, holder.lease_token, alone=alone))

    assert lease(store) == LaneLease(0, head_in_doubt=False)
    assert lease(store) == LaneLease(0, head_in_doubt=False)  # its own again
    assert lease(other) is None
    store.renew(timedelta(seconds=-1))  # it stops renewing: its lease has ended
    assert lease(other) == LaneLease(0, head_in_doubt=True)
    other.run(lambda s: release_lanes(s, other.lease_token))
    assert lease(store) == LaneLease(0, head_in_doubt=False)
    assert lease(other, alone=True) == LaneLease(0, head_in_doubt=True)
    other.close()


def test_the_result_of_a_repeated_mail_is_found_and_queued_again_as_recorded(store: Store, now: datetime) -> None:
    first, unit = accepted(store.new_key, now, content=b"same")
    again, repeat = accepted(store.new_key, now, content=b"same")
    result = store.new_key()
    _, answer = accepted(store.new_key, now, content=b"result")
    queued = outbound(store.new_key, answer.inserts[0].values[0], LANE, now, address_id=7)
    result = queued.recipient.mail_id
    row = Insert(REQUEST, (first.recipient_id, 7, "TCC", "H", "1", to_micros(now), None, to_micros(now), result))
    commit(store, unit, repeat, answer, Unit(inserts=(row,), queued=(queued,)))
    assert store.read(lambda s: mail_queue.result_of_earlier(s, again, now)) is None
    commit(store, Unit(changes=(Change(UNCLEAN_END, (first.mail_id, to_micros(now))),)))
    found = store.read(lambda s: mail_queue.result_of_earlier(s, again, now))
    assert found is not None
    assert found.content == b"result"
    commit(store, mail_queue.resend(store.new_key, Unit(), found, again, now))
    rows = store.read(
        lambda s: s.scalars(
            select(Recipient.lane_sequence).where(Recipient.mail_id == result, Recipient.lane == LANE)
        ).all()
    )
    assert sorted(filter(None, rows)) == [1, 2]
    events = store.read(lambda s: s.scalars(select(AuditEvent.event)).all())
    assert events == ["result-resent"]


def test_instants_are_kept_to_the_microsecond_and_naive_ones_refused(now: datetime) -> None:
    exact = now.replace(microsecond=123_456)
    assert from_micros(to_micros(exact)) == exact
    with pytest.raises(ValueError, match="naive"):
        to_micros(exact.replace(tzinfo=None))
    assert UtcTimestamp().process_result_value(None, None) is None  # type: ignore[arg-type]


def test_only_a_movable_clock_follows_the_offset_in_the_store(store: Store) -> None:
    fixed, movable = Clock(), Clock(movable=True)
    store.run(lambda s: move_clock(s, timedelta(days=20)))
    store.read(fixed.refresh)
    store.read(movable.refresh)
    assert fixed.offset == timedelta()
    assert movable.now() - fixed.now() > timedelta(days=19)


def test_a_mail_row_keeps_what_the_listener_saw(store: Store, now: datetime) -> None:
    found, unit = accepted(store.new_key, now)
    commit(store, unit)
    row = store.read(lambda s: s.get_one(Mail, found.mail_id))
    assert (row.peer, row.listener, row.received_at, row.size) == ("127.0.0.9", "naccs", now, 1)


@pytest.mark.parametrize("other", ["another requester's copy", "too long ago"])
def test_a_repeat_brings_only_the_requesters_own_recent_result(store: Store, now: datetime, other: str) -> None:
    first, unit = accepted(store.new_key, now, content=b"same")
    again, repeat = accepted(store.new_key, now, content=b"same")
    _, answer = accepted(store.new_key, now, content=b"result")
    copy_of = 8 if other == "another requester's copy" else 7
    queued = outbound(store.new_key, answer.inserts[0].values[0], LANE, now, address_id=copy_of)
    result = queued.recipient.mail_id
    row = Insert(REQUEST, (first.recipient_id, 7, "OTA", "H", "1", to_micros(now), None, to_micros(now), result))
    commit(store, unit, repeat, answer, Unit(inserts=(row,), queued=(queued,)))
    commit(store, Unit(changes=(Change(UNCLEAN_END, (first.mail_id, to_micros(now))),)))
    since = now + timedelta(seconds=1) if other == "too long ago" else now
    assert store.read(lambda s: mail_queue.result_of_earlier(s, again, since)) is None


def test_each_recipient_of_an_arrival_is_bound_to_its_own_address_row(store: Store, now: datetime) -> None:
    origin = Origin(listener="backend", mail_from="B@X.EXAMPLE")
    recipients = [("A@X.EXAMPLE", "a"), ("C@X.EXAMPLE", "c"), ("D@X.EXAMPLE", "d")]
    _, unit = arrival(store.new_key, origin, recipients, b"x", now, address_ids=[7, None, 9])
    commit(store, unit)
    found = [note.payload for note in unit.notes]
    assert [each.address_id for each in found] == [7, None, 9]
    for each in found:
        assert store.read(partial(load_arrival, recipient_id=each.recipient_id)) == each


def test_a_handled_mail_is_looked_for_as_a_repeat_in_the_window_alone(now: datetime) -> None:
    key = iter(range(1, 9)).__next__
    found, _ = accepted(key, now)
    looked = mail_queue.handled(found, State.HANDLED, now, "TCC", repeat_window=0.5)
    assert looked.kind is RECIPIENT_HANDLED
    assert looked.values == (
        found.recipient_id, "handled", to_micros(now), "TCC", found.content_hash, to_micros(now) - 500_000,
    )  # fmt: skip
    assert looked.must
    never = (1 << 63) - 1
    assert mail_queue.handled(found, State.DUPLICATE, now, "").values[-1] == never
    assert mail_queue.handled(found, State.HANDLED, now, "", repeat_window=0).values[-1] == never


@pytest.mark.parametrize(("lane", "kept"), [("terminal:60001S", True), ("smarthost:3", False)])
def test_sent_once_more_it_has_the_bytes_it_had_but_for_the_signature_of_a_notice(lane: str, kept: bool) -> None:
    sent = Recipient(
        mail_id=7,
        rcpt_to="a@b.example",
        sender="c@d.example",
        header=b"X: 1\r\n\r\n",
        body_offset=40,
        address_id=3,
        output_code="*CTCC",
        map_version=5,
        request_id=9,
    )
    again = mail_queue.recipient_again(99, sent, lane, 1000)
    assert (again.header, again.body_offset) == ((b"X: 1\r\n\r\n", 40) if kept else (None, 0))
    assert (again.id, again.mail_id, again.state, again.due_at, again.request_id) == (99, 7, "queued", 1000, 9)
