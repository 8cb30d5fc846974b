"""What operators and commands ask of lanes, as this process knows it: pauses, flushes, the backend's endpoint.

Read from the store at start, whenever another process has committed something, and every five seconds; between two
reads every question is answered from memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage.clock import Clock
from storage.database import Database
from storage.models import Lane, LanePause

log = logging.getLogger("gateway.delivery")

BACKEND = "backend"
_READ_EVERY = 5.0
_FLUSH_COUNTS = timedelta(hours=1)  # an older one has long been carried out
_PAUSES_COUNT = timedelta(days=30)  # longer than any mail waits in a lane

Listener = Callable[[frozenset[str]], None]
Pause = tuple[datetime, datetime | None]


@dataclass(frozen=True, slots=True)
class _Seen:
    pauses: Mapping[str, tuple[Pause, ...]] = field(default_factory=dict)  # by lane, oldest first
    paused: frozenset[str] = frozenset()
    flushed: Mapping[str, datetime] = field(default_factory=dict)
    wanted_endpoint: str = ""
    drill_until: datetime | None = None

    def differs_from(self, other: _Seen) -> frozenset[str]:
        """The lanes that are asked for something else."""
        lanes = set(self.paused ^ other.paused)
        lanes.update(lane for lane, at in self.flushed.items() if other.flushed.get(lane) != at)
        if (self.wanted_endpoint, self.drill_until) != (other.wanted_endpoint, other.drill_until):
            lanes.add(BACKEND)
        return frozenset(lanes)


class LaneControl:
    """Create it on the loop it serves, `start` it before the lanes, and `stop` it after them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen = _Seen()
        self._listeners: list[Listener] = []
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is asked of the lanes now, and follow it from here on."""
        if self._task is not None:
            return
        self._database.subscribe("foreign", lambda _: self._look.set())
        await self.refresh()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow it no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with the names of the lanes that something new is asked of."""
        self._listeners.append(listener)

    async def refresh(self) -> None:
        """Read it now."""
        now = self._clock.now()
        seen = await self._database.read(lambda session: _read(session, now))
        changed = seen.differs_from(self._seen)
        self._seen = seen
        if changed:
            for listener in self._listeners:
                listener(changed)

    def paused(self, lane: str) -> bool:
        """Whether the lane is to send nothing."""
        return lane in self._seen.paused

    def paused_time(self, lane: str, since: datetime, until: datetime) -> timedelta:
        """How long of that time the lane was paused."""
        total = timedelta()
        counted_to = since
        for paused_at, resumed_at in self._seen.pauses.get(lane, ()):
            begin = max(paused_at, counted_to)
            end = until if resumed_at is None else min(resumed_at, until)
            if end > begin:
                total += end - begin
                counted_to = end
        return total

    def flushed_at(self, lane: str) -> datetime | None:
        """When it was last asked to try at once; None when that is over an hour ago."""
        return self._seen.flushed.get(lane)

    def wanted_endpoint(self) -> str:
        """The address of the backend an operator wants used, "" when the gateway may choose."""
        return self._seen.wanted_endpoint

    def drill_until(self) -> datetime | None:
        """When the wanted address is let go again; None: not by itself."""
        return self._seen.drill_until

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_READ_EVERY):
                    await self._look.wait()
            self._look.clear()
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - what is known stays; it is read again in seconds
                log.warning("what is asked of the lanes was not read: %s", type(error).__name__)


def _read(session: Session, now: datetime) -> _Seen:
    lanes = session.execute(
        select(Lane.lane, Lane.flushed_at, Lane.wanted_endpoint, Lane.drill_until).where(
            or_(Lane.lane == BACKEND, Lane.flushed_at >= now - _FLUSH_COUNTS)
        )
    ).all()
    rows = session.execute(
        select(LanePause.lane, LanePause.paused_at, LanePause.resumed_at)
        .where(or_(LanePause.resumed_at.is_(None), LanePause.resumed_at >= now - _PAUSES_COUNT))
        .order_by(LanePause.paused_at, LanePause.id)
    ).all()
    pauses: dict[str, list[Pause]] = {}
    for row in rows:
        pauses.setdefault(row.lane, []).append((row.paused_at, row.resumed_at))
    backend = next((row for row in lanes if row.lane == BACKEND), None)
    return _Seen(
        pauses={lane: tuple(spans) for lane, spans in pauses.items()},
        paused=frozenset(row.lane for row in rows if row.resumed_at is None),
        flushed={row.lane: row.flushed_at for row in lanes if row.flushed_at is not None},
        wanted_endpoint="" if backend is None else backend.wanted_endpoint,
        drill_until=None if backend is None else backend.drill_until,
    )
