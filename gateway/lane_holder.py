"""What every lane does, wherever it leads: hold the lease, know what waits, sleep, and write outcomes.

One task works a lane while something is in it. An outcome is never dropped: its lane stops until it is
written. An outcome the store finds stale (the lane is another's now, or somebody changed the recipient)
makes the lane forget what it knew, take its lease anew and read the store again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypedDict

from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from gateway import maillog
from gateway.failures import FailureClass, Stage, Unsendable
from gateway.lane_sharing import FIRST_PAGE, Gone, Shared, Where
from gateway.lanes import WINDOW, LaneOrder, Waiting
from storage.columns import to_micros
from storage.effects import ATTEMPT, RECIPIENT_OUTCOME, Applied, Change, Enqueue, Insert, Note, Stale, Unit
from storage.failures import StoreBroken, StoreTrouble
from storage.lane_leases import LaneLease
from storage.mail_queue import Outbound, content_of, queued_in_lane
from storage.states import State

__all__ = ["Attempt", "Effects", "Gone", "HandOver", "Lane", "Shared", "Where", "log"]

log = logging.getLogger("gateway.delivery")

_LONGEST_WRITE_PAUSE = 5.0
_MOST_WORDS = 500


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


@dataclass(slots=True)
class _Found:
    """The first queued rows of a lane that are not known; of those known, the ones that somebody changed."""

    rows: list[Outbound] = field(default_factory=list)
    renewed: list[Outbound] = field(default_factory=list)
    complete: bool = False  # the lane holds no more that are not known


def _look_through(session: Session, *, lane: str, known: Mapping[int, Outbound], limit: int) -> _Found:
    found = _Found()
    after = 0
    while not (found.rows or found.complete):
        page = queued_in_lane(session, lane, after, limit)
        found.complete = len(page) < limit
        found.rows = [row for row in page if row.recipient_id not in known]
        found.renewed += [row for row in page if row.recipient_id in known and row != known[row.recipient_id]]
        after = page[-1].sequence if page else 0
    return found


class _Clocks(TypedDict):
    """The monotonic clock and the wall clock, read at once."""

    now: float
    wall: datetime


def _told(error: Exception) -> str:
    """An error for the log: a driver's own text may hold the bytes of a mail."""
    return str(error) if isinstance(error, StoreTrouble) else type(error).__name__


class Lane:
    """One lane of this process."""

    def __init__(self, name: str, shared: Shared, *, strict: bool, window: int = WINDOW) -> None:
        self.name = name
        longest = shared.settings.of(name).longest_wait
        self.order = LaneOrder(name, shared.memory, strict=strict, window=window, longest_wait=longest)
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

    def heard(self) -> None:
        """The destination has spoken to us."""

    def asked(self) -> None:
        """Something else is asked of the lane: a pause, its end, or to try at once."""
        self.wake()

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
            self._scanned(taken.rows, complete=len(taken.rows) < FIRST_PAGE)
        finally:
            self.order.end_scan()
        self._leased = True
        self._not_before = 0.0
        self._taken_over(taken.lease)
        if taken.lease.head_in_doubt:
            await self._doubt_the_head(taken.lease)
        return True

    def _taken_over(self, lease: LaneLease) -> None:
        """What the store knows of the lane holds from here on."""

    async def _doubt_the_head(self, lease: LaneLease) -> None:
        """The holder before ended without saying whether the head had gone out."""

    async def _scan(self) -> None:
        order = self.order
        order.begin_scan(self._shared.generation)
        known = order.known
        work = partial(_look_through, lane=self.name, known=known, limit=order.window)
        try:
            found = await self._shared.database.read(work)
            for row in found.renewed:
                order.renewed(row, instead_of=known[row.recipient_id], **self._clocks())
            self._scanned(found.rows, complete=found.complete)
        finally:
            order.end_scan()

    def _scanned(self, rows: list[Outbound], *, complete: bool) -> None:
        self.order.scanned(rows, complete=complete, **self._clocks())

    def _clocks(self) -> _Clocks:
        return {"now": self._loop.time(), "wall": self._shared.clock.now()}

    async def _still_waits(self, item: Waiting) -> bool:
        """Whether the store still has it queued at its place; asked once after another process has committed."""
        return item.generation == self._shared.generation or bool(await self._still_waiting([item]))

    async def _still_waiting(self, items: list[Waiting]) -> list[Waiting]:
        """Those of the items that the store still has queued at their places, as it has them; the rest is forgotten."""
        generation = self._shared.generation
        if all(item.generation == generation for item in items):
            return items
        first = items[0].outbound.sequence - 1
        rows = await self._shared.database.read(lambda session: queued_in_lane(session, self.name, first, len(items)))
        by_place = {(row.recipient_id, row.sequence): row for row in rows}
        remaining = []
        for item in items:
            row = by_place.get((item.outbound.recipient_id, item.outbound.sequence))
            if row is None:
                self.order.lost_track_of(item)
                continue
            item.generation = generation
            if row != item.outbound:
                self.order.renewed(row, instead_of=item.outbound, **self._clocks())
            remaining.append(item)
        return remaining

    async def _content(self, item: Waiting, *, unmasked: bool = False) -> bytes:
        """The bytes of the mail. Raises Unsendable when there are none."""
        if item.content is not None:
            return item.content
        mail_id = item.outbound.mail_id
        try:
            return await self._shared.database.read(lambda session: content_of(session, mail_id, unmasked=unmasked))
        except NoResultFound:
            raise Unsendable("its content is not in the store") from None

    async def _write(
        self, item: Waiting, state: State, reply: str, attempt: Attempt | None = None, also: tuple[Change, ...] = ()
    ) -> bool:
        """Commit an outcome; False when it was stale. That the peer may hold the mail is written all the same."""
        changes, inserts = self._outcome(item, state, reply, attempt)
        unit = Unit(changes=(*changes, *also), inserts=inserts)
        if await self._commit(item, state, reply, unit) is None:
            return True
        if state is State.DELIVERED:
            attempt = Attempt(FailureClass.IN_DOUBT, Stage.DOT, reply)
        if attempt is not None and attempt.failure_class is FailureClass.IN_DOUBT:
            await self._until_written(Unit(inserts=(self._attempt_row(item, attempt),)))
        return False

    def _outcome(
        self, item: Waiting, state: State, reply: str, attempt: Attempt | None = None
    ) -> tuple[tuple[Change, ...], tuple[Insert, ...]]:
        values = (
            item.outbound.recipient_id,
            self._shared.token,
            state.value,
            to_micros(item.due_at),
            None if state is State.QUEUED else to_micros(self._shared.clock.now()),
            item.attempts,
            item.in_doubt,
            reply[:_MOST_WORDS],
        )
        changes = (Change(RECIPIENT_OUTCOME, values),)
        return changes, () if attempt is None else (self._attempt_row(item, attempt),)

    def _attempt_row(self, item: Waiting, attempt: Attempt) -> Insert:
        row = (
            self._shared.database.new_key(),
            item.outbound.recipient_id,
            to_micros(self._shared.clock.now()),
            attempt.failure_class.value,
            attempt.stage.value,
            attempt.reply[:_MOST_WORDS],
        )
        return Insert(ATTEMPT, row)

    async def _commit(self, item: Waiting, state: State, reply: str, unit: Unit) -> Stale | None:
        """Commit the unit of an outcome, trying until the store takes it; the Stale, if it was."""
        outcome = await self._until_written(unit)
        outbound = item.outbound
        if isinstance(outcome, Stale):
            log.warning("lane %s: outcome of recipient %s is stale", self.name, outbound.recipient_id)
            self._leased = self._leased and outcome.reason != "state"
            return outcome
        item.is_written()
        maillog.attempted(outbound.mail_id, self.name, outbound.rcpt_to, state, reply)
        return None

    async def _until_written(self, unit: Unit, give_up: Callable[[], bool] | None = None) -> Applied | Stale:
        """What the store made of a unit that must be written; once `give_up` says so, the trouble is raised."""
        pause = 0.1
        self.unwritten += 1
        while True:
            try:
                written = await self._shared.database.apply(unit)
                self.unwritten -= 1
                return written  # noqa: TRY300 - the loop has no other way out
            except StoreBroken:
                raise
            except Exception as error:
                log.warning("lane %s waits, its outcome was not written: %s", self.name, _told(error))
                if give_up is not None and give_up():
                    self.unwritten -= 1
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_WRITE_PAUSE)
