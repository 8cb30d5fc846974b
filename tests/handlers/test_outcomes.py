from __future__ import annotations

import pytest

from handlers.outcomes import (
    Duplicate,
    Handled,
    Held,
    Outcome,
    Parked,
    PermanentFailure,
    Refused,
    TemplateFault,
    TemporaryFailure,
)
from storage.states import Direction, State, allowed

ALL = (Handled, Refused, Duplicate, Held, Parked)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Handled(), State.HANDLED),
        (Refused("why"), State.REFUSED),
        (Duplicate("why"), State.DUPLICATE),
        (Held("why"), State.HELD),
        (Parked("why"), State.PARKED),
    ],
)
def test_an_outcome_names_the_state_of_its_recipient(outcome, state):
    assert outcome.state is state


@pytest.mark.parametrize("kind", ALL)
def test_every_outcome_is_a_move_from_received(kind: type[Outcome]):
    assert allowed(Direction.INBOUND, State.RECEIVED, kind.state)


def test_outcomes_of_another_kind_differ():
    assert len({kind("why") for kind in ALL}) == len(ALL)


def test_a_template_fault_is_not_tried_again():
    assert issubclass(TemplateFault, PermanentFailure)
    assert not issubclass(TemplateFault, TemporaryFailure)
