"""Units that storage tests hand in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from storage.columns import to_micros
from storage.effects import RECIPIENT_HANDLED, Change, Enqueue, NewRecipient, Unit
from storage.mail_queue import Arrival, Origin, arrival
from storage.states import Direction, State

NEVER = (1 << 63) - 1


def accepted(
    key: Callable[[], int], now: datetime, *, mail_from: str = "A@X.EXAMPLE", content: bytes = b"x"
) -> tuple[Arrival, Unit]:
    """An accepted mail of one recipient and the unit that stores it."""
    origin = Origin(listener="naccs", peer="127.0.0.9", mail_from=mail_from)
    _, unit = arrival(key, origin, [("C@X.EXAMPLE", mail_from.lower())], content, now)
    return unit.notes[0].payload, unit


def handled(found: Arrival, now: datetime, *, repeat_after: int = NEVER) -> Change:
    """The change that marks an arrival handled."""
    values = (found.recipient_id, str(State.HANDLED), to_micros(now), "", found.content_hash, repeat_after)
    return Change(RECIPIENT_HANDLED, values)


def outbound(
    key: Callable[[], int], mail_id: int, lane: str, now: datetime, *, address_id: int | None = None
) -> Enqueue:
    """A recipient that joins a lane."""
    recipient = NewRecipient(
        id=key(),
        mail_id=mail_id,
        direction=Direction.OUTBOUND,
        rcpt_to="A@X.EXAMPLE",
        state=State.QUEUED,
        created_at=to_micros(now),
        due_at=to_micros(now),
        sender="C@X.EXAMPLE",
        address_id=address_id,
    )
    return Enqueue(lane, recipient)
