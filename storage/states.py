"""The states of a recipient and the only moves between them (`semantics` of the queue, per recipient).

Sending and in doubt are no states of a mail: they belong to the lane and to the attempt.
"""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """Seen from the gateway."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class State(StrEnum):
    """Where one recipient of one mail stands; a recipient is in exactly one of these at any time."""

    RECEIVED = "received"  # committed, its meaning not decided yet (due_at in the future: deferred)
    HANDLED = "handled"  # its effects are committed
    REFUSED = "refused"  # understood and turned down; the sender was told
    DUPLICATE = "duplicate"  # the same mail again; no second effect
    HELD = "held"  # waits for a reviewer
    PARKED = "parked"  # set aside for an operator, who was told
    EXPIRED = "expired"  # its life passed before it could be handed over or released
    QUEUED = "queued"  # waits in its lane
    DELIVERED = "delivered"  # the peer answered 250 after the final dot
    UNDELIVERED = "undelivered"  # a terminal could not be reached; SYG lists it
    FAILED = "failed"  # a notice was refused for good
    CANCELLED = "cancelled"  # withdrawn by an operator


TRANSITIONS: dict[Direction, dict[State, frozenset[State]]] = {
    Direction.INBOUND: {
        State.RECEIVED: frozenset(
            {State.HANDLED, State.REFUSED, State.DUPLICATE, State.HELD, State.PARKED},
        ),
        State.HELD: frozenset({State.HANDLED, State.REFUSED, State.EXPIRED}),
        State.PARKED: frozenset({State.RECEIVED}),
    },
    Direction.OUTBOUND: {
        State.QUEUED: frozenset(
            {
                State.DELIVERED,
                State.UNDELIVERED,
                State.EXPIRED,
                State.FAILED,
                State.CANCELLED,
                State.PARKED,
            },
        ),
        State.UNDELIVERED: frozenset({State.QUEUED}),
        State.PARKED: frozenset({State.QUEUED}),
    },
}

INITIAL: dict[Direction, State] = {
    Direction.INBOUND: State.RECEIVED,
    Direction.OUTBOUND: State.QUEUED,
}


def allowed(direction: Direction, before: State, after: State) -> bool:
    """Whether a recipient may move from one state to the other. Staying in the initial state is deferring."""
    if before is after:
        return before is INITIAL[direction]
    return after in TRANSITIONS[direction].get(before, frozenset())
