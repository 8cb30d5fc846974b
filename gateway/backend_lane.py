"""The lane of requests to the business backend: many at once, of each requesting address one at a time, in order.

An address that must wait holds back nobody else. A hand-over leaves nothing outside the unit that records
it, so none is ever in doubt.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.failures import FailureClass, Stage, Unsendable, peer_words
from gateway.lane_holder import Attempt, HandOver, Lane, Shared, log
from gateway.lanes import WINDOW, Waiting
from storage.effects import SECRET_FORGOTTEN, Change, Enqueue, Unit
from storage.states import State


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


class BackendLane(Lane):
    """The lane `backend`."""

    def __init__(self, name: str, shared: Shared, hand_over: HandOver) -> None:
        super().__init__(name, shared, strict=False, window=10 * WINDOW)
        self._hand_over = hand_over
        self._slots = asyncio.Semaphore(shared.settings.hand_overs)
        self._lines: dict[str, deque[Waiting]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._pauses: set[asyncio.Future[None]] = set()

    def announced(self, enqueue: Enqueue, sequence: int) -> None:
        self.order.announce(enqueue, sequence, self._shared.generation)
        if self._leased and not self._shared.stopping:
            self._line_up()
        if not self._leased or self.order.wants_scan:
            self.wake()

    def tasks(self) -> list[asyncio.Task[None]]:
        return [*super().tasks(), *self._serving]

    def stop(self) -> None:
        super().stop()
        for pause in self._pauses:
            _end(pause)

    async def _step(self) -> bool:
        if self._serving and not self._leased:
            await self._rest(None)  # what is under way still belongs to the lease that was lost
            return True
        if self._loop.time() < self._not_before:
            await self._rest(self._not_before)
            return True
        if not await self._prepare():
            return True
        self._line_up()
        if self.order.wants_scan:
            return True
        due = self.order.next_due()
        if due is None:
            return False
        await self._rest(due)
        return True

    def _line_up(self) -> None:
        """Give every mail that is due its place behind the others of its address."""
        while (item := self.order.take(self._loop.time())) is not None:
            address = item.outbound.sender
            line = self._lines.get(address)
            if line is None:
                self._lines[address] = line = deque((item,))
                task = self._loop.create_task(self._serve(address, line))
                self._serving.add(task)
                task.add_done_callback(self._served)
            else:
                line.append(item)

    async def _serve(self, address: str, line: deque[Waiting]) -> None:
        try:
            while line and self._leased and not self._shared.stopping:
                async with self._slots:
                    wait = await self._one(line[0])
                if wait is None:
                    self.order.done(line.popleft())
                    if self.order.wants_scan:
                        self.wake()
                else:
                    await self._pause(wait)
        finally:
            del self._lines[address]

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("lane %s reads the store again: %s", self.name, type(error).__name__)
            self._leased = False
            self._not_before = self._loop.time() + self._shared.settings.retry_first
        if not self._leased:
            self.wake()

    async def _pause(self, seconds: float) -> None:
        if self._shared.stopping:
            return
        pause: asyncio.Future[None] = self._loop.create_future()
        self._pauses.add(pause)
        timer = self._loop.call_later(seconds, _end, pause)
        try:
            await pause
        finally:
            timer.cancel()
            self._pauses.discard(pause)

    async def _one(self, item: Waiting) -> float | None:
        """Hand one request over. The wait before it is tried again, None when it has left the lane."""
        outbound = item.outbound
        if not await self._still_waits(item):
            return None
        try:
            content = await self._content(item, unmasked=True)
        except Unsendable as missing:
            return await self._not_taken(item, str(missing), FailureClass.PERMANENT)
        try:
            inserts, notes = await self._hand_over(outbound, content)
        except ValueError as poison:
            return await self._not_taken(item, str(poison), FailureClass.PERMANENT)
        except Exception as error:  # noqa: BLE001 - three of them park the request, and the log has each
            log.warning("recipient %s was not handed over", outbound.recipient_id, exc_info=True)
            return await self._not_taken(item, f"{type(error).__name__}: {error}", FailureClass.TEMPORARY)
        item.attempts += 1
        outcome, _ = self._outcome(item, State.DELIVERED, "")
        # Handed over, the request needs its password no more.
        forget = Change(SECRET_FORGOTTEN, (outbound.mail_id,), must=False)
        unit = Unit(changes=(*outcome, forget), inserts=inserts, notes=notes, size=len(content))
        await self._commit(item, State.DELIVERED, "", unit)
        return None

    async def _not_taken(self, item: Waiting, reason: str, failure_class: FailureClass) -> float | None:
        item.tries += 1
        item.attempts += 1
        for_good = failure_class is FailureClass.PERMANENT or item.tries >= self._shared.settings.mail_tries
        state = State.PARKED if for_good else State.QUEUED
        reply = peer_words(reason)
        await self._write(item, state, reply, Attempt(failure_class, Stage.HAND_OVER, reply))
        return None if for_good else self._shared.wait(item.tries)
