"""The history of a case for people: what was said and done about an application, in the order it happened.

Entries are written beside the audit events, in the same transaction, and never changed. Audit events are for
the auditor; entries are what the case view, the reviewer and the 新着情報 show.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import Application, CaseEntry
from storage.store import new_key

_ACTOR_WIDTH = 80


class EntryKind(StrEnum):
    """What an entry tells."""

    RECEIVED = "received"
    RELEASED = "released"  # its mail was held until somebody released it
    TAKEN = "taken"  # by a reviewer; detail: whose it was before
    ADDRESS_ACCEPTED = "address_accepted"
    INQUIRY = "inquiry"  # words: the question
    ANSWER = "answer"
    AMENDMENT = "amendment"  # detail: section, label, before and after of each change
    QUESTION = "question"  # 照会
    SETTINGS = "settings"  # システム設定申込
    WORK = "work"  # detail: what was arranged, or that it is done
    RESCHEDULED = "rescheduled"  # detail: start before and after
    PROPOSED = "proposed"  # detail: what the first of two persons would complete
    COMPLETED = "completed"  # detail: 利用開始日
    IN_USE = "in_use"
    CHECKED = "checked"
    SECRETS_VIEWED = "secrets_viewed"
    SECRETS_REISSUED = "secrets_reissued"  # detail: the last day of the new window
    REVIEWER_NOTE = "reviewer_note"
    BOUNCED = "bounced"  # a notice of ours did not reach its addressee
    WITHDRAWAL = "withdrawal"
    REJECTED = "rejected"
    VOID = "void"


def record(
    session: Session,
    application: Application,
    kind: EntryKind,
    actor: str,
    now: datetime,
    *,
    mail_id: int | None = None,
    words: str = "",
    detail: str = "",
) -> CaseEntry:
    """Add an entry; `mail_id` is the mail that brought it or told it, `detail` JSON where the kind has parts."""
    entry = CaseEntry(
        id=new_key(session),
        application_id=application.id,
        kind=kind,
        occurred_at=now,
        actor=actor[:_ACTOR_WIDTH],
        mail_id=mail_id,
        words=words,
        detail=detail,
    )
    session.add(entry)
    return entry


def history(session: Session, application: Application) -> list[CaseEntry]:
    """Every entry of the application, oldest first."""
    query = select(CaseEntry).where(CaseEntry.application_id == application.id)
    return list(session.scalars(query.order_by(CaseEntry.occurred_at, CaseEntry.id)))


def last_of(session: Session, application: Application, *kinds: EntryKind) -> CaseEntry | None:
    """The latest entry of one of the kinds, if there is any."""
    query = (
        select(CaseEntry)
        .where(CaseEntry.application_id == application.id, CaseEntry.kind.in_(kinds))
        .order_by(CaseEntry.occurred_at.desc(), CaseEntry.id.desc())
        .limit(1)
    )
    return session.scalars(query).first()


def parts(entry: CaseEntry) -> dict[str, Any]:
    """The detail of an entry by its keys; empty where it has none."""
    return json.loads(entry.detail) if entry.detail.startswith("{") else {}
