"""Delivery: takes what is queued to where it belongs, in the order of its lane, and writes down how it ended.

Lanes are found by what is announced, by a scan at start and every 30 s, and whenever another process
commits; a lost wake-up costs seconds, not mail. The next mail of a lane is begun when the outcome of the
one before is committed, so at most its head is in flight. Trouble of one destination holds its own lane
only.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway.backend_lane import BackendLane
from gateway.backend_parts import BackendParts
from gateway.clock_guard import ClockGuard
from gateway.lane_control import LaneControl
from gateway.lane_holder import Gone, Lane, Shared, Where, log
from gateway.lane_signing import NoticeSigning
from gateway.lanes import DeliverySettings
from gateway.smtp_lane import SmtpLane
from storage.clock import Clock
from storage.database import Database
from storage.lane_leases import release_lanes
from storage.mail_queue import lanes_with_queued

if TYPE_CHECKING:
    from gateway.signing import Signer

__all__ = ["Delivery", "DeliverySettings", "Gone", "Where"]

_LAST_WRITES = 5.0  # seconds for the outcomes of what had to be broken off


class Delivery:
    """Everything that leaves this process. Create it on the loop it serves, `start` it, and `stop` it.

    `where` is asked before every mail of a terminal or smarthost lane.
    """

    def __init__(
        self,
        database: Database,
        where: Where,
        backend: BackendParts,
        clock: Clock,
        settings: DeliverySettings,
        *,
        control: LaneControl,
        guard: ClockGuard,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._backend = backend
        self._signing = NoticeSigning()
        self._shared = Shared(database, where, clock, settings, jitter, control, guard, self._signing)
        self._lanes: dict[str, Lane] = {}
        self._unknown: set[str] = set()
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def sign_with(self, signer: Signer) -> None:
        """Sign notices of its domain from now on, each before it is first tried. Call it before `start`."""
        self._signing.signer = signer

    async def start(self) -> None:
        """Begin to deliver what waits and what comes."""
        self._database.subscribe("queued", self._on_queued)
        self._database.subscribe("foreign", self._on_foreign)
        self._database.subscribe("heard", self._on_heard)
        self._shared.control.on_change(self._on_asked)
        await self._look_for_lanes()
        if self._backend.simulator is None and (backend := self._lane("backend")) is not None:
            backend.wake()  # its endpoints are probed before the first request
        self._tasks = [
            asyncio.create_task(self._look_for_lanes_again()),
            asyncio.create_task(self._close_idle_connections()),
        ]

    async def stop(self, grace: float) -> None:
        """End what is under way within `grace` seconds; only a mail whose peer stays silent is left in doubt.

        The lanes are given back when every outcome was written, otherwise their heads count as in doubt.
        """
        self._shared.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        lanes = list(self._lanes.values())
        for lane in lanes:
            lane.stop()
        if await self._still_running(grace):
            for lane in lanes:
                lane.abort()
            for task in await self._still_running(_LAST_WRITES):
                task.cancel()
            await self._still_running(_LAST_WRITES)
        await asyncio.gather(*(lane.leave() for lane in lanes))
        if not any(lane.unwritten for lane in lanes):
            token = self._shared.token
            await self._database.run(lambda session: release_lanes(session, token))

    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way, as far as this process knows."""
        return all(lane.order.idle and not lane.unwritten for lane in self._lanes.values())

    async def _still_running(self, seconds: float) -> set[asyncio.Task[None]]:
        tasks = [task for lane in self._lanes.values() for task in lane.tasks()]
        return (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else set()

    def _on_queued(self, payload: Any) -> None:
        enqueue, sequence = payload
        lane = self._lanes.get(enqueue.lane) or self._lane(enqueue.lane)
        if lane is not None:
            lane.announced(enqueue, sequence)

    def _on_foreign(self, _payload: Any) -> None:
        self._shared.generation += 1
        self._look.set()

    def _on_heard(self, name: Any) -> None:
        if name in self._lanes:
            self._lanes[name].heard()

    def _on_asked(self, names: frozenset[str]) -> None:
        for name in names & self._lanes.keys():
            self._lanes[name].asked()

    def _lane(self, name: str) -> Lane | None:
        lane = self._lanes.get(name) or self._new_lane(name)
        if lane is not None:
            self._lanes[name] = lane
        elif name not in self._unknown:
            self._unknown.add(name)
            log.error("nothing here delivers the lane %s", name)
        return lane

    def _new_lane(self, name: str) -> Lane | None:
        kind = name.partition(":")[0]
        if kind == "backend":
            return BackendLane(name, self._shared, self._backend)
        if kind in ("terminal", "smarthost"):
            return SmtpLane(name, self._shared, terminal=kind == "terminal")
        return None

    async def _look_for_lanes(self) -> None:
        for name in await self._database.read(lanes_with_queued):
            lane = self._lane(name)
            if lane is not None:
                lane.look_again()

    async def _look_for_lanes_again(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._shared.settings.scan_every):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._look_for_lanes()
            except Exception as error:  # noqa: BLE001 - looked through again in half a minute
                log.warning("the lanes were not looked through: %s", type(error).__name__)

    async def _close_idle_connections(self) -> None:
        settings = self._shared.settings
        shortest = min(each.idle_close for each in (settings, *settings.destinations.values()))
        while True:
            await asyncio.sleep(shortest / 3)
            lanes = [lane for lane in self._lanes.values() if isinstance(lane, SmtpLane)]
            idle = [connection for lane in lanes if (connection := lane.idle_connection())]
            await asyncio.gather(*(connection.close() for connection in idle), return_exceptions=True)
