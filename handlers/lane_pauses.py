"""Pauses that work on a line (回線工事) makes: every terminal of the line waits while its window is open.

A pause names its work in its reason. A work ends its own pauses only; those of operators go on, and a lane sends
again when none is open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from storage.batch import take_sequences
from storage.models import AuditEvent, Lane, LanePause, Work
from storage.store import new_key, note

GATEWAY = "gateway"  # who pauses for work; an operator's actor is os:<user>
_REASON = re.compile(r"work ([0-9]{1,19}) ([0-9A-Z]{1,16})")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOnLine:
    """The work that a lane waits for: its application, and the window that was arranged."""

    work_id: int
    receipt_number: str
    begins_at: datetime
    ends_at: datetime


def for_work() -> ColumnElement[bool]:
    """That a pause is one of work, not an operator's."""
    return LanePause.actor == GATEWAY


def works_of(session: Session, pauses: Iterable[LanePause]) -> dict[str, WorkOnLine]:
    """By lane the work that pauses it; the latest of several."""
    named = {row.lane: match for row in pauses if row.actor == GATEWAY and (match := _REASON.fullmatch(row.reason))}
    ids = {int(match[1]) for match in named.values()}
    rows = {row.id: row for row in session.scalars(select(Work).where(Work.id.in_(ids)))} if ids else {}
    return {
        lane: WorkOnLine(work_id=row.id, receipt_number=match[2], begins_at=row.begins_at, ends_at=row.ends_at)
        for lane, match in named.items()
        if (row := rows.get(int(match[1]))) is not None
    }


def pause_for_work(session: Session, work_id: int, receipt: str, lanes: Sequence[str], now: datetime) -> None:
    """Pause lanes, whatever pauses them already; one that the work pauses is left as it is."""
    reason = _reason(work_id, receipt)
    _lock(session, lanes)
    known = set(session.scalars(select(LanePause.lane).where(*_open(reason))))
    for lane in sorted(set(lanes) - known):
        session.add(LanePause(id=new_key(session), lane=lane, paused_at=now, actor=GATEWAY, reason=reason))
        _record(session, "destination-paused", lane, reason, now)


def lanes_ever_paused(session: Session, work_id: int, receipt: str) -> frozenset[str]:
    """The lanes that a work paused, those that an operator resumed since included."""
    ever = select(LanePause.lane).where(for_work(), LanePause.reason == _reason(work_id, receipt))
    return frozenset(session.scalars(ever))


def resume_after_work(session: Session, work_id: int, receipt: str, now: datetime) -> list[str]:
    """End the pauses of a work and have their lanes try at once; the lanes."""
    reason = _reason(work_id, receipt)
    lanes = sorted(set(session.scalars(select(LanePause.lane).where(*_open(reason)))))
    if not lanes:
        return []
    _lock(session, lanes)
    ended = session.scalars(
        update(LanePause).where(*_open(reason)).values(resumed_at=now).returning(LanePause.lane),
        execution_options={"synchronize_session": False},
    ).all()
    # Its breaker may have learnt a long back-off before the window opened.
    session.execute(update(Lane).where(Lane.lane.in_(lanes)).values(flushed_at=now))
    for lane in sorted(ended):
        _record(session, "destination-resumed", lane, reason, now)
    return sorted(ended)


def _reason(work_id: int, receipt: str) -> str:
    return f"work {work_id} {receipt}"


def _open(reason: str) -> tuple[ColumnElement[bool], ...]:
    return LanePause.resumed_at.is_(None), for_work(), LanePause.reason == reason


def _lock(session: Session, lanes: Iterable[str]) -> None:
    names = dict.fromkeys(lanes, 0)
    if names:
        take_sequences(session.connection(), names)
        note(session, "foreign", None)


def _record(session: Session, event: str, lane: str, reason: str, now: datetime) -> None:
    session.add(
        AuditEvent(
            id=new_key(session), occurred_at=now, actor=GATEWAY, event=event, subject=f"lane:{lane}", detail=reason
        )
    )
