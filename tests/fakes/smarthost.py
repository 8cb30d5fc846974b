"""The next hop for applicants' mail: EHLO, STARTTLS where it has a certificate, recording and misbehaving as told."""

# ruff: noqa: N802 - aiosmtpd finds its methods by these names
from __future__ import annotations

import ssl

from aiosmtpd.smtp import SMTP

from tests.fakes.in_house_server import Dialogue, RecordingServer, Records


class _EsmtpDialogue(Dialogue):
    def __init__(self, server: RecordingServer) -> None:
        assert isinstance(server, Smarthost)
        SMTP.__init__(
            self,
            Records(server),
            hostname="smarthost.example",
            data_size_limit=None,
            tls_context=server.tls_context,
            loop=server.loop,
        )
        self.server = server
        self.number = len(server.connections)
        server.connections.append(self)

    async def smtp_EHLO(self, hostname: str) -> None:
        if not await self.heard("EHLO", hostname):
            await SMTP.smtp_EHLO(self, hostname)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if not await self.heard("STARTTLS", arg):
            await SMTP.smtp_STARTTLS(self, arg)


class Smarthost(RecordingServer):
    """A recording smarthost; with a `tls_context` it offers STARTTLS."""

    dialogue = _EsmtpDialogue

    def __init__(self, host: str = "127.0.0.1", port: int = 0, tls_context: ssl.SSLContext | None = None) -> None:
        super().__init__(host, port)
        self.tls_context = tls_context
