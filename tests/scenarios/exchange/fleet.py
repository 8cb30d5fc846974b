"""The in-house systems of a scenario: terminals with several mail addresses, their clients, and all of them together.

Every address has one client that speaks as the known one does and waits for each result before its next request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks import fleet as stations
from benchmarks.contracts import contract_file
from gateway.sandbox.in_house_client import known_mail
from handlers.naccs.common_items import CRLF, WIDTH_WITH_LINE_END, InputCommonItems
from tests.fakes.backend_mails import digest
from tests.scenarios.exchange.in_house import Arrival, InHouseServer, Recorder, Terminal
from tests.scenarios.exchange.wire import Speaker

CENTER = stations.CENTER_ADDRESS
ADDRESSES_EACH = 3
_RETRY_AFTER = 0.05
_ITEM = b"SCENARIO ITEM".ljust(60) + CRLF


def terminals(count: int) -> tuple[Terminal, ...]:
    """The first terminals of the invented fleet, spread over four offices."""
    return tuple(
        Terminal(name=one.terminal, ip=one.ip, user=one.user, addresses=_addresses(one.mail_address))
        for one in stations.fleet(count)
    )


def _addresses(first: str) -> tuple[str, ...]:
    return tuple(first.replace("3A", f"3{letter}", 1) for letter in "ABC"[:ADDRESSES_EACH])


def contracts(count: int) -> str:
    """The fleet as `office import` reads it."""
    text = contract_file(stations.fleet(count))
    for terminal in terminals(count):
        every = ", ".join(f'"{address}"' for address in terminal.addresses)
        text = text.replace(f'mail_addresses = ["{terminal.addresses[0]}"]', f"mail_addresses = [{every}]")
    return text


@dataclass(slots=True, kw_only=True)
class Submission:
    """One request and what its sender knows of it. Times are of the wall clock."""

    handover: str
    address: str
    terminal: str
    number: int  # of its address, in the order of sending
    procedure: str
    body: bytes
    mail: bytes
    sent_at: float = 0.0
    accepted_at: float | None = None
    doubts: int = 0  # tries whose connection was lost after the dot
    awaits_result: bool = True

    @property
    def digest(self) -> str:
        """Of the body as it goes over the wire, the known client's last CRLF included."""
        return digest(self.mail.partition(b"\r\n\r\n")[2])

    @property
    def mail_digest(self) -> str:
        return digest(self.mail)


@dataclass(slots=True, kw_only=True)
class Client:
    """The in-house client of one mail address."""

    terminal: Terminal
    address: str
    gateway: tuple[str, int]
    recorder: Recorder
    run: str  # what every handover begins with, so that no two scenarios share one
    patience: float  # seconds until the next request goes out without a result
    give_up_after: float = 60.0  # seconds without a 250
    submissions: list[Submission] = field(default_factory=list)

    async def request(self, words: str = "", procedure: str = "OTA", body: bytes | None = None) -> Arrival | None:
        """Send one request and wait for its result; None when the patience ends first."""
        submission = self.make(words, procedure, body)
        answer = self.recorder.expect(submission.handover)
        await self.submit(submission)
        try:
            async with asyncio.timeout(self.patience):
                return await answer
        except TimeoutError:
            return None

    async def keep_on(self, more: Callable[[], bool], words: str = "") -> None:
        """Request after request, as long as there are more."""
        while more():
            await self.request(words)

    def make(self, words: str = "", procedure: str = "OTA", body: bytes | None = None) -> Submission:
        """The next request: common items, two items of text; or the bytes given, whose handover is theirs."""
        number = len(self.submissions)
        handover = self.next_handover()
        if body is None:
            body = request_body(self.terminal, procedure, handover, words)
        else:
            handover = InputCommonItems(raw=body[: WIDTH_WITH_LINE_END - 2]).handover
        submission = Submission(
            handover=handover,
            address=self.address,
            terminal=self.terminal.name,
            number=number,
            procedure=procedure,
            body=body,
            mail=known_mail(body, mail_from=self.address, rcpt_to=CENTER),
        )
        self.submissions.append(submission)
        return submission

    def next_handover(self, beginning: str = "") -> str:
        """A handover no other request of this run has, at most 26 characters."""
        return f"{beginning or self.run}{self.address[:6]}{self.terminal.name}{len(self.submissions):06d}"

    async def submit(self, submission: Submission) -> None:
        """Send the mail until there is a 250, always the same bytes; a 5xx is an AssertionError."""
        submission.sent_at = time.time()
        async with asyncio.timeout(self.give_up_after):
            while submission.accepted_at is None:
                try:
                    if await self._transaction(submission):
                        return
                except OSError:
                    pass
                await asyncio.sleep(_RETRY_AFTER)

    async def _transaction(self, submission: Submission) -> bool:
        """One connection with one mail, word for word as the known client; False where it must come again."""
        speaker = await Speaker.connect(*self.gateway, source=self.terminal.ip)
        try:
            for command in (f"HELO {self.terminal.name}", f"MAIL FROM:{self.address}", f"RCPT TO:<{CENTER}>"):
                if not _is_yes(await speaker.say(command.encode() + CRLF)):
                    return False
            if not (await speaker.say(b"DATA\r\n")).startswith(b"354"):
                return False
            speaker.write(submission.mail)
            try:
                reply = await speaker.say(b".\r\n")
            except OSError:
                submission.doubts += 1
                raise
            if not _is_yes(reply):
                return False
            submission.accepted_at = time.time()
            await speaker.say(b"QUIT\r\n")
            return True
        finally:
            speaker.close()


def _is_yes(reply: bytes) -> bool:
    assert not reply.startswith(b"5"), reply
    return reply.startswith(b"250")


def request_body(terminal: Terminal, procedure: str, handover: str, words: str = "") -> bytes:
    """A whole request; `words` tell the recording backend what to do, in the index handover."""
    items = InputCommonItems.of(
        procedure_code=procedure,
        user_code=terminal.user,
        identification_number=stations.IDENTIFICATION_NUMBER,
        password=terminal.password,
        handover=handover,
        input_information_number="1",
        index_handover=words,
        system_identification="2",
        message_length=WIDTH_WITH_LINE_END + 2 * len(_ITEM),
    )
    return items.encode() + 2 * _ITEM


@dataclass(slots=True, kw_only=True)
class Fleet:
    """All terminals with servers and clients, and a sink for what goes to operators."""

    terminals: tuple[Terminal, ...]
    servers: dict[str, InHouseServer]
    clients: list[Client]
    recorder: Recorder

    @classmethod
    def make(cls, members: tuple[Terminal, ...], port: int, **of_clients: Any) -> Fleet:
        """`port` is where every terminal's server listens."""
        recorder = Recorder()
        return cls(
            terminals=members,
            servers={terminal.name: InHouseServer(terminal, port, recorder) for terminal in members},
            clients=[
                Client(terminal=terminal, address=address, recorder=recorder, **of_clients)
                for terminal in members
                for address in terminal.addresses
            ],
            recorder=recorder,
        )

    async def open(self, *but: str) -> None:
        """Start every server but those of the named terminals."""
        for name, server in self.servers.items():
            if name not in but:
                await server.open()

    def close(self) -> None:
        """End every server."""
        for server in self.servers.values():
            server.close()

    def clients_of(self, *names: str) -> list[Client]:
        """The clients of the named terminals."""
        return [client for client in self.clients if client.terminal.name in names]

    def clients_but(self, *names: str) -> list[Client]:
        """The clients of all others."""
        return [client for client in self.clients if client.terminal.name not in names]

    @property
    def submissions(self) -> list[Submission]:
        """Every request of every client."""
        return [submission for client in self.clients for submission in client.submissions]


def with_patience(clients: list[Client], seconds: float) -> list[Client]:
    """The same clients, less patient: they share what they have sent."""
    return [replace(client, patience=seconds) for client in clients]
