"""Does what falls due for applications by the clock: at start, at the instants planned, and when something moved.

It wakes for the next job, for jobs that were planned, for commits of other processes and moves of the clock, and at
least every minute. Jobs are rows of the store, done in their own units of work: a restart goes on where it stood. While
the wall clock is not to be trusted, nothing is voided, destroyed or expires. Runs where the worker's lease is held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from typing import Protocol

from sqlalchemy.orm import Session

from handlers import desk_jobs
from handlers.calendar import BusinessCalendar, jst_date
from handlers.desk import DeskSettings
from storage.clock import Clock
from storage.database import Database

log = logging.getLogger(__name__)

_AT_LEAST_EVERY = 60.0  # seconds
_AT_MOST_EVERY = 0.5
_SWEPT_EVERY = 10.0  # what no job is planned for is looked for
_HELD_EVERY = 60.0  # held mail

CalendarSource = Callable[[Session, date], BusinessCalendar]


class Suspension(Protocol):
    """Whether the wall clock stepped lately."""

    def suspended(self) -> bool: ...


class DeskClock:
    """Create it on the loop it serves, `start` it where the worker runs, and `stop` it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        guard: Suspension,
        desk: DeskSettings,
        calendar_source: CalendarSource,
    ) -> None:
        self._database = database
        self._clock = clock
        self._guard = guard
        self._desk = desk
        self._calendar_source = calendar_source
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._sweep_again_at = 0.0
        self._expire_again_at = 0.0

    def start(self) -> None:
        """Begin, with whatever fell due meanwhile."""
        for topic in ("foreign", "desk_jobs"):
            self._database.subscribe(topic, lambda _: self._moved.set())
        self._task = self._loop.create_task(self._follow())

    async def stop(self) -> None:
        """Begin nothing more. A unit of work that is under way is committed or not done at all."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            self._moved.clear()
            wait = _AT_LEAST_EVERY
            try:
                wait = await self._look()
            except Exception:
                # Once: a store that is down for an hour is not told of here again and again.
                log.log(logging.DEBUG if self._failing else logging.ERROR, "what is due is tried again", exc_info=True)
                self._failing, wait = True, _SWEPT_EVERY
            else:
                self._failing = False
            await asyncio.sleep(_AT_MOST_EVERY)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._moved.wait()

    async def _look(self) -> float:
        """Do everything that is due; how many seconds until something may be."""
        # Whoever moved the clock told everybody at once: it is read before it is asked.
        await self._database.read(self._clock.refresh)
        now, expires = self._clock.now(), not self._guard.suspended()
        due = await self._database.read(partial(desk_jobs.next_due, expires=expires))
        if due is not None and due <= now:
            await self._run_out(partial(desk_jobs.run_due, expires=expires), now)
            due = await self._database.read(partial(desk_jobs.next_due, expires=expires))
        await self._sweep(now, expires=expires)
        until_due = _AT_LEAST_EVERY if due is None else (due - self._clock.now()).total_seconds()
        return min(max(until_due, _AT_MOST_EVERY), _SWEPT_EVERY)

    async def _sweep(self, now: datetime, *, expires: bool) -> None:
        at = self._loop.time()
        if at < self._sweep_again_at:
            return
        self._sweep_again_at = at + _SWEPT_EVERY
        seldom = at >= self._expire_again_at
        if seldom:
            self._expire_again_at = at + _HELD_EVERY
        if seldom or await self._database.read(desk_jobs.sweep_is_due):
            await self._run_out(partial(desk_jobs.sweep, expires=expires), now)

    async def _run_out(self, work: Callable[..., int], now: datetime) -> None:
        """Unit after unit until nothing is left to do at that instant."""
        today = jst_date(now)
        calendar = await self._database.read(lambda session: self._calendar_source(session, today))
        while await self._database.run(lambda session: work(session, self._desk, calendar, now)):
            pass
