"""A listening address: its live connections and the caps on them, one coarse clock for all, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway import smtp_replies as replies
from gateway.smtp_data import ContentBudget
from gateway.smtp_replies import Reply
from gateway.smtp_session import ListenerPolicy, Session, SmtpLimits

_ABORT_SECONDS = 5.0  # far more than the loop needs to close a dropped connection


class Connection(Protocol):
    """What a listener asks of each of its connections."""

    def check(self, now: float) -> None:
        """Act on what is overdue."""
        ...

    def drain(self) -> None:
        """End the session unless a mail is under way."""
        ...

    def abort(self) -> None:
        """End it at once."""
        ...


class Listener:
    """One listener, made by `smtp_server.create_listener`. Its limits and counts are its own."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, policy: ListenerPolicy, hostname: str, limits: SmtpLimits
    ) -> None:
        self.loop = loop
        self.policy = policy
        self.limits = limits
        self.kept_bytes = policy.max_message_bytes
        if not policy.refuse_bare_line_ends:
            self.kept_bytes = max(self.kept_bytes, limits.damaged_message_bytes)
        # Whatever the settings say, a mail of the allowed size finds room while it is alone.
        self.budget = ContentBudget(max(limits.content_in_flight, 2 * self.kept_bytes))
        self.discard_after = max(limits.discarded_bytes, 2 * self.kept_bytes)
        self.greeting = replies.greeting(hostname).wire
        self.hello = replies.hello(hostname).wire
        self.extended_hello = replies.extended_hello(hostname, self.kept_bytes)
        self.live: set[Connection] = set()
        self.data_tasks: set[asyncio.Task[Reply]] = set()
        self._changed = asyncio.Event()
        self.draining = False
        self.port = 0
        self.addresses: tuple[tuple[str, int], ...] = ()
        """Every bound address; a host name may stand for several."""
        self._connections = 0
        self._by_peer: dict[str, int] = {}
        self._now = loop.time()
        self._server: asyncio.Server
        self._timer: asyncio.TimerHandle

    @property
    def address(self) -> tuple[str, int]:
        """The first bound address."""
        return self.addresses[0]

    @property
    def connections(self) -> int:
        """Sessions that were admitted and have not ended."""
        return self._connections

    def deadline(self, seconds: float) -> float:
        """The time, on the loop's clock, when `seconds` from now have surely passed."""
        return self._now + seconds

    async def open(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """Bind, then accept. Raises OSError."""
        self._server = await self.loop.create_server(
            factory, host, port, backlog=self.limits.backlog, reuse_address=True, start_serving=False
        )
        self.addresses = tuple(listening.getsockname()[:2] for listening in self._server.sockets)
        self.port = self.addresses[0][1]
        self._tick()
        await self._server.start_serving()

    def admit(self, session: Session) -> Reply | None:
        """Count a new session in, or give the reply that refuses it."""
        of_peer = self._by_peer.get(session.peer_ip, 0)
        if self.draining:
            return replies.SHUTTING_DOWN
        if self._connections >= self.limits.connections or of_peer >= self.limits.connections_per_peer:
            return replies.TOO_MANY_CONNECTIONS
        refusal = self.policy.connected(session)
        if refusal is None:
            self._connections += 1
            self._by_peer[session.peer_ip] = of_peer + 1
        return refusal

    def leave(self, session: Session) -> None:
        """Count an admitted session out."""
        self._connections -= 1
        left = self._by_peer[session.peer_ip] - 1
        if left:
            self._by_peer[session.peer_ip] = left
        else:
            del self._by_peer[session.peer_ip]

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self.live.discard(connection)
        self._changed.set()

    def data_ended(self, task: asyncio.Task[Reply]) -> None:
        """A data hook is over."""
        self.data_tasks.discard(task)
        self._changed.set()

    async def stop(self, grace: float) -> None:
        """Accept no more, answer 421 where no mail is under way, let the others finish for `grace` seconds.

        Connections still there are then dropped; data hooks still at work are left to end by themselves.
        """
        self.draining = True
        self._server.close()
        for connection in tuple(self.live):
            connection.drain()
        if not await self._until(lambda: not self.live and not self.data_tasks, grace):
            for connection in tuple(self.live):
                connection.abort()
            await self._until(lambda: not self.live, _ABORT_SECONDS)
        self._timer.cancel()

    async def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _tick(self) -> None:
        # The next one is set first: whatever a connection does, the clock goes on.
        self._timer = self.loop.call_later(self.limits.tick_seconds, self._tick)
        now = self.loop.time()
        self._now = now + self.limits.tick_seconds  # deadlines set before the next tick must not come early
        for connection in tuple(self.live):
            connection.check(now)
