"""The one load client of both sides: many in-house systems, each with one request under way at a time.

A station connects from its own IP, speaks as the known client does (HELO, one command at a time), and sends its
next request only when its SMTP session has accepted the last one and the message for it has arrived at the sink.
A phase ends when its last message is delivered.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from benchmarks.fleet import CENTER_ADDRESS, HANDOVER_BYTES, Station, request_frame
from benchmarks.sink import Sink

STALL_SECONDS = 60.0
_MOST_FAILURES = 20

# What must come back at each step, and the steps that are more than "send the next command".
_EXPECTED = (b"220", b"250", b"250", b"250", b"354", b"250", b"221")
_MAIL, _CONTENT, _ACCEPTED, _GOODBYE = 1, 4, 5, 6


class LoadFailed(Exception):
    """The side under load refused, answered wrongly or fell silent; the text says which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where the requests go, how, and what must come back; nothing, where only the accepting is measured."""

    host: str
    port: int
    keeps_connections: bool
    is_expected: Callable[[bytes], bool] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseResult:
    """What one phase measured: seconds from the first connect to the last delivery, latencies in seconds."""

    delivered: int
    seconds: float
    client_cpu_seconds: float
    median_latency: float
    p99_latency: float

    @property
    def rate(self) -> float:
        """Messages delivered per second."""
        return self.delivered / self.seconds


class LoadClient:
    """Drives one target with a fleet; several clients may share a sink, one phase at a time."""

    def __init__(self, sink: Sink, stations: Sequence[Station], target: Target, *, run_name: str) -> None:
        """`run_name` begins every handover (at most 16 bytes) and must differ between clients of one sink."""
        self.sink = sink
        self.target = target
        self._run_name = run_name.encode()
        self._serial = self._to_issue = self._delivered = self._messages = 0
        self._failures: list[str] = []
        self._latencies: list[float] = []
        self._over = asyncio.Event()
        self._requesters = [Requester(self, station) for station in stations]

    async def phase(self, messages: int) -> PhaseResult:
        """Send so many requests and wait for each one's message; raises LoadFailed."""
        self._to_issue = self._messages = messages
        self._delivered = 0
        self._latencies = []
        self._over.clear()
        gc.collect()
        gc.disable()
        try:
            cpu, started = time.process_time(), time.perf_counter()
            for requester in self._requesters:
                requester.begin()
            await self._until_over()
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        finally:
            gc.enable()
        self._latencies.sort()
        return PhaseResult(
            delivered=messages,
            seconds=seconds,
            client_cpu_seconds=cpu,
            median_latency=statistics.median(self._latencies),
            p99_latency=self._latencies[int(0.99 * (messages - 1))],
        )

    async def _until_over(self) -> None:
        seen, silent_since = -1, time.perf_counter()
        while not self._over.is_set():
            try:
                await asyncio.wait_for(self._over.wait(), 1.0)
            except TimeoutError:
                now = time.perf_counter()
                if self._delivered > seen:
                    seen, silent_since = self._delivered, now
                elif now - silent_since > STALL_SECONDS:
                    raise LoadFailed(self._report("nothing was delivered for a minute")) from None
        if self._failures:
            raise LoadFailed(self._report("requests failed"))

    def _report(self, what: str) -> str:
        last = f"; the last failure: {self._failures[-1]}" if self._failures else ""
        waiting = sum(requester.waits_for_message for requester in self._requesters)
        return (
            f"{what}: {self._delivered} of {self._messages} delivered, "
            f"{waiting} stations wait for a message, {len(self._failures)} failures{last}"
        )

    def next_handover(self) -> bytes | None:
        """A handover nobody used before, or None when the phase has issued all its requests."""
        if not self._to_issue:
            return None
        self._to_issue -= 1
        self._serial += 1
        return (b"%s-%08d" % (self._run_name, self._serial)).ljust(HANDOVER_BYTES)

    def finished(self, latency: float) -> None:
        """A request's message has arrived and its SMTP session has ended well."""
        self._delivered += 1
        self._latencies.append(latency)
        if self._delivered == self._messages:
            self._over.set()

    def failed(self, reason: str) -> None:
        """A request was not answered as it must be: one fails the phase, twenty end it at once."""
        self._failures.append(reason)
        if len(self._failures) >= _MOST_FAILURES:
            self._over.set()

    def close(self) -> None:
        """Send nothing more and close all connections."""
        self._to_issue = 0
        for requester in self._requesters:
            requester.close()


class Requester:
    """One station: its request under way, and the SMTP session that carries it."""

    __slots__ = (
        "_accepted",
        "_client",
        "_connecting",
        "_frame",
        "_handover",
        "_message_came",
        "_session",
        "_started",
        "_station",
        "commands",
        "keeps_connections",
    )

    def __init__(self, client: LoadClient, station: Station) -> None:
        self._client = client
        self._station = station
        self._frame = request_frame(station)
        self.keeps_connections = client.target.keeps_connections
        self.commands = (
            f"HELO {station.terminal}\r\n".encode(),
            f"MAIL FROM:{station.mail_address}\r\n".encode(),
            f"RCPT TO:<{CENTER_ADDRESS}>\r\n".encode(),
            b"DATA\r\n",
        )
        self._session: Session | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._handover = b""
        self._accepted = self._message_came = True
        self._started = 0.0

    @property
    def waits_for_message(self) -> bool:
        """Whether the request was accepted and its message is still out."""
        return self._accepted and not self._message_came

    @property
    def content(self) -> bytes:
        """What follows DATA for the request under way, the final dot included."""
        return self._frame.head + self._handover + self._frame.tail

    def begin(self) -> None:
        """Send the next request, if the phase has one left."""
        handover = self._client.next_handover()
        if handover is None:
            return
        self._handover = handover
        self._accepted = False
        self._started = time.perf_counter()
        self._message_came = self._client.target.is_expected is None
        if not self._message_came:
            self._client.sink.expect(handover, self._arrived)
        if self._session is None:
            self._connecting = asyncio.ensure_future(self._connect())
        else:
            self._session.start_mail()

    async def _connect(self) -> None:
        target = self._client.target
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Session(self), target.host, target.port, local_addr=(self._station.ip, 0)
            )
        except OSError as error:
            self.give_up(f"connect: {error.strerror or error}")

    def connected(self, session: Session) -> None:
        """A new connection of this station stands."""
        self._session = session

    def disconnected(self) -> None:
        """The server closed a kept connection between two requests: the next one opens another."""
        self._session = None

    def accepted(self) -> None:
        """The session has the 250 for the request, and is over where connections are not kept."""
        self._accepted = True
        if not self.keeps_connections:
            self._session = None
        self._go_on()

    def _arrived(self, body: bytes) -> None:
        is_expected = self._client.target.is_expected
        if is_expected is None or not is_expected(body):
            self._client.failed(f"an unexpected message: {body[:15]!r} with {body[400:415]!r}")
        self._message_came = True
        self._go_on()

    def _go_on(self) -> None:
        if self._accepted and self._message_came:
            self._client.finished(time.perf_counter() - self._started)
            self.begin()

    def give_up(self, reason: str) -> None:
        """The session failed: the station stays silent from here on, the phase will raise."""
        self._session = None
        self._client.sink.forget(self._handover)
        self._client.failed(reason)

    def close(self) -> None:
        """Close the connection, if there is one, and open no other."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._session is not None:
            self._session.close()
            self._session = None


class Session(asyncio.Protocol):
    """One SMTP connection of a station: the next command goes out when the expected reply is in."""

    __slots__ = ("_partial", "_requester", "_step", "_transport")

    _transport: asyncio.Transport

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._partial = b""
        self._step = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server speaks first."""
        self._transport = cast("asyncio.Transport", transport)
        self._requester.connected(self)

    def start_mail(self) -> None:
        """Begin another transaction on a kept connection."""
        self._step = _MAIL + 1
        self._transport.write(self._requester.commands[_MAIL])

    def data_received(self, data: bytes) -> None:
        """Wait for the last line of the reply, then go on or give up."""
        if self._partial:
            data, self._partial = self._partial + data, b""
        last_line = data.rfind(b"\n", 0, -1) + 1
        if data[-1:] != b"\n" or data[last_line + 3 : last_line + 4] == b"-":
            self._partial = data
        elif data[last_line : last_line + 3] == _EXPECTED[self._step]:
            self._proceed()
        else:
            self._fail(data.decode("ascii", "replace").strip())

    def _proceed(self) -> None:
        step = self._step
        self._step = step + 1
        if step < _CONTENT:
            self._transport.write(self._requester.commands[step])
        elif step == _CONTENT:
            self._transport.write(self._requester.content)
        elif step == _ACCEPTED and not self._requester.keeps_connections:
            self._transport.write(b"QUIT\r\n")
        else:
            if step == _GOODBYE:
                self._transport.close()
            self._requester.accepted()

    def _fail(self, reason: str) -> None:
        step, self._step = self._step, len(_EXPECTED)
        self._transport.close()
        self._requester.give_up(f"at step {step}, {_EXPECTED[step].decode()} expected: {reason}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Losing a connection before the dialogue is over is a failure of the request."""
        if self._step == _GOODBYE and self._requester.keeps_connections:
            self._requester.disconnected()
        elif self._step <= _GOODBYE:
            self._fail("the connection was lost")

    def close(self) -> None:
        """Leave without a word; the request under way, if any, is abandoned."""
        self._step = len(_EXPECTED)
        self._transport.close()
