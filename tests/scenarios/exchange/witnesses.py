"""What each witness of a scenario says, as the ledger takes it: clients, backend's journal, servers, store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import Mail, Recipient, Request
from storage.states import Direction, State
from tests.scenarios.exchange.book import Asked, Executed, Made, Noted, Queued, Received
from tests.scenarios.exchange.fleet import Submission
from tests.scenarios.exchange.in_house import Arrival


def read_journal(file: Path) -> list[dict[str, Any]]:
    """Every whole line of a backend's journal."""
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def made_in(journal: Iterable[dict[str, Any]]) -> tuple[Made, ...]:
    """Every result the backends made."""
    found: dict[str, Made] = {}
    for entry in journal:
        serial = entry.get("serial", "")
        if entry["what"] == "result":
            found[serial] = Made(
                serial=serial,
                handover=entry["handover"],
                kind=entry["kind"],
                rcpt_to=entry["rcpt_to"],
                digest=entry["digest"],
                sent=False,
            )
        elif entry["what"] == "sent":
            found[serial] = replace(found[serial], sent=True)
        elif entry["what"] == "doubt":
            found[serial] = replace(found[serial], doubts=found[serial].doubts + 1)
    return tuple(found.values())


def executed_in(journal: Iterable[dict[str, Any]]) -> tuple[Executed, ...]:
    """Every request the backends executed, in order."""
    return tuple(_executed(entry, order) for order, entry in enumerate(journal) if entry["what"] == "executed")


def asked(submission: Submission) -> Asked:
    """A request as its client knows it."""
    return Asked(
        handover=submission.handover,
        address=submission.address,
        terminal=submission.terminal,
        number=submission.number,
        digest=submission.digest,
        mail_digest=submission.mail_digest,
        accepted=submission.accepted_at,
        doubts=submission.doubts,
        awaits_result=submission.awaits_result,
    )


def _executed(entry: dict[str, Any], order: int) -> Executed:
    return Executed(
        request_id=entry["request"],
        handover=entry["handover"],
        address=entry["address"],
        digest=entry["digest"],
        mail_digest=entry["mail"],
        at=entry["at"],
        order=order,
    )


def received(arrival: Arrival) -> Received:
    """A mail at an in-house server."""
    return Received(
        terminal=arrival.terminal,
        order=arrival.order,
        mail_id=arrival.mail_id,
        rcpt_to=arrival.rcpt_to,
        handover=arrival.handover,
        kind=arrival.kind,
        code=arrival.code,
        digest=arrival.digest,
    )


def queued_in(session: Session) -> tuple[Queued, ...]:
    """Everything that stands or stood in a terminal's lane."""
    query = (
        select(Recipient, Mail.listener)
        .join(Mail, Mail.id == Recipient.mail_id)
        .where(Recipient.direction == Direction.OUTBOUND, Recipient.lane.like("terminal:%"))
    )
    return tuple(
        Queued(
            mail_id=row.mail_id,
            rcpt_to=row.rcpt_to,
            lane=row.lane or "",
            sequence=row.lane_sequence or 0,
            state=row.state,
            in_doubt=row.in_doubt,
            own=listener == "gateway",
            request_id="" if row.request_id is None else str(row.request_id),
            fetched=row.waiting_since > row.created_at,
        )
        for row, listener in session.execute(query)
    )


def noted_in(session: Session) -> tuple[Noted, ...]:
    """Every request the gateway knows."""
    return tuple(
        Noted(
            request_id=str(row.id),
            handover=row.handover,
            received=row.received_at.timestamp(),
            claimed=None if row.claimed_at is None else row.claimed_at.timestamp(),
            in_doubt=row.in_doubt,
            overdue=row.overdue_at is not None,
            answered=row.answered_at is not None,
        )
        for row in session.scalars(select(Request))
    )


def left_over_in(session: Session, states: tuple[State, ...]) -> tuple[str, ...]:
    """The first recipients in one of these states, for a person to read."""
    query = select(Recipient).where(Recipient.state.in_(states)).order_by(Recipient.id).limit(20)
    return tuple(
        f"{row.direction} {row.state} recipient {row.id} for {row.rcpt_to} in {row.lane}: {row.last_reply}"
        for row in session.scalars(query)
    )
