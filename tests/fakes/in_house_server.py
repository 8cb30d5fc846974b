"""An in-house system's SMTP server, as the known ones behave, that records what it gets and misbehaves as told.

It knows HELO, MAIL, RCPT, DATA, RSET and QUIT; EHLO and everything else is 500, a second HELO 503, any parameter 501.
"""

# ruff: noqa: N802 - aiosmtpd finds its methods by these names
from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session

DROP = "drop"
"""Instead of a reply: the connection is cut. At `DOT` the mail has been taken all the same."""
DROP_IN_DATA = "drop in data"
"""At `DATA`: 354, then the connection is cut before the final dot is read."""
SILENCE = "silence"
"""Instead of a reply: nothing, for ever."""

_MAIL = re.compile(r"FROM:<?([^<>\s]*)>?", re.IGNORECASE)
_RCPT = re.compile(r"TO:<([^<>\s]+)>", re.IGNORECASE)


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something a real server or the gateway brings about; TimeoutError when it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing announces an arbitrary condition
            await asyncio.sleep(0.005)


@dataclass
class Behaviour:
    """What the server does otherwise than normal, by verb: CONNECT HELO EHLO MAIL RCPT DATA DOT RSET QUIT."""

    once: dict[str, deque[str]] = field(default_factory=dict)
    always: dict[str, str] = field(default_factory=dict)
    for_recipient: dict[str, str] = field(default_factory=dict)  # address -> reply at RCPT
    reply_after: float = 0.0  # seconds before each reply
    behind_a_reply: dict[str, str] = field(default_factory=dict)  # a second line in the same write

    def next(self, verb: str, *replies: str) -> None:
        """Answer the next uses of the verb so."""
        self.once.setdefault(verb, deque()).extend(replies)

    def told(self, verb: str) -> str | None:
        """What to do at this verb, None for the normal thing."""
        return self.once[verb].popleft() if self.once.get(verb) else self.always.get(verb)


@dataclass(frozen=True)
class ReceivedMail:
    """A mail as it came over the wire, dots unstuffed."""

    mail_from: str
    rcpt_to: str
    content: bytes
    connection: int


class Records:
    """aiosmtpd's handler: keeps the mail, then answers as told."""

    def __init__(self, server: RecordingServer) -> None:
        self._server = server

    async def handle_DATA(self, protocol: Dialogue, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content
        assert content is not None
        told = self._server.behaviour.told("DOT")
        if told is None or told in (DROP, SILENCE) or told.startswith("2"):
            mail = ReceivedMail(envelope.mail_from or "", envelope.rcpt_tos[0], bytes(content), protocol.number)
            self._server.mails.append(mail)
        return await protocol.obey(told) or "250 Mail accepted"


class Dialogue(SMTP):
    """One connection."""

    line_length_limit = 1 << 24

    def __init__(self, server: RecordingServer) -> None:
        super().__init__(Records(server), hostname="in-house.example", data_size_limit=None, loop=server.loop)
        self.server = server
        self.number = len(server.connections)
        server.connections.append(self)

    async def obey(self, told: str | None) -> str | None:
        """Carry out what is told instead of a reply; a reply is given back."""
        if told == DROP:
            self.cut()
            await asyncio.sleep(3600)  # the loss of the connection ends this
        if told == SILENCE:
            await asyncio.sleep(3600)
        return told

    @property
    def is_cut(self) -> bool:
        """Whether nothing of the connection is open."""
        raw = self._original_transport or self.transport
        return raw is None or bool(raw.get_extra_info("socket").fileno() < 0)

    def cut(self) -> None:
        """Drop the connection, TLS or not."""
        for transport in (self.transport, self._original_transport):
            if transport is not None:
                transport.abort()  # type: ignore[attr-defined]

    async def push(self, status: str | bytes) -> None:
        if self.server.behaviour.reply_after:
            await asyncio.sleep(self.server.behaviour.reply_after)
        text = status.decode() if isinstance(status, bytes) else status
        if text.startswith("220 ") and not self.server.heard_from(self):
            text = await self.obey(self.server.behaviour.told("CONNECT")) or text
        behind = self.server.behaviour.behind_a_reply.get(self.server.last_verb(self))
        await super().push((text if behind is None else f"{text}\r\n{behind}").encode())

    async def heard(self, verb: str, arg: str | None) -> bool:
        """Write the command down and answer as told; False when the normal answer is due."""
        self.server.commands.append((self.number, f"{verb} {arg}" if arg else verb))
        told = self.server.behaviour.told(verb)
        if told is None:
            return False
        await self.push(await self.obey(told) or "")
        return True

    async def smtp_HELO(self, hostname: str) -> None:
        if await self.heard("HELO", hostname):
            return
        assert self.session is not None
        if self.session.host_name:
            await self.push("503 HELO was given")
        else:
            await super().smtp_HELO(hostname)

    async def smtp_EHLO(self, hostname: str) -> None:
        if not await self.heard("EHLO", hostname):
            await self.push("500 Command not recognized")

    async def smtp_NOOP(self, arg: str) -> None:
        await self.push("500 Command not recognized")

    async def smtp_VRFY(self, arg: str) -> None:
        await self.push("500 Command not recognized")

    async def smtp_MAIL(self, arg: str | None) -> None:
        if await self.heard("MAIL", arg):
            return
        assert self.session is not None
        assert self.envelope is not None
        match = _MAIL.fullmatch(arg or "")
        if not self.session.host_name:
            await self.push("503 HELO first")
        elif self.envelope.mail_from is not None:
            await self.push("503 MAIL was given")
        elif match is None:
            await self.push("501 no parameter is understood")
        else:
            self.envelope.mail_from = match[1]
            await self.push("250 OK")

    async def smtp_RCPT(self, arg: str | None) -> None:
        if await self.heard("RCPT", arg):
            return
        assert self.envelope is not None
        match = _RCPT.fullmatch(arg or "")
        if self.envelope.mail_from is None:
            await self.push("503 MAIL first")
        elif match is None:
            await self.push("501 TO:<address>")
        elif match[1] in self.server.behaviour.for_recipient:
            await self.push(await self.obey(self.server.behaviour.for_recipient[match[1]]) or "")
        else:
            self.envelope.rcpt_tos.append(match[1])
            await self.push("250 OK")

    async def smtp_DATA(self, arg: str | None) -> None:
        self.server.commands.append((self.number, "DATA"))
        told = self.server.behaviour.told("DATA")
        if told == DROP_IN_DATA:
            await self.push("354 go on")
            await self._reader.read(1)
            await self.obey(DROP)
        reply = await self.obey(told)
        if reply is not None:
            await self.push(reply)
        else:
            await super().smtp_DATA(arg or "")

    async def smtp_RSET(self, arg: str) -> None:
        if not await self.heard("RSET", arg):
            await super().smtp_RSET(arg)

    async def smtp_QUIT(self, arg: str) -> None:
        if not await self.heard("QUIT", arg):
            await super().smtp_QUIT(arg)


class RecordingServer:
    """`async with` it; `mails` and `commands` are in the order they came in."""

    dialogue: type[Dialogue] = Dialogue

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self.behaviour = Behaviour()
        self.mails: list[ReceivedMail] = []
        self.commands: list[tuple[int, str]] = []  # number of the connection, the line
        self.connections: list[Dialogue] = []
        self._server: asyncio.Server | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def heard_from(self, dialogue: Dialogue) -> bool:
        """Whether a command came over that connection yet."""
        return any(number == dialogue.number for number, _ in self.commands)

    def last_verb(self, dialogue: Dialogue) -> str:
        """The command that is being answered."""
        lines = [line for number, line in self.commands if number == dialogue.number]
        return lines[-1].split()[0] if lines else "CONNECT"

    def lines(self, verb: str) -> list[str]:
        """The commands of that verb, in order."""
        return [line for _, line in self.commands if line.split()[0] == verb]

    @property
    def contents(self) -> list[bytes]:
        """The bytes of the mails, in order."""
        return [mail.content for mail in self.mails]

    async def open(self) -> None:
        """Listen; again on the same port after `close`."""
        self._server = await self.loop.create_server(lambda: self.dialogue(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            for dialogue in self.connections:
                dialogue.cut()
            await self._server.wait_closed()
            self._server = None
            await until(lambda: all(dialogue.is_cut for dialogue in self.connections))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class InHouseServer(RecordingServer):
    """The SMTP server behind a logical terminal."""
