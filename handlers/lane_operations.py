"""What an operator sees of the lanes and does to them: pause, resume, flush, switch the backend, end a wait.

Each verb is part of a unit of work, changes control rows only by a conditional statement, and leaves an audit event.
The processes that hold the lanes notice by themselves. A lane that has carried nothing yet can be paused too. A lane
is paused as long as any pause of it is open: an operator's, or that of work on its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from handlers.lane_pauses import GATEWAY, WorkOnLine, for_work, works_of
from handlers.mail_search import in_state
from storage.batch import take_sequences
from storage.models import AuditEvent, Lane, LanePause, LogicalTerminal, MailAddress, Recipient, Request
from storage.states import State
from storage.store import new_key, note

BACKEND_LANE = "backend"
_TERMINAL = "terminal:"
_SMARTHOST = "smarthost:"
_LONGEST_REASON = 200


class Endpoint(StrEnum):
    """Which of the backend's two addresses an operator wants; automatic is the empty text in the store."""

    PRIMARY = "primary"
    BACKUP = "backup"
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """An open pause: who made it, when and why."""

    actor: str
    paused_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """A destination as its lane stands: what waits, whether it is paused, what its circuit breaker says.

    `paused` is an operator's pause before that of work; `work` is named whenever it is a reason too.
    """

    lane: str
    queued: int
    undelivered: int
    oldest_waiting_since: datetime | None
    paused: Pause | None
    work: WorkOnLine | None
    down_since: datetime | None
    failures: int
    last_failure: str
    next_try_at: datetime | None
    flushed_at: datetime | None
    endpoint: str  # of the backend: primary | backup; empty for any other
    endpoint_since: datetime | None
    wanted_endpoint: str  # of the backend: primary | backup | auto
    drill_until: datetime | None

    @property
    def is_paused_by_work_alone(self) -> bool:
        """Whether the lane goes on when its work ends."""
        return self.paused is not None and self.paused.actor == GATEWAY


def lane_named(session: Session, name: str, *, smarthost_lanes: int) -> str | None:
    """The lane an operator means: a terminal's name, `backend`, `smarthost:0`, or a lane's own name."""
    bare = name.strip()
    if bare == BACKEND_LANE:
        return bare
    if bare.startswith(_SMARTHOST):
        number = bare.removeprefix(_SMARTHOST)
        known = number.isascii() and number.isdigit() and int(number) < smarthost_lanes
        return f"{_SMARTHOST}{int(number)}" if known else None
    terminal = bare.removeprefix(_TERMINAL).upper()
    found = session.scalar(select(LogicalTerminal.id).where(LogicalTerminal.name == terminal))
    return None if found is None else f"{_TERMINAL}{terminal}"


def lane_states(session: Session, now: datetime, lanes: Iterable[str] | None = None) -> list[LaneState]:
    """The lanes named, or every lane that has carried something or is paused, in the order of their names."""
    rows = {row.lane: row for row in session.scalars(select(Lane))}
    open_pauses = select(LanePause).where(LanePause.resumed_at.is_(None))
    # An operator's pause comes last, so that it is the one that is shown.
    in_order = session.scalars(open_pauses.order_by(~for_work(), LanePause.id)).all()
    pauses = {row.lane: row for row in in_order}
    works = works_of(session, in_order)
    names = sorted({*rows, *pauses} if lanes is None else set(lanes))
    only = None if lanes is None else names
    waiting = _waiting(session, State.QUEUED, only), _waiting(session, State.UNDELIVERED, only)
    return [_state(name, rows.get(name), pauses.get(name), works.get(name), waiting, now) for name in names]


_Waiting = Mapping[str, tuple[int, datetime | None]]


def _waiting(session: Session, state: State, lanes: Sequence[str] | None) -> dict[str, tuple[int, datetime | None]]:
    """How many recipients of each lane are in a state, and since when the oldest waits."""
    query = select(Recipient.lane, func.count(), func.min(Recipient.waiting_since)).where(in_state(state))
    if lanes is not None:
        query = query.where(Recipient.lane.in_(lanes))
    return {str(lane): (number, since) for lane, number, since in session.execute(query.group_by(Recipient.lane))}


def _state(
    name: str,
    row: Lane | None,
    pause: LanePause | None,
    work: WorkOnLine | None,
    waiting: tuple[_Waiting, _Waiting],
    now: datetime,
) -> LaneState:
    queued, undelivered = (found.get(name, (0, None)) for found in waiting)
    over = row is not None and row.drill_until is not None and row.drill_until <= now
    known = Lane(lane=name, failures=0, last_failure="", endpoint="primary", wanted_endpoint="") if row is None else row
    of_backend = name == BACKEND_LANE
    return LaneState(
        lane=name,
        queued=queued[0],
        undelivered=undelivered[0],
        oldest_waiting_since=queued[1],
        paused=None if pause is None else Pause(actor=pause.actor, paused_at=pause.paused_at, reason=pause.reason),
        work=work,
        down_since=known.down_since,
        failures=known.failures,
        last_failure=known.last_failure,
        next_try_at=known.next_try_at,
        flushed_at=known.flushed_at,
        endpoint=known.endpoint if of_backend else "",
        endpoint_since=known.endpoint_since,
        wanted_endpoint=(Endpoint.AUTO if over else known.wanted_endpoint or Endpoint.AUTO) if of_backend else "",
        drill_until=None if over else known.drill_until,
    )


def pause(session: Session, lane: str, *, reason: str, actor: str, now: datetime) -> Pause | None:
    """Let a lane send nothing more; the operator's pause that is open already, or None when this one was opened.

    Where work on the line pauses it, it stays paused after the work too.
    """
    _lock(session, lane)
    row = session.scalars(select(LanePause).where(*_open(lane), ~for_work())).first()
    if row is not None:
        return Pause(actor=row.actor, paused_at=row.paused_at, reason=row.reason)
    session.add(LanePause(id=new_key(session), lane=lane, paused_at=now, actor=actor, reason=reason[:_LONGEST_REASON]))
    _record(session, "destination-paused", lane, reason, actor=actor, now=now)
    return None


def resume(session: Session, lane: str, *, actor: str, now: datetime) -> bool:
    """Let a paused lane send again; False when it is not paused.

    An operator's pause ends first; work on the line then still pauses it, until it is resumed once more.
    """
    _lock(session, lane)
    for whose in (~for_work(), for_work()):
        ended = session.scalars(
            update(LanePause).where(*_open(lane), whose).values(resumed_at=now).returning(LanePause.id),
            execution_options={"synchronize_session": False},
        ).all()
        if ended:
            _record(session, "destination-resumed", lane, "", actor=actor, now=now)
            return True
    return False


def _open(lane: str) -> tuple[ColumnElement[bool], ...]:
    return LanePause.lane == lane, LanePause.resumed_at.is_(None)


def flush(session: Session, lane: str, *, actor: str, now: datetime) -> None:
    """Have a lane try at once, whatever its back-off."""
    flush_unrecorded(session, [lane], now)
    _record(session, "destination-flushed", lane, "", actor=actor, now=now)


def flush_unrecorded(session: Session, lanes: Iterable[str], now: datetime) -> None:
    """The same for several lanes, as part of an operation that is recorded itself."""
    names = sorted(set(lanes))
    if names:
        take_sequences(session.connection(), dict.fromkeys(names, 0))
        session.execute(update(Lane).where(Lane.lane.in_(names)).values(flushed_at=now))
        note(session, "foreign", None)


def switch_backend(
    session: Session, endpoint: Endpoint, *, drill_until: datetime | None, actor: str, now: datetime
) -> None:
    """Want one of the backend's addresses, for the length of a drill or until told otherwise, or neither."""
    _lock(session, BACKEND_LANE)
    wanted = "" if endpoint is Endpoint.AUTO else str(endpoint)
    values = {"wanted_endpoint": wanted, "drill_until": drill_until}
    session.execute(update(Lane).where(Lane.lane == BACKEND_LANE).values(**values))
    detail = str(endpoint) if drill_until is None else f"{endpoint} until {drill_until.isoformat()}"
    _record(session, "destination-switched", BACKEND_LANE, detail, actor=actor, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedWait:
    """A request whose result is no longer waited for, so that its address may send the next one."""

    request_id: int
    mail_id: int
    address: str


def release_requests(session: Session, what: str, *, actor: str, now: datetime) -> list[EndedWait]:
    """End the wait for the result of an outstanding request, by its mail address, its own id or its mail's.

    A result that comes later is delivered all the same. Empty when nothing named so is outstanding.
    """
    ended = session.execute(
        update(Request)
        .where(
            Request.id.in_(_named_requests(session, what)),
            Request.claimed_at.is_not(None),
            Request.answered_at.is_(None),
            Request.outstanding_until > now,
        )
        .values(outstanding_until=now)
        .returning(Request.id, Request.address_id)
        .execution_options(synchronize_session=False)
    ).all()
    mails = {
        row.id: row.mail_id for row in session.scalars(select(Recipient).where(Recipient.id.in_([r.id for r in ended])))
    }
    found = []
    for row in sorted(ended):
        address = session.get(MailAddress, row.address_id)
        shown = "" if address is None else address.address
        found.append(EndedWait(request_id=row.id, mail_id=mails[row.id], address=shown))
        _record(session, "request-released", f"mail:{mails[row.id]}", shown, actor=actor, now=now, is_lane=False)
        note(session, "answered", row.address_id)
    return found


def _named_requests(session: Session, what: str) -> list[int]:
    bare = what.strip().strip("<>")
    if bare.isascii() and bare.isdigit() and len(bare) < 19:
        of_mail = select(Recipient.id).where(Recipient.mail_id == int(bare))
        return [int(bare), *session.scalars(of_mail)]
    rows = select(MailAddress.id).where(MailAddress.address_key == bare.lower())
    return list(session.scalars(select(Request.id).where(Request.address_id.in_(rows), Request.answered_at.is_(None))))


def _lock(session: Session, lane: str) -> None:
    """Have the lane's row, made where there is none, and keep other operators out until this work is committed."""
    take_sequences(session.connection(), {lane: 0})
    note(session, "foreign", None)


def _record(
    session: Session, event: str, subject: str, detail: str, *, actor: str, now: datetime, is_lane: bool = True
) -> None:
    named = f"lane:{subject}" if is_lane else subject
    session.add(
        AuditEvent(id=new_key(session), occurred_at=now, actor=actor, event=event, subject=named, detail=detail)
    )
