from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks import machine, syncs
from benchmarks.comparison import GATEWAY, POSTFIX, Console, Measurement, Pace, alternate
from benchmarks.processes import InstanceFailed
from benchmarks.report import Report
from benchmarks.syncs import SyncCount, read_summary

SUMMARY = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 98.72    0.123456         308       400           fsync
  1.28    0.001234          17        71         2 fdatasync
------ ----------- ----------- --------- --------- ----------------
100.00    0.124690         264       471         2 total
"""


@dataclass
class TimedSide:
    """A side that is as fast as the test wants it to be."""

    name: str
    rates: list[float]
    order: list[str]
    sizes: list[int] = field(default_factory=list)

    async def run(self, messages: int) -> Measurement:
        rate = self.rates.pop(0)
        if not rate:
            raise InstanceFailed("it fell over")
        self.order.append(self.name)
        self.sizes.append(messages)
        return Measurement(messages=messages, seconds=messages / rate, cpu_seconds=messages * 0.001)


async def test_sides_take_turns_and_the_median_of_the_ratios_counts() -> None:
    order: list[str] = []
    ours = TimedSide(GATEWAY, [1, 1000, 3000, 1000, 2000], order)
    theirs = TimedSide(POSTFIX, [1, 500, 1000, 1000, 1000], order)
    outcome = await alternate("case", [ours, theirs], Pace(rounds=3, seconds=4), Console(), [])
    assert order[4:] == [GATEWAY, POSTFIX] * 3
    assert (ours.sizes[2:], theirs.sizes[2:]) == ([4000] * 3, [2000] * 3)
    assert outcome.ratios == pytest.approx([3, 1, 2])
    assert outcome.ratio == pytest.approx(2)
    assert outcome.median_rate(GATEWAY) == pytest.approx(2000)
    assert outcome.median_cpu(POSTFIX) == pytest.approx(1000)


async def test_a_side_that_fails_is_named_and_the_other_goes_on() -> None:
    order: list[str] = []
    failures: list[str] = []
    ours = TimedSide(GATEWAY, [1, 1000, 1000, 0], order)
    theirs = TimedSide(POSTFIX, [1, 500, 1000, 1000, 1000], order)
    outcome = await alternate("case", [ours, theirs], Pace(rounds=3, seconds=1), Console(), failures)
    assert failures == ["case, gateway: it fell over"]
    assert (outcome.median_rate(GATEWAY), outcome.ratio) == (None, None)
    assert len(outcome.rounds[POSTFIX]) == 3


async def test_the_report_holds_every_figure_as_text_and_as_json(tmp_path: Path) -> None:
    order: list[str] = []
    sides = [TimedSide(GATEWAY, [1, 9, 1500], order), TimedSide(POSTFIX, [1, 9, 1000], order)]
    report = Report(machine=machine.facts(tmp_path), quick=True, notes=["a note"], failures=["a failure"])
    report.accept.append(await alternate("a case", sides, Pace(rounds=1, seconds=1), Console(), []))
    report.syncs["a case"] = {GATEWAY: SyncCount(messages=400, calls={"fdatasync": 50})}
    text = report.as_text()
    for expected in ("a case", "1,500", "1,000", "1.50", "0.125 (50 fdatasync)", "a note", "FAILED: a failure"):
        assert expected in text
    data = json.loads(json.dumps(report.as_json()))
    assert data["accept"][0]["ratio"] == pytest.approx(1.5)
    assert data["syncs"]["a case"]["gateway"]["per_message"] == pytest.approx(0.125)
    assert data["machine"]["cores"] >= 1


def test_figures_taken_beside_other_work_are_doubted(tmp_path: Path) -> None:
    report = Report(machine=machine.facts(tmp_path), quick=False)
    report.note_other_work(0.04)
    assert (report.notes, report.machine["other_work_percent"]) == ([], 4)
    report.note_other_work(0.5)
    report.note_other_work(0.03)
    assert report.machine["other_work_percent"] == 50
    assert "others used 50% of the machine" in report.as_text()


def test_the_calls_of_strace_are_read_without_its_total() -> None:
    assert read_summary(SUMMARY) == {"fsync": 400, "fdatasync": 71}


def test_missing_strace_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert syncs.why_not() == "strace is not installed"


def test_the_facts_of_the_machine_name_no_host_and_no_path(tmp_path: Path) -> None:
    facts = json.dumps(machine.facts(tmp_path))
    assert str(tmp_path) not in facts
    assert "file_system" in facts
