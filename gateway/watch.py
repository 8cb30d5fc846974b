"""Looks every second for requests without a result and for destinations that are down, and tells the operator.

A look only reads; a unit of work follows when there is something to do. Trouble of the store is waited out. While the
wall clock is not to be trusted, nothing becomes late or overdue by its age. Runs in one process: whoever holds the
worker's lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from sqlalchemy.orm import Session

from handlers import lane_watch, request_watch
from handlers.desk import DeskSettings
from storage.clock import Clock
from storage.database import Database

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds
_SELDOM = 60.0  # for what was given up, and after a look whose work was put off


class Suspension(Protocol):
    """Whether the wall clock stepped lately."""

    def suspended(self) -> bool: ...


class Watch:
    """Create it on the loop it serves, `start` it where the worker runs, and `stop` it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        guard: Suspension,
        desk: DeskSettings,
        late_after: timedelta,
        overdue_after: timedelta,
        alarm_after: timedelta,
    ) -> None:
        self._database = database
        self._clock = clock
        self._guard = guard
        self._desk = desk
        self._late_after = late_after
        self._overdue_after = overdue_after
        self._alarm_after = alarm_after
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._down_again_at = 0.0
        self._gave_up_again_at = 0.0

    def start(self) -> None:
        """Begin to look."""
        self._task = self._loop.create_task(self._watch())

    async def stop(self) -> None:
        """Stop looking. A unit of work that is under way is committed or not done at all."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        silent: set[str] = set()
        while True:
            for name, look in (
                ("requests", self._requests),
                ("destinations", self._destinations),
                ("messages given up", self._given_up),
            ):
                try:
                    await look(self._clock.now())
                except Exception:
                    # Once: a store that is down for an hour is not told of here every second.
                    log.log(logging.DEBUG if name in silent else logging.ERROR, "no look at %s", name, exc_info=True)
                    silent.add(name)
                else:
                    silent.discard(name)
            await asyncio.sleep(_EVERY)

    async def _requests(self, now: datetime) -> None:
        aged = not self._guard.suspended()
        late, overdue = self._late_after, self._overdue_after
        look = partial(request_watch.is_due, now=now, late_after=late, overdue_after=overdue, aged=aged)
        if await self._database.read(look):
            work = partial(request_watch.watch, desk=self._desk, now=now, late_after=late, overdue_after=overdue)
            await self._run_out(partial(work, aged=aged))

    async def _destinations(self, now: datetime) -> None:
        if self._loop.time() < self._down_again_at:
            return
        look = partial(lane_watch.is_down_due, now=now, alarm_after=self._alarm_after)
        if await self._database.read(look):
            await self._run_out(partial(lane_watch.watch, desk=self._desk, now=now, alarm_after=self._alarm_after))
            # Too many mails this hour: asked again in a while, not by a unit of work every second.
            if await self._database.read(look):
                self._down_again_at = self._loop.time() + _SELDOM

    async def _given_up(self, now: datetime) -> None:
        if self._loop.time() < self._gave_up_again_at:
            return
        self._gave_up_again_at = self._loop.time() + _SELDOM
        if await self._database.read(partial(lane_watch.gave_up_for, now=now)):
            await self._run_out(partial(lane_watch.tell_gave_up, desk=self._desk, now=now))

    async def _run_out(self, work: Callable[[Session], int]) -> None:
        while await self._database.run(work):
            pass
