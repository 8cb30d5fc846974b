"""What a handler may answer, and what may go wrong while it works.

An outcome is an expected result: the worker writes its state on the recipient, in the transaction of the
handler's own effects. An exception undoes those effects: TemporaryFailure and anything unknown defer the
mail, PermanentFailure parks it and tells the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from storage.states import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of handling for one recipient; `reason` is one line for `explain` and the operator."""

    state: ClassVar[State]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Handled(Outcome):
    """Understood, and its effects are in the session."""

    state: ClassVar[State] = State.HANDLED


@dataclass(frozen=True, slots=True)
class Refused(Outcome):
    """Turned down: its sender was told what is wrong, or is a machine that must not be answered."""

    state: ClassVar[State] = State.REFUSED


@dataclass(frozen=True, slots=True)
class Duplicate(Outcome):
    """The same mail again; it has no second effect."""

    state: ClassVar[State] = State.DUPLICATE


@dataclass(frozen=True, slots=True)
class Held(Outcome):
    """Waits for a reviewer."""

    state: ClassVar[State] = State.HELD


@dataclass(frozen=True, slots=True)
class Parked(Outcome):
    """Set aside for an operator, who was told."""

    state: ClassVar[State] = State.PARKED


class TemporaryFailure(Exception):
    """May succeed when tried again."""


class PermanentFailure(Exception):
    """Will fail again however often it is tried."""


class TemplateFault(PermanentFailure):
    """A notice could not be written as its template asks; nothing was sent."""
