"""Nobody waits in a circle: lanes are locked in the order of their names, whatever a decision does first.

PostgreSQL counts every circle it had to break; SQLite has one writer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import LiteralString

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import desk_jobs, notices, reviews
from handlers.calendar import BusinessCalendar
from handlers.contracts import ImportReport
from handlers.lane_pauses import GATEWAY
from handlers.review_case import Decided, Details
from handlers.workflow import Event
from storage import engines
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import LANE_HEARD, Applied, Change, Unit
from storage.models import LanePause, Office, Work
from storage.store import Store, new_key
from tests.handlers.clock_cases import LANE, RECEIPT, application_in, complete, day, jst, order, run_out, schedule
from tests.handlers.review_cases import CALENDAR, DESK, OFFICES, START, WITH_SMTP_SERVER, receive, take_contracts
from tests.storage.units import accepted, outbound

pytestmark = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)

OPENS = jst(day(12, 10), 13)
EARLIER_LANE = "terminal:60777A"
NEXT_DAY = timedelta(days=1)
LOCK_LANE: LiteralString = """INSERT INTO lanes (lane, last_sequence, state) VALUES (%s, 0, 'idle')
    ON CONFLICT (lane) DO UPDATE SET state = 'idle'"""
LOCK_CASE: LiteralString = "SELECT id FROM applications WHERE id = %s FOR UPDATE"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A circle is broken by the server after a second; nobody gives up a lock for another reason."""
    monkeypatch.setattr(engines, "_LOCK_WAIT", "60s")


@pytest.fixture
def case(store: Store, now: datetime) -> Store:
    """An application in review, of an office whose line has a server in use."""
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now)
    return store


@pytest.fixture
def never_in_a_circle(store_url: str) -> Callable[[], None]:
    """Asserts that no circle was broken since the test began, once every connection that was in one is closed."""
    before = deadlocks(store_url)

    def check() -> None:
        assert deadlocks(store_url) == before

    return check


def deadlocks(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    return -1 if row is None else int(row[0])


def notices_lane(store: Store, receipt: str = RECEIPT) -> str:
    application = store.read(partial(application_in, receipt=receipt))
    return notices.lane_of(DESK, notices.Notice(name="", to=notices.reviewer(DESK), application=application))


def beside_a_writer_in_order(
    store: Store, url: str, rows: tuple[object, object], work: Callable[[], object], lock: LiteralString = LOCK_LANE
) -> object:
    """What `work` answers that meets a writer which holds the first row and takes the second meanwhile."""
    answers: list[object] = []
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(url) as writer, psycopg.connect(url, autocommit=True) as watcher:
        writer.execute(lock, (rows[0],))
        thread = threading.Thread(target=lambda: answers.append(work()))
        thread.start()
        give_up_at = time.monotonic() + 60
        while watcher.execute(waits).fetchone() == (0,) and time.monotonic() < give_up_at:
            time.sleep(0.01)
        writer.execute(lock, (rows[1],))
        writer.commit()
        thread.join()
    store.engines.dispose()  # a server process tells of a circle when it ends, if not before
    return answers[0]


def decide(store: Store, event: Event, now: datetime, receipt: str = RECEIPT, details: Details | None = None) -> object:
    given = details or Details(words="理由")
    return store.run(lambda s: reviews.decide(s, DESK, receipt, event, "os:reviewer", now, CALENDAR, given))


def test_work_arranged_anew_lets_no_lane_go_before_it_has_the_lane_of_its_mail(
    case: Store, store_url: str, now: datetime, never_in_a_circle: Callable[[], None]
) -> None:
    schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    again = Details(work=order(OPENS + NEXT_DAY, router_number="09143"))
    meanwhile = partial(decide, case, Event.SCHEDULE_WORK, OPENS, details=again)
    done = beside_a_writer_in_order(case, store_url, (notices_lane(case), LANE), meanwhile)
    assert isinstance(done, Decided)
    never_in_a_circle()


def test_work_on_several_lines_is_called_off_in_the_order_of_the_lanes(
    case: Store, store_url: str, now: datetime, never_in_a_circle: Callable[[], None]
) -> None:
    schedule(case, now, order(OPENS))
    run_out(case, OPENS)

    def on_another_line(session: Session) -> None:
        application = application_in(session)
        work = Work(
            id=new_key(session),
            application_id=application.id,
            mode="remote",
            begins_at=OPENS + timedelta(minutes=5),
            ends_at=OPENS + NEXT_DAY,
            contact="",
            phone="",
            fee="",
            note="",
            scheduled_by="os:reviewer",
            opened_at=OPENS,
        )
        session.add(work)
        session.add(
            LanePause(
                id=new_key(session),
                lane=EARLIER_LANE,
                paused_at=OPENS,
                actor=GATEWAY,
                reason=f"work {work.id} {RECEIPT}",
            )
        )

    case.run(on_another_line)
    meanwhile = partial(decide, case, Event.WITHDRAW, OPENS)
    done = beside_a_writer_in_order(case, store_url, (EARLIER_LANE, LANE), meanwhile)
    assert isinstance(done, Decided)
    never_in_a_circle()


def test_the_clock_lets_no_lane_go_before_it_mails_in_the_same_unit(
    case: Store, store_url: str, now: datetime, never_in_a_circle: Callable[[], None]
) -> None:
    complete(case, now)
    schedule(case, now, order(jst(START) - timedelta(hours=3)))
    run_out(case, jst(START) - timedelta(hours=3))
    meanwhile = partial(run_out, case, jst(START, 1))
    done = beside_a_writer_in_order(case, store_url, (notices_lane(case), LANE), meanwhile)
    assert isinstance(done, int)
    assert done >= 2
    never_in_a_circle()


def test_an_import_of_several_offices_locks_their_cases_in_order(
    case: Store, store_url: str, now: datetime, never_in_a_circle: Callable[[], None]
) -> None:
    """As whoever plans the cases of all offices again."""
    other = OFFICES.replace("CT0001", "CT0002").replace("TST01", "TST02").replace("09143", "09144")
    other = other.replace("127.20.13.", "127.20.14.").replace("25130M", "25131M").replace("27264C", "27265C")
    hashes = {"CT0001": "x", "CT0002": "x"}
    take_contracts(case, now, other, password_hashes=hashes)
    schedule(case, now, order(OPENS))
    schedule(case, now, order(OPENS), receive(case, now, "260002A"))

    def move(session: Session) -> None:
        application_in(session).office_id = session.scalars(select(Office.id).where(Office.code == "CT0002")).one()

    case.run(move)
    ids = case.read(lambda s: (application_in(s).id, application_in(s, "260002A").id))
    both = WITH_SMTP_SERVER + other.replace("第一営業部", "第二営業部")
    meanwhile = partial(take_contracts, case, now, both, password_hashes=hashes)
    done = beside_a_writer_in_order(case, store_url, ids, meanwhile, LOCK_CASE)
    assert isinstance(done, ImportReport)
    never_in_a_circle()


def test_a_batch_that_changes_one_lane_and_queues_in_another_locks_them_in_order(
    store: Store, store_url: str, now: datetime, never_in_a_circle: Callable[[], None]
) -> None:
    found, unit = accepted(store.new_key, now)
    committer = Committer(store)
    assert committer.commit([unit]) == [Applied()]
    with psycopg.connect(store_url) as connection:
        for lane in (EARLIER_LANE, LANE):
            connection.execute(
                "INSERT INTO lanes (lane, last_sequence, state, down_since) VALUES (%s, 0, 'idle', 1)", (lane,)
            )
    heard = Change(LANE_HEARD, (LANE, to_micros(now)), must=False)
    queued = outbound(store.new_key, found.mail_id, EARLIER_LANE, now)
    both = Unit(changes=(heard,), queued=(queued,))
    done = beside_a_writer_in_order(store, store_url, (EARLIER_LANE, LANE), lambda: committer.commit([both]))
    assert done == [Applied((True,), (1,))]
    never_in_a_circle()


def arrange_again_and_again(store: Store, now: datetime, receipt: str, rounds: int, calendar: BusinessCalendar) -> None:
    """Arrange work whose window opens at once, and arrange it anew while it is open."""
    for number in range(rounds):
        at = now + number * timedelta(minutes=10)
        details = Details(work=order(at - timedelta(minutes=1), router_number="09143"))
        assert isinstance(decide(store, Event.SCHEDULE_WORK, at, receipt, details), Decided)
        while store.run(partial(desk_jobs.run_due, desk=DESK, calendar=calendar, now=at)):
            pass


def test_two_reviewers_who_arrange_work_on_one_line_never_wait_in_a_circle(
    case: Store, store_url: str, now: datetime, never_in_a_circle: Callable[[], None]
) -> None:
    mine = notices_lane(case)
    other_receipt = next(
        receipt
        for receipt in (f"26{number:04d}A" for number in range(2, 60))
        if notices_lane(case, receive(case, now, receipt)) == mine
    )
    other = Store.open(store_url, "test")
    threads = [
        threading.Thread(target=arrange_again_and_again, args=(one, now, receipt, 12, CALENDAR))
        for one, receipt in ((case, RECEIPT), (other, other_receipt))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    case.engines.dispose()
    never_in_a_circle()
