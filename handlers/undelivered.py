"""Messages that did not reach their terminal: counted, listed, and queued again, per mail-address row.

Stuck is what was given up (`undelivered`) and what waits in a lane that is down or paused. Only what was given up is
ever queued again, by one conditional update behind the lane's end, in the order it had; a row of another owner with
the same address is never touched. Nothing is deleted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Subquery,
    and_,
    case,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from handlers.calendar import jst_date
from storage.batch import take_sequences
from storage.mail_queue import content_of
from storage.models import AuditEvent, Lane, LanePause, LogicalTerminal, Mail, MailAddress, Recipient
from storage.states import State
from storage.store import new_key, note

NO_CODE = "NOCODE"
"""Stands for the output information code of messages that have none: EDIFACT and XML."""

FETCHED = "undelivered-fetched"
_TERMINAL_LANE = "terminal:"


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckKind:
    """An output information code without its filling, and how many messages of it are stuck.

    `waiting` of them are still queued, in a lane that is down or paused.
    """

    output_code: str
    count: int
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckMessage:
    """One message that is stuck: since when and why. `bound`: its binding applies today, so it can be queued again."""

    recipient_id: int
    mail_id: int
    address: str
    output_code: str
    state: State
    since: datetime
    size: int
    reason: str
    bound: bool


def counts(session: Session, address_ids: Collection[int], *, since: datetime | None) -> list[StuckKind]:
    """What is stuck of these address rows, by kind, the kind of the oldest message first.

    Of what was given up before `since` nothing is counted; None counts all.
    """
    stuck = _stuck(address_ids, _stuck_lanes(session, address_ids), since)
    waiting = func.sum(case((stuck.c.state == State.QUEUED, 1), else_=0))
    rows = session.execute(
        select(stuck.c.kind, func.count().label("number"), waiting.label("waiting"))
        .group_by(stuck.c.kind)
        .order_by(func.min(stuck.c.lane_sequence), stuck.c.kind)
    )
    return [StuckKind(output_code=row.kind, count=row.number, waiting=row.waiting) for row in rows]


def messages(
    session: Session, address_ids: Collection[int], *, now: datetime, since: datetime | None, limit: int | None = None
) -> list[StuckMessage]:
    """The messages behind `counts`, in the order of their lane."""
    lanes = _stuck_lanes(session, address_ids)
    bound = set(_bound(session, address_ids, jst_date(now)))
    stuck = _stuck(address_ids, lanes, since)
    rows = session.execute(
        select(stuck, Mail.size)
        .join(Mail, Mail.id == stuck.c.mail_id)
        .order_by(stuck.c.lane, stuck.c.lane_sequence)
        .limit(limit)
    )
    return [
        StuckMessage(
            recipient_id=row.id,
            mail_id=row.mail_id,
            address=row.rcpt_to,
            output_code=row.kind,
            state=State(row.state),
            since=row.since,
            size=row.size,
            reason=row.last_reply if row.state == State.UNDELIVERED else lanes[row.lane] or row.last_reply,
            bound=row.address_id in bound,
        )
        for row in rows
    ]


def rows_of_terminal(session: Session, terminal: str, address: str | None = None) -> list[int]:
    """The mail-address rows of a logical terminal, ended ones too; with an address, those of that address."""
    query = select(MailAddress.id).join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
    query = query.where(LogicalTerminal.name == terminal)
    if address is not None:
        query = query.where(MailAddress.address_key == address.lower())
    return list(session.scalars(query.order_by(MailAddress.id)))


def wire_bytes(session: Session, recipient_id: int) -> bytes:
    """What goes over the wire for a message, passwords blanked."""
    row = session.get_one(Recipient, recipient_id)
    content = content_of(session, row.mail_id)
    return content if row.header is None else row.header + content[row.body_offset :]


def fetchable(
    session: Session,
    address_ids: Collection[int],
    output_code: str | None,
    *,
    now: datetime,
    since: datetime | None = None,
) -> int:
    """How many messages `requeue` would move now."""
    wanted = _given_up(Recipient, _bound(session, address_ids, jst_date(now)), output_code, since)
    return session.scalar(select(func.count()).select_from(Recipient).where(wanted)) or 0


def requeue(
    session: Session,
    address_ids: Collection[int],
    output_code: str | None,
    *,
    actor: str,
    now: datetime,
    since: datetime | None = None,
    detail: str = "",
) -> list[int]:
    """Queue again what was given up of one kind (None: of every kind); the mails' ids in their new order.

    Each message is moved by one of several callers at once. What waits or is in flight stays as it is. So does a
    message whose binding does not apply today: it could only be given up again.
    """
    bound = _bound(session, address_ids, jst_date(now))
    moved = _queue_again(session, bound, output_code, since, now)
    if not moved:
        return []
    told = {"occurred_at": now, "actor": actor, "event": FETCHED}
    session.execute(
        insert(AuditEvent),
        [
            told | {"id": new_key(session), "subject": f"mail:{mail_id}", "detail": f"{address} {detail}".rstrip()}
            for mail_id, address in moved
        ],
    )
    note(session, "foreign", None)  # the lanes of this process look into the store again
    return [mail_id for mail_id, _ in moved]


def _queue_again(
    session: Session, address_ids: Collection[int], output_code: str | None, since: datetime | None, now: datetime
) -> list[tuple[int, str]]:
    """(mail id, address) of what was moved, in its new order."""
    lanes = session.scalars(
        select(Recipient.lane).where(_given_up(Recipient, address_ids, output_code, since)).distinct()
    )
    taken: Counter[str] = Counter({lane: 0 for lane in lanes if lane is not None})
    if not taken:
        return []
    # From here on nobody else takes a place in these lanes; how many are needed is decided by the update alone.
    take_sequences(session.connection(), taken)
    stuck = aliased(Recipient)
    place = func.row_number().over(partition_by=stuck.lane, order_by=stuck.lane_sequence)
    moving = (
        select(stuck.id, (Lane.last_sequence + place).label("place"))
        .join(Lane, Lane.lane == stuck.lane)
        .where(_given_up(stuck, address_ids, output_code, since), stuck.lane.in_(taken))
        .subquery()
    )
    found = session.execute(
        update(Recipient)
        .where(Recipient.id == moving.c.id, _is(Recipient.state, State.UNDELIVERED))
        .values(state=State.QUEUED, lane_sequence=moving.c.place, waiting_since=now, due_at=now, finished_at=null())
        .returning(Recipient.mail_id, Recipient.lane, Recipient.lane_sequence, Recipient.rcpt_to)
        .execution_options(synchronize_session=False)
    )
    moved = sorted(found, key=lambda row: (row.lane, row.lane_sequence))
    taken.update(row.lane for row in moved)
    take_sequences(session.connection(), taken)
    return [(row.mail_id, row.rcpt_to) for row in moved]


def _is(column: InstrumentedAttribute[str], state: State) -> ColumnElement[bool]:
    # Written out in the statement: only then do both databases use the partial index of that state.
    return column == literal(state.value, literal_execute=True)


def _kind(row: type[Recipient]) -> ColumnElement[str]:
    code = func.rtrim(row.output_code)
    return case((code == "", NO_CODE), else_=code)


def _given_up(
    row: type[Recipient], address_ids: Collection[int], output_code: str | None, since: datetime | None
) -> ColumnElement[bool]:
    return and_(
        _is(row.state, State.UNDELIVERED),
        row.address_id.in_(address_ids),
        true() if output_code is None else _kind(row) == output_code,
        true() if since is None else row.finished_at >= since,
    )


def _stuck(address_ids: Collection[int], lanes: Collection[str], since: datetime | None) -> Subquery:
    """Everything stuck as rows: given up, or queued in one of these lanes, which are down or paused."""

    def rows(began: InstrumentedAttribute[Any], which: ColumnElement[bool]) -> Any:
        columns = ("id", "mail_id", "address_id", "rcpt_to", "state", "lane", "lane_sequence", "last_reply")
        read = [getattr(Recipient, name) for name in columns]
        return select(*read, _kind(Recipient).label("kind"), began.label("since")).where(which)

    waits = and_(_is(Recipient.state, State.QUEUED), Recipient.lane.in_(lanes), Recipient.address_id.in_(address_ids))
    given_up = _given_up(Recipient, address_ids, None, since)
    return union_all(rows(Recipient.finished_at, given_up), rows(Recipient.waiting_since, waits)).subquery()


def _stuck_lanes(session: Session, address_ids: Collection[int]) -> dict[str, str]:
    """The terminals' lanes of these rows that are down or paused, each with the reason."""
    names = session.scalars(
        select(LogicalTerminal.name)
        .join(MailAddress, MailAddress.terminal_id == LogicalTerminal.id)
        .where(MailAddress.id.in_(address_ids))
        .distinct()
    )
    rows = session.execute(
        select(Lane.lane, Lane.last_failure, LanePause.actor, LanePause.reason)
        .outerjoin(LanePause, and_(LanePause.lane == Lane.lane, LanePause.resumed_at.is_(None)))
        .where(
            Lane.lane.in_([f"{_TERMINAL_LANE}{name}" for name in names]),
            or_(Lane.down_since.is_not(None), LanePause.id.is_not(None)),
        )
    )
    return {
        row.lane: row.last_failure if row.actor is None else f"paused by {row.actor} {row.reason}".rstrip()
        for row in rows
    }


def _bound(session: Session, address_ids: Collection[int], today: date) -> list[int]:
    """Those of the address rows that lead to their terminal on that JST day."""
    query = select(MailAddress.id).join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
    for row in (MailAddress, LogicalTerminal):
        query = query.where(
            row.effective_from <= today, or_(row.effective_until.is_(None), row.effective_until > today)
        )
    return list(session.scalars(query.where(MailAddress.id.in_(address_ids))))
