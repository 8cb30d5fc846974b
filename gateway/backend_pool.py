"""The kept connections to the endpoint of the backend that is in use.

How many there are at once is the business of whoever takes them. A connection that is not clean is never given again,
nor is one to another endpoint than the one in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.failures import Failure, Withheld
from gateway.smtp_out import Connection, Target, TimeLimits, connect


class Pool:
    """`in_use` says which target connections are kept to."""

    def __init__(self, name: str, limits: TimeLimits, idle_close: float, in_use: Callable[[], Target]) -> None:
        self._name = name
        self._limits = limits
        self._idle_close = idle_close
        self._target = in_use
        self._loop = asyncio.get_running_loop()
        self._idle: list[tuple[Connection, float]] = []  # the latest used last
        self._in_use: set[Connection] = set()
        self._connecting: set[asyncio.Task[Connection | Failure]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.aborted = False

    async def take(self, target: Target) -> Connection | Failure | Withheld:
        """A connection to the target, kept or new, for one mail; `give_back` must follow."""
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.usable and connection.target == target:
                self._in_use.add(connection)
                return connection
            self._close(connection)
        if self._stopping:
            return _STOPS
        opened = await self._open(target)
        if isinstance(opened, Connection):
            self._in_use.add(opened)
        return opened

    async def _open(self, target: Target) -> Connection | Failure | Withheld:
        task = self._loop.create_task(connect(target, self._name, self._limits))
        self._connecting.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return _STOPS
        finally:
            self._connecting.discard(task)

    def give_back(self, connection: Connection) -> None:
        """The mail on it is over, however it ended."""
        self._in_use.discard(connection)
        if connection.usable and connection.target == self._target() and not self._stopping:
            self._idle.append((connection, self._loop.time()))
        else:
            self._close(connection)

    def in_use_elsewhere(self) -> int:
        """Mails that are still on their way to another target than the one in use."""
        target = self._target()
        return sum(connection.target != target for connection in self._in_use)

    def close_idle(self, *, at_most: float | None = None) -> None:
        """Take leave on the connections nothing has used for so long, and on those the peer has closed."""
        before = self._loop.time() - (self._idle_close if at_most is None else at_most)
        keep = []
        for connection, used_at in self._idle:
            if used_at > before and connection.usable:
                keep.append((connection, used_at))
            else:
                self._close(connection)
        self._idle = keep

    def stop(self) -> None:
        """Open nothing more; mails on their way may end."""
        self._stopping = True
        for task in self._connecting:
            task.cancel()

    def abort(self) -> None:
        """Cut what is in use."""
        self.aborted = True
        for connection in self._in_use:
            connection.abort()

    async def leave(self) -> None:
        """Take leave on everything."""
        self._stopping = True
        self.close_idle(at_most=0.0)
        if self._closing:
            await asyncio.wait(self._closing)

    def _close(self, connection: Connection) -> None:
        self._in_background(connection.close())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


_STOPS = Withheld("the service stops")
