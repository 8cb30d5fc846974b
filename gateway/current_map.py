"""The in-memory snapshot of the map, and the rule that our own staleness is never a permanent error."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import terminals
from handlers.terminals import EMPTY_MAP, MapView
from storage.database import Database
from storage.models import MapVersion

log = logging.getLogger(__name__)

_PAUSE = 1.0


class CurrentMap:
    """`view` is the newest map this process knows; `refresh` makes it the store's newest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refreshing = asyncio.Lock()
        self._behind = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.view: MapView = EMPTY_MAP

    async def start(self) -> None:
        """Read the map, then again whenever this or another process commits a change of it."""
        await self.refresh()
        self._database.subscribe("map", lambda _version: self._behind.set())
        self._database.subscribe("foreign", lambda _: self._behind.set())
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> MapView:
        """The newest map of the store; read anew only when its version moved."""
        async with self._refreshing:
            if await self._database.read(_version) != self.view.version:
                self.view = await self._database.read(terminals.load)
        return self.view

    async def _follow(self) -> None:
        while True:
            await self._behind.wait()
            self._behind.clear()
            try:
                await self.refresh()
            except Exception:
                log.exception("the map could not be read; reading it again")
                self._behind.set()
                await asyncio.sleep(_PAUSE)


def _version(session: Session) -> int:
    return session.scalar(select(MapVersion.version).where(MapVersion.id == 1)) or 0
