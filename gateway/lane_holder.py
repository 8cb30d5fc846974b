"""What every lane does, wherever it leads: hold the lease, know what waits, sleep, and write outcomes.

One task works a lane while something is in it. An outcome is never dropped: its lane stops until it is
written. An outcome the store finds stale (the lane is another's now, or somebody changed the recipient)
makes the lane forget what it knew, take its lease anew and read the store again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from gateway import maillog
from gateway.failures import FailureClass, Stage, Unsendable
from gateway.lanes import WINDOW, ContentMemory, DeliverySettings, LaneOrder, Waiting, doubled
from gateway.smtp_out import Target
from storage.clock import Clock
from storage.columns import to_micros
from storage.database import Database
from storage.effects import ATTEMPT, RECIPIENT_OUTCOME, Applied, Change, Enqueue, Insert, Note, Stale, Unit
from storage.failures import StoreBroken, StoreTrouble
from storage.lane_leases import LaneLease, lease_lane
from storage.mail_queue import Outbound, content_of, queued_in_lane
from storage.states import State

log = logging.getLogger("gateway.delivery")

_FIRST_PAGE = 50  # rows read with a lane's lease
_LEASES_AT_ONCE = 20  # a unit of work has 250 ms
_LONGEST_WRITE_PAUSE = 5.0
_MOST_WORDS = 500


@dataclass(frozen=True, slots=True)
class Gone:
    """The binding of a mail is no longer effective: it becomes undelivered, with this reason."""

    reason: str


Where = Callable[[str, Outbound], Target | Gone | None]
"""The server that a lane's mail goes to as of now; Gone or None when its terminal has none any more."""

Effects = tuple[tuple[Insert, ...], tuple[Note, ...]]
HandOver = Callable[[Outbound, bytes], Awaitable[Effects]]
"""Hands a request to the backend. What it returns is committed with the outcome, or neither is.

It raises ValueError for what it can never take; any other exception is temporary.
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that was no plain success, as the table of attempts keeps it."""

    failure_class: FailureClass
    stage: Stage
    reply: str


@dataclass(frozen=True, slots=True)
class _Taken:
    lease: LaneLease
    rows: list[Outbound]


class Shared:
    """What all lanes of this process have in common."""

    def __init__(
        self,
        database: Database,
        where: Where,
        clock: Clock,
        settings: DeliverySettings,
        jitter: Callable[[], float],
    ) -> None:
        self.database = database
        self.where = where
        self.clock = clock
        self.settings = settings
        self.memory = ContentMemory(settings.memory_bytes)
        self.token = database.store.lease_token
        self.generation = 0  # rises with every commit of another process
        self.stopping = False
        self._jitter = jitter
        self._asked: list[tuple[str, asyncio.Future[_Taken | None]]] = []
        self._leasing: asyncio.Task[None] | None = None

    def wait(self, failures: int) -> float:
        """The back-off after so many failures, never quite the same twice."""
        seconds = doubled(self.settings.retry_first, self.settings.retry_max, failures)
        return seconds * (0.8 + 0.4 * self._jitter())

    async def lease(self, lane: str) -> _Taken | None:
        """Take a lane for this process; lanes asked for together are taken in one unit of work."""
        future: asyncio.Future[_Taken | None] = asyncio.get_running_loop().create_future()
        self._asked.append((lane, future))
        if self._leasing is None or self._leasing.done():
            self._leasing = asyncio.create_task(self._lease_asked())
        return await future

    async def _lease_asked(self) -> None:
        store = self.database.store
        # The file lock of `serve` keeps every other holder of a SQLite store's lanes away.
        alone = store.engines.on_sqlite
        while self._asked:
            asked, self._asked = self._asked[:_LEASES_AT_ONCE], self._asked[_LEASES_AT_ONCE:]
            lanes = sorted({lane for lane, _ in asked})
            work = partial(_lease_lanes, lanes=lanes, node=store.claim.node, token=self.token, alone=alone)
            try:
                taken = await self.database.run(work)
            except Exception as error:  # noqa: BLE001 - every lane hears of it and asks again
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                continue
            for lane, future in asked:
                if not future.done():
                    future.set_result(taken[lane])


def _lease_lanes(
    session: Session, *, lanes: Iterable[str], node: int, token: int, alone: bool
) -> dict[str, _Taken | None]:
    taken: dict[str, _Taken | None] = {}
    for lane in lanes:
        lease = lease_lane(session, lane, node, token, alone=alone)
        rows = [] if lease is None else queued_in_lane(session, lane, 0, _FIRST_PAGE)
        taken[lane] = None if lease is None else _Taken(lease, rows)
    return taken


def _unknown_in_lane(session: Session, *, lane: str, known: Container[int], limit: int) -> tuple[list[Outbound], bool]:
    """The first queued rows of a lane that are not known yet, and whether these are all."""
    after = 0
    while True:
        page = queued_in_lane(session, lane, after, limit)
        found = [row for row in page if row.recipient_id not in known]
        if found or len(page) < limit:
            return found, len(page) < limit
        after = page[-1].sequence


def _told(error: Exception) -> str:
    """An error for the log: a driver's own text may hold the bytes of a mail."""
    return str(error) if isinstance(error, StoreTrouble) else type(error).__name__


class Lane:
    """One lane of this process."""

    def __init__(self, name: str, shared: Shared, *, strict: bool, window: int = WINDOW) -> None:
        self.name = name
        self.order = LaneOrder(name, shared.memory, strict=strict, window=window)
        self.unwritten = 0  # outcomes whose commit has not returned
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._leased = False
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None
        self._sleeper: asyncio.Future[None] | None = None

    def announced(self, enqueue: Enqueue, sequence: int) -> None:
        """Something was committed to the lane."""
        self.order.announce(enqueue, sequence, self._shared.generation)
        if self._task is None or self._loop.time() >= self._not_before:
            self.wake()

    def look_again(self) -> None:
        """The store holds something for this lane, known or not."""
        self.order.behind = True
        self.wake()

    def wake(self) -> None:
        """Have another look at what there is to do."""
        if self._task is None:
            if not self._shared.stopping:
                self._task = self._loop.create_task(self._run())
        elif self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is running for the lane."""
        return [] if self._task is None else [self._task]

    def stop(self) -> None:
        """Begin nothing new."""
        self.wake()

    def abort(self) -> None:
        """Wait for the destination no longer."""

    async def leave(self) -> None:
        """Take leave of the destination."""

    async def _run(self) -> None:
        try:
            while not self._shared.stopping and await self._guarded_step():
                pass
        finally:
            self._task = None

    async def _guarded_step(self) -> bool:
        try:
            return await self._step()
        except StoreBroken:
            log.error("lane %s stops: the store is not written to any more", self.name)  # noqa: TRY400
            return False
        except Exception:  # whatever it was, this lane waits and the others go on
            log.warning("lane %s stops for a while", self.name, exc_info=True)
            self._not_before = self._loop.time() + self._shared.settings.retry_first
            await self._rest(self._not_before)
            return True

    async def _step(self) -> bool:
        """Do one thing, or rest until there is one. False when there is nothing to wait for."""
        raise AssertionError("each kind of lane has its own")

    async def _rest(self, until: float | None) -> None:
        if self._shared.stopping:
            return
        self._sleeper = self._loop.create_future()
        timer = None if until is None else self._loop.call_at(until, self.wake)
        try:
            await self._sleeper
        finally:
            self._sleeper = None
            if timer is not None:
                timer.cancel()

    async def _prepare(self) -> bool:
        """Hold the lease and know what is next. False, after a while, when another process holds the lane."""
        if not self._leased and not await self._take_lease():
            self._not_before = self._loop.time() + self._shared.settings.scan_every
            while self._loop.time() < self._not_before and not self._shared.stopping:
                await self._rest(self._not_before)
            return False
        if self.order.wants_scan:
            await self._scan()
        return True

    async def _take_lease(self) -> bool:
        self.order.forget()
        self.order.begin_scan(self._shared.generation)
        try:
            taken = await self._shared.lease(self.name)
            if taken is None:
                return False
            self.order.leased(taken.lease.last_sequence)
            self._scanned(taken.rows, complete=len(taken.rows) < _FIRST_PAGE)
        finally:
            self.order.end_scan()
        self._leased = True
        self._not_before = 0.0
        if taken.lease.head_in_doubt:
            await self._doubt_the_head(taken.lease)
        return True

    async def _doubt_the_head(self, lease: LaneLease) -> None:
        """The holder before ended without saying whether the head had gone out."""

    async def _scan(self) -> None:
        order = self.order
        order.begin_scan(self._shared.generation)
        work = partial(_unknown_in_lane, lane=self.name, known=order.known_ids, limit=order.window)
        try:
            rows, complete = await self._shared.database.read(work)
            self._scanned(rows, complete=complete)
        finally:
            order.end_scan()

    def _scanned(self, rows: list[Outbound], *, complete: bool) -> None:
        self.order.scanned(rows, complete=complete, now=self._loop.time(), wall=self._shared.clock.now())

    async def _still_waits(self, item: Waiting) -> bool:
        """Whether the store still has it queued; asked once after another process has committed."""
        generation = self._shared.generation
        if item.generation == generation:
            return True
        outbound = item.outbound
        rows = await self._shared.database.read(
            lambda session: queued_in_lane(session, self.name, outbound.sequence - 1, 1)
        )
        item.generation = generation
        return bool(rows) and rows[0].recipient_id == outbound.recipient_id

    async def _content(self, item: Waiting, *, unmasked: bool = False) -> bytes:
        """The bytes of the mail. Raises Unsendable when there are none."""
        if item.content is not None:
            return item.content
        mail_id = item.outbound.mail_id
        try:
            return await self._shared.database.read(lambda session: content_of(session, mail_id, unmasked=unmasked))
        except NoResultFound:
            raise Unsendable("its content is not in the store") from None

    async def _write(self, item: Waiting, state: State, reply: str, attempt: Attempt | None = None) -> bool:
        """Commit an outcome; False when it was stale."""
        changes, inserts = self._outcome(item, state, reply, attempt)
        return await self._commit(item, state, reply, Unit(changes=changes, inserts=inserts)) is None

    def _outcome(
        self, item: Waiting, state: State, reply: str, attempt: Attempt | None = None
    ) -> tuple[tuple[Change, ...], tuple[Insert, ...]]:
        shared = self._shared
        now = to_micros(shared.clock.now())
        recipient_id = item.outbound.recipient_id
        values = (
            recipient_id,
            shared.token,
            state.value,
            to_micros(item.due_at),
            None if state is State.QUEUED else now,
            item.attempts,
            item.in_doubt,
            reply[:_MOST_WORDS],
        )
        changes = (Change(RECIPIENT_OUTCOME, values),)
        if attempt is None:
            return changes, ()
        row = (
            shared.database.new_key(),
            recipient_id,
            now,
            attempt.failure_class.value,
            attempt.stage.value,
            attempt.reply[:_MOST_WORDS],
        )
        return changes, (Insert(ATTEMPT, row),)

    async def _commit(self, item: Waiting, state: State, reply: str, unit: Unit) -> Stale | None:
        """Commit the unit of an outcome, trying until the store takes it; the Stale, if it was."""
        self.unwritten += 1
        outcome = await self._until_written(unit)
        self.unwritten -= 1
        outbound = item.outbound
        if isinstance(outcome, Stale):
            log.warning("lane %s: outcome of recipient %s is stale", self.name, outbound.recipient_id)
            self._leased = self._leased and outcome.reason != "state"
            return outcome
        maillog.attempted(outbound.mail_id, self.name, outbound.rcpt_to, state, reply)
        return None

    async def _until_written(self, unit: Unit) -> Applied | Stale:
        pause = 0.1
        while True:
            try:
                return await self._shared.database.apply(unit)
            except StoreBroken:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the outcome must be written
                log.warning("lane %s waits, its outcome was not written: %s", self.name, _told(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_WRITE_PAUSE)
