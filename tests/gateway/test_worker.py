"""What the worker takes up, in which order, and what it does when something fails (semantics §1, §2, §3, §7, §12)."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from gateway import worker as worker_module
from gateway.desk_work import DeskWork
from gateway.worker import Worker, _insert_in_order, _Waiting
from handlers.naccs.exchange import Exchange, ExchangeSettings
from handlers.outcomes import PermanentFailure, TemporaryFailure
from handlers.preparation import CaseChanged, Prepared
from handlers.terminals import change_map
from storage import committer
from storage.clock import Clock
from storage.effects import Applied
from storage.mail_queue import Arrival, Origin, arrival, content_of, waiting_inbound
from storage.models import AuditEvent, MailAddress, Recipient, Request
from storage.states import State
from storage.store import Store, new_key
from tests.fakes.in_house_server import until
from tests.gateway.test_current_map import OnMap, on_map, other_process, today
from tests.gateway.test_health import held, only_sqlite
from tests.gateway.test_listeners import (
    BACKEND,
    CENTER,
    RULES,
    edi_mail,
)
from tests.handlers.naccs.sound_request import BODY
from tests.handlers.naccs.test_exchange import content_of_result
from tests.handlers.review_cases import DESK
from tests.handlers.test_terminals import ADDRESS, KEY, set_terminal

OTA = edi_mail(BODY.replace(b"TCC  ", b"OTA  ", 1))
LANE = "terminal:60777S"


def an_exchange(on: OnMap, *, window: float = 30.0, make_key: Callable[[], int] | None = None, **more: Any) -> Exchange:
    settings = ExchangeSettings(
        center_address=CENTER,
        backend_address=BACKEND,
        message_id_domain="center.example",
        password_key=DESK.password_key,
        repeat_window=window,
        terminals_domain=RULES.terminals_domain,
        **more,
    )
    return Exchange(settings=settings, new_key=make_key or on.database.new_key)


@asynccontextmanager
async def working(
    on: OnMap, *, exchange: Exchange | None = None, desk: Any = None, clock: Clock | None = None, settled: bool = True
) -> AsyncIterator[Worker]:
    """A worker on that store; without `desk` the real one. `settled`: it has read what waited when it started."""
    work = DeskWork(DESK, ())
    worker = Worker(on.database, on.map, clock or Clock(), exchange or an_exchange(on), desk or work.handle, work.park)
    await worker.start()
    try:
        if settled:
            await until(lambda: not worker._behind)
        yield worker
    finally:
        await worker.stop()


async def put(
    on: OnMap,
    content: bytes = b"",
    *,
    key: str = KEY,
    listener: str = "naccs",
    mail_from: str = ADDRESS,
    rcpt_to: str = CENTER,
    address_id: int | None = None,
    at: datetime | None = None,
) -> Arrival:
    """Commit a mail as a listener does."""
    bound = on.address_id if listener == "naccs" and address_id is None else address_id
    origin = Origin(listener=listener, peer="127.9.9.9", mail_from=mail_from, address_id=bound)
    _, unit = arrival(on.database.new_key, origin, [(rcpt_to, key)], content or edi_mail(), at or datetime.now(UTC))
    assert await on.database.apply(unit) == Applied()
    found: Arrival = unit.notes[0].payload
    return found


async def apply_mail(on: OnMap, name: str, key: str = "public:a@x.example") -> Arrival:
    """A mail to the desk that says its name."""
    return await put(
        on, name.encode(), key=key, listener="public", mail_from="a@x.example", rcpt_to="apply@nss.center.example"
    )


def row_of(store: Store, arrived: Arrival) -> Recipient:
    return store.read(lambda session: session.get_one(Recipient, arrived.recipient_id))


def states(store: Store, *arrived: Arrival) -> list[str]:
    return [row_of(store, each).state for each in arrived]


def in_lane(store: Store, lane: str = LANE) -> list[Recipient]:
    query = select(Recipient).where(Recipient.lane == lane).order_by(Recipient.lane_sequence)
    return list(store.read(lambda session: session.scalars(query).all()))


async def handled(on: OnMap, *arrived: Arrival) -> None:
    """Wait until none of them is `received` any more."""
    await until(lambda: State.RECEIVED not in states(on.store, *arrived))


async def finish(on: OnMap, worker: Worker, *arrived: Arrival) -> list[str]:
    await handled(on, *arrived)
    await until(lambda: worker.idle)
    return states(on.store, *arrived)


@dataclass
class ScriptedDesk:
    """The desk's part for mails that are nothing but a name: it fails as told, and leaves a trace of each try."""

    failures: dict[str, list[Exception]] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)

    def __call__(self, session: Session, arrived: Arrival, now: datetime) -> str:
        name = arrived.content.decode()
        self.tried.append(name)
        session.execute(update(Recipient).where(Recipient.id == arrived.recipient_id).values(state=State.HANDLED))
        event = AuditEvent(id=new_key(session), occurred_at=now, actor="gateway", event="tried", subject=name)
        session.add(event)
        session.flush()
        if self.failures.get(name):
            raise self.failures[name].pop(0)
        return State.HANDLED


def traces(store: Store) -> list[str]:
    query = select(AuditEvent.subject).where(AuditEvent.event == "tried").order_by(AuditEvent.id)
    return list(store.read(lambda session: session.scalars(query).all()))


LONG = timedelta(seconds=25)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    """Where a test looks between two tries of a mail, the wait is `LONG`, and ended by another worker that is later."""
    monkeypatch.setattr(worker_module, "_DEFER", timedelta(milliseconds=50))
    monkeypatch.setattr(worker_module, "_STORE_PAUSE", 0.05)


def later() -> Clock:
    """The clock when every wait is over."""
    clock = Clock(movable=True)
    clock.offset = timedelta(hours=1)
    return clock


class Preparing:
    """What is done before the desk's unit of work; the store changes meanwhile as often as told."""

    def __init__(self, changes: int = 0, documents: tuple[Any, ...] = ()) -> None:
        self.changes = changes
        self.documents = documents
        self.prepared = self.rendered = 0
        self.threads: set[int] = set()

    def prepare(self, session: Session, arrival: Arrival, now: datetime) -> Prepared:
        self.prepared += 1
        return Prepared(mail=DeskWork(DESK, ())._mail(arrival), documents=self.documents)

    def render(self, prepared: Prepared) -> Prepared:
        self.rendered += 1
        self.threads.add(threading.get_ident())
        return prepared

    def handle(self, session: Session, arrival: Arrival, now: datetime, prepared: Prepared | None = None) -> str:
        assert prepared is not None
        if self.changes:
            self.changes -= 1
            raise CaseChanged("it changed")
        session.execute(update(Recipient).where(Recipient.id == arrival.recipient_id).values(state=State.HANDLED))
        return State.HANDLED


@asynccontextmanager
async def preparing(on: OnMap, desk: Preparing) -> AsyncIterator[Worker]:
    park = DeskWork(DESK, ()).park
    worker = Worker(on.database, on.map, Clock(), an_exchange(on), desk.handle, park, desk)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


@pytest.mark.parametrize("documents", [(), ("a document",)])
async def test_a_mail_to_the_desk_is_prepared_and_its_documents_rendered_beside_the_loop(store_url, documents):
    desk = Preparing(documents=documents)
    async with on_map(store_url) as on, preparing(on, desk) as worker:
        arrived = await apply_mail(on, "a")
        assert await finish(on, worker, arrived) == ["handled"]
    assert (desk.prepared, desk.rendered) == (1, len(documents))
    assert threading.get_ident() not in desk.threads


@only_sqlite
@pytest.mark.parametrize(("changes", "prepared"), [(2, 3), (3, 4)])
async def test_a_mail_whose_case_changed_is_prepared_again_at_once_a_few_times(store_url, changes, prepared):
    desk = Preparing(changes)
    async with on_map(store_url) as on, preparing(on, desk) as worker:
        arrived = await apply_mail(on, "a")
        assert await finish(on, worker, arrived) == ["handled"]
        assert row_of(on.store, arrived).handler_failures == (0 if changes < 3 else 1)
    assert desk.prepared == prepared


# Order.


@only_sqlite
async def test_mails_of_one_key_are_handled_one_after_another_in_commit_order(store_url):
    desk = ScriptedDesk()
    async with on_map(store_url) as on, working(on, desk=desk) as worker:
        names = [f"{key}{number}" for number in range(8) for key in "ab"]
        arrived = await asyncio.gather(*(apply_mail(on, name, name[0]) for name in names))
        assert set(await finish(on, worker, *arrived)) == {"handled"}
    for key in "ab":
        assert [name for name in desk.tried if name[0] == key] == [f"{key}{number}" for number in range(8)]


@only_sqlite
async def test_a_deferred_mail_holds_back_its_own_key_only(store_url, monkeypatch):
    monkeypatch.setattr(worker_module, "_DEFER", LONG)
    desk = ScriptedDesk({"a1": [TemporaryFailure("later")]})
    async with on_map(store_url) as on:
        async with working(on, desk=desk):
            arrived = [await apply_mail(on, name, name[0]) for name in ("a1", "a2", "b1", "b2")]
            await handled(on, *arrived[2:])
        assert states(on.store, *arrived) == ["received", "received", "handled", "handled"]
        async with working(on, desk=desk, clock=later()) as worker:
            assert await finish(on, worker, *arrived) == ["handled"] * 4
    assert desk.tried == ["a1", "b1", "b2", "a1", "a2"]


@only_sqlite
async def test_a_parked_mail_does_not_hold_back_its_key_and_goes_next_when_it_is_released(store_url):
    desk = ScriptedDesk({"a1": [PermanentFailure("no")]})
    async with on_map(store_url) as on, working(on, desk=desk) as worker, other_process(store_url) as other:
        arrived = [await apply_mail(on, name, "a") for name in ("a1", "a2")]
        assert await finish(on, worker, *arrived) == ["parked", "handled"]

        def release(session: Session) -> None:
            session.execute(update(Recipient).where(Recipient.state == State.PARKED).values(state=State.RECEIVED))

        await asyncio.to_thread(other.run, release)
        assert await finish(on, worker, *arrived) == ["handled", "handled"]
    assert desk.tried == ["a1", "a2", "a1"]


def test_a_scan_that_finds_an_older_mail_puts_it_in_its_place_but_never_before_the_head():
    def waiting(number: int) -> _Waiting:
        return _Waiting(number, datetime.now(UTC), None)

    queue = deque([waiting(5)])
    for number in (9, 3, 7, 4, 8):
        _insert_in_order(queue, waiting(number))
    assert [each.recipient_id for each in queue] == [5, 3, 4, 7, 8, 9]


@only_sqlite
async def test_what_waits_when_it_starts_is_taken_up_before_what_comes(store_url):
    desk = ScriptedDesk()
    async with on_map(store_url) as on:
        before = [await apply_mail(on, f"before {number}", "a") for number in range(5)]
        async with working(on, desk=desk) as worker:
            after = [await apply_mail(on, f"after {number}", "a") for number in range(5)]
            await finish(on, worker, *before, *after)
    assert desk.tried == [*(f"before {n}" for n in range(5)), *(f"after {n}" for n in range(5))]


@only_sqlite
async def test_a_backlog_longer_than_one_scan_is_worked_off_in_order(store_url, monkeypatch):
    monkeypatch.setattr(worker_module, "_SCAN_LIMIT", 4)
    desk = ScriptedDesk()
    async with on_map(store_url) as on:
        names = [f"a{number:02}" for number in range(15)]
        before = [await apply_mail(on, name, "a") for name in names[:12]]
        async with working(on, desk=desk, settled=False) as worker:
            after = [await apply_mail(on, name, "a") for name in names[12:]]
            await finish(on, worker, *before, *after)
    assert desk.tried == names


@only_sqlite
async def test_what_arrives_while_it_reads_what_waits_keeps_its_order(store_url, monkeypatch):
    scans = [(threading.Event(), threading.Event()) for _ in range(2)]
    next_scan = iter(scans)

    def held_up(session: Session, limit: int) -> list[tuple[int, str, datetime]]:
        """The scan; the first two stand still when they have read."""
        rows = waiting_inbound(session, limit)
        for reached, go_on in next_scan:
            reached.set()
            go_on.wait(60)
            break
        return rows

    monkeypatch.setattr(worker_module, "waiting_inbound", held_up)
    desk = ScriptedDesk()
    async with on_map(store_url) as on, working(on, desk=desk, settled=False) as worker:
        arrived = []
        for name, (reached, go_on) in zip(("a1", "a2"), scans, strict=True):
            await until(reached.is_set)
            arrived.append(await apply_mail(on, name, "a"))  # neither scan has seen its mail
            go_on.set()
        await finish(on, worker, *arrived)
    assert desk.tried == ["a1", "a2"]


# Failures.


@only_sqlite
async def test_an_exception_defers_and_leaves_nothing_of_its_try(store_url, monkeypatch):
    monkeypatch.setattr(worker_module, "_DEFER", LONG)
    desk = ScriptedDesk({"a1": [LookupError("PASSWD01")]})
    async with on_map(store_url) as on, working(on, desk=desk):
        arrived = await apply_mail(on, "a1")
        await until(lambda: row_of(on.store, arrived).handler_failures == 1)
        row = row_of(on.store, arrived)
        assert (row.state, row.last_reply) == ("received", "LookupError in its handler")
        assert row.due_at > arrived.received_at + LONG
        assert traces(on.store) == []


async def test_the_third_exception_parks_and_the_operator_is_told(store_url):
    desk = ScriptedDesk({"a1": [LookupError("x"), TemporaryFailure("x"), ValueError("x")]})
    async with on_map(store_url) as on, working(on, desk=desk) as worker:
        arrived = [await apply_mail(on, name) for name in ("a1", "a2")]
        assert await finish(on, worker, *arrived) == ["parked", "handled"]
        row = row_of(on.store, arrived[0])
        assert row.last_reply == "ValueError in its handler, 3 times"
        (notice,) = operator_mails(on.store)
        assert str(arrived[0].mail_id).encode() in notice
    assert desk.tried == ["a1", "a1", "a1", "a2"]


def operator_mails(store: Store) -> list[bytes]:
    """The mails the operator was sent, as they leave."""
    query = select(Recipient.mail_id).where(Recipient.rcpt_to == DESK.operator_address).order_by(Recipient.id)
    return store.read(lambda session: [content_of(session, mail_id) for mail_id in session.scalars(query)])


@only_sqlite
async def test_a_permanent_failure_parks_at_once_with_its_reason(store_url):
    desk = ScriptedDesk({"a1": [PermanentFailure("the template asks for what is not there")]})
    async with on_map(store_url) as on, working(on, desk=desk) as worker:
        arrived = await apply_mail(on, "a1")
        assert await finish(on, worker, arrived) == ["parked"]
        assert row_of(on.store, arrived).last_reply == "PermanentFailure: the template asks for what is not there"
        assert len(operator_mails(on.store)) == 1
    assert desk.tried == ["a1"]


@only_sqlite
async def test_failures_are_counted_over_restarts(store_url):
    desk = ScriptedDesk({"a1": [LookupError()] * 3})
    async with on_map(store_url) as on:
        arrived = await apply_mail(on, "a1")

        def failed(count: int) -> bool:
            return row_of(on.store, arrived).handler_failures >= count

        for count in (1, 2):
            async with working(on, desk=desk):
                await until(partial(failed, count))
        async with working(on, desk=desk) as worker:
            assert await finish(on, worker, arrived) == ["parked"]
    assert len(desk.tried) == 3


@only_sqlite
async def test_an_exception_of_the_exchange_defers_and_parks_in_the_same_way(store_url):
    async with on_map(store_url) as on:
        tried = []

        def make_key() -> int:
            tried.append(1)
            raise RuntimeError("no key")

        async with working(on, exchange=an_exchange(on, make_key=make_key)) as worker:
            arrived = await put(on)
            assert await finish(on, worker, arrived) == ["parked"]
        assert len(tried) == 3
        assert row_of(on.store, arrived).last_reply == "RuntimeError in its handler, 3 times"


@only_sqlite
async def test_trouble_of_the_store_is_nobodys_failure(store_url, monkeypatch):
    monkeypatch.setattr(committer, "BUSY_FOR_AT_MOST", 0.05)
    async with on_map(store_url) as on:
        await asyncio.to_thread(on.store.run, lambda s: s.execute(text("PRAGMA busy_timeout=50")).scalar())
        arrived = await put(on)
        with held(store_url):
            async with asyncio.timeout(60):
                async with working(on):
                    await asyncio.sleep(0.4)
        assert states(on.store, arrived) == ["received"]
        assert row_of(on.store, arrived).handler_failures == 0
        async with working(on) as worker:
            assert await finish(on, worker, arrived) == ["handled"]


@only_sqlite
async def test_a_failure_that_cannot_be_written_down_is_tried_again(store_url, caplog):
    async with on_map(store_url) as on:
        trigger = "BEFORE UPDATE OF handler_failures ON recipients BEGIN SELECT RAISE(ABORT, 'no'); END"
        await asyncio.to_thread(on.store.run, lambda s: s.execute(text(f"CREATE TRIGGER no_failures {trigger}")))
        desk = ScriptedDesk({"a1": [LookupError("x"), LookupError("y")]})
        async with working(on, desk=desk) as worker:
            arrived = await apply_mail(on, "a1")
            await until(lambda: "could not be deferred or parked" in caplog.text)
            await asyncio.to_thread(on.store.run, lambda s: s.execute(text("DROP TRIGGER no_failures")))
            assert await finish(on, worker, arrived) == ["handled"]


@only_sqlite
async def test_a_mail_that_cannot_be_read_waits_without_being_counted(store_url, caplog):
    async with on_map(store_url) as on:
        arrived = await put(on)
        await asyncio.to_thread(on.store.run, lambda s: s.execute(text("ALTER TABLE mail_contents RENAME TO lost")))
        async with working(on) as worker:
            await until(lambda: "could not be handled" in caplog.text)
            await asyncio.to_thread(on.store.run, lambda s: s.execute(text("ALTER TABLE lost RENAME TO mail_contents")))
            assert await finish(on, worker, arrived) == ["handled"]
        assert row_of(on.store, arrived).handler_failures == 0


@only_sqlite
async def test_a_queue_that_cannot_be_scanned_is_scanned_again(store_url, monkeypatch, caplog):
    monkeypatch.setattr(worker_module, "_SCAN_EVERY", 0.05)
    async with on_map(store_url) as on:
        arrived = await put(on)
        await asyncio.to_thread(on.store.run, lambda s: s.execute(text("ALTER TABLE recipients RENAME TO lost")))
        with caplog.at_level(logging.ERROR):
            async with working(on, settled=False) as worker:
                await until(lambda: "could not be scanned" in caplog.text)
                await asyncio.to_thread(
                    on.store.run, lambda s: s.execute(text("ALTER TABLE lost RENAME TO recipients"))
                )
                assert await finish(on, worker, arrived) == ["handled"]


# The map under a decision.


async def test_a_decision_on_an_older_map_is_made_again_on_the_newest(store_url):
    async with on_map(store_url, follow=False) as on, other_process(store_url) as other:
        await asyncio.to_thread(set_terminal, other)
        async with working(on) as worker:
            arrived = await put(on)
            assert await finish(on, worker, arrived) == ["handled"]
        (queued,) = in_lane(on.store)
        assert queued.map_version == on.map.view.version == 2
        assert len(requests(on.store)) == 1


def requests(store: Store) -> list[Request]:
    return list(store.read(lambda session: session.scalars(select(Request).order_by(Request.id)).all()))


@only_sqlite
async def test_a_map_that_keeps_changing_defers_the_mail_without_a_failure(store_url, monkeypatch):
    monkeypatch.setattr(worker_module, "_DEFER", LONG)
    async with on_map(store_url, follow=False) as on, other_process(store_url) as other:
        changes: list[int] = []

        def make_key() -> int:
            """Let the map change between each of the first four decisions and its commit."""
            if len(changes) < 8:  # an answer takes two keys
                changes.append(other.run(lambda session: change_map(session, datetime.now(UTC))))
            return on.database.new_key()

        exchange = an_exchange(on, make_key=make_key)
        async with working(on, exchange=exchange):
            arrived = await put(on)
            await until(lambda: row_of(on.store, arrived).last_reply == "the map or the address kept changing")
            row = row_of(on.store, arrived)
            assert (row.state, row.handler_failures) == ("received", 0)
            assert len(changes) == 6
        async with working(on, exchange=exchange, clock=later()) as worker:
            assert await finish(on, worker, arrived) == ["handled"]
        assert len(in_lane(on.store)) == 1


async def test_an_address_registered_a_moment_ago_is_no_reason_to_park(store_url):
    async with on_map(store_url, follow=False) as on, other_process(store_url) as other, working(on) as worker:

        def register(session: Session) -> None:
            change_map(session, datetime.now(UTC))
            terminal_id = session.scalars(select(MailAddress.terminal_id)).one()
            address = {"address": "NEW@X.EXAMPLE", "address_key": "new@x.example"}
            row = MailAddress(id=new_key(session), terminal_id=terminal_id, effective_from=today(), **address)
            session.add(row)

        await asyncio.to_thread(other.run, register)
        arrived = await put(
            on, content_of_result(), key="new", listener="backend", mail_from=BACKEND, rcpt_to="NEW@X.EXAMPLE"
        )
        assert await finish(on, worker, arrived) == ["handled"]
        assert [row.rcpt_to for row in in_lane(on.store)] == ["NEW@X.EXAMPLE"]


# What others do meanwhile.


async def test_a_mail_accepted_by_another_process_is_noticed(store_url):
    async with on_map(store_url) as on, working(on) as worker, other_process(store_url) as other:
        origin = Origin(listener="naccs", mail_from=ADDRESS, address_id=on.address_id)
        _, unit = arrival(other.new_key, origin, [(CENTER, KEY)], edi_mail(), datetime.now(UTC))
        foreign = committer.Committer(other)
        assert await asyncio.to_thread(foreign.commit, [unit]) == [Applied()]
        assert await finish(on, worker, unit.notes[0].payload) == ["handled"]


@only_sqlite
async def test_a_mail_that_is_handled_elsewhere_before_its_turn_is_left_alone(store_url):
    desk = ScriptedDesk()
    async with on_map(store_url) as on:
        arrived = await apply_mail(on, "a1")
        await asyncio.to_thread(on.store.run, lambda session: session.execute(update(Recipient).values(state="held")))
        async with working(on, desk=desk) as worker:
            worker._add("a", _Waiting(arrived.recipient_id, arrived.received_at, None))
            await until(lambda: worker.idle)
        assert states(on.store, arrived) == ["held"]
    assert desk.tried == []


@only_sqlite
async def test_a_decision_that_another_process_made_first_has_no_second_effect(store_url):
    async with on_map(store_url) as on:
        arrived = await put(on)
        taken = update(Recipient).where(Recipient.id == arrived.recipient_id).values(state=State.HANDLED)

        def make_key() -> int:
            """Another process commits its decision while ours is being made."""
            on.store.run(lambda session: session.execute(taken))
            return on.database.new_key()

        async with working(on, exchange=an_exchange(on, make_key=make_key)) as worker:
            await until(lambda: states(on.store, arrived) == ["handled"])
            await until(lambda: worker.idle)
        assert in_lane(on.store) == []
        assert requests(on.store) == []


@only_sqlite
async def test_contents_beyond_the_memory_are_read_from_the_store(store_url, monkeypatch):
    monkeypatch.setattr(worker_module, "_MOST_MEMORY", 700)
    async with on_map(store_url) as on, working(on) as worker:
        arrived = await asyncio.gather(*(put(on) for _ in range(5)))
        assert await finish(on, worker, *arrived) == ["handled"] * 5
        assert worker._memory == 0


@only_sqlite
async def test_the_end_lets_the_mail_in_hand_finish_and_begins_no_other(store_url):
    async with on_map(store_url) as on:
        reached = asyncio.Event()
        loop = asyncio.get_running_loop()

        class Slow(ScriptedDesk):
            def __call__(self, session: Session, arrived: Arrival, now: datetime) -> str:
                loop.call_soon_threadsafe(reached.set)
                return super().__call__(session, arrived, now)

        desk = Slow()
        async with working(on, desk=desk):
            arrived = [await apply_mail(on, f"a{number}", "a") for number in range(20)]
            await reached.wait()
        found = states(on.store, *arrived)
        assert len(desk.tried) == found.count("handled") >= 1
        assert found == ["handled"] * found.count("handled") + ["received"] * found.count("received")
        late = await apply_mail(on, "late")
        await asyncio.sleep(0.05)
        assert states(on.store, late) == ["received"]


async def test_a_clock_that_was_set_back_holds_no_mail(store_url):
    async with on_map(store_url) as on:
        clock = Clock(movable=True)
        clock.offset = timedelta(hours=-1)
        async with working(on, clock=clock) as worker:
            arrived = await put(on)
            await until(lambda: worker.idle)
        assert row_of(on.store, arrived).state == State.HANDLED
