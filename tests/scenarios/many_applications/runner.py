"""Starts the processes, lets them go at one moment, and judges what is in the store afterwards.

On PostgreSQL every process accepts and completes. On SQLite one `serve` accepts what comes over SMTP, from several
clients at once, while the other processes complete beside it, as commands do.
"""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from gateway.derived import desk_settings, keys_of
from gateway.settings import load
from handlers.contracts import import_contracts, read_contracts
from storage.store import opened
from tests.scenarios.gateway_process import ROOT, write_settings
from tests.scenarios.mails import send_application
from tests.scenarios.many_applications.book import Book, application_mail, start_of
from tests.scenarios.many_applications.checks import deadlocks, violations
from tests.scenarios.many_applications.member import Job
from tests.scenarios.outside import today_in_japan
from tests.scenarios.site import Site, site_in

_SENDERS = 4
_MOST_TRIES = 100
_AGAIN_AFTER = 0.2
_NOTHING_SENT: dict[str, Any] = {"errors": [], "sent_again": 0}

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured, and what was not as it must be."""

    figures: dict[str, Any]
    violations: list[str]
    start: date  # of every application


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How many processes, and how long each pauses between two commands beside a service."""

    processes: int = 4
    pause: float = 0.1


def run(directory: Path, store_url: str | None, book: Book, crew: Crew, tell: Tell) -> Report:
    """Run the scenario in a directory of its own; `store_url` None: on an SQLite file below it."""
    today = today_in_japan()
    with ExitStack() as stack:
        site: Site | None = None
        if store_url is None:
            site = stack.enter_context(site_in(directory, None))
            settings = directory / "gateway.toml"
        else:
            settings = directory / "gateway.toml"
            write_settings(settings, _sections(directory, store_url))
        url = site.store_url if site is not None else str(store_url)
        _import(settings, directory, url, book, today)
        tell(f"{book.applications} applications of {book.offices} offices, {crew.processes} processes")
        if site is not None:
            site.process.start()
        done, seconds = _all_at_once(settings, book, crew, site, today)
        if site is not None:
            status, _ = site.process.terminate()
            done.append({"accepted": [], "completed": [], "errors": [f"serve ended with {status}"] if status else []})
        return _report(url, book, start_of(today), done, seconds)


def _sections(directory: Path, store_url: str) -> dict[str, dict[str, object]]:
    return {
        "store": {"url": store_url.replace("postgresql://", "postgresql+psycopg://")},
        "secrets": {
            "key_file": str(directory / "secret.key"),
            "password_keys": str(directory / "passwords.key"),
        },
    }


def _import(settings_file: Path, directory: Path, url: str, book: Book, today: date) -> None:
    (directory / "var").mkdir(mode=0o700, exist_ok=True)
    settings = load(settings_file)
    contracts = read_contracts(book.office_file(today))
    hashes = {office.code: "not-hashed-here" for office in contracts.offices}
    with opened(url, "test") as store:
        desk = desk_settings(settings, keys_of(settings, store))
        now = datetime.now(UTC)
        store.run(lambda session: import_contracts(session, contracts, desk, now, password_hashes=hashes))


def _all_at_once(
    settings: Path, book: Book, crew: Crew, site: Site | None, today: date
) -> tuple[list[dict[str, Any]], float]:
    jobs = [
        Job(
            settings=str(settings),
            applications=book.applications,
            offices=book.offices,
            member=member,
            members=crew.processes,
            accepts=site is None,
            pause=crew.pause,
            seconds=600.0 + book.applications,
        )
        for member in range(crew.processes)
    ]
    with _members(settings.parent, jobs) as members:
        for member in members:
            assert _line(member) == "ready", "a member did not get ready"
        began = time.monotonic()
        for member in members:
            _tell(member, "go")
        sent = _NOTHING_SENT if site is None else _send_all(site, book, today)
        answers = [json.loads(_line(member) or '{"errors": ["a member died"]}') for member in members]
        seconds = time.monotonic() - began
    return [*answers, sent], seconds


def _send_all(site: Site, book: Book, today: date) -> dict[str, Any]:
    """Send every application to the service, several at a time, again where it asks for that.

    A service whose store is a second behind says 421 or 451, as it should: the mail stays with its sender.
    """
    mails = [(asked.contact, application_mail(asked, today)) for asked in book.asked()]
    with ThreadPoolExecutor(_SENDERS) as senders:
        tries = list(senders.map(lambda mail: _send(site, *mail), mails))
    failed = [f"a mail was not taken: {reply}" for _, reply in tries if not reply.startswith("250 ")]
    return {"errors": failed, "sent_again": sum(number - 1 for number, _ in tries)}


def _send(site: Site, sender: str, mail: bytes) -> tuple[int, str]:
    """Send a mail until it is taken; how often it was tried, and the last reply."""
    reply = ""
    for number in range(1, _MOST_TRIES + 1):
        try:
            reply = send_application(site.process.public, mail, sender=sender)
        except smtplib.SMTPResponseException as refused:
            reply = f"{refused.smtp_code} {refused.smtp_error!r}"
        if reply[:1] != "4":
            return number, reply
        time.sleep(_AGAIN_AFTER)
    return _MOST_TRIES, reply


@contextmanager
def _members(directory: Path, jobs: Sequence[Job]) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes, started together; whichever still runs at the end is ended."""
    members: list[subprocess.Popen[str]] = []
    with (directory / "members.log").open("a", encoding="utf-8") as log:
        try:
            for job in jobs:
                member = subprocess.Popen(
                    [sys.executable, "-m", "tests.scenarios.many_applications.member"],
                    cwd=directory,
                    env=_environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
                members.append(member)
                _tell(member, json.dumps(asdict(job)))
            yield members
        finally:
            for member in members:
                member.kill()
                member.communicate()


def _environment() -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if not name.startswith("NACCS_GATEWAY_")}
    return kept | {"PYTHONPATH": str(ROOT)}


def _tell(member: subprocess.Popen[str], line: str) -> None:
    assert member.stdin is not None
    member.stdin.write(f"{line}\n")
    member.stdin.flush()


def _line(member: subprocess.Popen[str]) -> str:
    assert member.stdout is not None
    return member.stdout.readline().rstrip("\n")


def _report(url: str, book: Book, start: date, done: Sequence[dict[str, Any]], seconds: float) -> Report:
    accepted = sorted(time for one in done for time in one.get("accepted", ()))
    completed = sorted(time for one in done for time in one.get("completed", ()))
    found = [error for one in done for error in one["errors"]]
    with opened(url, "test") as store:
        found += store.read(lambda session: list(violations(session, book, start)))
        dead = store.read(deadlocks)
    if dead:
        found.append(f"{dead} deadlocks")
    figures = {
        "applications": book.applications,
        "store": url.partition(":")[0].partition("+")[0],
        "seconds": round(seconds, 2),
        "per_second": round(book.applications / seconds, 1),
        "accept_ms": _spread(accepted),
        "complete_ms": _spread(completed),
        "cpu_ms_each": round(sum(one.get("cpu", 0.0) for one in done) * 1000 / book.applications, 1),
        "sent_again": sum(one.get("sent_again", 0) for one in done),
        "deadlocks": dead,
    }
    return Report(figures=figures, violations=found, start=start)


def _spread(times: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum in milliseconds."""
    if not times:
        return {}
    at = {"p50": len(times) // 2, "p95": len(times) * 95 // 100, "max": len(times) - 1}
    return {name: round(times[place] * 1000, 1) for name, place in at.items()}
