"""Servers a tester runs beside the gateway: a smarthost that records, and an in-house system's SMTP server.

Both are real servers on real sockets. The in-house one knows what known in-house systems know: HELO, no EHLO, no
parameters, brackets around the recipient.
"""

# ruff: noqa: N802 - aiosmtpd finds its methods by these names
from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session

_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMail:
    """A mail as it came over the wire, its dots unstuffed."""

    mail_from: str
    rcpt_to: str
    content: bytes


def ignore(_mail: RecordedMail) -> None:
    """Nobody listens."""


class Recorder:
    """A recording SMTP server; `async with` opens and closes it."""

    def __init__(
        self,
        host: str,
        port: int = 0,
        *,
        in_house: bool = False,
        listener: Callable[[RecordedMail], None] = ignore,
    ) -> None:
        self.host = host
        self.port = port
        self.mails: list[RecordedMail] = []
        self._in_house = in_house
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        make = _InHouseDialogue if self._in_house else _Dialogue
        self._server = await loop.create_server(lambda: make(self, hostname="peer.example"), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def mail(self, number: int, seconds: float = 15.0) -> RecordedMail:
        """The mail of that number, counted from 0, once it is here; TimeoutError when it does not come."""
        async with asyncio.timeout(seconds):
            while len(self.mails) <= number:
                self._came.clear()
                await self._came.wait()
        return self.mails[number]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the mail of each recipient; aiosmtpd calls it at the dot."""
        content = bytes(envelope.original_content or b"")
        for rcpt_to in envelope.rcpt_tos:
            mail = RecordedMail(mail_from=envelope.mail_from or "", rcpt_to=rcpt_to, content=content)
            self.mails.append(mail)
            self._listener(mail)
        self._came.set()
        return "250 Mail accepted"


class _Dialogue(SMTP):
    line_length_limit = _LONGEST_LINE


class _InHouseDialogue(_Dialogue):
    async def smtp_EHLO(self, hostname: str) -> None:
        await self.push("500 Command not recognized")

    async def smtp_HELO(self, hostname: str) -> None:
        if self.session is not None and self.session.host_name:
            await self.push("503 HELO was given")
        else:
            await super().smtp_HELO(hostname)

    async def smtp_MAIL(self, arg: str | None) -> None:
        if arg is not None and " " in arg.strip():
            await self.push("501 No parameters here")
        else:
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        if arg is None or not (arg.upper().startswith("TO:<") and arg.endswith(">")):
            await self.push("501 Syntax: RCPT TO:<address>")
        else:
            await super().smtp_RCPT(arg)
