"""One outbound SMTP connection on aiosmtplib's protocol.

Towards in-house servers it says HELO and nothing more, towards the smarthost EHLO and STARTTLS by policy.
The peer receives the bytes it is given, 8-bit as is, with dots stuffed. Whatever peer or network do comes
back as data (`Sent`, `Refused`, `Lost`). A connection that saw a timeout, a cancellation or a reply that
does not belong there is closed and never used again. Every time limit is in seconds.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import inf
from typing import cast

from aiosmtplib.errors import SMTPException, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from gateway.failures import (
    Failure,
    Lost,
    Refused,
    Sent,
    Stage,
    Unsendable,
    Withheld,
    from_error,
    from_reply,
    peer_words,
)

_BLOCK = 128 * 1024  # bytes written before the peer must have taken them
_QUIT_FOR_AT_MOST = 2.0

# Printable ASCII without space and brackets: nothing in it can end the path and begin a parameter.
_PATH = re.compile(r"[!-;=?-~]{1,254}")
_KNOWN_PATHS = 4096


class Protocol(StrEnum):
    """How the peer is greeted."""

    HELO = "helo"  # in-house servers: HELO, and no parameter anywhere (NACCS SMTP two-way)
    ESMTP = "esmtp"


class Tls(StrEnum):
    """Whether the connection is encrypted. There is no falling back from `required`."""

    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server to deliver to. `host` is an IP address or a name; `source` the local IP address to use."""

    host: str
    port: int
    protocol: Protocol = Protocol.HELO
    tls: Tls = Tls.NONE
    verify: bool = True  # of the certificate and its name
    ca_file: str | None = None  # None: the system's authorities
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """How long each phase may take (RFC 5321 §4.5.3.2)."""

    connect: float = 30.0
    command: float = 300.0  # for the greeting too
    block: float = 180.0  # for the peer to take a block of the content
    dot: float = 600.0


Result = Sent | Refused | Lost | Withheld


@lru_cache(maxsize=_KNOWN_PATHS)
def path(address: str) -> bytes:
    """`<address>` for MAIL and RCPT; "" is the null sender. Raises Unsendable."""
    if address and not _PATH.fullmatch(address):
        raise Unsendable(f"not an address that can be sent: {address[:80]!r}")
    return b"<%b>" % address.encode("ascii")


def stuffed(content: bytes) -> bytes:
    """Content as it goes over the wire (RFC 5321 §4.5.2), without the final dot; its last line gets an end.

    Bare CR and bare LF raise Unsendable: a lenient peer could read a dot between them as the end, and what
    follows as commands.
    """
    ends = content.count(b"\r\n")
    if content.count(b"\n") != ends or content.count(b"\r") != ends:
        raise Unsendable("the content has a bare CR or LF")
    wire = content.replace(b"\r\n.", b"\r\n..")
    if wire.startswith(b"."):
        wire = b"." + wire
    return wire if not wire or wire.endswith(b"\r\n") else wire + b"\r\n"


@lru_cache(maxsize=8)
def _tls_context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Dialogue(SMTPProtocol):
    """Command and reply, one at a time, under one coarse deadline instead of a timer for each command."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.timed_out = False
        self.disturbed = False  # the peer spoke out of turn
        self._expecting = True  # the greeting comes first
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._room: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        if self._expecting:
            super().data_received(data)
        else:
            self.disturbed = True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._make_room()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    async def ask(self, line: bytes, within: float) -> SMTPResponse:
        """Send a command and read the reply to it. Raises OSError or SMTPException, as all of these do."""
        self.say(line)
        return await self.reply(within)

    def say(self, line: bytes) -> None:
        """Send what the peer will reply to."""
        if self.disturbed:
            raise SMTPServerDisconnected("the peer spoke out of turn")
        self._expecting = True
        self.write(line)

    async def reply(self, within: float) -> SMTPResponse:
        """The reply that is due."""
        self._allow(within)
        response = await self.read_response()
        self._deadline = inf
        self._expecting = False
        # The library keeps what came behind the reply and would take it for the answer to the next command.
        self.disturbed = bool(self._buffer)
        return response

    async def transfer(self, block: bytes, within: float) -> None:
        """Send a part of the content and wait until the transport has room for the next."""
        self.write(block)
        if self._room is not None:
            self._allow(within)
            await self._room
            self._deadline = inf

    async def encrypt(self, context: ssl.SSLContext, name: str, within: float) -> SMTPResponse:
        """STARTTLS."""
        if self.disturbed:
            raise SMTPServerDisconnected("the peer spoke out of turn")
        self._expecting = True
        response = await self.start_tls(context, server_hostname=name, timeout=within)
        self._expecting = False
        return response

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            cast(asyncio.WriteTransport, self.transport).abort()

    def _allow(self, within: float) -> None:
        now = self._loop.time()
        self._deadline = now + within
        if self._deadline < self._timer_at or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._set_timer()

    def _set_timer(self) -> None:
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._deadline == inf:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self.timed_out = True
            self.abort()


class Connection:
    """A connection past its greeting; one mail at a time."""

    def __init__(self, target: Target, dialogue: _Dialogue, limits: TimeLimits) -> None:
        self.target = target
        self.mails = 0  # that were begun on it
        self._dialogue = dialogue
        self._limits = limits
        self._reset_first = False
        self._stage = Stage.MAIL

    @property
    def usable(self) -> bool:
        """Whether the next mail may go over it, as far as can be known without asking the peer."""
        return self._dialogue.is_connected and not self._dialogue.disturbed

    async def send(self, mail_from: str, rcpt_to: str, content: bytes, may_go_on: Callable[[], bool]) -> Result:
        """Send one mail to one recipient.

        `may_go_on` is asked before MAIL and before the final dot; where it says no, the connection is
        dropped and the result is `Withheld`. Raises Unsendable before anything is sent.
        """
        sender, recipient, wire = path(mail_from), path(rcpt_to), stuffed(content)
        self.mails += 1
        self._stage = Stage.MAIL
        try:
            return await self._transaction(sender, recipient, wire, may_go_on)
        except (OSError, SMTPException) as error:
            self.abort()
            return from_error(self._stage, TimeoutError() if self._dialogue.timed_out else error)
        except BaseException:
            self.abort()
            raise

    async def _transaction(self, sender: bytes, recipient: bytes, wire: bytes, may_go_on: Callable[[], bool]) -> Result:
        ask, within = self._dialogue.ask, self._limits.command
        if self._reset_first:
            reply = await ask(b"RSET\r\n", within)
            if reply.code != 250:
                self.abort()
                return Lost(Stage.MAIL, from_reply(Stage.MAIL, reply.code, reply.message).reply)
            self._reset_first = False
        if not may_go_on():
            return self._withheld()
        for self._stage, line, wanted in (
            (Stage.MAIL, b"MAIL FROM:%b\r\n" % sender, 2),
            (Stage.RCPT, b"RCPT TO:%b\r\n" % recipient, 2),
            (Stage.DATA, b"DATA\r\n", 3),
        ):
            reply = await ask(line, within)
            if reply.code // 100 != wanted:
                return self._failed(reply)
        in_blocks = max(0, (len(wire) - 1) // _BLOCK * _BLOCK)
        for start in range(0, in_blocks, _BLOCK):
            await self._dialogue.transfer(wire[start : start + _BLOCK], self._limits.block)
        if not may_go_on():
            return self._withheld()
        self._dialogue.say(wire[in_blocks:] + b".\r\n")
        self._stage = Stage.DOT
        reply = await self._dialogue.reply(self._limits.dot)
        if reply.code // 100 != 2:
            return self._failed(reply)
        return Sent(peer_words(f"{reply.code} {reply.message}"))

    def _failed(self, reply: SMTPResponse) -> Failure:
        failure = from_reply(self._stage, reply.code, reply.message)
        if isinstance(failure, Lost) or failure.code == 421:
            self.abort()
        # RFC 5321 §4.1.1.4: the end of the content ends the transaction, whatever the reply.
        self._reset_first = self._stage in (Stage.RCPT, Stage.DATA)
        return failure

    def _withheld(self) -> Withheld:
        self.abort()
        return Withheld("too little of the lease remained")

    def abort(self) -> None:
        """Drop the connection at once; a mail under way on it ends as `Lost`."""
        self._dialogue.abort()

    async def close(self) -> None:
        """Take leave; a peer that does not answer is left after two seconds."""
        try:
            if self.usable:
                await self._dialogue.ask(b"QUIT\r\n", _QUIT_FOR_AT_MOST)
        except (OSError, SMTPException):
            pass
        finally:
            if self._dialogue.transport is not None:
                self._dialogue.transport.close()


async def connect(target: Target, name: str, limits: TimeLimits) -> Connection | Failure:
    """Open a connection and introduce ourselves as `name`. A failure is the destination's, never a mail's."""
    loop = asyncio.get_running_loop()
    dialogue = _Dialogue(loop)
    stage = Stage.CONNECT
    try:
        async with asyncio.timeout(limits.connect):
            local = None if target.source is None else (target.source, 0)
            await loop.create_connection(lambda: dialogue, target.host, target.port, local_addr=local)
        reply = await dialogue.reply(limits.command)
        if reply.code == 220:
            stage = Stage.HELO
            reply = await _introduce(dialogue, target, name, limits.command)
            if reply.code == 250:
                return Connection(target, dialogue, limits)
    except (OSError, SMTPException) as error:
        dialogue.abort()
        return from_error(stage, TimeoutError() if dialogue.timed_out else error)
    except BaseException:
        dialogue.abort()
        raise
    dialogue.abort()
    return from_reply(stage, reply.code, reply.message)


async def _introduce(dialogue: _Dialogue, target: Target, name: str, within: float) -> SMTPResponse:
    """The last reply of the introduction, 250 when all of it went well."""
    if target.protocol is Protocol.HELO:
        return await dialogue.ask(b"HELO %b\r\n" % name.encode("ascii"), within)
    hello = b"EHLO %b\r\n" % name.encode("ascii")
    reply = await dialogue.ask(hello, within)
    if reply.code != 250 or target.tls is Tls.NONE:
        return reply
    if "STARTTLS" not in reply.message.upper().split():
        raise SMTPServerDisconnected("STARTTLS is required and the server does not offer it")
    await dialogue.encrypt(_tls_context(target.verify, target.ca_file), target.host, within)
    # RFC 3207 §4.2: what was said before TLS is forgotten on both sides.
    return await dialogue.ask(hello, within)
