"""Applications, works and the jobs that the clock does for them, as the tests of the clock need them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from handlers import desk_jobs, reviews
from handlers.calendar import JST
from handlers.desk import DeskSettings
from handlers.desk_jobs import JobKind
from handlers.review_case import Decided, Details
from handlers.workflow import Event
from handlers.works import WorkOrder
from storage.models import Application, DeskJob, LanePause, LogicalTerminal, Work
from storage.store import Store
from tests.handlers.review_cases import CALENDAR, DESK, START, notice_to

RECEIPT = "260001A"
REVIEWER = "os:reviewer"
LANE = "terminal:60777S"


def jst(day: date, hour: int = 0, minute: int = 0) -> datetime:
    """An instant of a day in Japan, in UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=JST).astimezone(UTC)


def day(month: int, number: int, year: int = 2026) -> date:
    """A day of the year of the tests."""
    return date(year, month, number)


def decide(store: Store, event: Event, now: datetime, receipt: str = RECEIPT, **given: Any) -> Decided:
    """An event that is not refused; further options are its details."""
    desk: DeskSettings = given.pop("desk", DESK)
    details = Details(**given)
    done = store.run(lambda session: reviews.decide(session, desk, receipt, event, REVIEWER, now, CALENDAR, details))
    assert isinstance(done, Decided), done
    return done


def complete(store: Store, now: datetime, start: date = START, **given: Any) -> Decided:
    """A completed review."""
    return decide(store, Event.COMPLETE, now, start_date=start, **given)


def plan(store: Store, now: datetime, receipt: str = RECEIPT, desk: DeskSettings = DESK) -> int:
    """What `plan` changes."""

    def work(session: Session) -> int:
        return desk_jobs.plan(session, desk, application_in(session, receipt), CALENDAR, now)

    return store.run(work)


def run_once(store: Store, now: datetime, desk: DeskSettings = DESK, **options: Any) -> int:
    """One unit of work."""
    return store.run(lambda session: desk_jobs.run_due(session, desk, CALENDAR, now, **options))


def run_out(store: Store, now: datetime, desk: DeskSettings = DESK, **options: Any) -> int:
    """Unit after unit until nothing is left; how many jobs were handled."""
    handled = 0
    while found := run_once(store, now, desk, **options):
        handled += found
    return handled


def sweep_out(store: Store, now: datetime, desk: DeskSettings = DESK, **options: Any) -> int:
    """The same for what no job is planned for."""
    found = 0
    while done := store.run(lambda session: desk_jobs.sweep(session, desk, CALENDAR, now, **options)):
        found += done
    return found


def application_in(session: Session, receipt: str = RECEIPT) -> Application:
    """The row of an application."""
    return session.scalars(select(Application).where(Application.receipt_number == receipt)).one()


def application_of(store: Store, receipt: str = RECEIPT) -> Application:
    """The row of an application, read."""
    return store.read(lambda session: application_in(session, receipt))


def set_application(store: Store, receipt: str = RECEIPT, **values: Any) -> None:
    """Write columns of an application."""
    store.run(lambda s: s.execute(update(Application).where(Application.receipt_number == receipt).values(**values)))


def jobs_of(store: Store, *kinds: JobKind) -> list[DeskJob]:
    """The rows of jobs of these kinds, or of all, in the order they were planned."""
    query = select(DeskJob).order_by(DeskJob.id)
    if kinds:
        query = query.where(DeskJob.kind.in_(kinds))
    return list(store.read(lambda session: session.scalars(query).all()))


def undone(store: Store) -> dict[tuple[str, str], datetime]:
    """The undone jobs by kind and key."""
    return {
        (job.kind, job.key): job.due_at for job in jobs_of(store) if job.done_at is None and job.cancelled_at is None
    }


def ended(store: Store, *kinds: JobKind) -> list[str]:
    """How each job of these kinds stands: undone, done or cancelled."""
    return [
        "done" if job.done_at is not None else "cancelled" if job.cancelled_at is not None else "undone"
        for job in jobs_of(store, *kinds)
    ]


def set_jobs(store: Store, *kinds: JobKind, **values: Any) -> None:
    """Write columns of jobs."""
    store.run(lambda session: session.execute(update(DeskJob).where(DeskJob.kind.in_(kinds)).values(**values)))


def check_terminals(store: Store, now: datetime, *names: str) -> None:
    """A first normal TCC of terminals, of all that an application issued when none is named."""
    which = LogicalTerminal.name.in_(names) if names else LogicalTerminal.application_id.is_not(None)
    store.run(lambda session: session.execute(update(LogicalTerminal).where(which).values(checked_at=now)))


def order(begins_at: datetime, hours: float = 2, **values: Any) -> WorkOrder:
    """Remote work on the line of the sample office."""
    return WorkOrder(**{"begins_at": begins_at, "ends_at": begins_at + timedelta(hours=hours), **values})


def schedule(store: Store, now: datetime, work: WorkOrder, receipt: str = RECEIPT) -> Work:
    """The work that a reviewer arranged."""
    decide(store, Event.SCHEDULE_WORK, now, receipt, work=work)
    return works_of(store)[-1]


def works_of(store: Store) -> list[Work]:
    """Every work, in the order they were arranged."""
    return list(store.read(lambda session: session.scalars(select(Work).order_by(Work.id)).all()))


def pauses(store: Store, lane: str = LANE) -> list[tuple[str, str, bool]]:
    """(actor, reason, open) of every pause of a lane."""
    query = select(LanePause).where(LanePause.lane == lane).order_by(LanePause.id)
    rows = store.read(lambda session: session.scalars(query).all())
    return [(row.actor, row.reason, row.resumed_at is None) for row in rows]


def notice_text(store: Store, template: str, address: str) -> str:
    """The text of the one mail of that template to an address."""
    mail = message_from_bytes(notice_to(store, template, address), policy=default)
    text: str = mail.get_content()
    return text.replace("\r\n", "\n")
