"""What each recipient of a mail waits for or how it ended, every try of it, and when it is tried next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from handlers.calendar import jst_date
from handlers.lane_operations import BACKEND_LANE, LaneState, lane_states
from handlers.lane_pauses import WorkOnLine
from handlers.mail_search import in_state
from storage.models import Attempt, LogicalTerminal, MailAddress, Recipient, Request
from storage.states import Direction, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """An attempt that was no plain success, in the peer's own words."""

    at: datetime
    outcome: str
    stage: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientState:
    """A recipient, every try, and what comes next.

    `why` is its state, or what a queued or received one waits for: paused, work, down, unbound, address_busy, behind,
    deferred or nothing (next). `ahead`: how many stand before it. `next_try_at`: None when it waits for no time.
    `work`: the work on the line of its terminal that pauses its lane, as long as it is queued.
    """

    recipient_id: int
    direction: str
    rcpt_to: str
    state: str
    since: datetime
    destination: str | None
    map_version: int | None
    output_code: str
    request_id: int | None
    due_at: datetime
    waiting_since: datetime
    attempts: int
    in_doubt: int
    last_reply: str
    why: str
    ahead: int
    next_try_at: datetime | None
    work: WorkOnLine | None
    tries: tuple[Try, ...]


def recipient_states(session: Session, rows: Sequence[Recipient], now: datetime) -> tuple[RecipientState, ...]:
    """The recipients in the order given, each with its tries and what it waits for."""
    tries: dict[int, list[Try]] = {}
    query = select(Attempt).where(Attempt.recipient_id.in_([row.id for row in rows])).order_by(Attempt.id)
    for attempt in session.scalars(query):
        found = Try(at=attempt.attempted_at, outcome=attempt.outcome, stage=attempt.stage, reply=attempt.reply)
        tries.setdefault(attempt.recipient_id, []).append(found)
    waiting = {row.lane for row in rows if row.state == State.QUEUED and row.lane is not None}
    lanes = {lane.lane: lane for lane in lane_states(session, now, waiting)} if waiting else {}
    return tuple(_recipient(session, row, tries.get(row.id, ()), lanes, now) for row in rows)


def _recipient(
    session: Session, row: Recipient, tries: Iterable[Try], lanes: Mapping[str, LaneState], now: datetime
) -> RecipientState:
    why, ahead, next_try_at = _prospect(session, row, lanes, now)
    lane = lanes.get(row.lane or "") if row.state == State.QUEUED else None
    return RecipientState(
        recipient_id=row.id,
        direction=row.direction,
        rcpt_to=row.rcpt_to,
        state=row.state,
        since=row.finished_at or row.created_at,
        destination=row.lane,
        map_version=row.map_version,
        output_code=row.output_code.rstrip(),
        request_id=row.request_id,
        due_at=row.due_at,
        waiting_since=row.waiting_since,
        attempts=row.attempts,
        in_doubt=row.in_doubt,
        last_reply=row.last_reply,
        why=why,
        ahead=ahead,
        next_try_at=next_try_at,
        work=None if lane is None else lane.work,
        tries=tuple(tries),
    )


_Prospect = tuple[str, int, datetime | None]


def _prospect(session: Session, row: Recipient, lanes: Mapping[str, LaneState], now: datetime) -> _Prospect:
    """What the recipient waits for, how many stand before it, and when it is tried next."""
    if row.state == State.RECEIVED:
        return _prospect_of_work(session, row, now)
    if row.state != State.QUEUED or row.lane is None:
        return row.state, 0, None
    lane = lanes[row.lane]
    before = (in_state(State.QUEUED), Recipient.lane == row.lane, Recipient.lane_sequence < row.lane_sequence)
    ahead = session.scalar(select(func.count()).select_from(Recipient).where(*before)) or 0
    if lane.paused is not None:
        return _prospect_of_pause(lane, ahead)
    if row.lane.startswith("terminal:") and not _is_bound(session, row, now):
        return "unbound", ahead, None
    if lane.down_since is not None:
        return "down", ahead, lane.next_try_at
    if row.lane == BACKEND_LANE and (busy_until := _busy_until(session, row, now)) is not None:
        return "address_busy", ahead, busy_until
    if row.due_at > now:
        return "deferred", ahead, row.due_at
    return ("behind" if ahead and row.lane.startswith("terminal:") else "next"), ahead, None


def _prospect_of_pause(lane: LaneState, ahead: int) -> _Prospect:
    if lane.work is not None and lane.is_paused_by_work_alone:
        return "work", ahead, lane.work.ends_at
    return "paused", ahead, None


def _prospect_of_work(session: Session, row: Recipient, now: datetime) -> _Prospect:
    before = (in_state(State.RECEIVED), Recipient.order_key == row.order_key, Recipient.id < row.id)
    ahead = session.scalar(select(func.count()).select_from(Recipient).where(*before)) or 0
    if row.due_at > now:
        return "deferred", ahead, row.due_at
    return ("behind" if ahead and row.order_key else "next"), ahead, None


def _is_bound(session: Session, row: Recipient, now: datetime) -> bool:
    """Whether the address row leads to the terminal of this lane today."""
    today = jst_date(now)
    query = select(LogicalTerminal.name).join(MailAddress, MailAddress.terminal_id == LogicalTerminal.id)
    query = query.where(MailAddress.id == row.address_id, LogicalTerminal.ip_address.is_not(None))
    for dated in (MailAddress, LogicalTerminal):
        ends = or_(dated.effective_until.is_(None), dated.effective_until > today)
        query = query.where(dated.effective_from <= today, ends)
    return session.scalar(query) == str(row.lane).removeprefix("terminal:")


def _busy_until(session: Session, row: Recipient, now: datetime) -> datetime | None:
    """Until when another request of the same address is waited for."""
    request = session.get(Request, row.request_id) if row.request_id is not None else None
    if request is None or request.outstanding_until is None:
        return None
    other = (Request.address_id == request.address_id, Request.id != request.id, *outstanding(now))
    return session.scalar(select(func.max(Request.outstanding_until)).where(*other))


def outstanding(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """The conditions of a request whose result is awaited."""
    return (Request.claimed_at.is_not(None), Request.answered_at.is_(None), Request.outstanding_until > now)


def deliveries(session: Session, mail_ids: Iterable[int]) -> dict[int, list[Recipient]]:
    """The outbound recipients of each mail, the oldest first."""
    found: dict[int, list[Recipient]] = {}
    query = select(Recipient).where(Recipient.mail_id.in_(list(mail_ids)), Recipient.direction == Direction.OUTBOUND)
    for row in session.scalars(query.order_by(Recipient.id)):
        found.setdefault(row.mail_id, []).append(row)
    return found
