"""Mail that a change of the map leaves without its binding, or sends elsewhere: queued for an address, or undelivered.

A message whose binding does not apply when its turn comes is not sent; it stays undelivered under the same owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from storage.models import LogicalTerminal, MailAddress, Recipient
from storage.states import State

MOST_LISTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedMail:
    """A message for an address that changes: `state` is queued or undelivered."""

    mail_id: int
    address: str
    terminal: str
    state: State
    output_code: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """How many messages a change affects, and the first of them in the order of their lanes."""

    count: int = 0
    mails: tuple[AffectedMail, ...] = ()


def affected_by(session: Session, addresses: Sequence[MailAddress]) -> Affected:
    """What waits or lies undelivered for address rows; at most a thousand messages are listed."""
    if not addresses:
        return Affected()
    rows = [address.id for address in addresses]
    terminals = select(LogicalTerminal.name).where(
        LogicalTerminal.id.in_({address.terminal_id for address in addresses})
    )
    lanes = [f"terminal:{name}" for name in session.scalars(terminals)]
    # Each half by an index of its own: what waits by lane, what was given up by address row.
    waits = and_(Recipient.state == State.QUEUED, Recipient.lane.in_(lanes), Recipient.address_id.in_(rows))
    lies = and_(Recipient.state == State.UNDELIVERED, Recipient.address_id.in_(rows))
    found = session.execute(
        select(Recipient, MailAddress.address, LogicalTerminal.name)
        .join(MailAddress, MailAddress.id == Recipient.address_id)
        .join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
        .where(or_(waits, lies))
        .order_by(Recipient.lane, Recipient.lane_sequence)
        .limit(MOST_LISTED)
    ).all()
    count = len(found)
    if count == MOST_LISTED:
        count = session.scalar(select(func.count()).select_from(Recipient).where(or_(waits, lies))) or 0
    mails = (
        AffectedMail(
            mail_id=row.mail_id,
            address=address,
            terminal=terminal,
            state=State(row.state),
            output_code=row.output_code,
            since=row.waiting_since,
        )
        for row, address, terminal in found
    )
    return Affected(count=count, mails=tuple(mails))
