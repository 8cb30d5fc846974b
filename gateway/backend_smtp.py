"""The way to a backend that speaks SMTP: who takes a failure upon himself, probes, and the switch between endpoints.

A failure to connect or greet is the endpoint's, and so is one at RCPT: all requests have that recipient. A refusal at
MAIL is the address's, what fails later the request's. Only a loss at the dot leaves a request in doubt.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from gateway.backend_endpoints import Endpoint, Endpoints, Openness, Wish
from gateway.backend_parts import BackendParts, Held, Next
from gateway.backend_pool import Pool
from gateway.backend_reads import EndpointRow
from gateway.failures import Failure, FailureClass, Lost, Refused, Sent, Stage, Unsendable, Withheld
from gateway.lane_holder import Attempt
from gateway.smtp_out import Connection, Result, Target, connect
from storage.columns import to_micros
from storage.effects import LANE_BREAKER, LANE_ENDPOINT, Change

if TYPE_CHECKING:
    from gateway.backend_lane import BackendLane

log = logging.getLogger("gateway.delivery")

_WITHHELD_PAUSE = 1.0  # the node's lease is renewed every few seconds
_LONGEST_TICK = 1.0
_PROBE_REPLY = 10.0
_DRAIN = 10.0  # the longest a planned switch waits for what is on its way


class SmtpRoute:
    """Hands requests over by SMTP, and keeps watch over the endpoints from the first `begin` on."""

    def __init__(self, lane: BackendLane, backend: BackendParts) -> None:
        if backend.write is None:
            raise ValueError("a backend that speaks SMTP needs a way to write its mails")
        settings = backend.settings
        self._lane = lane
        self._settings = settings
        self._write = backend.write
        self._shared = lane.shared
        self._loop = asyncio.get_running_loop()
        self._endpoints = Endpoints(settings)
        self._pool = Pool(
            self._shared.settings.name,
            settings.limits,
            settings.idle_close,
            lambda: self._endpoints.active.target,
        )
        self._watching: asyncio.Task[None] | None = None
        self._probing: dict[Endpoint, asyncio.Task[None]] = {}
        self._look = asyncio.Event()
        self._draining = False
        self._recorded = ""  # the endpoint in use, as the store has it
        self._down_since: datetime | None = None  # as the store has it
        self._told: tuple[bool, int] = (False, 0)
        self._flushed = self._flushed_at()

    # --- hand-over ---

    def room(self, under_way: int) -> bool:
        """Whether one more may be begun beside those under way."""
        # What a silent endpoint still holds takes no room on the one that came into use after it.
        return not self._draining and self._endpoints.room(under_way - self._pool.in_use_elsewhere())

    async def hand_over(self, held: Held, content: bytes) -> Next:
        """Claim the request, send it, and write what came of it."""
        outbound = held.item.outbound
        if outbound.request_id is None:
            return await self._lane.refused(held, "it belongs to no request", Stage.MAIL)
        mail = self._write(outbound, content)
        may_go_on = partial(self._may_go_on, held)
        while True:
            target = self._endpoints.active.target
            connection = await self._pool.take(target)
            if isinstance(connection, Withheld):
                return await self._lane.came_back(held)
            if not isinstance(connection, Connection):
                return await self._endpoint_failed(held, target, connection)
            kept = connection.mails > 0
            try:
                refused = None if held.claimed else await self._lane.claim(held)
                if refused is not None:
                    return refused
                result = await connection.send(outbound.sender, outbound.rcpt_to, mail, may_go_on)
            except Unsendable as poison:
                return await self._lane.refused(held, str(poison), Stage.MAIL)
            finally:
                self._pool.give_back(connection)
            # A server may close a connection that was idle; that says nothing of a new one.
            if kept and isinstance(result, Failure) and result.stage is Stage.MAIL and not connection.usable:
                continue
            return await self._judge(held, target, result)

    def _may_go_on(self, held: Held) -> bool:
        """Asked before MAIL and before the final dot: after its life a request must not arrive any more."""
        shared = self._shared
        if self._pool.aborted or not self._lane.leased or self._lane.is_over(held):
            return False
        return shared.database.lease_remaining() >= shared.settings.lease_margin

    async def _judge(self, held: Held, target: Target, result: Result) -> Next:
        endpoint = self._endpoints.of(target)
        if isinstance(result, Sent):
            self._succeeded(endpoint)
            return await self._lane.handed_over(held, result.reply)
        if isinstance(result, Withheld):
            return await self._lane.came_back(held, None, _WITHHELD_PAUSE)
        if self._is_the_endpoints(result):
            return await self._endpoint_failed(held, target, result)
        if isinstance(result, Refused) and result.stage is not Stage.MAIL:
            self._succeeded(endpoint)
        attempt = Attempt(result.failure_class, result.stage, result.reply)
        if result.failure_class is FailureClass.IN_DOUBT:
            # A server that takes a request and says nothing keeps the next one from being put in doubt too.
            endpoint.failed(result, self._loop.time(), self._settings.probe_every)
            self._look.set()
            return await self._lane.in_doubt(held, attempt)
        if result.stage is Stage.DOT and result.failure_class is FailureClass.PERMANENT:
            return await self._lane.refused(held, result.reply, Stage.DOT)
        return await self._lane.failed(held, attempt)

    @staticmethod
    def _is_the_endpoints(failure: Failure) -> bool:
        if failure.stage is Stage.MAIL:
            return not isinstance(failure, Refused) or failure.code == 421
        return failure.stage in (Stage.CONNECT, Stage.HELO, Stage.RCPT)

    async def _endpoint_failed(self, held: Held, target: Target, failure: Failure) -> Next:
        """No request is blamed for it: this one waits with all others until the endpoint is there."""
        endpoint = self._endpoints.of(target)
        endpoint.failed(failure, self._loop.time(), self._settings.probe_every)
        self._look.set()
        attempt = Attempt(failure.failure_class, failure.stage, failure.reply)
        return await self._lane.came_back(held, attempt)

    def _succeeded(self, endpoint: Endpoint) -> None:
        if endpoint.openness is Openness.OPEN and endpoint.failing_since is None:
            return
        endpoint.succeeded()
        self._look.set()

    # --- the watch over the endpoints ---

    async def begin(self, row: EndpointRow) -> None:
        """The lane is ours, and this is what its row says."""
        self._recorded, self._down_since = row.endpoint, row.down_since
        self._told = (row.down_since is not None, -1)
        self._endpoints.taken_over(row.endpoint, row.since)
        if row.down_since is not None:
            self._endpoints.active.is_said_to_fail(self._loop.time())
        if self._watching is None and not self._shared.stopping:
            self._watching = self._loop.create_task(self._watch())

    def asked(self) -> None:
        """An operator wants something else."""
        self._look.set()

    async def _watch(self) -> None:
        tick = min(_LONGEST_TICK, self._settings.probe_every)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(tick):
                    await self._look.wait()
            self._look.clear()
            if not self._lane.leased:
                continue
            try:
                await self._turn()
            except Exception as error:  # noqa: BLE001 - looked at again with the next tick
                log.warning("the backend's endpoints are looked at again: %s", type(error).__name__)

    async def _turn(self) -> None:
        self._pool.close_idle()
        now, active = self._loop.time(), self._endpoints.active
        if self._flushed != self._flushed_at():
            self._flushed = self._flushed_at()
            active.probe_at = now
        # Requests say themselves how the endpoint is; while there are none, it must not fail unseen.
        for endpoint in self._endpoints.due_for_probe(now, idle=not self._lane.under_way):
            if endpoint not in self._probing:
                self._probing[endpoint] = self._loop.create_task(self._probe(endpoint))
        wish = self._wish()
        wanted, why = self._endpoints.wanted(wish, now, self._shared.clock.now())
        if wanted is not active or self._recorded != wanted.name:
            await self._switch(wanted, why)
        await self._tell(wish)
        self._lane.dispatch()

    async def _probe(self, endpoint: Endpoint) -> None:
        """Connect, greet and take leave."""
        limits = self._settings.limits
        brief = replace(limits, command=min(limits.command, _PROBE_REPLY))
        try:
            answer = await connect(endpoint.target, self._shared.settings.name, brief)
            if isinstance(answer, Connection):
                await answer.close()
            failure = None if isinstance(answer, Connection) else answer
        except Exception as error:  # whatever it was, the endpoint does not answer
            log.warning("the probe of the %s backend failed", endpoint.name, exc_info=True)
            failure = Lost(Stage.CONNECT, type(error).__name__)
        finally:
            del self._probing[endpoint]
        endpoint.probe_ended(failure, self._loop.time(), self._settings.probe_every)
        self._look.set()

    async def _switch(self, to: Endpoint, why: str) -> None:
        planned = to is not self._endpoints.active and self._endpoints.active.openness is Openness.OPEN
        try:
            if planned:
                await self._drain()
            wall = self._shared.clock.now()
            values = (self._lane.name, self._shared.token, to.name, to_micros(wall))
            if not await self._lane.record(Change(LANE_ENDPOINT, values)):
                return
            self._recorded = to.name
            if to is not self._endpoints.active:
                before = self._endpoints.active.name
                self._endpoints.switched(to, wall)
                self._pool.close_idle(at_most=0.0)
                place = f"{to.target.host}:{to.target.port}"
                log.warning("requests go to the %s backend (%s) and no more to the %s: %s", to.name, place, before, why)
        finally:
            self._draining = False

    async def _drain(self) -> None:
        """Let what is on its way end; a request that takes long keeps the others waiting for so long only."""
        self._draining = True
        give_up_at = self._loop.time() + _DRAIN
        while self._lane.under_way and self._loop.time() < give_up_at:
            await asyncio.wait(self._lane.under_way, timeout=give_up_at - self._loop.time())

    async def _tell(self, wish: Wish) -> None:
        """Let others see that requests have nowhere to go, and that they have again."""
        wall = self._shared.clock.now()
        active = self._endpoints.active
        down = self._endpoints.is_down(wish, wall)
        telling = (down, active.failures if down else 0)
        if telling == self._told or (not down and not self._told[0]):
            return
        since = (self._down_since or wall) if down else None
        next_try_at = to_micros(wall) + int(self._settings.probe_every * 1_000_000)
        values = (
            self._lane.name,
            self._shared.token,
            None if since is None else to_micros(since),
            telling[1],
            f"{active.name}: {active.words}"[:500] if down else "",
            next_try_at if down else None,
        )
        if await self._lane.record(Change(LANE_BREAKER, values)):
            if down != self._told[0]:
                log.warning("the backend is %s", f"down: {active.name}, {active.words}" if down else "there again")
            self._told, self._down_since = telling, since

    def _wish(self) -> Wish:
        control = self._shared.control
        return Wish(endpoint=control.wanted_endpoint(), until=control.drill_until())

    def _flushed_at(self) -> datetime | None:
        return self._shared.control.flushed_at(self._lane.name)

    # --- the end ---

    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs beside the hand-overs."""
        return [*self._probing.values(), *([] if self._watching is None else [self._watching])]

    def stop(self) -> None:
        """Begin nothing new; what is under way may end."""
        self._pool.stop()
        for task in self.tasks():
            task.cancel()

    def abort(self) -> None:
        """Wait for nobody any longer."""
        self._pool.abort()

    async def leave(self) -> None:
        """Take leave of the backend."""
        await self._pool.leave()
