"""`python -m benchmarks.bench`: the gateway beside Postfix on this machine, fsync on, in one run.

Durable accept (Postfix puts every mail on HOLD), the whole way (Postfix relays to the same sink), and the syncs
each side makes. Ends with 0, with 1 when a side failed; without Postfix it says so and measures the gateway alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import uvloop

from benchmarks import machine, postfix_instance, syncs
from benchmarks.comparison import POSTFIX, Console, Pace
from benchmarks.report import Report
from benchmarks.spreading import spread_below
from benchmarks.stages import ACCEPT_CASES, END_TO_END_CASES, Stage, measure_accept, measure_end_to_end

SYNC_CASE = "syncs"
ALL_CASES = (*ACCEPT_CASES, *END_TO_END_CASES, SYNC_CASE)

_FULL = Pace(rounds=5, seconds=4.0)
_QUICK = Pace(rounds=2, seconds=0.7, warm_up=200)


class Terminal(Console):
    """Standard output; what is only of the moment is shown to a person, not to a file."""

    def __init__(self) -> None:
        self._shown = 0

    def say(self, line: str) -> None:
        """A line that stays."""
        self._clear()
        print(line, flush=True)

    def progress(self, line: str) -> None:
        """Replaced by the next one."""
        if sys.stdout.isatty():
            self._clear()
            print(line, end="", flush=True)
            self._shown = len(line)

    def _clear(self) -> None:
        if self._shown:
            print("\r" + " " * self._shown + "\r", end="")
            self._shown = 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute; figures are rough")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--cases",
        default="",
        metavar="NAMES",
        help=f"comma-separated names, or how they begin: {', '.join(ALL_CASES)} (default: all)",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each case")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("/var/tmp"),  # noqa: S108 - mkdtemp makes a folder of its own below it
        help="both stores are made below it; its file system is the one measured (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def _chosen_cases(text: str) -> list[str]:
    if not text:
        return list(ALL_CASES)
    wanted = tuple(name.strip() for name in text.split(","))
    chosen = [case for case in ALL_CASES if case.startswith(wanted)]
    if not chosen:
        raise SystemExit(f"no such case: {text}; there are {', '.join(ALL_CASES)}")
    return chosen


async def _measure(options: argparse.Namespace, folder: Path) -> Report:
    task = asyncio.current_task()
    if task is not None:
        # So that SIGTERM stops what was started as Ctrl-C does.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    pace = _QUICK if options.quick else _FULL
    report = Report(machine=machine.facts(folder), quick=options.quick)
    if report.machine["file_system"] == "tmpfs":
        report.notes.append("the folder is on tmpfs, where a sync costs nothing: choose another with --folder")
    cases = _chosen_cases(options.cases)
    without_postfix = postfix_instance.why_not()
    stage = Stage(
        folder=folder,
        cases=cases,
        pace=replace(pace, rounds=options.rounds or pace.rounds),
        sync_messages=_sync_messages(cases, report, quick=options.quick),
        without={POSTFIX: without_postfix} if without_postfix else {},
        console=Terminal(),
        report=report,
    )
    if without_postfix:
        report.notes.append(f"{without_postfix}: the gateway was measured alone, accepting by our own client")
        stage.console.say(report.notes[-1])
    # Accepting first: on ext4 a file is slow to make for minutes after many were deleted in the same place, and
    # relaying deletes one for each message.
    await measure_accept(stage)
    await measure_end_to_end(stage)
    return report


def _sync_messages(cases: Sequence[str], report: Report, *, quick: bool) -> int:
    if SYNC_CASE not in cases:
        return 0
    reason = syncs.why_not()
    if reason:
        report.notes.append(f"{reason}: syncs were not counted")
        return 0
    return 200 if quick else 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit status."""
    options = _options(arguments)
    folder = Path(tempfile.mkdtemp(prefix="naccs-bench-", dir=options.folder))
    folder.chmod(0o755)  # Postfix's daemons run under an account of their own
    spread_below(folder)
    try:
        with suppress(KeyboardInterrupt, asyncio.CancelledError):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                report = runner.run(_measure(options, folder))
            print(report.as_text())
            if options.json:
                options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
            return 1 if report.failures else 0
        print("\nstopped", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
