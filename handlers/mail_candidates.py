"""Which recipients an operator's order means, of the mails that ids or filters name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from handlers.mail_operations import Judged, Operation, Order, Reason, judge
from handlers.mail_search import Search
from storage.models import Recipient
from storage.states import Direction, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A recipient with its verdict; `place` keeps the order that those of one lane had."""

    place: int
    judged: Judged


def candidates(
    session: Session, order: Order, wanted: Search, mail_ids: Sequence[int], *, by_id: bool, delivered_too: bool
) -> list[Candidate]:
    """The recipients of these mails that the order means, each with its verdict.

    What filters find and the order does not apply to is passed over; of a mail named by its id it is told. A resend
    means what was not delivered; `delivered_too`, or the id of a mail that was delivered everywhere, says otherwise.
    """
    rows = wanted.recipients(session, mail_ids)
    meant = [row for row in rows if order.target(row) is not None]
    if order.operation is Operation.RESEND:
        meant = _to_resend(rows, meant, by_id=by_id, delivered_too=delivered_too)
    judged = judge(session, order, meant)
    found = [Candidate(place=row.lane_sequence or 0, judged=one) for row, one in zip(meant, judged, strict=True)]
    return found + (_passed_over(session, order, rows, meant) if by_id else [])


def _to_resend(
    rows: Sequence[Recipient], meant: Sequence[Recipient], *, by_id: bool, delivered_too: bool
) -> list[Recipient]:
    # A mail that is on its way again is not sent a second time beside itself.
    latest = {(row.mail_id, row.lane, row.rcpt_to): row.id for row in rows if row.direction == Direction.OUTBOUND}
    last = set(latest.values())
    stuck = {row.mail_id for row in meant if row.state == State.UNDELIVERED}

    def is_meant(row: Recipient) -> bool:
        if row.state == State.UNDELIVERED:
            return True
        for_terminal = by_id or (row.lane or "").startswith("terminal:")
        return row.id in last and for_terminal and (delivered_too or (by_id and row.mail_id not in stuck))

    return [row for row in meant if is_meant(row)]


def _passed_over(
    session: Session, order: Order, rows: Sequence[Recipient], meant: Sequence[Recipient]
) -> list[Candidate]:
    """The last recipient of each mail of which none is meant, with its state as the reason."""
    done = {row.mail_id for row in meant}
    last = {row.mail_id: row for row in rows if row.mail_id not in done}
    judged = judge(session, order, list(last.values()))
    return [
        Candidate(
            place=0, judged=replace(one, refusal=one.refusal or Reason.WRONG_STATE, detail=one.detail or one.before)
        )
        for one in judged
    ]
