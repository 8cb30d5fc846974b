"""The order of a lane in memory, and what a failure means for mail and lane."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lanes import (
    ContentMemory,
    LaneOrder,
    Waiting,
    outbound_of,
)
from storage.columns import to_micros
from storage.effects import Enqueue, NewRecipient
from storage.mail_queue import Outbound

LANE = "terminal:60001S"
NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


def enqueue(number: int, content: bytes | None = b"content") -> Enqueue:
    at = to_micros(NOW)
    recipient = NewRecipient(
        id=1000 + number,
        mail_id=2000 + number,
        direction="outbound",
        rcpt_to="3A0001@SMTP.TST01.CENTER.EXAMPLE",
        state="queued",
        created_at=at,
        due_at=at,
    )
    return Enqueue(LANE, recipient, content)


def row(number: int, *, due_in: float = 0.0, age: float = 0.0) -> Outbound:
    found = outbound_of(enqueue(number), number)
    return replace(found, due_at=NOW + timedelta(seconds=due_in), waiting_since=NOW - timedelta(seconds=age))


def order_of(*, strict: bool = True, memory: int = 1 << 20, window: int = 200) -> LaneOrder:
    return LaneOrder(LANE, ContentMemory(memory), strict=strict, window=window)


def scan(order: LaneOrder, *rows: Outbound, complete: bool = True) -> None:
    order.begin_scan(0)
    order.scanned(rows, complete=complete, now=0.0, wall=NOW)


def announce(order: LaneOrder, *numbers: int) -> None:
    for number in numbers:
        order.announce(enqueue(number), number, 0)


def taken(order: LaneOrder, now: float = 0.0) -> list[int]:
    sequences = []
    while (waiting := order.take(now)) is not None:
        sequences.append(waiting.outbound.sequence)
        order.done(waiting)
    return sequences


def test_nothing_is_sent_before_the_store_was_looked_through():
    order = order_of()
    announce(order, 1, 2)
    assert order.wants_scan
    assert order.take(0.0) is None


def test_announced_mails_follow_the_scanned_ones_without_another_scan():
    order = order_of()
    scan(order, row(1), row(2))
    announce(order, 3, 4)
    assert taken(order) == [1, 2, 3, 4]
    assert not order.wants_scan
    assert order.idle


def test_a_gap_makes_the_lane_look_into_the_store_once_what_it_knows_is_sent():
    order = order_of()
    scan(order, row(1))
    announce(order, 3)
    assert not order.wants_scan
    assert taken(order) == [1]
    assert order.wants_scan
    scan(order, row(2), row(3))
    assert taken(order) == [2, 3]
    announce(order, 4)
    assert taken(order) == [4]


def test_a_gap_that_was_never_queued_is_closed_by_the_scan():
    order = order_of()
    scan(order, row(1))
    assert taken(order) == [1]
    announce(order, 3)
    scan(order)
    announce(order, 4)
    assert taken(order) == [4]


def test_the_lease_says_what_came_before_an_empty_lane():
    order = order_of()
    order.begin_scan(0)
    order.leased(41)
    order.scanned([], complete=True, now=0.0, wall=NOW)
    announce(order, 42)
    assert taken(order) == [42]


def test_what_is_announced_during_a_scan_is_neither_lost_nor_sent_twice():
    order = order_of()
    order.begin_scan(0)
    announce(order, 2, 3)
    order.scanned([row(1), row(2)], complete=True, now=0.0, wall=NOW)
    second = order.take(0.0), order.take(0.0)
    assert [waiting.outbound.sequence for waiting in second if waiting] == [1, 2]
    assert [waiting.content for waiting in second if waiting] == [None, b"content"]
    assert taken(order) == [3]


def test_a_scan_that_fails_leaves_the_lane_wanting_one():
    order = order_of()
    order.begin_scan(0)
    announce(order, 1)
    order.end_scan()
    assert order.wants_scan


def test_too_many_announcements_during_a_scan_bring_another_scan():
    order = order_of(window=3)
    order.begin_scan(0)
    announce(order, 1, 2, 3, 4, 5)
    order.scanned([], complete=True, now=0.0, wall=NOW)
    assert taken(order) == [1, 2, 3]
    assert order.wants_scan


def test_a_page_that_was_full_is_followed_by_another():
    order = order_of(window=2)
    scan(order, row(1), row(2), complete=False)
    announce(order, 5)
    assert taken(order) == [1, 2]
    assert order.wants_scan
    scan(order, row(3), row(4), complete=False)
    assert taken(order) == [3, 4]
    scan(order, row(5))
    assert taken(order) == [5]
    assert not order.wants_scan


def test_a_lane_knows_no_more_than_its_window():
    order = order_of(window=3)
    scan(order)
    announce(order, 1, 2, 3, 4, 5)
    assert len(order) == 3
    assert taken(order) == [1, 2, 3]
    assert order.wants_scan


def test_all_lanes_together_keep_no_more_content_than_allowed():
    memory = ContentMemory(20)
    orders = [LaneOrder(f"terminal:6000{number}S", memory, strict=True) for number in range(3)]
    for order in orders:
        scan(order)
        announce(order, 1)
    heads = [order.head for order in orders]
    assert [head.content for head in heads if head] == [b"content", b"content", None]
    assert memory.used == 14
    for order in orders[:2]:
        order.forget()
    assert memory.used == 0


def test_content_is_given_back_when_its_mail_leaves():
    order = order_of()
    scan(order)
    order.announce(enqueue(1, None), 1, 0)
    announce(order, 2)
    assert taken(order) == [1, 2]
    announce(order, 3)
    assert order.head is not None
    assert order.head.content == b"content"


def test_nothing_passes_the_head_of_a_terminals_lane():
    order = order_of()
    scan(order, row(1), row(2))
    head = order.take(0.0)
    assert head is not None
    order.put_back(head, 20.0)
    assert order.take(19.9) is None
    assert order.next_due() == 20.0
    assert taken(order, 20.0) == [1, 2]


def test_a_row_that_is_due_later_is_not_taken_before():
    order = order_of()
    scan(order, row(1, due_in=7), row(2))
    assert order.take(6.9) is None
    assert taken(order, 7.0) == [1, 2]


def test_a_deferred_notice_lets_later_ones_pass():
    order = order_of(strict=False)
    scan(order, row(1), row(2, due_in=50), row(3))
    first = order.take(0.0)
    assert first is not None
    order.put_back(first, 30.0)
    assert taken(order) == [3]
    assert order.next_due() == 30.0
    assert taken(order, 30.0) == [1]
    assert taken(order, 50.0) == [2]
    assert order.next_due() is None


def test_a_mail_put_back_untouched_keeps_its_place():
    order = order_of(strict=False)
    scan(order, row(1), row(2))
    first = order.take(0.0)
    assert first is not None
    order.put_back(first, 0.0)
    assert taken(order) == [1, 2]


def test_deferred_notices_do_not_keep_new_ones_from_being_found():
    order = order_of(strict=False, window=4)
    scan(order, *(row(number, due_in=60) for number in range(1, 5)), complete=False)
    assert order.take(0.0) is None
    assert order.wants_scan
    scan(order, row(5))
    assert taken(order) == [5]


def test_what_is_older_than_an_instant_is_taken_together_from_the_head():
    order = order_of()
    scan(order, row(1, age=100), row(2, age=50, due_in=9), row(3, age=10), row(4, age=99))
    old = order.take_while(lambda waiting: waiting.outbound.waiting_since <= NOW - timedelta(seconds=50))
    assert [waiting.outbound.sequence for waiting in old] == [1, 2]
    assert order.head is not None
    assert order.head.outbound.sequence == 3


def test_a_forgotten_mail_does_not_come_back():
    order = order_of()
    scan(order, row(1))
    waiting = order.take(0.0)
    assert waiting is not None
    order.forget()
    order.put_back(waiting, 0.0)
    order.done(waiting)
    assert order.head is None
    assert order.wants_scan


def test_an_announced_recipient_equals_the_one_a_scan_finds():
    recipient = replace(enqueue(1).recipient, due_at=to_micros(NOW + timedelta(seconds=5)), header=b"To: x\r\n")
    found = outbound_of(Enqueue(LANE, recipient), 9)
    assert (found.sequence, found.lane, found.created_at) == (9, LANE, NOW)
    assert found.due_at == NOW + timedelta(seconds=5)
    assert found.wire_bytes(b"body") == b"To: x\r\nbody"


def test_mails_put_back_in_any_order_stand_in_that_of_the_lane():
    order = order_of()
    scan(order, row(1), row(2), row(3), row(4))
    out = [order.take(0.0) for _ in range(3)]
    for waiting in out:
        assert waiting is not None
        order.put_back(waiting, 0.0)
    assert taken(order) == [1, 2, 3, 4]


def test_a_mail_found_again_is_not_replaced_by_what_was_taken_before():
    order = order_of()
    scan(order, row(1))
    old = order.take(0.0)
    assert old is not None
    order.forget()
    scan(order, row(1))
    order.put_back(old, 0.0)
    order.done(old)
    assert len(order) == 1
    assert taken(order) == [1]


@pytest.mark.parametrize("strict", [True, False])
def test_a_mail_that_is_not_at_its_place_any_more_is_looked_for(strict):
    order = order_of(strict=strict)
    scan(order, row(1), row(2))
    head = order.head
    assert head is not None
    order.lost_track_of(head)
    assert taken(order) == [2]
    assert order.wants_scan
    scan(order, replace(row(1), sequence=9))
    assert taken(order) == [9]


@pytest.mark.parametrize("strict", [True, False])
def test_a_row_somebody_changed_is_due_when_it_says_so_now(strict):
    order = order_of(strict=strict)
    scan(order, row(1, due_in=50), row(2, due_in=60))
    assert order.take(0.0) is None
    order.renewed(replace(row(1), attempts=3), instead_of=order.known[row(1).recipient_id], now=10.0, wall=NOW)
    order.renewed(row(7), instead_of=row(7), now=10.0, wall=NOW)
    first = order.take(10.0)
    assert first is not None
    assert (first.outbound.sequence, first.attempts) == (1, 3)
    assert order.take(10.0) is None
    assert order.next_due() == 60.0


def test_a_row_read_before_an_outcome_was_written_changes_nothing():
    order = order_of(strict=False)
    scan(order, row(1))
    known = order.known[row(1).recipient_id]
    mail = order.take(0.0)
    assert mail is not None
    mail.attempts, mail.in_doubt = 2, 1
    mail.is_written()
    order.renewed(replace(row(1), attempts=1), instead_of=known, now=10.0, wall=NOW)
    assert (mail.attempts, mail.in_doubt) == (2, 1)
    assert order.known[row(1).recipient_id] == replace(
        row(1), attempts=2, in_doubt=1
    )  # what is written is nobody else's change


@pytest.mark.parametrize("strict", [True, False])
def test_a_flush_leaves_nothing_put_off(strict):
    order = order_of(strict=strict)
    scan(order, row(1, due_in=50), row(2, due_in=60), row(3))
    if not strict:
        assert taken(order) == [3]
    order.make_due()
    assert taken(order) == ([1, 2, 3] if strict else [1, 2])


def test_a_wall_clock_that_was_set_back_puts_nothing_off_beyond_the_longest_wait():
    order = LaneOrder(LANE, ContentMemory(0), strict=True, longest_wait=60.0)
    scan(order, row(1, due_in=86400))
    assert order.next_due() == 60.0


@given(st.data())
def test_every_mail_is_taken_once_and_in_order_whatever_is_announced_and_scanned(data: st.DataObject):
    """The store is a list; some commits are announced late, twice or not at all."""
    order = order_of(window=data.draw(st.integers(2, 6)))
    committed = 0
    sent: list[int] = []
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["commit", "announce", "scan", "take"]))
        if action == "commit":
            committed += 1
        elif action == "announce" and committed:
            announce(order, data.draw(st.integers(max(1, committed - 2), committed)))
        elif action == "scan":
            _scan_store(order, committed, sent)
        else:
            _take_one(order, sent)
    order.behind = True
    while len(sent) < committed:
        _scan_store(order, committed, sent)
        _take_one(order, sent)
    assert sent == list(range(1, committed + 1))
    assert len(order) == 0


def _scan_store(order: LaneOrder, committed: int, sent: list[int]) -> None:
    if order.wants_scan:
        rows = [row(n) for n in range(1, committed + 1) if n not in sent and 1000 + n not in order.known]
        scan(order, *rows[: order.window], complete=len(rows) < order.window)


def _take_one(order: LaneOrder, sent: list[int]) -> None:
    waiting = order.take(0.0)
    if waiting is not None:
        sent.append(waiting.outbound.sequence)
        order.done(waiting)


def test_a_waiting_mail_is_equal_to_itself_only():
    first = order_of()
    scan(first, row(1))
    waiting = first.take(0.0)
    assert isinstance(waiting, Waiting)
    assert waiting != replace(waiting)
