"""A mail server on bare sockets, for what no library can be told to do: bytes that drip, lines without end, garbage.

It knows the dialogue of an in-house server, and answers each verb with the bytes it is given.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

_NORMAL = {
    "CONNECT": b"220 rude.example\r\n",
    "DATA": b"354 go on\r\n",
    "DOT": b"250 Mail accepted\r\n",
    "QUIT": b"221 bye\r\n",
}
_TINY = 4096  # bytes a peer with a tiny window takes from the network before it is read


@dataclass
class Flood:
    """Instead of a reply: these bytes again and again, until the other side has left."""

    block: bytes
    sent: int = 0


@dataclass
class Manners:
    """What it does; a verb's entry in `once` holds for the next use of it."""

    once: dict[str, bytes | Flood] = field(default_factory=dict)
    byte_every: float = 0.0  # seconds between two bytes of a reply; 0: at once
    read_every: float = 0.0  # seconds between two reads of content
    read_bytes: int = 1 << 16
    half_close_after: str = ""  # the verb after whose reply nothing more is said


class RudeServer:
    """`async with` it; `contents` holds the mails that were taken, dots as they came."""

    def __init__(self, *, tiny_window: bool = False) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.manners = Manners()
        self.contents: list[bytes] = []
        self.connections = 0
        self._tiny_window = tiny_window
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        listening = socket.socket()
        if self._tiny_window:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _TINY)
        listening.bind((self.host, 0))
        self.port = listening.getsockname()[1]
        limit = _TINY if self._tiny_window else 1 << 16
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=limit)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._answer(writer, "CONNECT")
            while line := await reader.readline():
                verb = line.split()[0].decode("latin-1").upper() if line.split() else ""
                await self._answer(writer, verb)
                if verb == "DATA":
                    self.contents.append(await self._content(reader))
                    await self._answer(writer, "DOT")
        writer.close()

    async def _content(self, reader: asyncio.StreamReader) -> bytes:
        content = bytearray()
        while not (content.endswith(b"\r\n.\r\n") or content == b".\r\n"):
            block = await reader.read(self.manners.read_bytes)
            if not block:
                raise asyncio.IncompleteReadError(bytes(content), None)
            content += block
            if self.manners.read_every:
                await asyncio.sleep(self.manners.read_every)
        return bytes(content[:-3])

    async def _answer(self, writer: asyncio.StreamWriter, verb: str) -> None:
        reply = self.manners.once.pop(verb, _NORMAL.get(verb, b"250 OK\r\n"))
        if isinstance(reply, Flood):
            while True:
                writer.write(reply.block)
                await writer.drain()
                reply.sent += len(reply.block)
        if not self.manners.byte_every:
            writer.write(reply)
        for at in range(len(reply) if self.manners.byte_every else 0):
            writer.write(reply[at : at + 1])
            await asyncio.sleep(self.manners.byte_every)
        await writer.drain()
        if self.manners.half_close_after == verb:
            writer.write_eof()
