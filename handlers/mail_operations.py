"""What an operator does to mails: retry, park, release, resend, cancel; each recipient along the queue's transitions.

The service may be changing the same rows: every change is one conditional update, and what was not found as expected is
told and left alone. No request is handed over twice by it: a hand-over that may have arrived, was answered or has
outlived its life is refused, whatever is asked. Each change leaves an audit event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from handlers.lane_operations import BACKEND_LANE, flush_unrecorded
from storage.batch import change_statement, insert_statement, take_sequences
from storage.columns import to_micros
from storage.effects import QUEUED_RECIPIENT, ChangeKind, Enqueue, type_bigint, type_text
from storage.mail_queue import recipient_again
from storage.models import Attempt, AuditEvent, Lane, Mail, Recipient, Request
from storage.states import Direction, State
from storage.store import new_key, note

MOST_AT_ONCE = 200  # recipients of one unit of work
UNDER_WAY = "it may have been under way when an operator took it out of its lane"


class Operation(StrEnum):
    """What can be done to a mail."""

    RETRY = "retry"  # try now what waits for later
    PARK = "park"  # set aside
    RELEASE = "release"  # what is parked, again
    RESEND = "resend"  # what a terminal did not get, or shall get once more
    CANCEL = "cancel"  # never send


# Before and after, by direction. What a terminal has got is not moved: it gets a recipient more.
MOVES: dict[Operation, dict[tuple[Direction, State], State]] = {
    Operation.RETRY: {
        (Direction.OUTBOUND, State.QUEUED): State.QUEUED,
        (Direction.INBOUND, State.RECEIVED): State.RECEIVED,
    },
    Operation.PARK: {(Direction.OUTBOUND, State.QUEUED): State.PARKED},
    Operation.RELEASE: {
        (Direction.OUTBOUND, State.PARKED): State.QUEUED,
        (Direction.INBOUND, State.PARKED): State.RECEIVED,
    },
    Operation.RESEND: {
        (Direction.OUTBOUND, State.UNDELIVERED): State.QUEUED,
        (Direction.OUTBOUND, State.DELIVERED): State.DELIVERED,
    },
    Operation.CANCEL: {(Direction.OUTBOUND, State.QUEUED): State.CANCELLED},
}

EVENTS = {
    Operation.RETRY: "mail-retried",
    Operation.PARK: "mail-parked",
    Operation.RELEASE: "mail-released",
    Operation.RESEND: "mail-resent",
    Operation.CANCEL: "mail-cancelled",
}


class Reason(StrEnum):
    """Why a recipient is left as it is."""

    WRONG_STATE = "wrong_state"  # detail: the state
    NOT_FOUND = "not_found"  # detail: the mail id
    CLAIMED = "claimed"  # the request may have reached the backend
    ANSWERED = "answered"  # the request has its answer
    LIFE_OVER = "life_over"  # the request is older than a request may become
    NO_REQUEST = "no_request"  # a hand-over whose request is not in the store
    ACCEPTED = "accepted"  # the peer said 250 to it, or may have; detail: its words. It yields to force
    NOT_FOR_A_TERMINAL = "not_for_a_terminal"  # only messages towards terminals are resent
    CHANGED = "changed"  # it was changed in the meantime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One recipient: what would be or was done, or why not."""

    mail_id: int
    recipient_id: int
    direction: str
    rcpt_to: str
    lane: str | None
    before: str
    after: str
    refusal: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done, by whom, and the limits it is judged by."""

    operation: Operation
    actor: str
    now: datetime
    request_life: timedelta
    reason: str = ""
    force: bool = False

    def target(self, row: Recipient) -> State | None:
        """The state a recipient would be in; None when the operation does not apply to it as it is."""
        return MOVES[self.operation].get((Direction(row.direction), State(row.state)))


# The last word on a hand-over: nobody may have claimed, answered or outlived its request in the meantime.
_QUEUED_AGAIN = ChangeKind(
    "recipients",
    (
        ("id", type_bigint),
        ("state", type_text),
        ("lane_sequence", type_bigint),
        ("now", type_bigint),
        ("received_after", type_bigint),
    ),
    "state = 'queued', lane_sequence = v.lane_sequence, due_at = v.now, finished_at = NULL, "
    "waiting_since = CASE WHEN recipients.lane = 'backend' THEN recipients.waiting_since ELSE v.now END",
    """recipients.id = v.id AND recipients.state = v.state AND (recipients.lane <> 'backend'
        OR EXISTS (SELECT 1 FROM requests AS r WHERE r.id = recipients.request_id AND r.claimed_at IS NULL
        AND r.answered_at IS NULL AND NOT r.in_doubt AND r.received_at > v.received_after))""",
    "recipients.id",
)


def judge(session: Session, order: Order, recipients: Sequence[Recipient]) -> list[Judged]:
    """What the order would do to each of the recipients as they stand."""
    requests, accepted, listeners = _facts(session, recipients)
    return [_judged(order, row, requests, accepted, listeners) for row in recipients]


def carry_out(session: Session, order: Order, recipient_ids: Sequence[int]) -> list[Judged]:
    """Do it, to at most MOST_AT_ONCE recipients; what was refused, or had changed by then, is left as it is."""
    if len(recipient_ids) > MOST_AT_ONCE:
        raise ValueError(f"a unit of work takes up to {MOST_AT_ONCE} recipients")
    query = select(Recipient).where(Recipient.id.in_(recipient_ids)).order_by(Recipient.lane_sequence, Recipient.id)
    rows = {row.id: row for row in session.scalars(query)}
    judged = judge(session, order, list(rows.values()))
    chosen = [rows[one.recipient_id] for one in judged if one.refusal is None]
    moved = _move(session, order, chosen) if chosen else set()
    told = [
        replace(one, refusal=Reason.CHANGED) if one.refusal is None and one.recipient_id not in moved else one
        for one in judged
    ]
    _record(session, order, [one for one in told if one.refusal is None])
    return told


_Requests = dict[int, Request]


def _facts(session: Session, recipients: Sequence[Recipient]) -> tuple[_Requests, dict[int, str], dict[int, str]]:
    """The requests handed on, what peers said to mails they took, and the listeners mails came by."""
    handed_on = [row.request_id for row in recipients if row.lane == BACKEND_LANE and row.request_id is not None]
    requests = {row.id: row for row in session.scalars(select(Request).where(Request.id.in_(handed_on)))}
    parked = [row.id for row in recipients if row.state == State.PARKED]
    taken = select(Attempt.recipient_id, Attempt.reply).where(
        Attempt.recipient_id.in_(parked),
        Attempt.outcome == "in_doubt",
        or_(Attempt.reply.like("250%"), Attempt.reply == UNDER_WAY),
    )
    accepted = {row.recipient_id: row.reply for row in session.execute(taken)}
    inbound = [row.mail_id for row in recipients if row.direction == Direction.INBOUND]
    came_by = select(Mail.id, Mail.listener).where(Mail.id.in_(inbound))
    listeners = {row.id: row.listener for row in session.execute(came_by)}
    return requests, accepted, listeners


def _judged(
    order: Order, row: Recipient, requests: _Requests, accepted: dict[int, str], listeners: dict[int, str]
) -> Judged:
    after = order.target(row)
    found = Judged(
        mail_id=row.mail_id,
        recipient_id=row.id,
        direction=row.direction,
        rcpt_to=row.rcpt_to,
        lane=row.lane,
        before=row.state,
        after=row.state if after is None else after,
    )
    if after is None:
        return replace(found, refusal=Reason.WRONG_STATE, detail=row.state)
    reason: Reason | None = None
    if order.operation is Operation.RELEASE and row.lane == BACKEND_LANE:
        reason = _why_not_handed_over(order, requests.get(row.request_id or 0))
    elif order.operation is Operation.RELEASE and row.direction == Direction.INBOUND:
        is_request = listeners.get(row.mail_id) == "naccs"
        reason = Reason.LIFE_OVER if is_request and row.created_at + order.request_life <= order.now else None
    elif order.operation is Operation.RELEASE and row.id in accepted and not order.force:
        return replace(found, refusal=Reason.ACCEPTED, detail=accepted[row.id])
    elif order.operation is Operation.RESEND and not (row.lane or "").startswith("terminal:"):
        reason = Reason.NOT_FOR_A_TERMINAL
    return found if reason is None else replace(found, refusal=reason)


def _why_not_handed_over(order: Order, request: Request | None) -> Reason | None:
    if request is None:
        return Reason.NO_REQUEST
    if request.answered_at is not None:
        return Reason.ANSWERED
    if request.claimed_at is not None or request.in_doubt:
        return Reason.CLAIMED
    return Reason.LIFE_OVER if request.received_at + order.request_life <= order.now else None


def _move(session: Session, order: Order, rows: list[Recipient]) -> set[int]:
    """Change the rows; those that were still as they had been read."""
    note(session, "foreign", None)  # lanes and worker of this process look into the store again
    inbound = [row for row in rows if row.direction == Direction.INBOUND]
    outbound = [row for row in rows if row.direction == Direction.OUTBOUND]
    if order.operation is Operation.RESEND:
        again = [row for row in outbound if row.state == State.UNDELIVERED]
        once_more = [row for row in outbound if row.state == State.DELIVERED]
        return _queue_again(session, order, again) | _queue_once_more(session, order, once_more)
    if order.operation is Operation.RELEASE:
        started_anew = {"state": State.RECEIVED, "due_at": order.now, "finished_at": None, "handler_failures": 0}
        return _queue_again(session, order, outbound) | _set(session, inbound, started_anew)
    if order.operation is Operation.RETRY:
        flush_unrecorded(session, (row.lane for row in outbound if row.lane is not None), order.now)
        return _set(session, rows, {"due_at": order.now})
    (after,) = MOVES[order.operation].values()
    under_way = _maybe_under_way(session, outbound)
    taken = _set(session, outbound, {"state": after, "finished_at": order.now})
    _doubt(session, order, under_way & taken)
    return taken


def _maybe_under_way(session: Session, rows: list[Recipient]) -> set[int]:
    """Those that a terminal's server may be taking at this moment: heads of lanes that are worked and up."""
    lanes = sorted({str(row.lane) for row in rows if str(row.lane).startswith("terminal:")})
    first = (
        select(Recipient.lane, func.min(Recipient.lane_sequence).label("sequence"))
        .where(Recipient.lane.in_(lanes), Recipient.state == State.QUEUED)
        .group_by(Recipient.lane)
        .subquery()
    )
    heads = (
        select(Recipient.id)
        .join(first, and_(first.c.lane == Recipient.lane, first.c.sequence == Recipient.lane_sequence))
        .join(Lane, Lane.lane == Recipient.lane)
        .where(Lane.state == "sending", Lane.down_since.is_(None))
    )
    return set(session.scalars(heads)) & {row.id for row in rows}


def _doubt(session: Session, order: Order, recipient_ids: set[int]) -> None:
    """The outcome may never be written: a process that is killed first says nothing of what it was sending."""
    session.execute(
        update(Recipient)
        .where(Recipient.id.in_(recipient_ids))
        .values(in_doubt=Recipient.in_doubt + 1)
        .execution_options(synchronize_session=False)
    )
    session.add_all(
        Attempt(
            id=new_key(session),
            recipient_id=recipient_id,
            attempted_at=order.now,
            outcome="in_doubt",
            stage="dot",
            reply=UNDER_WAY,
        )
        for recipient_id in sorted(recipient_ids)
    )


def _set(session: Session, rows: list[Recipient], values: dict[str, Any]) -> set[int]:
    found: set[int] = set()
    for state in sorted({row.state for row in rows}):
        ids = [row.id for row in rows if row.state == state]
        statement = update(Recipient).where(Recipient.id.in_(ids), Recipient.state == state).values(**values)
        changed = session.scalars(statement.returning(Recipient.id).execution_options(synchronize_session=False))
        found.update(changed)
    return found


def _queue_again(session: Session, order: Order, rows: list[Recipient]) -> set[int]:
    """To the end of their lanes, in the order they had. A request's life goes on from its receipt."""
    if not rows:
        return set()
    connection = session.connection()
    upcoming = take_sequences(connection, Counter(str(row.lane) for row in rows))
    received_after = to_micros(order.now - order.request_life)
    values: list[Any] = []
    for row in rows:
        lane = str(row.lane)
        values += (row.id, row.state, upcoming[lane], to_micros(order.now), received_after)
        upcoming[lane] += 1
    statement = change_statement(_QUEUED_AGAIN, len(rows), connection.dialect.name)
    return {row[0] for row in connection.exec_driver_sql(statement, tuple(values))}


def _queue_once_more(session: Session, order: Order, rows: list[Recipient]) -> set[int]:
    """Another recipient of the same mail for each: the same bytes under the same Message-ID."""
    if not rows:
        return set()
    connection = session.connection()
    upcoming = take_sequences(connection, Counter(str(row.lane) for row in rows))
    values: list[Any] = []
    for row in rows:
        lane = str(row.lane)
        recipient = recipient_again(new_key(session), row, lane, to_micros(order.now))
        values += (*recipient.values(), lane, upcoming[lane])
        session.info["queued"].append((Enqueue(lane, recipient), upcoming[lane]))
        upcoming[lane] += 1
    connection.exec_driver_sql(insert_statement(QUEUED_RECIPIENT, len(rows), connection.dialect.name), tuple(values))
    return {row.id for row in rows}


def _record(session: Session, order: Order, moved: list[Judged]) -> None:
    session.add_all(
        AuditEvent(
            id=new_key(session),
            occurred_at=order.now,
            actor=order.actor,
            event=EVENTS[order.operation],
            subject=f"mail:{one.mail_id}",
            detail=" ".join(filter(None, (one.rcpt_to, "by force" if order.force else "", order.reason))),
        )
        for one in moved
    )
