"""The transition table of a recipient, pair by pair (semantics §1)."""

from __future__ import annotations

from itertools import product

import pytest

from storage.states import Direction, State, allowed

EXPECTED = {
    Direction.INBOUND: {
        "received -> received handled refused duplicate held parked",
        "held -> handled refused expired",
        "parked -> received",
    },
    Direction.OUTBOUND: {
        "queued -> queued delivered undelivered expired failed cancelled parked",
        "undelivered -> queued",
        "parked -> queued",
    },
}


def pairs(direction: Direction) -> set[tuple[str, str]]:
    written = set()
    for line in EXPECTED[direction]:
        before, _, after = line.partition(" -> ")
        written |= {(before, name) for name in after.split()}
    return written


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_every_pair_of_states_is_allowed_or_refused_as_written(
    direction: Direction, before: State, after: State
) -> None:
    assert allowed(direction, before, after) is ((before, after) in pairs(direction))
