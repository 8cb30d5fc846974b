"""What operators do to mails (semantics §1, §4, §5): along the transitions, nothing executed twice, all recorded."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from handlers.mail_candidates import candidates
from handlers.mail_operations import EVENTS, MOST_AT_ONCE, MOVES, UNDER_WAY, Operation, Order, Reason, carry_out
from handlers.mail_search import MailFilter, page, search
from storage.models import Lane, Recipient
from storage.states import INITIAL, TRANSITIONS, Direction, State
from tests.handlers import stuck_messages
from tests.handlers.exchanged_mails import (
    LIFE,
    add_mail,
    add_recipient,
    mail_of,
    outbound,
    request,
    result,
    set_outbound,
    tried,
)
from tests.handlers.review_cases import WITH_SMTP_SERVER, audited, take_contracts
from tests.handlers.test_terminals import only_sqlite

LANE = "terminal:60777S"
LATER = timedelta(minutes=5)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return stuck_messages.bound(store)


def order(operation, now, **more):
    return Order(operation=operation, actor="os:op", now=now, request_life=LIFE, **more)


def do(store, operation, now, *recipient_ids, **more):
    return store.run(lambda session: carry_out(session, order(operation, now, **more), recipient_ids))


def row(store, recipient_id):
    return store.read(lambda session: session.get_one(Recipient, recipient_id))


def flushed_at(store, lane):
    return store.read(lambda session: session.get_one(Lane, lane).flushed_at)


def lane_is(store, **values):
    store.run(lambda session: session.execute(update(Lane).where(Lane.lane == LANE).values(**values)))


def inbound(store, now, **values):
    def work(session):
        mail = add_mail(session, now, listener=values.pop("listener", "public"))
        return add_recipient(session, mail, now, **values).id

    return store.run(work)


def test_every_move_is_a_transition_of_the_queue():
    for operation, moves in MOVES.items():
        for (direction, before), after in moves.items():
            if operation is Operation.RETRY:
                assert before is after is INITIAL[direction]
            elif before is not after:  # what was delivered stays so and gets a recipient more
                assert after in TRANSITIONS[direction][before]
    assert set(EVENTS) == set(MOVES) == set(Operation)


def test_a_retry_makes_a_queued_mail_due_and_flushes_its_lane(store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    recipient_id = set_outbound(store, mail_id, due_at=now + timedelta(hours=1))
    (done,) = do(store, Operation.RETRY, now + LATER, recipient_id)
    assert (done.refusal, done.before, done.after) == (None, "queued", "queued")
    assert row(store, recipient_id).due_at == flushed_at(store, LANE) == now + LATER
    assert audited(store, f"mail:{mail_id}") == [("mail-retried", "os:op", binding.address)]


def test_a_retry_makes_a_deferred_inbound_mail_due(store, now):
    recipient_id = inbound(store, now, due_at=now + timedelta(hours=1), handler_failures=2)
    do(store, Operation.RETRY, now + LATER, recipient_id)
    found = row(store, recipient_id)
    assert (found.state, found.due_at, found.handler_failures) == ("received", now + LATER, 2)


@pytest.mark.parametrize(("operation", "after"), [(Operation.PARK, "parked"), (Operation.CANCEL, "cancelled")])
def test_a_queued_mail_is_parked_or_cancelled_with_the_reason_on_record(store, now, binding, operation, after):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    recipient_id = outbound(store, mail_id).id
    do(store, operation, now + LATER, recipient_id, reason="works on site")
    found = row(store, recipient_id)
    assert (found.state, found.finished_at) == (after, now + LATER)
    assert audited(store, f"mail:{mail_id}") == [(EVENTS[operation], "os:op", f"{binding.address} works on site")]


def test_a_released_message_goes_to_the_end_of_its_lane_with_a_new_life(store, now, binding):
    first = stuck_messages.put(store, binding, "SAD4031", now)
    second = stuck_messages.put(store, binding, "SAD4031", now)
    recipient_id = outbound(store, first).id
    do(store, Operation.PARK, now, recipient_id)
    (done,) = do(store, Operation.RELEASE, now + LATER, recipient_id)
    assert (done.refusal, done.after) == (None, "queued")
    found = row(store, recipient_id)
    assert (found.state, found.finished_at) == ("queued", None)
    assert found.due_at == found.waiting_since == now + LATER
    assert stuck_messages.in_lane(store, LANE) == [second, first]


def test_what_is_released_together_keeps_its_order(store, now, binding):
    mails = [stuck_messages.put(store, binding, "SAD4031", now) for _ in range(3)]
    ids = [outbound(store, mail_id).id for mail_id in mails]
    do(store, Operation.PARK, now, *ids)
    do(store, Operation.RELEASE, now, *reversed(ids))
    assert stuck_messages.in_lane(store, LANE) == mails


def test_a_released_inbound_mail_is_handled_anew(store, now):
    recipient_id = inbound(store, now, state=State.PARKED, finished_at=now, handler_failures=3)
    do(store, Operation.RELEASE, now + LATER, recipient_id)
    found = row(store, recipient_id)
    assert (found.state, found.handler_failures, found.finished_at, found.due_at) == ("received", 0, None, now + LATER)


def test_a_request_that_was_parked_too_long_is_not_handled_any_more(store, now):
    recipient_id = inbound(store, now, listener="naccs", state=State.PARKED)
    (refused,) = do(store, Operation.RELEASE, now + LIFE, recipient_id, force=True)
    assert refused.refusal is Reason.LIFE_OVER
    (done,) = do(store, Operation.RELEASE, now + LIFE - timedelta(seconds=1), recipient_id)
    assert done.refusal is None


def test_a_hand_over_that_was_never_begun_is_released_and_keeps_its_life(store, now, binding):
    mail_id = mail_of(store, request(store, binding, now))
    recipient_id = set_outbound(store, mail_id, state=State.PARKED, finished_at=now)
    (done,) = do(store, Operation.RELEASE, now + timedelta(seconds=60), recipient_id)
    assert done.refusal is None
    found = row(store, recipient_id)
    assert (found.state, found.waiting_since, found.lane_sequence) == ("queued", now, 2)


@pytest.mark.parametrize(
    ("asked", "after", "reason"),
    [
        ({"claimed_at": "now"}, 10, Reason.CLAIMED),
        ({"claimed_at": "now", "in_doubt": True}, 10, Reason.CLAIMED),
        ({"in_doubt": True}, 10, Reason.CLAIMED),
        ({"claimed_at": "now", "answered_at": "now"}, 10, Reason.ANSWERED),
        ({"answered_at": "now"}, 10, Reason.ANSWERED),
        ({}, 120, Reason.LIFE_OVER),
    ],
)
def test_a_hand_over_that_may_be_executed_twice_or_too_late_stays_parked_whatever_is_asked(
    store, now, binding, asked, after, reason
):
    values = {name: now if value == "now" else value for name, value in asked.items()}
    mail_id = mail_of(store, request(store, binding, now, **values))
    recipient_id = set_outbound(store, mail_id, state=State.PARKED)
    (refused,) = do(store, Operation.RELEASE, now + timedelta(seconds=after), recipient_id, force=True)
    assert refused.refusal is reason
    assert row(store, recipient_id).state == "parked"
    assert audited(store, f"mail:{mail_id}") == []


def test_a_hand_over_without_its_request_stays_parked(store, now, binding):
    mail_id = mail_of(store, request(store, binding, now))
    recipient_id = set_outbound(store, mail_id, state=State.PARKED, request_id=None)
    assert do(store, Operation.RELEASE, now, recipient_id)[0].refusal is Reason.NO_REQUEST


def test_a_hand_over_is_never_resent(store, now, binding):
    mail_id = mail_of(store, request(store, binding, now, claimed_at=now))
    recipient_id = set_outbound(store, mail_id, state=State.DELIVERED)
    assert do(store, Operation.RESEND, now, recipient_id, force=True)[0].refusal is Reason.NOT_FOR_A_TERMINAL


def test_what_a_terminal_took_while_it_was_parked_is_released_by_force_only(store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    recipient_id = set_outbound(store, mail_id, state=State.PARKED)
    tried(store, recipient_id, now, "timed out", outcome="in_doubt")
    tried(store, recipient_id, now, "250 2.0.0 taken", outcome="in_doubt")
    (refused,) = do(store, Operation.RELEASE, now, recipient_id)
    assert (refused.refusal, refused.detail) == (Reason.ACCEPTED, "250 2.0.0 taken")
    (done,) = do(store, Operation.RELEASE, now, recipient_id, force=True)
    assert done.refusal is None
    assert audited(store, f"mail:{mail_id}") == [("mail-released", "os:op", f"{binding.address} by force")]


@pytest.mark.parametrize("operation", [Operation.PARK, Operation.CANCEL])
def test_the_head_of_a_lane_that_is_worked_may_be_under_way_and_is_taken_out_in_doubt(store, now, binding, operation):
    mails = [stuck_messages.put(store, binding, "SAD4031", now) for _ in range(2)]
    first, second = (outbound(store, mail_id).id for mail_id in mails)
    lane_is(store, state="sending")
    do(store, operation, now, second, first)
    assert (row(store, first).in_doubt, row(store, second).in_doubt) == (1, 0)
    if operation is Operation.PARK:
        (refused,) = do(store, Operation.RELEASE, now, first)
        assert (refused.refusal, refused.detail) == (Reason.ACCEPTED, UNDER_WAY)
        (free,) = do(store, Operation.RELEASE, now, second)
        assert free.refusal is None


def test_the_head_of_a_lane_that_is_down_is_surely_not_under_way(store, now, binding):
    first = outbound(store, stuck_messages.put(store, binding, "SAD4031", now)).id
    lane_is(store, state="sending", down_since=now)
    do(store, Operation.PARK, now, first)
    assert row(store, first).in_doubt == 0


def test_an_undelivered_message_is_queued_again(store, now, binding):
    mail_id = stuck_messages.give_up(store, binding, "SAD4031", now)
    (done,) = do(store, Operation.RESEND, now + LATER, outbound(store, mail_id).id)
    assert (done.before, done.after) == ("undelivered", "queued")
    found = outbound(store, mail_id)
    assert (found.state, found.waiting_since, found.lane_sequence, found.finished_at) == (
        "queued",
        now + LATER,
        2,
        None,
    )


def test_a_delivered_message_gets_another_recipient_with_the_same_bytes(store, now, binding):
    asked = request(store, binding, now)
    mail_id = result(store, binding, now, asked)
    first = set_outbound(
        store, mail_id, state=State.DELIVERED, header=b"Message-ID: <1@c>\r\n\r\n", body_offset=8, output_code="*SOTA"
    )
    do(store, Operation.RESEND, now + LATER, first)
    again = outbound(store, mail_id)
    assert again.id != first
    assert (again.state, again.created_at, again.attempts) == ("queued", now + LATER, 0)
    same = ("mail_id", "rcpt_to", "sender", "header", "body_offset", "address_id", "output_code", "request_id", "lane")
    before = row(store, first)
    assert {name: getattr(again, name) for name in same} == {name: getattr(before, name) for name in same}
    assert before.state == "delivered"
    assert audited(store, f"mail:{mail_id}") == [("mail-resent", "os:op", binding.address)]


@only_sqlite
def test_an_operation_leaves_every_other_state_alone(store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    for operation in Operation:
        for state in State:
            recipient_id = set_outbound(store, mail_id, state=state)
            if (Direction.OUTBOUND, state) not in MOVES[operation]:
                (refused,) = do(store, operation, now, recipient_id)
                assert (refused.refusal, refused.detail) == (Reason.WRONG_STATE, state)
                assert row(store, recipient_id).state == state
    assert audited(store, f"mail:{mail_id}") == []


def test_what_changed_between_look_and_update_is_told_and_left(store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    recipient_id = outbound(store, mail_id).id

    def work(session):
        seen = session.get_one(Recipient, recipient_id)  # as long as it is held, the session goes on seeing it queued
        assert seen.state == State.QUEUED
        session.connection().exec_driver_sql(f"UPDATE recipients SET state = 'delivered' WHERE id = {recipient_id}")
        return carry_out(session, order(Operation.CANCEL, now), [recipient_id])

    (told,) = store.run(work)
    assert told.refusal is Reason.CHANGED
    assert row(store, recipient_id).state == "delivered"
    assert audited(store, f"mail:{mail_id}") == []


@only_sqlite
def test_a_unit_of_work_takes_no_more_than_it_may(store, now):
    with pytest.raises(ValueError, match="up to 200"):
        do(store, Operation.PARK, now, *range(MOST_AT_ONCE + 1))


# --- which recipients are meant --------------------------------------------------------------------------------------


def meant(store, operation, now, mail_ids, *, by_id=True, delivered_too=False):
    def work(session):
        wanted = search(session, MailFilter(mail_ids=tuple(mail_ids)))
        found = [mail.id for mail in page(session, wanted, None, 100).mails]
        given = order(operation, now)
        return candidates(session, given, wanted, found, by_id=by_id, delivered_too=delivered_too)

    return [one.judged for one in store.read(work)]


def test_of_a_request_named_by_its_mail_the_hand_over_is_meant(store, now, binding):
    mail_id = mail_of(store, request(store, binding, now))
    (one,) = meant(store, Operation.PARK, now, [mail_id])
    assert (one.lane, one.refusal) == ("backend", None)


def test_of_a_mail_named_by_its_id_it_is_told_that_nothing_applies(store, now, binding):
    mail_id = stuck_messages.give_up(store, binding, "SAD4031", now)
    (one,) = meant(store, Operation.RELEASE, now, [mail_id])
    assert (one.refusal, one.detail) == (Reason.WRONG_STATE, "undelivered")
    assert meant(store, Operation.RELEASE, now, [mail_id], by_id=False) == []


def test_a_resend_means_what_was_not_delivered_and_the_rest_only_when_asked(store, now, binding):
    stuck = stuck_messages.give_up(store, binding, "SAD4031", now)
    there = stuck_messages.put(store, binding, "SAD4031", now)
    set_outbound(store, there, state=State.DELIVERED)
    assert [one.mail_id for one in meant(store, Operation.RESEND, now, [stuck, there])] == [stuck, there]
    by_filter = meant(store, Operation.RESEND, now, [stuck, there], by_id=False)
    assert [one.mail_id for one in by_filter] == [stuck]
    asked = meant(store, Operation.RESEND, now, [stuck, there], by_id=False, delivered_too=True)
    assert [one.mail_id for one in asked] == [stuck, there]


def test_a_message_that_is_on_its_way_again_is_not_resent_beside_itself(store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    first = set_outbound(store, mail_id, state=State.DELIVERED)
    do(store, Operation.RESEND, now, first)
    (one,) = meant(store, Operation.RESEND, now, [mail_id])
    assert (one.refusal, one.detail) == (Reason.WRONG_STATE, "queued")


def test_resent_and_delivered_again_a_message_is_meant_once(store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    do(store, Operation.RESEND, now, set_outbound(store, mail_id, state=State.DELIVERED))
    second = set_outbound(store, mail_id, state=State.DELIVERED)
    assert [one.recipient_id for one in meant(store, Operation.RESEND, now, [mail_id])] == [second]
    query = select(Recipient.id).where(Recipient.mail_id == mail_id)
    assert len(store.read(lambda session: session.scalars(query).all())) == 2
