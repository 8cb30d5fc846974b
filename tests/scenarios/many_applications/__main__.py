"""The scenario at any size: `python -m tests.scenarios.many_applications --applications 200 --store postgresql`.

Progress and violations on standard error, figures as one JSON object on standard output. The exit status is 1 when
anything was not as it must be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import make_postgresql_database, postgresql_server
from tests.scenarios.many_applications.book import Book
from tests.scenarios.many_applications.runner import Crew, run

_SHOWN = 40


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.many_applications", description=__doc__)
    parser.add_argument("--applications", type=int, default=200)
    parser.add_argument("--offices", type=int, default=10)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two commands beside a service")
    parser.add_argument("--rounds", type=int, default=1, help="run it so often, each time on a new store")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--store-url", help="an empty PostgreSQL database; else one is made on a server of our own")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def _store_url(options: argparse.Namespace) -> Iterator[str | None]:
    """The URL of an empty PostgreSQL database; None for SQLite."""
    if options.store == "sqlite":
        yield None
    elif options.store_url:
        yield options.store_url
    else:
        with postgresql_server() as server:
            yield make_postgresql_database(server)


def main() -> int:
    """Run the scenario as often as asked; the exit status."""
    options = _options()
    book = Book(applications=options.applications, offices=options.offices)
    crew = Crew(processes=options.processes, pause=options.pause)
    broken = 0
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="many-") as temporary, _store_url(options) as url:
            report = run(Path(temporary), url, book, crew, _say)
        for violation in report.violations[:_SHOWN]:
            _say(violation)
        broken += len(report.violations)
        sys.stdout.write(json.dumps({**report.figures, "violations": len(report.violations)}) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
