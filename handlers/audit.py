"""An audit event, in the transaction of the change it tells of; and the events of a subject, read again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import AuditEvent
from storage.store import new_key


def audit(session: Session, actor: str, event: str, subject: str, detail: str, now: datetime) -> None:
    """Write who did what to what; `subject` is of the kind terminal:60777S."""
    session.add(
        AuditEvent(id=new_key(session), occurred_at=now, actor=actor, event=event, subject=subject, detail=detail)
    )


def events_of(session: Session, subjects: Collection[str]) -> list[AuditEvent]:
    """Every event of the subjects in the order they were written, however the clock was moved meanwhile."""
    query = select(AuditEvent).where(AuditEvent.subject.in_(subjects)).order_by(AuditEvent.id)
    return list(session.scalars(query))
