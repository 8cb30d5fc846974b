"""The lane of requests to the business backend: many at once, of each requesting address one at a time, in order.

An address that must wait holds back nobody else: it waits for its own back-off, or for the result of its request that
is outstanding. Whatever keeps a request from being handed over, it is answered A0011 when its life ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from math import inf
from typing import Any

from gateway.backend_lines import Line, address_of, end_pause
from gateway.backend_parts import AT_ONCE, BackendLaneSettings, BackendParts, Held, Next, Route
from gateway.backend_reads import claimed_in_lane, endpoint_row, outstanding_addresses
from gateway.backend_requests import RequestLane
from gateway.backend_simulated import SimulatedRoute
from gateway.backend_smtp import SmtpRoute
from gateway.failures import Stage, Unsendable
from gateway.lane_holder import Shared
from gateway.lanes import Waiting
from handlers.naccs.handover_mail import awaits_result
from storage.effects import Change, Enqueue, Stale, Unit
from storage.failures import StoreBroken

__all__ = ["BackendLane", "BackendLaneSettings", "BackendParts"]

log = logging.getLogger("gateway.delivery")

_TICK = 1.0  # the longest a request is looked at late
_EXPIRING_AT_ONCE = 200


class BackendLane(RequestLane):
    """The lane `backend`."""

    def __init__(self, name: str, shared: Shared, backend: BackendParts) -> None:
        super().__init__(name, shared, backend)
        self.under_way: set[asyncio.Task[None]] = set()
        self._expiring: set[asyncio.Task[None]] = set()
        self._lines: dict[int | str, Line] = {}
        self._ready: deque[Line] = deque()
        self._outstanding: dict[int | str, float] = {}  # what this process knows of it: a shortcut
        self._maybe_arrived: frozenset[int] = frozenset()
        self._open = False  # the lease is ours and what it found is known
        self._sweep_at = 0.0
        self._no_sweep_before = 0.0  # an answer could not be written: the next look is not at once
        self._asked_at = -inf
        self._asked_generation = -1
        self._flushed_at = shared.control.flushed_at(name)
        self._route: Route = self._way(backend)
        shared.database.subscribe("answered", self._on_answered)

    def _way(self, backend: BackendParts) -> Route:
        return SmtpRoute(self, backend) if backend.simulator is None else SimulatedRoute(self, backend.simulator)

    @property
    def shared(self) -> Shared:
        """What it has in common with the other lanes."""
        return self._shared

    @property
    def leased(self) -> bool:
        """Whether the lane is this process's."""
        return self._leased

    def announced(self, enqueue: Enqueue, sequence: int) -> None:
        self.order.announce(enqueue, sequence, self._shared.generation)
        if self._open and self._leased and not self._shared.stopping:
            self._line_up()
            self.dispatch()
        if self._task is None or not self._leased or self.order.wants_scan:
            self.wake()

    def asked(self) -> None:
        super().asked()
        self._route.asked()
        flushed_at = self._shared.control.flushed_at(self.name)
        if flushed_at is None or flushed_at == self._flushed_at:
            return
        self._flushed_at = flushed_at
        for line in self._lines.values():
            if line.pause is not None and not line.outstanding:
                self._let_go_on(line)
        self.dispatch()

    def tasks(self) -> list[asyncio.Task[None]]:
        return [*super().tasks(), *self.under_way, *self._expiring, *self._route.tasks()]

    def stop(self) -> None:
        super().stop()
        self._route.stop()
        for line in self._lines.values():
            end_pause(line)

    def abort(self) -> None:
        self._route.abort()

    async def leave(self) -> None:
        await self._route.leave()

    # --- one look at everything ---

    async def _step(self) -> bool:
        if not self._leased and (self.under_way or self._expiring):
            await self._rest(None)  # what is under way still belongs to the lease that was lost
            return True
        if self._loop.time() < self._not_before:
            await self._rest(self._not_before)
            return True
        if not await self._prepare():
            return True
        self._line_up()
        self._expire_over_age()
        await self._ask_whose_result_came()
        self.dispatch()
        if self.order.wants_scan:
            return True
        if not self._lines:
            return False
        await self._rest(min(self._loop.time() + _TICK, max(self._sweep_at, self._no_sweep_before)))
        return True

    async def _take_lease(self) -> bool:
        self._open = False
        for line in self._lines.values():
            end_pause(line)
        self._lines.clear()
        self._ready.clear()
        self._outstanding.clear()
        if not await super()._take_lease():
            return False
        try:
            database, name = self._shared.database, self.name
            self._maybe_arrived = await database.read(lambda session: claimed_in_lane(session, name))
            await self._route.begin(await database.read(lambda session: endpoint_row(session, name)))
        except BaseException:
            self._leased = False
            raise
        self._open = True
        return True

    # --- whose turn it is ---

    def _line_up(self) -> None:
        """Give every mail its place behind the others of its address; when it is due is the address's business."""
        while (item := self.order.take(inf)) is not None:
            held = self._held(item)
            key = address_of(item)
            line = self._lines.get(key)
            if line is None:
                self._lines[key] = line = Line(key)
            line.held.append(held)
            self._sweep_at = min(self._sweep_at, held.over_at)
            self._offer(line)
        self._count_window()

    def _count_window(self) -> None:
        """However many requests one address sends, the window has room for the first ones of the others."""
        self.order.set_aside = max(0, len(self.order) - len(self._lines))

    def _held(self, item: Waiting) -> Held:
        age = (self._shared.clock.now() - item.outbound.waiting_since).total_seconds()
        claimed = item.outbound.recipient_id in self._maybe_arrived
        return Held(item, self.over_at(self._loop.time(), age), claimed=claimed)

    def _offer(self, line: Line) -> None:
        if line.may_be_offered:
            line.offered = True
            self._ready.append(line)

    def dispatch(self) -> None:
        """Begin as many hand-overs as there is room for."""
        while self._ready and self._may_begin():
            line = self._ready.popleft()
            line.offered = False
            if not line.may_be_offered:
                continue
            held = line.held[0]
            if self.is_over(held):
                self._sweep_soon()
            elif not self._waits_for_result(line, held):
                line.working = True
                task = self._loop.create_task(self._serve(line, held))
                self.under_way.add(task)
                task.add_done_callback(self._served)

    def _may_begin(self) -> bool:
        if not (self._open and self._leased) or self._shared.stopping:
            return False
        return self._route.room(len(self.under_way)) and not self._shared.control.paused(self.name)

    def _waits_for_result(self, line: Line, held: Held) -> bool:
        """Whether an earlier request of the address is outstanding, as far as is known here; it waits then."""
        until = self._outstanding.get(line.key)
        if until is None or not held.awaited or held.claimed:
            return False
        if until <= self._loop.time():
            del self._outstanding[line.key]
            return False
        self._wait_for_result(line, until - self._loop.time())
        return True

    async def _serve(self, line: Line, held: Held) -> None:
        answers = line.answers
        try:
            found = await self._hand_over(line, held)
        except StoreBroken:
            self._store_is_broken()
            return
        except Exception:  # whatever it was, this address waits and the others go on
            log.warning("recipient %s waits for a while", held.item.outbound.recipient_id, exc_info=True)
            found = Next(wait=self._shared.settings.retry_first)
        line.working = False
        self._go_on(line, held, found, answers)

    async def _hand_over(self, line: Line, held: Held) -> Next:
        doubt = await self.settle_doubt(held)
        if doubt is not None:
            return doubt
        try:
            content = await self._content(held.item, unmasked=True)
        except Unsendable as missing:
            return await self.refused(held, str(missing), Stage.HAND_OVER)
        if held.awaited is None:
            held.awaited = held.item.outbound.request_id is not None and awaits_result(content)
        if self._waits_for_result(line, held):
            return AT_ONCE
        if held.awaited:
            # Before the claim: the result may be here before this process goes on.
            self._outstanding[line.key] = held.over_at
        return await self._route.hand_over(held, content)

    def _go_on(self, line: Line, held: Held, found: Next, answers: int) -> None:
        if not (held.claimed or line.outstanding):
            self._outstanding.pop(line.key, None)  # nothing of it is on its way
        if not found.left:
            self._sweep_at = min(self._sweep_at, held.over_at)  # while it was under way no sweep looked at it
            self.wake()
        if found.left:
            self._left(line, held)
        elif found.outstanding_until is not None and line.answers == answers:
            seconds = max(0.0, (found.outstanding_until - self._shared.clock.now()).total_seconds())
            self._outstanding[line.key] = self._loop.time() + seconds
            self._wait_for_result(line, seconds)
        elif found.wait > 0.0 and not self._shared.stopping:
            line.pause = self._loop.call_later(found.wait, self._pause_over, line)
        self._offer(line)

    def _left(self, line: Line, held: Held) -> None:
        """A request has left the lane, from whatever place."""
        line.held.remove(held)
        self.order.done(held.item)
        if not line.held and not line.working and self._lines.get(line.key) is line:
            end_pause(line)
            del self._lines[line.key]
        self._count_window()
        if self.order.wants_scan:
            self.wake()

    def _served(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        self.dispatch()
        if not self._leased or not self._lines:
            self.wake()

    def _pause_over(self, line: Line) -> None:
        line.pause = None
        line.outstanding = False
        self._offer(line)
        self.dispatch()

    # --- outstanding requests ---

    def _wait_for_result(self, line: Line, seconds: float) -> None:
        end_pause(line)
        line.outstanding = True
        line.pause = self._loop.call_later(seconds, self._pause_over, line)

    def _on_answered(self, address_id: Any) -> None:
        self._outstanding.pop(address_id, None)
        line = self._lines.get(address_id)
        if line is None:
            return
        line.answers += 1
        if line.outstanding:
            self._let_go_on(line)
            self.dispatch()

    def _let_go_on(self, line: Line) -> None:
        end_pause(line)
        line.outstanding = False
        self._offer(line)

    async def _ask_whose_result_came(self) -> None:
        """Other processes' commits are not announced here: one read for all addresses that wait."""
        waiting = [line for line in self._lines.values() if line.outstanding]
        now, generation = self._loop.time(), self._shared.generation
        if not waiting or (now < self._asked_at + _TICK and generation == self._asked_generation):
            return
        self._asked_at, self._asked_generation = now, generation
        asked = [line.key for line in waiting if isinstance(line.key, int)]
        work = partial(outstanding_addresses, address_ids=asked, now=self._shared.clock.now())
        still = await self._shared.database.read(work)
        for line in waiting:
            if line.outstanding and line.key not in still:
                self._outstanding.pop(line.key, None)
                self._let_go_on(line)

    # --- the end of a life ---

    def _expire_over_age(self) -> None:
        """Answer what was not begun within its life, wherever it stands, but for the one that is being handed over."""
        now = self._loop.time()
        if now < max(self._sweep_at, self._no_sweep_before):
            return
        self._sweep_at = now + _TICK
        suspended = self._shared.guard.suspended()
        for line in self._lines.values():
            for held in line.held:
                if held.leaving or (line.working and held is line.held[0]):
                    continue
                if suspended or len(self._expiring) >= _EXPIRING_AT_ONCE:
                    break
                if now >= held.over_at or self._is_over_age(held):
                    held.leaving = True
                    task = self._loop.create_task(self._expire(line, held))
                    self._expiring.add(task)
                    task.add_done_callback(self._expired)
                else:
                    self._sweep_at = min(self._sweep_at, held.over_at)
            self._offer(line)

    async def _expire(self, line: Line, held: Held) -> None:
        left = False
        try:
            left = (await self.expire(held)).left
        except StoreBroken:
            self._store_is_broken()
            return
        except Exception:  # it is tried again with the next look
            log.warning("recipient %s is not answered yet", held.item.outbound.recipient_id, exc_info=True)
            self._no_sweep_before = self._loop.time() + _TICK
        held.leaving = False
        if left:
            if held is line.held[0] and not line.working:
                self._let_go_on(line)  # what this one waited for is no matter of the next
            self._left(line, held)
        self._offer(line)

    def _expired(self, task: asyncio.Task[None]) -> None:
        self._expiring.discard(task)
        self.dispatch()
        if len(self._expiring) == _EXPIRING_AT_ONCE // 2:
            self._sweep_soon()
        elif not self._leased or not self._lines:
            self.wake()

    def _sweep_soon(self) -> None:
        # While the clock is not trusted nothing is answered, however soon it is looked at.
        if self._loop.time() >= self._no_sweep_before and not self._shared.guard.suspended():
            self._sweep_at = 0.0
            self.wake()

    def _store_is_broken(self) -> None:
        log.error("lane %s stops: the store is not written to any more", self.name)
        self._open = False

    async def record(self, change: Change) -> bool:
        """Write something of the lane itself; False when it is another process's."""
        if not isinstance(await self._shared.database.apply(Unit(changes=(change,))), Stale):
            return True
        self._leased = False
        self.wake()
        return False
