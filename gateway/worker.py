"""The worker: takes up inbound mails, lets the handlers decide, and commits what they decided.

Mails of one order key are handled one after another in commit order; a deferred one holds back its key only, a parked
one does not. An exception of a handler defers, the third parks and tells the operator. The store is the truth: what
is kept in memory is a bounded shortcut, and a scan at start and every 30 s finds what a wake-up missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.orm import Session

from gateway import maillog
from gateway.current_map import CurrentMap
from handlers.naccs.exchange import Exchange, InStore, Unhandled
from handlers.outcomes import PermanentFailure
from handlers.preparation import CaseChanged, Prepared
from storage.clock import Clock
from storage.columns import to_micros
from storage.database import Database
from storage.effects import RECIPIENT_DEFERRED, Applied, Change, Stale, Unit
from storage.failures import StoreTrouble
from storage.mail_queue import Arrival, is_repeat, load_arrival, resend, result_of_earlier, waiting_inbound
from storage.store import StaleUnit

log = logging.getLogger(__name__)

_SCAN_EVERY = 30.0
_SCAN_LIMIT = 5000
_MOST_FAILURES = 3
_MOST_STALE = 3
_MOST_MEMORY = 64 * 1024 * 1024
_STORE_PAUSE = 1.0
_DEFER = timedelta(seconds=10)
_LONGEST_DEFER = _DEFER * _MOST_FAILURES  # what is due later than that was received before the clock was set back


class DeskWork(Protocol):
    """The application desk's unit of work for one mail: handles it, marks it and says how; commits nothing itself."""

    def __call__(self, session: Session, arrival: Arrival, now: datetime, prepared: Prepared | None = None) -> str: ...


class DeskPreparation(Protocol):
    """What is done for the application desk before its unit of work, so that this stays short."""

    def prepare(self, session: Session, arrival: Arrival, now: datetime) -> Prepared: ...

    def render(self, prepared: Prepared) -> Prepared: ...


class ParkWork(Protocol):
    """Marks a mail parked and writes the operator's mail."""

    def __call__(self, session: Session, arrival: Arrival, reason: str, now: datetime) -> None: ...


@dataclass(slots=True)
class _Waiting:
    recipient_id: int
    due_at: datetime
    arrival: Arrival | None  # None: read from the store when its turn comes


class Worker:
    """One per process with the worker role. `start` it after the map, `stop` it before the database is closed."""

    def __init__(
        self,
        database: Database,
        current_map: CurrentMap,
        clock: Clock,
        exchange: Exchange,
        desk: DeskWork,
        park: ParkWork,
        preparation: DeskPreparation | None = None,
    ) -> None:
        self._database = database
        self._map = current_map
        self._clock = clock
        self._exchange = exchange
        self._desk = desk
        self._park = park
        self._preparation = preparation
        self._keys: dict[str, deque[_Waiting]] = {}
        self._known: set[int] = set()
        self._memory = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._scanner: asyncio.Task[None] | None = None
        self._rescan = asyncio.Event()
        self._behind = True  # the store holds mails older than those in memory
        self._early: list[Arrival] = []  # what arrived while behind, since the latest scan began
        self._early_bytes = 0
        self._stopping = False
        self._stopped = asyncio.Event()  # wakes those that wait for a mail to be due

    async def start(self) -> None:
        """Take up what waits in the store, then whatever arrives."""
        self._database.subscribe("arrived", self._arrived)
        self._database.subscribe("foreign", lambda _: self._rescan.set())
        self._rescan.set()
        self._scanner = asyncio.get_running_loop().create_task(self._scan())

    async def stop(self) -> None:
        """Finish what is being handled and take up nothing more."""
        self._stopping = True
        self._stopped.set()
        if self._scanner is not None:
            self._scanner.cancel()
            await asyncio.gather(self._scanner, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        for task in self._tasks:
            task.cancel()

    @property
    def idle(self) -> bool:
        """Whether nothing this worker knows of is waiting."""
        return not self._keys

    def _arrived(self, arrival: Arrival) -> None:
        if self._behind:
            # It must not pass an older one of its key that was not read yet.
            self._early_bytes += len(arrival.content)
            if self._early_bytes <= _MOST_MEMORY:
                self._early.append(arrival)
            self._rescan.set()
            return
        self._take_up(arrival)

    def _take_up(self, arrival: Arrival) -> None:
        if arrival.recipient_id in self._known:
            return
        keep = self._memory + len(arrival.content) <= _MOST_MEMORY
        self._memory += len(arrival.content) if keep else 0
        waiting = _Waiting(arrival.recipient_id, arrival.received_at, arrival if keep else None)
        self._add(arrival.order_key, waiting)

    def _add(self, order_key: str, waiting: _Waiting) -> None:
        if waiting.recipient_id in self._known or self._stopping:
            return
        self._known.add(waiting.recipient_id)
        queue = self._keys.get(order_key)
        if queue is not None:
            _insert_in_order(queue, waiting)
            return
        self._keys[order_key] = deque((waiting,))
        task = asyncio.get_running_loop().create_task(self._work_off(order_key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _scan(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SCAN_EVERY):
                    await self._rescan.wait()
            self._rescan.clear()
            self._early.clear()
            self._early_bytes = 0
            try:
                rows = await self._database.read(lambda s: waiting_inbound(s, _SCAN_LIMIT))
            except Exception:
                log.exception("the queue could not be scanned; scanning it again")
                await asyncio.sleep(_STORE_PAUSE)
                self._rescan.set()
                continue
            for recipient_id, order_key, due_at in rows:
                self._add(order_key, _Waiting(recipient_id, due_at, None))
            self._behind = len(rows) == _SCAN_LIMIT or self._early_bytes > _MOST_MEMORY
            if not self._behind:
                for arrival in self._early:
                    self._take_up(arrival)

    async def _work_off(self, order_key: str) -> None:
        queue = self._keys[order_key]
        while queue and not self._stopping:
            waiting = queue[0]
            pause = waiting.due_at - self._clock.now()
            if timedelta() < pause <= _LONGEST_DEFER:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause.total_seconds()):
                        await self._stopped.wait()
                continue
            if await self._take(waiting):
                queue.remove(waiting)
                self._forget(waiting)
        del self._keys[order_key]

    def _forget(self, waiting: _Waiting) -> None:
        self._known.discard(waiting.recipient_id)
        if self._behind and len(self._known) < _SCAN_LIMIT // 2:
            self._rescan.set()
        if waiting.arrival is not None:
            self._memory -= len(waiting.arrival.content)

    async def _take(self, waiting: _Waiting) -> bool:
        """Handle one mail; False when it stays at the head of its key."""
        arrival = waiting.arrival
        try:
            if arrival is None:
                arrival = await self._database.read(lambda s: load_arrival(s, waiting.recipient_id))
            if arrival is None:
                return True  # handled by somebody else meanwhile
            return await self._handle(waiting, arrival)
        except StoreTrouble as trouble:
            log.warning("mail %s waits for the store: %s", waiting.recipient_id, trouble)
            await asyncio.sleep(_STORE_PAUSE)
            return False
        except PermanentFailure as failure:
            return await self._failed(waiting, arrival, failure, parks=True)
        except Exception as error:
            log.exception("recipient %s could not be handled", waiting.recipient_id)
            return await self._failed(waiting, arrival, error)

    async def _handle(self, waiting: _Waiting, arrival: Arrival) -> bool:
        if arrival.listener == "public":
            state = await self._handle_at_desk(arrival)
            maillog.decided(arrival.mail_id, arrival.rcpt_to, state, "")
            return True
        busy = False
        for _ in range(_MOST_STALE):
            view = self._map.view
            decided = self._exchange.handle(arrival, view, self._clock.now(), busy=busy)
            if isinstance(decided, Unhandled):
                # Our own staleness must not park a mail: only the store's newest map may.
                if (await self._map.refresh()).version != view.version:
                    continue
                await self._set_aside(arrival, decided.reason)
                return True
            outcome = await self._commit(arrival, decided)
            if isinstance(outcome, Applied):
                maillog.decided(arrival.mail_id, arrival.rcpt_to, "handled", "")
                return True
            if outcome.reason == "state":
                handled = await self._repeat(arrival)
                if handled is not None:
                    return handled
                busy = self._exchange.settings.refuse_second
            await self._map.refresh()
        log.warning("what recipient %s needs changed %s times; deferred", waiting.recipient_id, _MOST_STALE)
        await self._defer(waiting, arrival, arrival.handler_failures, "the map or the address kept changing")
        return False

    async def _handle_at_desk(self, arrival: Arrival) -> str:
        """Let the desk handle the mail, prepared; once more, a few times, while its application changes meanwhile."""
        for _ in range(_MOST_STALE - 1):
            with contextlib.suppress(CaseChanged):
                return await self._handle_prepared(arrival)
        return await self._handle_prepared(arrival)

    async def _handle_prepared(self, arrival: Arrival) -> str:
        now = self._clock.now()
        preparation = self._preparation
        if preparation is None:
            return await self._database.run(lambda session: self._desk(session, arrival, now))
        prepared = await self._database.read(lambda session: preparation.prepare(session, arrival, now))
        if prepared.documents:
            prepared = await asyncio.to_thread(preparation.render, prepared)
        return await self._database.run(lambda session: self._desk(session, arrival, now, prepared))

    async def _commit(self, arrival: Arrival, decided: Unit | InStore) -> Applied | Stale:
        if isinstance(decided, Unit):
            return await self._database.apply(decided)
        now = self._clock.now()
        try:
            await self._database.run(lambda session: self._exchange.carry_out(session, arrival, decided, now))
        except StaleUnit as stale:
            return Stale(stale.reason)
        return Applied()

    async def _repeat(self, arrival: Arrival) -> bool | None:
        """The row was not as expected: handled elsewhere, or the same mail again within the repeat window.

        None: neither; its address has an outstanding request.
        """
        still = await self._database.read(lambda s: load_arrival(s, arrival.recipient_id))
        if still is None:
            return True
        now = self._clock.now()
        window = self._exchange.settings.repeat_window
        since = arrival.received_at - timedelta(seconds=window)
        if window <= 0 or not await self._database.read(lambda s: is_repeat(s, arrival, since)):
            return None
        unit = self._exchange.duplicate(arrival, now)
        result = await self._database.read(lambda s: result_of_earlier(s, arrival, since))
        if result is not None:
            unit = resend(self._database.new_key, unit, result, arrival, now)
        outcome = await self._database.apply(unit)
        note = "a repeat; its result is sent again" if result else "a repeat"
        maillog.decided(arrival.mail_id, arrival.rcpt_to, "duplicate", note)
        return isinstance(outcome, Applied) or outcome.reason == "state"

    async def _failed(
        self, waiting: _Waiting, arrival: Arrival | None, error: Exception, *, parks: bool = False
    ) -> bool:
        if arrival is None:
            await asyncio.sleep(_STORE_PAUSE)
            return False
        failures = _MOST_FAILURES if parks else arrival.handler_failures + 1
        reason = f"{type(error).__name__}: {error}" if parks else f"{type(error).__name__} in its handler"
        try:
            if failures < _MOST_FAILURES:
                await self._defer(waiting, arrival, failures, reason)
                return False
            await self._set_aside(arrival, reason if parks else f"{reason}, {failures} times")
        except Exception:
            log.exception("recipient %s could not be deferred or parked", arrival.recipient_id)
            await asyncio.sleep(_STORE_PAUSE)
            return False
        return True

    async def _defer(self, waiting: _Waiting, arrival: Arrival, failures: int, reason: str) -> None:
        due_at = self._clock.now() + _DEFER * max(failures, 1)
        values = (arrival.recipient_id, to_micros(due_at), failures, reason)
        await self._database.apply(Unit(changes=(Change(RECIPIENT_DEFERRED, values, must=False),)))
        self._memory -= len(waiting.arrival.content) if waiting.arrival is not None else 0
        waiting.arrival, waiting.due_at = None, due_at

    async def _set_aside(self, arrival: Arrival, reason: str) -> None:
        now = self._clock.now()
        await self._database.run(lambda session: self._park(session, arrival, reason, now))
        log.error("mail %s is parked: %s", arrival.mail_id, reason)
        maillog.decided(arrival.mail_id, arrival.rcpt_to, "parked", reason)


def _insert_in_order(queue: deque[_Waiting], waiting: _Waiting) -> None:
    """Keep a key's mails in the order of their keys: a scan may find an older one than the last that was announced."""
    if queue[-1].recipient_id < waiting.recipient_id:
        queue.append(waiting)
        return
    # The head may be in the handler's hands already and stays where it is.
    at = next((i for i, other in enumerate(queue) if i and other.recipient_id > waiting.recipient_id), len(queue))
    queue.insert(at, waiting)
