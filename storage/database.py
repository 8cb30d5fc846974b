"""The group commit: no awaitable resolves before COMMIT has returned, and one fsync serves many messages.

Units of effects handed in while a commit is running wait and then go together, merged by kind. Units of work
(functions of a session) never share a transaction with effects: on SQLite they take their turn between batches on the
one writer thread, on PostgreSQL they have a thread and connection of their own. Reads run on reader threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from storage.committer import Committer
from storage.effects import Applied, Note, Stale, Unit
from storage.failures import StoreBroken, StoreFull
from storage.store import Store, Work

log = logging.getLogger(__name__)

T = TypeVar("T")
Outcome = Applied | Stale | BaseException
Subscriber = Callable[[Any], None]

MOST_UNITS = 200
MOST_BYTES = 4 * 1024 * 1024
READ_WITHIN = 1.0  # seconds
_READERS = 3
_RENEW_EVERY = 5.0
_FOREIGN_POLL = 0.2
_FULL_PROBE = 1.0


@dataclass(slots=True)
class _Waiting:
    unit: Unit
    future: asyncio.Future[Applied | Stale]
    since: float


def _name_of(work: Callable[..., Any]) -> str:
    """A work for the log, without what it was given: that may be mails with their tokens."""
    while isinstance(work, partial):
        work = work.func
    return getattr(work, "__qualname__", type(work).__name__)


class Database:
    """The store for one event loop. Create it on the loop it serves, `start` it, and `close` it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._loop = asyncio.get_running_loop()
        self._committer = Committer(store)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        on_sqlite = store.engines.on_sqlite
        self._worker = self._writer if on_sqlite else ThreadPoolExecutor(1, thread_name_prefix="store-work")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._waiting: deque[_Waiting] = deque()
        self._committing: list[_Waiting] = []
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.full = False
        self.broken: asyncio.Future[BaseException] = self._loop.create_future()
        self.commits = 0  # batches committed
        self.units = 0  # units applied

    @property
    def new_key(self) -> Callable[[], int]:
        """The process's key maker."""
        return self.store.new_key

    def subscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Call `subscriber` with the payload of every note of `topic`, in commit order, after the commit.

        Topics of the store itself: `queued` ((Enqueue, lane sequence) of every queued recipient) and `foreign`
        (another process committed something).
        """
        self._subscribers.setdefault(topic, []).append(subscriber)

    def start(self) -> None:
        """Begin to renew the node's lease and to notice what other processes commit."""
        self._tasks.append(self._loop.create_task(self._renew_lease()))
        self._tasks.append(self._loop.create_task(self._notice_foreign_commits()))

    async def close(self) -> None:
        """Finish what was handed in, then give the node back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._waiting or self._committing:
            futures = [waiting.future for waiting in (*self._committing, *self._waiting)]
            await asyncio.wait(futures)
        await self._loop.run_in_executor(self._writer, self._committer.close)
        for threads in (self._writer, self._worker, self._readers):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self.store.close)

    def lease_remaining(self) -> float:
        """Seconds of the node's lease that surely remain, on the monotonic clock of this process."""
        return self.store.lease_ends_at - time.monotonic()

    def behind(self) -> float:
        """Seconds the oldest unit has waited for its commit."""
        oldest = self._committing[0] if self._committing else self._waiting[0] if self._waiting else None
        return 0.0 if oldest is None else time.monotonic() - oldest.since

    async def apply(self, unit: Unit) -> Applied | Stale:
        """Commit a unit of effects; a Stale one was not written at all. StoreTrouble when it could not be."""
        if self.broken.done():
            raise StoreBroken("the store is not written to any more") from self.broken.result()
        future: asyncio.Future[Applied | Stale] = self._loop.create_future()
        self._waiting.append(_Waiting(unit, future, time.monotonic()))
        if not self._committing:
            self._commit_next()
        return await future

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work in a transaction of its own and commit it.

        Whoever is cancelled meanwhile has not taken back what has begun: subscribers hear of it all the same.
        """
        if self.broken.done():
            raise StoreBroken("the store is not written to any more") from self.broken.result()
        submitted = self._worker.submit(self.store.run_noting, work)
        submitted.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._worked, done))
        value, _, _ = await asyncio.wrap_future(submitted)
        return value

    def _worked(self, done: Future[Any]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._watch(error)
            return
        _, notes, queued = done.result()
        self._publish(notes, queued)

    async def read(self, work: Work[T]) -> T:
        """Read from a snapshot on a reader thread. One that holds its snapshot for over a second is logged."""
        return await self._loop.run_in_executor(self._readers, self._read, work)

    def _read(self, work: Work[T]) -> T:
        began = time.monotonic()
        try:
            return self.store.read(work)
        finally:
            took = time.monotonic() - began
            if took > READ_WITHIN:
                # What was committed since then cannot leave the WAL before it ends.
                log.warning("a read took %.1f s: %s", took, _name_of(work))

    def _commit_next(self) -> None:
        if not self._waiting:
            return
        self._committing = self._take_batch()
        units = [waiting.unit for waiting in self._committing]
        submitted = self._writer.submit(self._committer.commit, units)
        submitted.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._committed, done.result()))

    def _take_batch(self) -> list[_Waiting]:
        """The next batch: at most one change per row, so that every change sees the state it was decided on."""
        batch: list[_Waiting] = []
        later: deque[_Waiting] = deque()
        touched: set[tuple[Any, ...]] = set()
        size = 0
        while self._waiting and len(batch) < MOST_UNITS and size < MOST_BYTES:
            waiting = self._waiting.popleft()
            rows = {change.touches for change in waiting.unit.changes}
            if touched.isdisjoint(rows):
                batch.append(waiting)
                size += waiting.unit.size
            else:
                later.append(waiting)
            touched |= rows
        self._waiting.extendleft(reversed(later))
        return batch

    def _committed(self, outcomes: list[Outcome]) -> None:
        batch, self._committing = self._committing, []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                self._watch(outcome)
        if self.broken.done():
            self._refuse_waiting()
        else:
            self._commit_next()
        self.commits += 1
        self.units += len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                if not waiting.future.cancelled():
                    waiting.future.set_exception(outcome)
                continue
            if not waiting.future.cancelled():
                waiting.future.set_result(outcome)
            if isinstance(outcome, Applied):
                self._publish(waiting.unit.notes, zip(waiting.unit.queued, outcome.sequences, strict=True))

    def _refuse_waiting(self) -> None:
        """After a failed write nothing more is written: what waits behind it could not be read back."""
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.cancelled():
                future.set_exception(StoreBroken("the store is not written to any more"))

    def _publish(self, notes: Any, queued: Any) -> None:
        for note in notes:
            self._tell(note)
        for enqueue, sequence in queued:
            self._tell(Note("queued", (enqueue, sequence)))

    def _tell(self, note: Note) -> None:
        for subscriber in self._subscribers.get(note.topic, ()):
            try:
                subscriber(note.payload)
            except Exception:  # what is committed is committed: whoever waits for it must hear of it
                log.exception("a subscriber of %s failed", note.topic)

    def _watch(self, error: BaseException) -> None:
        if isinstance(error, StoreBroken) and not self.broken.done():
            self.broken.set_result(error)
        if isinstance(error, StoreFull) and not self.full:
            self.full = True
            self._tasks.append(self._loop.create_task(self._probe_until_space()))

    async def _probe_until_space(self) -> None:
        while self.full:
            await asyncio.sleep(_FULL_PROBE)
            try:
                await self._loop.run_in_executor(self._worker, self.store.probe)
            except StoreBroken as error:
                self._watch(error)
                return
            except Exception as error:  # noqa: BLE001 - still full, or busy: asked again, or nobody ever would
                log.debug("the disk is held to be full: %s", error)
                continue
            self.full = False

    async def _renew_lease(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            try:
                await self._loop.run_in_executor(self._worker, self.store.renew)
            except Exception as error:  # noqa: BLE001 - renewed again in five seconds; the lease lasts thirty
                self._watch(error)

    async def _notice_foreign_commits(self) -> None:
        while True:
            await asyncio.sleep(_FOREIGN_POLL)
            try:
                foreign = await self._loop.run_in_executor(self._writer, self._committer.saw_foreign_commit)
            except Exception as error:  # noqa: BLE001 - a poll that fails is made again; writes report their trouble
                log.debug("the poll for foreign commits failed: %s", error)
                continue
            if foreign:
                self._tell(Note("foreign", None))
