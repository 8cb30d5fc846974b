"""Two sides measured in turn, A B A B: what each round gave, and the ratios of the pairs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.load_client import LoadFailed
from benchmarks.processes import InstanceFailed

GATEWAY = "gateway"
POSTFIX = "postfix"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One run of one side. CPU seconds are the side's own; the load's are counted apart where it is ours."""

    messages: int
    seconds: float
    cpu_seconds: float
    client_cpu_seconds: float | None = None
    median_latency: float | None = None
    p99_latency: float | None = None

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds


class Side(Protocol):
    """One side of a case, started and ready."""

    @property
    def name(self) -> str:
        """GATEWAY or POSTFIX."""
        ...

    async def run(self, messages: int) -> Measurement:
        """Carry so many messages; raises LoadFailed or InstanceFailed."""
        ...


@dataclass(kw_only=True, slots=True)
class Outcome:
    """A case with all its rounds, by side."""

    title: str
    rounds: dict[str, list[Measurement]] = field(default_factory=dict)

    def median_rate(self, side: str) -> float | None:
        """Messages per second, or None for a side that was not run."""
        return self.median_of(side, lambda each: each.rate)

    def median_cpu(self, side: str) -> float | None:
        """Microseconds of processor time that the side spends on a message."""
        return self.median_of(side, lambda each: 1e6 * each.cpu_seconds / each.messages)

    def median_of(self, side: str, figure: Callable[[Measurement], float | None]) -> float | None:
        """The median of a figure over the rounds, or None where it was not taken."""
        taken = [value for each in self.rounds.get(side, ()) if (value := figure(each)) is not None]
        return statistics.median(taken) if taken else None

    @property
    def ratios(self) -> list[float]:
        """Gateway to Postfix, round by round; empty when one side is missing."""
        pairs = zip(self.rounds.get(GATEWAY, ()), self.rounds.get(POSTFIX, ()), strict=False)
        return [ours.rate / theirs.rate for ours, theirs in pairs]

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How long to measure: rounds of each side, about so many seconds for each run, messages of a warm-up."""

    rounds: int
    seconds: float
    warm_up: int = 400


class Console:
    """Where the comparison tells what it does. The base class is silent."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def progress(self, line: str) -> None:
        """What is going on now; the next line replaces it."""


async def alternate(title: str, sides: Sequence[Side], pace: Pace, console: Console, failures: list[str]) -> Outcome:
    """Warm both sides up, size their runs, then measure them in turn.

    A side that fails is noted in `failures` and left out; its figures up to then are dropped.
    """
    outcome = Outcome(title=title)
    sizes: dict[str, int] = {}
    remaining = list(sides)
    for number in range(pace.rounds + 1):
        for side in tuple(remaining):
            console.progress(f"{title}: round {number}/{pace.rounds}, {side.name}")
            try:
                if number == 0:
                    sizes[side.name] = await _warm_up(side, pace)
                    outcome.rounds[side.name] = []
                else:
                    outcome.rounds[side.name].append(await side.run(sizes[side.name]))
            except (LoadFailed, InstanceFailed) as error:
                failures.append(f"{title}, {side.name}: {error}")
                remaining.remove(side)
                outcome.rounds.pop(side.name, None)
        if number and remaining:
            console.say(_round_line(outcome, number, pace.rounds))
    return outcome


async def _warm_up(side: Side, pace: Pace) -> int:
    """Once for the processes to come up, once to see how many messages a run takes."""
    await side.run(pace.warm_up)
    warm = await side.run(pace.warm_up)
    return max(pace.warm_up, round(warm.rate * pace.seconds / 100) * 100)


def _round_line(outcome: Outcome, number: int, rounds: int) -> str:
    rates = "  ".join(f"{name} {runs[-1].rate:,.0f}/s" for name, runs in outcome.rounds.items())
    ratio = f"  ratio {outcome.ratios[-1]:.2f}" if outcome.ratios else ""
    return f"  round {number}/{rounds}: {rates}{ratio}"
