"""The order of a lane in memory, and what a failure means for mail and lane."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failures import Lost, Refused, Stage
from gateway.lanes import (
    ContentMemory,
    DeliverySettings,
    LaneOrder,
    Waiting,
    doubled,
    notice_verdict,
    outbound_of,
    terminal_verdict,
)
from storage.columns import to_micros
from storage.effects import Enqueue, NewRecipient
from storage.mail_queue import Outbound
from storage.states import State

LANE = "terminal:60001S"
NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
SETTINGS = DeliverySettings(name="center.example")


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
    return replace(found, due_at=NOW + timedelta(seconds=due_in), created_at=NOW - timedelta(seconds=age))


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
    old = order.take_created_before(NOW - timedelta(seconds=50))
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
        rows = [row(n) for n in range(1, committed + 1) if n not in sent and 1000 + n not in order.known_ids]
        scan(order, *rows[: order.window], complete=len(rows) < order.window)


def _take_one(order: LaneOrder, sent: list[int]) -> None:
    waiting = order.take(0.0)
    if waiting is not None:
        sent.append(waiting.outbound.sequence)
        order.done(waiting)


def refused(stage: Stage, code: int) -> Refused:
    return Refused(stage, code, f"{code} words")


def lost(stage: Stage) -> Lost:
    return Lost(stage, "timed out")


BEFORE_RCPT = [
    refused(Stage.CONNECT, 554),
    lost(Stage.CONNECT),
    refused(Stage.HELO, 501),
    lost(Stage.HELO),
    lost(Stage.MAIL),
    refused(Stage.MAIL, 421),
]


@pytest.mark.parametrize("failure", [*BEFORE_RCPT, refused(Stage.MAIL, 550), refused(Stage.MAIL, 452)])
def test_failure_up_to_mail_is_the_lanes_however_often(failure):
    verdict = terminal_verdict(failure, 99, SETTINGS)
    assert verdict.of_the_lane
    assert verdict.state is State.QUEUED


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.DOT])
def test_towards_a_terminal_5xx_is_undelivered_at_once(stage):
    assert terminal_verdict(refused(stage, 550), 1, SETTINGS).state is State.UNDELIVERED


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.DOT])
@pytest.mark.parametrize("make", [lambda stage: refused(stage, 451), lost])
def test_towards_a_terminal_a_mail_has_three_tries_within_a_minute(stage, make):
    verdicts = [terminal_verdict(make(stage), tries, SETTINGS) for tries in (1, 2, 3)]
    assert [verdict.state for verdict in verdicts] == [State.QUEUED, State.QUEUED, State.UNDELIVERED]
    assert sum(verdict.wait for verdict in verdicts) <= 60
    assert not any(verdict.of_the_lane for verdict in verdicts)


@pytest.mark.parametrize("failure", BEFORE_RCPT)
def test_a_smarthost_that_does_not_answer_holds_its_lane(failure):
    assert notice_verdict(failure, 1, SETTINGS).of_the_lane


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
def test_a_notice_refused_for_good_failed(stage):
    assert notice_verdict(refused(stage, 550), 1, SETTINGS).state is State.FAILED


def test_a_notice_is_deferred_for_five_minutes_doubling_to_seventy():
    waits = [notice_verdict(refused(Stage.RCPT, 450), attempts, SETTINGS).wait for attempts in range(1, 8)]
    assert [wait / 60 for wait in waits] == [5, 10, 20, 40, 70, 70, 70]


def test_a_notice_in_doubt_is_deferred_too():
    verdict = notice_verdict(lost(Stage.DOT), 1, SETTINGS)
    assert (verdict.state, verdict.of_the_lane) == (State.QUEUED, False)


def test_waits_double_and_end_at_the_longest():
    assert [doubled(2, 300, failures) for failures in (1, 2, 3, 8, 9, 5000)] == [2, 4, 8, 256, 300, 300]


def test_a_waiting_mail_is_equal_to_itself_only():
    first = order_of()
    scan(first, row(1))
    waiting = first.take(0.0)
    assert isinstance(waiting, Waiting)
    assert waiting != replace(waiting)
