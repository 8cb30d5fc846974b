"""Decisions on one application of a store, and what each of them did: moves, history, mails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handlers import reviews
from handlers.amendments import Amendment, FieldChange
from handlers.applications.contents import ApplicationContents
from handlers.desk import DeskSettings
from handlers.reviews import Decided, Details, Refusal
from handlers.workflow import Event
from storage.models import Application, AuditEvent, CaseEntry, DeskJob, IssuedSecret, LogicalTerminal, Mail, MapVersion
from storage.store import Store
from tests.handlers.review_cases import CALENDAR, DESK

RECEIPT = "260001A"


class MemoryKeys:
    """Data keys that live as long as the test."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def make(self, names: Sequence[str]) -> Mapping[str, bytes]:
        made = {name: name.encode().ljust(32, b"k")[:32] for name in names}
        self.held |= made
        return made

    def get(self, name: str) -> bytes | None:
        return self.held.get(name)

    def destroy(self, names: Sequence[str]) -> None:
        for name in names:
            self.held.pop(name, None)


def desk_with_keys(**values: Any) -> DeskSettings:
    """The desk of the tests, its issued passwords kept in memory."""
    return replace(DESK, data_keys=MemoryKeys(), **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a decision did to the application."""

    result: Decided | Refusal
    state: str
    audited: tuple[str, ...]
    entries: tuple[str, ...]
    mails: tuple[str, ...]


class _NotKept(Exception):
    def __init__(self, seen: Seen) -> None:
        super().__init__("not kept")
        self.seen = seen


def decide(
    store: Store,
    now: datetime,
    event: Event,
    *,
    desk: DeskSettings = DESK,
    actor: str = "os:reviewer",
    receipt: str = RECEIPT,
    **details: Any,
) -> Any:
    """Let an event happen; what came of it."""
    given = Details(**details)
    return store.run(lambda session: reviews.decide(session, desk, receipt, event, actor, now, CALENDAR, given))


def tried(store: Store, now: datetime, event: Event, desk: DeskSettings, details: Details) -> Seen:
    """What an event would do; the store stays as it is."""

    def work(session: Session) -> None:
        before = _traces(session)
        result = reviews.decide(session, desk, RECEIPT, event, "os:reviewer", now, CALENDAR, details)
        session.flush()
        after = _traces(session)
        raise _NotKept(
            Seen(
                result=result,
                state=case_of(session).state,
                audited=after[0][len(before[0]) :],
                entries=after[1][len(before[1]) :],
                mails=after[2][len(before[2]) :],
            )
        )

    try:
        store.run(work)
    except _NotKept as kept:
        return kept.seen
    raise AssertionError


def _traces(session: Session) -> tuple[tuple[str, ...], ...]:
    events = select(AuditEvent.event).where(AuditEvent.subject == f"application:{RECEIPT}").order_by(AuditEvent.id)
    templates = select(Mail.template).where(Mail.template != "").order_by(Mail.id)
    return (
        tuple(session.scalars(events)),
        tuple(session.scalars(select(CaseEntry.kind).order_by(CaseEntry.id))),
        tuple(template.partition("@")[0] for template in session.scalars(templates)),
    )


def amended(contents: ApplicationContents, **values: Any) -> Amendment:
    """An amendment of one value."""
    return Amendment(
        contents=contents.model_copy(update=values),
        changes=(FieldChange(section="申込内容", label="変更する理由", before=contents.reason, after="別の理由"),),
        attachments=(),
        mail_id=7,
        words="理由を直します",
    )


def case_of(session: Session, receipt: str = RECEIPT) -> Application:
    """The application in a session."""
    found = reviews.find(session, receipt)
    assert found is not None
    return found


def application(store: Store, receipt: str = RECEIPT) -> Application:
    """The row of the application."""
    return store.read(lambda session: session.scalars(select(Application).filter_by(receipt_number=receipt)).one())


def entries(store: Store) -> list[CaseEntry]:
    """The history of every application, oldest first."""
    query = select(CaseEntry).order_by(CaseEntry.occurred_at, CaseEntry.id)
    return store.read(lambda session: list(session.scalars(query)))


def open_jobs(store: Store) -> dict[str, datetime]:
    """The jobs still to be done, with the instant each is due."""
    query = select(DeskJob).where(DeskJob.done_at.is_(None), DeskJob.cancelled_at.is_(None))
    return {row.kind: row.due_at for row in store.read(lambda session: session.scalars(query).all())}


def fingerprint(store: Store) -> list[Any]:
    """Everything that a refused decision must not have touched."""

    def read(session: Session) -> list[Any]:
        counted = [
            session.scalar(select(func.count()).select_from(model))
            for model in (AuditEvent, CaseEntry, DeskJob, IssuedSecret, LogicalTerminal, Mail)
        ]
        rows = session.execute(select(Application.state, Application.row_version).order_by(Application.id)).all()
        return [session.scalar(select(MapVersion.version)), rows, counted]

    return store.read(read)
