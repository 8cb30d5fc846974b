"""The scenarios at full size: `python -m tests.scenarios.exchange --scenario 1 --requests 10000`.

Progress on standard error, figures as one JSON object on standard output. The exit status is 1 when any promise was
broken, of the throughput or of the ledger.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.scenarios.exchange import scenarios
from tests.scenarios.exchange.scenarios import Report, Sizes, Tell

LEAST_RATIO = 0.95
_SHOWN = 40

Scenario = Callable[[Path, Sizes, Tell], Awaitable[Report]]

SCENARIOS: dict[str, Scenario] = {
    "1": scenarios.dead_servers,
    "2": scenarios.kills,
    "4": scenarios.outage,
    "drill": scenarios.drill,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.exchange", description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), required=True)
    parser.add_argument("--terminals", type=int, default=50, help="20 at least")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=13, help="of scenario 1, every other one with dead servers")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kill-within", type=float, default=2.0, help="seconds after each start")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", type=float, default=120.0, help="of a request, in seconds")
    parser.add_argument("--outage", type=float, default=300.0, help="seconds")
    parser.add_argument("--keeps-repeats", action="store_true", help="the backend executes whatever comes")
    parser.add_argument("--store-url", help="an empty PostgreSQL database; else an SQLite file is made")
    parser.add_argument("--directory", type=Path, help="where everything goes, kept; else a temporary one")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> int:
    """Run one scenario; the exit status."""
    options = _options()
    sizes = Sizes(
        terminals=options.terminals,
        requests=options.requests,
        rounds=options.rounds,
        kills=options.kills,
        kill_within=options.kill_within,
        seed=options.seed,
        life=options.life,
        outage=options.outage,
        discards_repeats=not options.keeps_repeats,
        store_url=options.store_url,
    )
    with tempfile.TemporaryDirectory(prefix="exchange-") as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(mode=0o700, exist_ok=True)

        async def run() -> Report:
            return await SCENARIOS[options.scenario](directory, sizes, _say)

        report = uvloop.run(run())
    for violation in report.violations[:_SHOWN]:
        _say(str(violation))
    too_slow = report.figures.get("ratio", 1.0) < LEAST_RATIO
    figures = {"scenario": options.scenario, **report.figures, "violations": len(report.violations)}
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if report.violations or too_slow else 0


if __name__ == "__main__":
    sys.exit(main())
