"""Destinations that do not answer, and messages that were given up: the operator is told, many in one mail.

A destination that stays down is told once; the lane's holder forgets that when it answers again. While work on a line
pauses it nobody is told, nor before it had time to answer afterwards. Of messages given up there is one mail for each
destination and hour at most. A flood of outages is no flood of mails, and an outage that was not told for that reason
is told later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from handlers import notice_limits, notice_rates, notices
from handlers.desk import DeskSettings
from handlers.lane_pauses import for_work
from handlers.mail_search import in_state
from handlers.notice_templates import shown
from handlers.notices import Notice
from storage.models import Lane, LanePause, Recipient
from storage.states import State

MOST_LANES = 100  # in one unit of work
MOST_LISTED = 20  # in one mail
_BACKEND = "backend"  # its lane; nobody's requests pass while it is down
_TOLD_PER_HOUR = 30
_LONGEST_WORDS = 300
_HOUR = timedelta(hours=1)
_LONGEST_MEMORY = timedelta(days=1)  # what was given up before that is no news


@dataclass(frozen=True, slots=True, kw_only=True)
class DownDestination:
    """A destination as the mail shows it. `endpoint` is empty but for the backend."""

    lane: str
    since: datetime
    failures: int
    last_failure: str
    next_try: datetime | None
    waiting: int
    paused: bool
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What was given up for one destination since the last mail about it, in all and since when."""

    lane: str
    count: int
    first: datetime


def is_down_due(session: Session, now: datetime, *, alarm_after: timedelta) -> bool:
    """Whether a destination has been down for long enough and the operator was not told."""
    return session.scalar(select(Lane.lane).where(*_down(now, alarm_after)).limit(1)) is not None


def watch(session: Session, desk: DeskSettings, now: datetime, *, alarm_after: timedelta) -> int:
    """Tell the operator of at most 100 destinations that are down; how many were told.

    A destination counts after `alarm_after`, the backend at once. Raises TemplateFault.
    """
    due = _locked(session, _down(now, alarm_after))
    if not due:
        return 0
    allowance = notice_limits.take(session, "destination-down", _TOLD_PER_HOUR, now)
    if not allowance.granted:
        return 0
    names = [lane.lane for lane in due]
    marked = session.scalars(
        update(Lane).where(Lane.lane.in_(names), *_down(now, alarm_after)).values(told_at=now).returning(Lane.lane),
        execution_options={"synchronize_session": False},
    ).all()
    down = sorted((lane for lane in due if lane.lane in marked), key=lambda lane: (lane.lane != _BACKEND, lane.lane))
    notice = Notice(
        name="operator/destination-down",
        to=notices.operator(desk),
        reply_to=desk.operator_address,
        context={
            "destinations": [_shown(session, lane, now) for lane in down[:MOST_LISTED]],
            "total": len(down),
            "last_of_hour": allowance.last,
        },
    )
    notices.send(session, desk, notice, now)
    return len(down)


def gave_up_for(session: Session, now: datetime) -> list[str]:
    """The destinations, at most 100, for which messages were given up that the operator may now be told of."""
    finished = func.max(Recipient.finished_at)
    rows = session.execute(
        select(Recipient.lane, finished)
        .where(in_state(State.UNDELIVERED), Recipient.finished_at > now - _LONGEST_MEMORY)
        .group_by(Recipient.lane)
        .order_by(Recipient.lane)
    )
    due: list[str] = []
    for lane, latest in rows:
        if lane is None or latest is None:
            continue
        told = notice_rates.last_told(session, _gave_up_kind(lane))
        if told is None or (latest > told and told <= now - _HOUR):
            due.append(lane)
        if len(due) == MOST_LANES:
            break
    return due


def tell_gave_up(session: Session, desk: DeskSettings, now: datetime) -> int:
    """Tell the operator of what was given up for at most 100 destinations; how many. Raises TemplateFault."""
    # Locked, so that two who watch do not both find that nothing was told yet.
    lanes = _locked(session, (Lane.lane.in_(gave_up_for(session, now)),))
    given_up: list[GivenUp] = []
    for lane in lanes:
        told = notice_rates.last_told(session, _gave_up_kind(lane.lane))
        found = _given_up(session, lane.lane, max(told or now - _LONGEST_MEMORY, now - _LONGEST_MEMORY))
        if found is not None and notice_limits.take(session, _gave_up_kind(lane.lane), 1, now).granted:
            given_up.append(found)
    if not given_up:
        return 0
    notice = Notice(
        name="operator/delivery-gave-up",
        to=notices.operator(desk),
        reply_to=desk.operator_address,
        context={
            "destinations": sorted(given_up, key=lambda one: (-one.count, one.lane))[:MOST_LISTED],
            "total": len(given_up),
            "messages": sum(one.count for one in given_up),
        },
    )
    notices.send(session, desk, notice, now)
    return len(given_up)


def _down(now: datetime, alarm_after: timedelta) -> tuple[ColumnElement[bool], ...]:
    lately = or_(LanePause.resumed_at.is_(None), LanePause.resumed_at > now - alarm_after)
    return (
        Lane.told_at.is_(None),
        Lane.down_since.is_not(None),
        or_(Lane.lane == _BACKEND, Lane.down_since <= now - alarm_after),
        ~exists().where(LanePause.lane == Lane.lane, for_work(), lately),
    )


def _locked(session: Session, wanted: Sequence[ColumnElement[bool]]) -> Sequence[Lane]:
    """Lanes in the order of their names, as every writer locks them."""
    return session.scalars(select(Lane).where(*wanted).order_by(Lane.lane).limit(MOST_LANES).with_for_update()).all()


def _shown(session: Session, lane: Lane, now: datetime) -> DownDestination:
    waiting = select(func.count()).where(Recipient.lane == lane.lane, in_state(State.QUEUED))
    pause = select(LanePause.id).where(LanePause.lane == lane.lane, LanePause.resumed_at.is_(None)).limit(1)
    return DownDestination(
        lane=lane.lane,
        since=lane.down_since or now,
        failures=lane.failures,
        last_failure=shown(lane.last_failure, at_most=_LONGEST_WORDS),
        next_try=lane.next_try_at,
        waiting=session.scalar(waiting) or 0,
        paused=session.scalar(pause) is not None,
        endpoint=lane.endpoint if lane.lane == _BACKEND else "",
    )


def _given_up(session: Session, lane: str, since: datetime) -> GivenUp | None:
    count, first = session.execute(
        select(func.count(), func.min(Recipient.finished_at)).where(
            Recipient.lane == lane, in_state(State.UNDELIVERED), Recipient.finished_at > since
        )
    ).one()
    # None: fetched or queued again since somebody looked.
    return None if first is None else GivenUp(lane=lane, count=count, first=first)


def _gave_up_kind(lane: str) -> str:
    return f"delivery-gave-up:{lane}"
