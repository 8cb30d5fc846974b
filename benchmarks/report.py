"""What the comparison found, as a table for people and as JSON for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.comparison import GATEWAY, POSTFIX, Outcome
from benchmarks.syncs import SyncCount

_ABSENT = "-"
_TOLERABLE_OTHER_WORK = 0.1
_COLUMNS = "{:<44}{:>10}{:>10}{:>8}{:>14}{:>18}"


@dataclass(kw_only=True, slots=True)
class Report:
    """All figures of one run."""

    machine: dict[str, object]
    quick: bool
    accept: list[Outcome] = field(default_factory=list)
    end_to_end: list[Outcome] = field(default_factory=list)
    syncs: dict[str, dict[str, SyncCount]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def note_other_work(self, share: float) -> None:
        """Keep the larger share of the machine that others used during a stage, and doubt the figures over a tenth."""
        known = self.machine.get("other_work_percent", 0)
        self.machine["other_work_percent"] = max(known if isinstance(known, int) else 0, round(100 * share))
        if share > _TOLERABLE_OTHER_WORK:
            self.notes.append(f"others used {share:.0%} of the machine meanwhile: repeat this when it is idle")

    def as_json(self) -> dict[str, object]:
        """Plain data: rates in messages per second, times in seconds, CPU in microseconds per message."""
        return {
            "machine": self.machine,
            "quick": self.quick,
            "accept": [_outcome_json(outcome) for outcome in self.accept],
            "end_to_end": [_outcome_json(outcome) for outcome in self.end_to_end],
            "syncs": {
                case: {side: {**asdict(count), "per_message": count.per_message} for side, count in sides.items()}
                for case, sides in self.syncs.items()
            },
            "notes": self.notes,
            "failures": self.failures,
        }

    def as_text(self) -> str:
        """The table."""
        return "\n".join((*self._machine_lines(), *self._rate_lines(), *self._sync_lines(), *self._note_lines()))

    def _machine_lines(self) -> list[str]:
        return ["", ", ".join(f"{key} {value}" for key, value in self.machine.items() if value is not None)]

    def _rate_lines(self) -> list[str]:
        lines = []
        for title, outcomes in (("Durable accept", self.accept), ("End-to-end", self.end_to_end)):
            if outcomes:
                heads = (GATEWAY, POSTFIX, "ratio", "(from - to)", "CPU us/message")
                lines += ["", _COLUMNS.format(f"{title}, 5 KB messages/s", *heads)]
                for outcome in outcomes:
                    lines += [_rate_line(outcome), *_waiting_lines(outcome)]
        return lines

    def _sync_lines(self) -> list[str]:
        lines = ["", "Syncs per message"] if self.syncs else []
        for case, sides in self.syncs.items():
            counted = (
                f"{side} {count.per_message:.3f} ({', '.join(f'{n} {name}' for name, n in count.calls.items())})"
                for side, count in sides.items()
            )
            lines.append(f"{case:<44}{'; '.join(counted)}")
        return lines

    def _note_lines(self) -> list[str]:
        return [
            *(f"\nNote: {note}" for note in self.notes),
            *(f"\nFAILED: {failure}" for failure in self.failures),
        ]


def _rate_line(outcome: Outcome) -> str:
    ratios = outcome.ratios
    return _COLUMNS.format(
        outcome.title,
        _number(outcome.median_rate(GATEWAY)),
        _number(outcome.median_rate(POSTFIX)),
        _ABSENT if outcome.ratio is None else f"{outcome.ratio:.2f}",
        f"({min(ratios):.2f} - {max(ratios):.2f})" if ratios else "",
        f"{_number(outcome.median_cpu(GATEWAY))} / {_number(outcome.median_cpu(POSTFIX))}",
    )


def _waiting_lines(outcome: Outcome) -> list[str]:
    """What only the load client can tell: how long a station waited, and what the client itself cost."""
    lines = []
    for side in outcome.rounds:
        median = outcome.median_of(side, lambda each: each.median_latency)
        p99 = outcome.median_of(side, lambda each: each.p99_latency)
        client = outcome.median_of(
            side, lambda each: None if each.client_cpu_seconds is None else each.client_cpu_seconds / each.messages
        )
        if median is not None and p99 is not None and client is not None:
            lines.append(
                f"  {side}: answered after {1e3 * median:.0f} ms (median), {1e3 * p99:.0f} ms (99 %); "
                f"load client {1e6 * client:.0f} us/message"
            )
    return lines


def _number(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:,.0f}"


def _outcome_json(outcome: Outcome) -> dict[str, object]:
    sides: Sequence[str] = list(outcome.rounds)
    return {
        "title": outcome.title,
        "ratio": outcome.ratio,
        "ratios": outcome.ratios,
        "median_rate": {side: outcome.median_rate(side) for side in sides},
        "cpu_us_per_message": {side: outcome.median_cpu(side) for side in sides},
        "rounds": {side: [asdict(each) for each in outcome.rounds[side]] for side in sides},
    }
