"""When a notice about things that may come by the hundred leaves: the first ones at once, then one in a while.

Every notice is counted by an audit event, and so is that something waits to be told. Nothing is kept in memory: a
restart neither tells anything twice nor forgets it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import AuditEvent
from storage.store import new_key

AT_ONCE = 5  # notices of a kind within an hour that wait for nothing
GAP = timedelta(minutes=5)  # between two of them once there were more
_HOUR = timedelta(hours=1)


def last_told(session: Session, kind: str) -> datetime | None:
    """When the last notice of a kind left."""
    instants = _latest(session, _told(kind), 1)
    return instants[0] if instants else None


def may_tell(session: Session, kind: str, now: datetime) -> bool:
    """Whether a notice of this kind may leave now."""
    told = _latest(session, _told(kind), AT_ONCE)
    return sum(instant > now - _HOUR for instant in told) < AT_ONCE or told[0] <= now - GAP


def waits(session: Session, kind: str) -> bool:
    """Whether something of this kind was put off and no notice has left since."""
    query = (
        select(AuditEvent.subject)
        .where(AuditEvent.subject.in_((_told(kind), _put_off(kind))))
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    return session.scalar(query) == _put_off(kind)


def told(session: Session, kind: str, now: datetime) -> None:
    """Count a notice that leaves now; nothing of its kind waits any longer."""
    _record(session, "notice_counted", _told(kind), now)


def put_off(session: Session, kind: str, now: datetime) -> None:
    """Write down that something waits for the next notice of its kind; once is enough."""
    if not waits(session, kind):
        _record(session, "notice_put_off", _put_off(kind), now)


def _told(kind: str) -> str:
    return f"notices:{kind}"


def _put_off(kind: str) -> str:
    return f"untold:{kind}"


def _latest(session: Session, subject: str, most: int) -> list[datetime]:
    query = (
        select(AuditEvent.occurred_at).where(AuditEvent.subject == subject).order_by(AuditEvent.id.desc()).limit(most)
    )
    return list(session.scalars(query))


def _record(session: Session, event: str, subject: str, now: datetime) -> None:
    session.add(AuditEvent(id=new_key(session), occurred_at=now, actor="gateway", event=event, subject=subject))
    session.flush()
