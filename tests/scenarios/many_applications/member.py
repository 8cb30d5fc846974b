"""One of the processes: `python -m tests.scenarios.many_applications.member`, told its job by a line of JSON.

It says `ready` when its store is open, waits for a second line, and answers with JSON: what it did, how long each
piece took, and whatever went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.derived import desk_settings, keys_of
from gateway.desk_work import DeskWork
from gateway.settings import load
from handlers import notice_templates, reviews
from handlers.business_days import calendar_of
from handlers.calendar import BusinessCalendar, jst_date
from handlers.desk import DeskSettings
from storage.committer import Committer
from storage.effects import Applied
from storage.mail_queue import Arrival, Origin, arrival
from storage.models import Application
from storage.store import Store, opened
from tests.scenarios.many_applications.book import Asked, Book, application_mail

T = TypeVar("T")

_POLL = 0.02
_RENEW_EVERY = 5.0
APPLY = "apply@nss.center.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a member does: `accepts` mails of its share itself and completes them, or completes what is accepted.

    Its share is every `members`th application, from `member` on. `pause` seconds lie between two completions of what
    others accepted: there each stands for a command, which takes longer than that to start.
    """

    settings: str
    applications: int
    offices: int
    member: int
    members: int
    accepts: bool
    pause: float
    seconds: float


@dataclass(slots=True, kw_only=True)
class Done:
    """What a member did. Times are seconds; `cpu` is the processor's, whatever else the machine does."""

    accepted: list[float] = field(default_factory=list)
    completed: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cpu: float = 0.0


class Member:
    """A process of the application desk, as the worker of a service or a reviewer's command is one."""

    def __init__(self, job: Job, store: Store) -> None:
        settings = load(Path(job.settings))
        self._job = job
        self._store = store
        self._desk: DeskSettings = desk_settings(settings, keys_of(settings, store))
        self._work = DeskWork(self._desk, settings.public.trusted_networks)
        self._committer = Committer(store)
        self._calendar: BusinessCalendar = store.read(lambda session: calendar_of(session, self._today()))
        self._ends_at = self._renew_at = 0.0
        self.done = Done()

    @staticmethod
    def _now() -> datetime:
        return datetime.now(UTC)

    def _today(self) -> date:
        return jst_date(self._now())

    def run(self) -> None:
        """Do the job until it is done or its time is over."""
        self._ends_at, before = time.monotonic() + self._job.seconds, time.process_time()
        self._renew_at = time.monotonic() + _RENEW_EVERY
        if self._job.accepts:
            self._accept_and_complete()
        else:
            self._complete_what_comes()
        self.done.cpu = time.process_time() - before

    def _accept_and_complete(self) -> None:
        """Accept one and complete the one before it, so that both go on at all times."""
        book = Book(applications=self._job.applications, offices=self._job.offices)
        before: str | None = None
        for asked in book.asked()[self._job.member :: self._job.members]:
            receipt = self._accept(asked)
            if before is not None:
                self._complete(before)
            before = receipt
        if before is not None:
            self._complete(before)

    def _complete_what_comes(self) -> None:
        share = len(range(self._job.member, self._job.applications, self._job.members))
        tried: set[str] = set()
        while len(tried) < share and time.monotonic() < self._ends_at:
            new = [receipt for receipt in self._store.read(_waiting) if receipt not in tried and self._is_own(receipt)]
            for receipt in new:
                tried.add(receipt)
                self._complete(receipt)
                time.sleep(self._job.pause)
            if not new:
                time.sleep(_POLL)

    def _is_own(self, receipt: str) -> bool:
        return int(receipt[2:-1]) % self._job.members == self._job.member

    def _accept(self, asked: Asked) -> str | None:
        taken = self._take(application_mail(asked, self._today()), asked.contact)
        now = self._now()
        with self._measured(self.done.accepted, f"accepting {asked.number}"):
            prepared = self._store.read(lambda session: self._work.prepare(session, taken, now))

            def handle(session: Session) -> tuple[str, str | None]:
                state = self._work.handle(session, taken, now, prepared)
                return state, session.scalar(
                    select(Application.receipt_number).where(Application.mail_id == taken.mail_id)
                )

            state, receipt = self._store.run(handle)
            if receipt is None:
                self.done.errors.append(f"application {asked.number} was {state}, not accepted")
            return receipt
        return None

    def _take(self, content: bytes, sender: str) -> Arrival:
        """Commit a mail as the public listener does."""
        now = self._now()
        origin = Origin(listener="public", mail_from=sender, peer="127.0.0.1", helo_name="client.applicant.example")
        _, unit = arrival(self._store.new_key, origin, [(APPLY, "")], content, now)
        (outcome,) = self._committer.commit([unit])
        if not isinstance(outcome, Applied):
            raise TypeError(f"the mail was not taken: {outcome}")
        found = unit.notes[0].payload
        assert isinstance(found, Arrival)
        return found

    def _complete(self, receipt: str) -> None:
        self._renew()
        now = self._now()

        def decide(session: Session) -> reviews.Decided | reviews.Refusal:
            return reviews.complete(
                session, self._desk, receipt, None, f"os:reviewer{self._job.member}", now, self._calendar
            )

        with self._measured(self.done.completed, f"completing {receipt}"):
            decided = self._store.run(decide)
            if isinstance(decided, reviews.Refusal):
                self.done.errors.append(f"{receipt} was refused: {decided.reason} {decided.detail}")

    def _renew(self) -> None:
        """Keep the node: keys are reserved for as long as its lease runs."""
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + _RENEW_EVERY
            with self._measured([], "renewing the node"):
                self._store.renew()

    @contextlib.contextmanager
    def _measured(self, times: list[float], what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding of the scenario
            self.done.errors.append(f"{what}: {type(error).__name__}: {error}")
        times.append(time.monotonic() - began)


def _waiting(session: Session) -> list[str]:
    query = select(Application.receipt_number).where(Application.state == "received")
    return list(session.scalars(query.order_by(Application.receipt_number)))


def profiled(work: Callable[[], T], file: str) -> T:
    """Run it under the profiler where a file is named."""
    if not file:
        return work()
    import cProfile

    profiler = cProfile.Profile()
    try:
        return profiler.runcall(work)
    finally:
        profiler.dump_stats(file)


def main() -> None:
    """Read the job, get ready, wait for the start, do it, answer."""
    job = Job(**json.loads(sys.stdin.readline()))
    notice_templates.preload()  # as a service does: no transaction waits for it
    with opened(load(Path(job.settings)).store.url, "test") as store:
        member = Member(job, store)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        profile = os.environ.get("MANY_APPLICATIONS_PROFILE", "")
        profiled(member.run, profile and f"{profile}.{job.member}")
    sys.stdout.write(json.dumps(asdict(member.done)) + "\n")


if __name__ == "__main__":
    main()
