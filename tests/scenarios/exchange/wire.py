"""SMTP as the peers of a gateway speak it, quick enough to saturate one: a receiving session and a speaking one.

Nothing is decided here: a `Receiver` says what becomes of a mail, a speaker hears what it is answered.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Protocol, cast

_MAIL = re.compile(rb"FROM:\s*<?([^<>\s]*)>?(\s.*)?", re.IGNORECASE)
_RCPT = re.compile(rb"TO:<([^<>\s]+)>", re.IGNORECASE)
_END_OF_DATA = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenMail:
    """A mail at its final dot, dots unstuffed."""

    mail_from: str
    rcpt_tos: tuple[str, ...]
    content: bytes


class Receiver(Protocol):
    """Whose sessions they are. `extended`: EHLO is known; in-house servers know HELO alone. `silent`: never a word."""

    extended: bool
    silent: bool
    sessions: set[Reception]

    def take(self, session: Reception, mail: TakenMail) -> None:
        """Decide on a mail; sooner or later `session.reply` or `session.drop` must be called."""
        ...


class Reception(asyncio.Protocol):
    """One session of a server that answers each command at once, in one write."""

    _transport: asyncio.Transport

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = b""
        self._in_data = self._waits = False
        self._greeted = False
        self._mail_from: str | None = None
        self._rcpt_tos: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet at once."""
        self._transport = cast("asyncio.Transport", transport)
        self._receiver.sessions.add(self)
        if not self._receiver.silent:
            self._say(b"220 peer.example ready")

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone, in whichever way."""
        self._receiver.sessions.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._buffer += data
        self._go_on()

    def reply(self, line: bytes) -> None:
        """The reply at the dot."""
        self._waits = False
        self._forget_mail()
        if not self._transport.is_closing():
            self._say(line)
            self._go_on()

    def drop(self) -> None:
        """Cut the connection without a word."""
        self._transport.abort()

    def _say(self, line: bytes) -> None:
        self._transport.write(line + b"\r\n")

    def _forget_mail(self) -> None:
        self._mail_from, self._rcpt_tos = None, []

    def _go_on(self) -> None:
        while self._buffer and not self._waits and not self._transport.is_closing():
            end = self._buffer.find(_END_OF_DATA if self._in_data else b"\r\n")
            if end < 0:
                return
            part = self._buffer[: end + 2]
            self._buffer = self._buffer[end + (5 if self._in_data else 2) :]
            if self._in_data:
                self._take(part)
            else:
                self._command(part[:-2])

    def _take(self, wire: bytes) -> None:
        content = wire.replace(b"\r\n..", b"\r\n.")
        if content.startswith(b".."):
            content = content[1:]
        self._in_data, self._waits = False, True
        assert self._mail_from is not None
        mail = TakenMail(mail_from=self._mail_from, rcpt_tos=tuple(self._rcpt_tos), content=content)
        self._receiver.take(self, mail)

    def _command(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        answer = _ANSWERS.get(verb.upper())
        self._say(b"500 Command not recognized" if answer is None else answer(self, argument.strip()))
        if verb.upper() == b"QUIT":
            self._transport.close()

    def _helo(self, _argument: bytes) -> bytes:
        if self._greeted and not self._receiver.extended:
            return b"503 HELO was given"
        self._greeted = True
        return b"250 peer.example"

    def _ehlo(self, argument: bytes) -> bytes:
        return self._helo(argument) if self._receiver.extended else b"500 Command not recognized"

    def _mail(self, argument: bytes) -> bytes:
        match = _MAIL.fullmatch(argument)
        if match is None or (match[2] and not self._receiver.extended):
            return b"501 FROM:<address> and nothing more"
        if self._mail_from is not None:
            return b"503 MAIL was given"
        self._mail_from = match[1].decode("ascii")
        return b"250 OK"

    def _rcpt(self, argument: bytes) -> bytes:
        match = _RCPT.fullmatch(argument)
        if self._mail_from is None:
            return b"503 MAIL first"
        if match is None:
            return b"501 TO:<address>"
        self._rcpt_tos.append(match[1].decode("ascii"))
        return b"250 OK"

    def _data(self, _argument: bytes) -> bytes:
        if not self._rcpt_tos:
            return b"503 RCPT first"
        self._in_data = True
        return b"354 go ahead"

    def _rset(self, _argument: bytes) -> bytes:
        self._forget_mail()
        return b"250 OK"

    def _noop(self, _argument: bytes) -> bytes:
        return b"250 OK" if self._receiver.extended else b"500 Command not recognized"

    def _quit(self, _argument: bytes) -> bytes:
        return b"221 bye"


_ANSWERS = {
    b"HELO": Reception._helo,
    b"EHLO": Reception._ehlo,
    b"MAIL": Reception._mail,
    b"RCPT": Reception._rcpt,
    b"DATA": Reception._data,
    b"RSET": Reception._rset,
    b"NOOP": Reception._noop,
    b"QUIT": Reception._quit,
}


class Speaker(asyncio.Protocol):
    """The client's end of one connection: say something, hear one reply line."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._heard = b""
        self._waiting: asyncio.Future[bytes] | None = None
        self._lost = False

    @classmethod
    async def connect(cls, host: str, port: int, source: str | None = None) -> Speaker:
        """Connect from `source`, an IP of this machine, and hear the greeting. OSError when that fails."""
        bind = None if source is None else (source, 0)
        _, speaker = await asyncio.get_running_loop().create_connection(cls, host, port, local_addr=bind)
        greeting = await speaker.hear()
        if not greeting.startswith(b"220"):
            speaker.close()
            raise ConnectionRefusedError(greeting.decode("ascii", "replace"))
        return speaker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is said before the greeting."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give a whole last line to whoever waits for it."""
        self._heard += data
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        self._lost = True
        self._tell()

    def _tell(self) -> None:
        if self._waiting is None or self._waiting.done():
            return
        start = 0
        while (end := self._heard.find(b"\r\n", start)) >= 0:
            line, start = self._heard[start:end], end + 2
            if line[3:4] != b"-":
                self._heard = self._heard[start:]
                self._waiting.set_result(line)
                return
        if self._lost:
            self._waiting.set_exception(ConnectionResetError("the connection was lost"))

    async def hear(self) -> bytes:
        """The next reply; ConnectionResetError when the connection is gone instead."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._tell()
        return await self._waiting

    def write(self, data: bytes) -> None:
        """Say something no reply belongs to."""
        self._transport.write(data)

    async def say(self, data: bytes) -> bytes:
        """Write, then hear the reply."""
        self.write(data)
        return await self.hear()

    @property
    def lost(self) -> bool:
        """Whether the other side has closed."""
        return self._lost

    def close(self) -> None:
        """Leave without a word."""
        self._transport.close()


def stuffed(content: bytes) -> bytes:
    """Content with its dots stuffed (RFC 5321 §4.5.2); it must end on a line end."""
    wire = content.replace(b"\r\n.", b"\r\n..")
    return b"." + wire if wire.startswith(b".") else wire
