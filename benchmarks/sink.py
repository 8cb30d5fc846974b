"""The in-house systems' SMTP servers: one port on many loopback addresses, quick, storing nothing.

Each received message is told to its waiter by the handover item of its body. EHLO is offered PIPELINING, which
the SMTP client of Postfix uses; HELO-only senders never see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

from benchmarks.fleet import HANDOVER_AT, HANDOVER_BYTES

Receiver = Callable[[bytes], None]

_GREETING = b"220 sink.bench.example ready\r\n"
_OK = b"250 ok\r\n"
_GOODBYE = b"221 bye\r\n"
_REPLIES = {
    b"HELO": _OK,
    b"EHLO": b"250-sink.bench.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"MAIL": _OK,
    b"RCPT": _OK,
    b"RSET": _OK,
    b"NOOP": _OK,
    b"DATA": b"354 go ahead\r\n",
    b"QUIT": _GOODBYE,
}
_UNKNOWN = b"500 unknown command\r\n"
_END_OF_DATA = b"\r\n.\r\n"


class Sink:
    """Listens, and hands the body of every message to whoever waits for its handover."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._waiting: dict[bytes, Receiver] = {}
        self.transports: set[asyncio.Transport] = set()
        self.received = 0
        self.unexpected = 0
        self.connections = 0

    async def listen(self, addresses: Iterable[str], port: int) -> None:
        """Accept connections on this port of every given address; OSError when one is taken."""
        loop = asyncio.get_running_loop()
        for address in addresses:
            self._servers.append(await loop.create_server(lambda: SinkSession(self), address, port, backlog=512))

    def expect(self, handover: bytes, receiver: Receiver) -> None:
        """Call `receiver` once, with the body that carries this handover."""
        self._waiting[handover] = receiver

    def forget(self, handover: bytes) -> None:
        """Nobody waits for this one any more; if it comes it is counted as unexpected."""
        self._waiting.pop(handover, None)

    def deliver(self, content: bytes) -> None:
        """A whole mail has come in: find its body, then its waiter."""
        self.received += 1
        body = content[content.find(b"\r\n\r\n") + 4 :]
        receiver = self._waiting.pop(body[HANDOVER_AT : HANDOVER_AT + HANDOVER_BYTES], None)
        if receiver is None:
            self.unexpected += 1
        else:
            receiver(body)

    def close(self) -> None:
        """Stop listening and drop the open sessions."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for transport in self.transports:
            transport.close()


class SinkSession(asyncio.Protocol):
    """One SMTP session of the sink. All commands that came in one packet are answered in one packet."""

    __slots__ = ("_buffer", "_in_data", "_sink", "_transport")

    _transport: asyncio.Transport

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet at once."""
        self._transport = cast("asyncio.Transport", transport)
        self._sink.connections += 1
        self._sink.transports.add(self._transport)
        self._transport.write(_GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone, in whichever way."""
        self._sink.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Answer first, then tell the waiters: the sender must not wait for what they do."""
        replies, mails, self._buffer = self._answer(self._buffer + data if self._buffer else data)
        if replies:
            self._transport.write(b"".join(replies))
            if replies[-1] is _GOODBYE:
                self._transport.close()
        for mail in mails:
            self._sink.deliver(mail)

    def _answer(self, buffer: bytes) -> tuple[list[bytes], list[bytes], bytes]:
        replies: list[bytes] = []
        mails: list[bytes] = []
        while buffer:
            end = buffer.find(_END_OF_DATA if self._in_data else b"\n")
            if end < 0:
                break
            if self._in_data:
                mails.append(buffer[: end + 2])
                replies.append(_OK)
                buffer = buffer[end + 5 :]
                self._in_data = False
            else:
                verb = buffer[:4].upper()
                replies.append(_REPLIES.get(verb, _UNKNOWN))
                buffer = buffer[end + 1 :]
                self._in_data = verb == b"DATA"
        return replies, mails, buffer
