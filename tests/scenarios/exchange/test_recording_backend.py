"""The recording backend itself: what it writes down and when, what it mails back, how it misbehaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.processes import accepts
from tests.fakes.backend_mails import ADDRESS
from tests.scenarios.exchange.fleet import request_body, terminals
from tests.scenarios.exchange.site import BackendProcess
from tests.scenarios.exchange.wire import Reception, Speaker, TakenMail, stuffed
from tests.scenarios.exchange.witnesses import read_journal
from tests.scenarios.outside import PATIENCE, free_port

(TERMINAL,) = terminals(1)
REQUESTER = TERMINAL.addresses[0]


class Gateway:
    """Where the results go; `replies` are the next ones at the dot, None cuts the connection."""

    extended = True
    silent = False

    def __init__(self) -> None:
        self.sessions: set[Reception] = set()
        self.mails: list[TakenMail] = []
        self.replies: list[bytes | None] = []

    def take(self, session: Reception, mail: TakenMail) -> None:
        self.mails.append(mail)
        reply = self.replies.pop(0) if self.replies else b"250 queued"
        if reply is None:
            session.drop()
        else:
            session.reply(reply)


@asynccontextmanager
async def backends(directory: Path, *names: str, discard: bool = True) -> AsyncIterator[tuple[Any, ...]]:
    """A gateway to answer to, and backends that share a journal."""
    gateway, port = Gateway(), free_port()
    server = await asyncio.get_running_loop().create_server(lambda: Reception(gateway), "127.0.0.1", port)
    started = [BackendProcess(directory, name, port, discard_repeats=discard) for name in names]
    try:
        for backend in started:
            await asyncio.to_thread(backend.start)
        yield gateway, *started
    finally:
        for backend in started:
            backend.stop()
        server.close()


def handed_over(handover: str, words: str = "", request_id: str = "4711") -> bytes:
    header = (
        f"X-NACCS-Request-Id: {request_id}\r\nX-NACCS-Mail-Address: {REQUESTER}\r\nMessage-ID: <{request_id}@x>\r\n"
        f"From:{REQUESTER}\r\nTo:NACCS@SMTP.CENTER.EXAMPLE\r\n\r\n"
    )
    return header.encode() + request_body(TERMINAL, "OTA", handover, words) + b"\r\n"


async def hand_over(backend: BackendProcess, content: bytes) -> str:
    """The reply at the dot; empty where the connection was cut instead."""
    speaker = await Speaker.connect("127.0.0.1", backend.port)
    try:
        await speaker.say(b"EHLO gateway.example\r\n")
        for command in (f"MAIL FROM:<{REQUESTER}>", f"RCPT TO:<{ADDRESS}>", "DATA"):
            await speaker.say(command.encode() + b"\r\n")
        speaker.write(stuffed(content))
        return (await speaker.say(b".\r\n")).decode()
    except ConnectionResetError:
        return ""
    finally:
        speaker.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - a journal has no event
            await asyncio.sleep(0.01)


def happened(backend: BackendProcess) -> list[str]:
    return [entry["what"] for entry in read_journal(backend.journal)]


async def test_a_request_is_in_the_journal_before_its_250_and_the_result_comes_back_byte_exact(tmp_path):
    async with backends(tmp_path, "primary") as (gateway, backend):
        assert await hand_over(backend, handed_over("H1")) == "250 taken"
        assert happened(backend)[:3] == ["taken", "executed", "result"]
        await until(lambda: happened(backend)[-1] == "sent")
    taken = read_journal(backend.journal)[0]
    body = request_body(TERMINAL, "OTA", "H1") + b"\r\n"
    (result,) = gateway.mails
    message = result.content.partition(b"\r\n\r\n")[2]
    assert (taken["request"], taken["handover"], taken["digest"]) == ("4711", "H1", sha256(body).hexdigest())
    assert (result.mail_from, result.rcpt_tos) == (ADDRESS, (REQUESTER,))
    assert message[:15] == b"   OTA  *SOTA  "
    assert (message[219:221], message[400:415], len(message)) == (b"H1", b"00000-0000-0000", 477)


async def test_a_result_is_mailed_again_with_the_same_bytes_until_it_is_taken(tmp_path):
    async with backends(tmp_path, "primary") as (gateway, backend):
        gateway.replies = [b"451 later", None]
        await hand_over(backend, handed_over("H1"))
        await until(lambda: happened(backend)[-1] == "sent")
    assert len(gateway.mails) == 3
    assert len({mail.content for mail in gateway.mails}) == 1
    assert happened(backend).count("doubt") == 1


async def test_a_repeat_is_discarded_by_either_endpoint_of_one_journal(tmp_path):
    async with backends(tmp_path, "primary", "backup") as (gateway, primary, backup):
        for backend in (primary, backup, primary):
            assert await hand_over(backend, handed_over("H1")) == "250 taken"
        await until(lambda: "sent" in happened(primary))
    assert (happened(primary).count("executed"), happened(primary).count("repeat")) == (1, 2)
    assert len(gateway.mails) == 1


async def test_it_misbehaves_as_the_request_or_the_control_file_says(tmp_path):
    async with backends(tmp_path, "primary", discard=False) as (gateway, backend):
        assert await hand_over(backend, handed_over("H1", "LOSE")) == ""
        assert await hand_over(backend, handed_over("H2", "R451", "1")) == "451 as the test says"
        assert await hand_over(backend, handed_over("H2", "R451", "1")) == "250 taken"
        assert await hand_over(backend, handed_over("H3", "DROP", "2")) == ""
        outputs = handed_over("H4", "TWO UNKNOWN OUT=CSAD4011 TO=B@X.EXAMPLE OUT=PSAD4031", "3")
        assert await hand_over(backend, outputs) == "250 taken"
        await until(lambda: happened(backend).count("sent") == 7)
        backend.tell(refuse=True)
        await until(lambda: not accepts("127.0.0.1", backend.port))
    executed = [entry["handover"] for entry in read_journal(backend.journal) if entry["what"] == "executed"]
    assert executed == ["H2", "H3", "H4"]
    codes = [mail.content.partition(b"\r\n\r\n")[2][8:15] for mail in gateway.mails if b"H4 " in mail.content]
    assert sorted(codes) == [b"*SOTA  "] * 3 + [b"SAD4011", b"SAD4031"]
