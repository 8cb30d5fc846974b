"""The servers of a scenario's terminals, each on its own IP, and one book of what came to them, in order of arrival."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from dataclasses import dataclass

from benchmarks.fleet import PASSWORD
from handlers.naccs.common_items import OUTPUT_PLACES, WIDTH_WITH_LINE_END
from tests.fakes.backend_mails import digest
from tests.scenarios.exchange.wire import Reception, TakenMail

_ENDINGS = {"R", "M"}
_MESSAGE_ID = re.compile(rb"^Message-ID: <(\d+)@", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """A logical terminal with its server's IP and its mail addresses."""

    name: str
    ip: str
    user: str
    addresses: tuple[str, ...]
    password: str = PASSWORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One mail that came to an in-house server."""

    order: int  # over all servers
    terminal: str
    mail_from: str
    rcpt_to: str
    mail_id: int
    handover: str
    kind: str
    code: str
    output_code: str
    body: bytes
    at: float

    @property
    def digest(self) -> str:
        return digest(self.body)


class InHouseServer:
    """The SMTP server behind a terminal; `open`, `close` and `fall_silent` as often as a test wants."""

    extended = False
    silent = False

    def __init__(self, terminal: Terminal, port: int, recorder: Recorder) -> None:
        self.terminal = terminal
        self.sessions: set[Reception] = set()
        self._port = port
        self._recorder = recorder
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen and answer; nothing when it does."""
        if self.silent:
            self.close()
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Reception(self), self.terminal.ip, self._port
            )

    def close(self) -> None:
        """Nobody listens any more, and every connection is cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for session in list(self.sessions):
                session.drop()
        self.silent = False

    async def fall_silent(self) -> None:
        """Take connections and say nothing on them, not even a greeting."""
        self.close()
        await self.open()
        self.silent = True

    def take(self, session: Reception, mail: TakenMail) -> None:
        """Write the mail down, then reply."""
        for rcpt_to in mail.rcpt_tos:
            self._recorder.record(self.terminal.name, rcpt_to, mail)
        session.reply(b"250 Mail accepted")


class Recorder:
    """What came to every server, in one order; whoever waits for the result of a handover is told."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._waiting: dict[str, asyncio.Future[Arrival]] = {}
        self._order = itertools.count()

    def record(self, terminal: str, rcpt_to: str, mail: TakenMail) -> None:
        """Write one mail down."""
        header, _, body = mail.content.partition(b"\r\n\r\n")
        message_id = _MESSAGE_ID.search(header)
        arrival = Arrival(
            order=next(self._order),
            terminal=terminal,
            mail_from=mail.mail_from,
            rcpt_to=rcpt_to,
            mail_id=int(message_id[1]) if message_id else 0,
            handover=_text(body, "handover"),
            kind=_text(body, "message_type"),
            code=body[WIDTH_WITH_LINE_END : WIDTH_WITH_LINE_END + 15].decode("ascii", "replace"),
            output_code=_text(body, "output_information_code"),
            body=body,
            at=time.time(),
        )
        self.arrivals.append(arrival)
        waiter = self._waiting.pop(arrival.handover, None) if arrival.kind in _ENDINGS else None
        if waiter is not None and not waiter.done():
            waiter.set_result(arrival)

    def expect(self, handover: str) -> asyncio.Future[Arrival]:
        """The first R or M of a handover, when it comes."""
        self._waiting[handover] = asyncio.get_running_loop().create_future()
        return self._waiting[handover]


def _text(body: bytes, item: str) -> str:
    return body[OUTPUT_PLACES[item]].decode("ascii", "replace").strip()


class OperatorsMailbox:
    """The smarthost: takes everything, keeps it."""

    extended = True
    silent = False

    def __init__(self) -> None:
        self.sessions: set[Reception] = set()
        self.mails: list[TakenMail] = []

    def take(self, session: Reception, mail: TakenMail) -> None:
        """Keep the mail."""
        self.mails.append(mail)
        session.reply(b"250 kept")
