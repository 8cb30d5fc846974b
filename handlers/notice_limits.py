"""How many notices of a kind may leave within an hour, so that a flood of bad mail is no flood of notices.

What was sent is counted by audit events; what is not announced stays held or parked, and in the lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import AuditEvent
from storage.store import new_key

_HOUR = timedelta(hours=1)
_EVENT = "notice_counted"


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a notice may be sent now, and whether it is the last one of the hour."""

    granted: bool
    last: bool = False


def take(session: Session, kind: str, at_most: int, now: datetime) -> Allowance:
    """Count one notice of `kind`, if fewer than `at_most` were counted in the hour before `now`.

    The caller holds a lock of its own where two processes must not both be granted the last one.
    """
    subject = f"notices:{kind}"
    latest = session.scalars(
        select(AuditEvent.occurred_at)
        .where(AuditEvent.subject == subject)
        .order_by(AuditEvent.id.desc())
        .limit(at_most)
    )
    counted = sum(instant > now - _HOUR for instant in latest)
    if counted >= at_most:
        return Allowance(granted=False)
    session.add(AuditEvent(id=new_key(session), occurred_at=now, actor="gateway", event=_EVENT, subject=subject))
    session.flush()
    return Allowance(granted=True, last=counted + 1 == at_most)
