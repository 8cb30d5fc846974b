"""The outbound dialogue, over real sockets."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.failures import Lost, Refused, Sent, Stage, Unsendable, Withheld
from gateway.smtp_out import Connection, Protocol, Result, Target, TimeLimits, Tls, connect, path, stuffed
from tests.fakes.in_house_server import DROP, DROP_IN_DATA, SILENCE, InHouseServer, RecordingServer, until
from tests.fakes.smarthost import Smarthost
from tests.gateway.loop_clock import LoopClock

Answer = TypeVar("Answer")

NAME = "center.example"
LIMIT = 30.0
LIMITS = TimeLimits(connect=LIMIT, command=LIMIT, block=LIMIT, dot=LIMIT)
CONTENT = b"From: NACCS@SMTP.CENTER.EXAMPLE\r\n\r\nTCC\r\n"
SENDER, RECIPIENT = "NACCS@SMTP.CENTER.EXAMPLE", "3A0001@SMTP.TST01.CENTER.EXAMPLE"


@pytest.fixture
async def server() -> AsyncIterator[InHouseServer]:
    async with InHouseServer() as opened:
        yield opened


@pytest.fixture
async def clock() -> LoopClock:
    return LoopClock()


async def after_silence(asked: Awaitable[Answer], server: RecordingServer, clock: LoopClock) -> Answer:
    """What comes of it when the server has heard everything, says nothing, and the time limit is over."""
    task = asyncio.ensure_future(asked)
    await until(lambda: not any(server.behaviour.once.values()))
    clock.move(LIMIT)
    return await task


def target_of(server: RecordingServer, protocol: Protocol = Protocol.HELO, **options) -> Target:
    return Target(host=server.host, port=server.port, protocol=protocol, **options)


async def connected(server: RecordingServer) -> Connection:
    connection = await connect(target_of(server), NAME, LIMITS)
    assert isinstance(connection, Connection)
    return connection


def yes() -> bool:
    return True


async def send(connection: Connection, content: bytes = CONTENT, rcpt_to: str = RECIPIENT) -> Result:
    return await connection.send(SENDER, rcpt_to, content, yes)


async def test_towards_an_in_house_server_only_the_five_commands_are_said(server):
    connection = await connected(server)
    assert await send(connection) == Sent("250 Mail accepted")
    await connection.close()
    assert [line for _, line in server.commands] == [
        f"HELO {NAME}",
        f"MAIL FROM:<{SENDER}>",
        f"RCPT TO:<{RECIPIENT}>",
        "DATA",
        "QUIT",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b".\r\n",
        b"..\r\n.a\r\n\r\n.\r\n",
        "件名: 処理結果\r\n\r\n①㈱\r\n".encode("euc_jp", "ignore"),
        bytes(range(0x80, 0x100)) + b"\x00\x1b$B\r\n",
        b"",
        b"\r\n" * 3000,
        b"x" * 700_000 + b"\r\n.\r\n" + b"y" * 100 + b"\r\n",
        b"." * 131_072 + b"\r\n",
    ],
)
async def test_the_peer_gets_the_bytes_it_is_given(server, content):
    connection = await connected(server)
    assert isinstance(await send(connection, content), Sent)
    assert server.contents == [content]
    await connection.close()


async def test_a_last_line_without_end_gets_one(server):
    connection = await connected(server)
    await send(connection, b"a\r\nb")
    assert server.contents == [b"a\r\nb\r\n"]
    await connection.close()


@pytest.mark.parametrize("content", [b"a\n.\r\nQUIT\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n"])
def test_bare_line_ends_are_never_sent(content):
    with pytest.raises(Unsendable, match="bare CR or LF"):
        stuffed(content)


@pytest.mark.parametrize("address", ["a b@c.example", "x> AUTH=<y", "a\r\nRCPT TO:<b>", "あ@c.example", "a" * 300])
def test_an_address_that_would_say_more_than_itself_is_never_sent(address):
    with pytest.raises(Unsendable):
        path(address)


def test_the_null_sender_is_a_pair_of_brackets():
    assert path("") == b"<>"


async def test_mails_follow_one_another_on_one_connection(server):
    connection = await connected(server)
    for number in range(20):
        await send(connection, b"%d\r\n" % number)
    assert server.contents == [b"%d\r\n" % number for number in range(20)]
    assert len(server.connections) == 1
    assert not server.lines("RSET")
    await connection.close()


@pytest.mark.parametrize(
    ("verb", "stage", "reset"),
    [("MAIL", Stage.MAIL, 0), ("RCPT", Stage.RCPT, 1), ("DATA", Stage.DATA, 1), ("DOT", Stage.DOT, 0)],
)
@pytest.mark.parametrize("code", [452, 550])
async def test_a_refusal_names_its_stage_and_the_next_mail_goes_over_the_same_connection(
    server, verb, stage, reset, code
):
    server.behaviour.next(verb, f"{code} in its own words")
    connection = await connected(server)
    assert await send(connection) == Refused(stage, code, f"{code} in its own words")
    assert connection.usable
    assert isinstance(await send(connection), Sent)
    assert len(server.lines("RSET")) == reset
    assert len(server.connections) == 1
    await connection.close()


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_421_ends_the_connection(server, verb):
    server.behaviour.next(verb, "421 closing")
    connection = await connected(server)
    result = await send(connection)
    assert isinstance(result, Refused)
    assert result.code == 421
    assert not connection.usable


@pytest.mark.parametrize(
    ("verb", "told", "stage"),
    [
        ("MAIL", DROP, Stage.MAIL),
        ("RCPT", DROP, Stage.RCPT),
        ("DATA", DROP, Stage.DATA),
        ("DATA", DROP_IN_DATA, Stage.DOT),
        ("DOT", DROP, Stage.DOT),
        ("MAIL", "999 what", Stage.MAIL),
        ("RCPT", "hello", Stage.RCPT),
        ("DATA", "250 OK", Stage.DATA),
        ("DOT", "354 more", Stage.DOT),
        ("DOT", "\xe9t\xe9", Stage.DOT),
    ],
)
async def test_a_lost_or_unreadable_reply_names_its_stage_and_ends_the_connection(server, verb, told, stage):
    server.behaviour.next(verb, told)
    connection = await connected(server)
    result = await send(connection)
    assert isinstance(result, Lost)
    assert result.stage is stage
    assert not connection.usable


@pytest.mark.parametrize(("verb", "stage"), [("MAIL", Stage.MAIL), ("DATA", Stage.DATA), ("DOT", Stage.DOT)])
async def test_a_reply_that_does_not_come_is_waited_for_no_longer_than_its_phase(server, clock, verb, stage):
    server.behaviour.next(verb, SILENCE)
    connection = await connected(server)
    assert await after_silence(send(connection), server, clock) == Lost(stage, "timed out")
    assert not connection.usable


async def test_each_reply_has_its_own_time(server, clock):
    server.behaviour.reply_after = 0.6 * LIMIT

    async def converse() -> Result:
        connection = await connected(server)
        result = await send(connection)
        connection.abort()
        return result

    conversation = asyncio.create_task(converse())
    while not conversation.done():
        clock.move(1.0)
        await asyncio.sleep(0.001)
    assert isinstance(await conversation, Sent)


async def test_a_cancelled_mail_ends_the_connection(server):
    server.behaviour.next("RCPT", SILENCE)
    connection = await connected(server)
    task = asyncio.create_task(send(connection))
    await until(lambda: server.lines("RCPT"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection.usable


async def test_a_reply_with_another_behind_it_is_never_paired_with_the_next_command(server):
    server.behaviour.behind_a_reply["MAIL"] = "250 for RCPT, out of turn"
    connection = await connected(server)
    assert await send(connection) == Lost(Stage.RCPT, "the peer spoke out of turn")
    assert server.mails == []


async def test_a_connection_on_which_the_peer_spoke_out_of_turn_is_not_used_again(server):
    server.behaviour.behind_a_reply["DATA"] = "421 and good bye"
    connection = await connected(server)
    result = await send(connection)
    assert isinstance(result, Lost)
    assert result.stage is Stage.DATA
    assert not connection.usable
    await connection.close()


async def test_words_between_two_mails_spoil_the_connection(server):
    connection = await connected(server)
    await send(connection)
    await server.connections[0].push("250 by the way")
    await until(lambda: not connection.usable)
    result = await send(connection)
    assert isinstance(result, Lost)
    assert result.stage is Stage.MAIL


async def test_a_peer_that_left_is_noticed(server):
    connection = await connected(server)
    await send(connection)
    server.connections[0].cut()
    await until(lambda: not connection.usable)
    await connection.close()
    assert not connection.usable


async def test_a_peer_that_leaves_at_quit_is_no_trouble(server):
    server.behaviour.next("QUIT", DROP)
    connection = await connected(server)
    await connection.close()
    assert not connection.usable


async def test_a_failing_rset_ends_the_connection(server):
    server.behaviour.next("RCPT", "450 later")
    server.behaviour.next("RSET", "500 not now")
    connection = await connected(server)
    await send(connection)
    assert await send(connection) == Lost(Stage.MAIL, "500 not now")
    assert not connection.usable


@pytest.mark.parametrize(("answers", "said"), [([False], []), ([True, False], ["MAIL", "RCPT", "DATA"])])
async def test_without_leave_the_connection_is_dropped_before_the_peer_can_take_the_mail(server, answers, said):
    connection = await connected(server)
    leave = iter(answers)
    result = await connection.send(SENDER, RECIPIENT, CONTENT, lambda: next(leave))
    assert isinstance(result, Withheld)
    assert not connection.usable
    await until(lambda: server.connections[0].is_cut)
    assert [line.split()[0] for _, line in server.commands[1:]] == said
    assert server.mails == []


async def test_a_closed_port_is_the_destinations_trouble():
    async with InHouseServer() as server:
        target = target_of(server)
    result = await connect(target, NAME, LIMITS)
    assert isinstance(result, Lost)
    assert result.stage is Stage.CONNECT
    assert "refused" in result.reply.lower()


@pytest.mark.parametrize(
    ("verb", "told", "expected"),
    [
        ("CONNECT", "554 go away", Refused(Stage.CONNECT, 554, "554 go away")),
        ("CONNECT", "421 busy", Refused(Stage.CONNECT, 421, "421 busy")),
        ("CONNECT", SILENCE, Lost(Stage.CONNECT, "timed out")),
        ("CONNECT", DROP, None),
        ("HELO", "550 who are you", Refused(Stage.HELO, 550, "550 who are you")),
        ("HELO", SILENCE, Lost(Stage.HELO, "timed out")),
    ],
)
async def test_trouble_before_the_first_mail_is_reported(server, clock, verb, told, expected):
    server.behaviour.next(verb, told)
    asked = connect(target_of(server), NAME, LIMITS)
    result = await (after_silence(asked, server, clock) if told == SILENCE else asked)
    if expected is None:
        assert isinstance(result, Lost)
        assert result.stage is Stage.CONNECT
    else:
        assert result == expected


async def test_the_source_address_is_the_one_asked_for(server):
    connection = await connect(target_of(server, source="127.0.0.2"), NAME, LIMITS)
    assert isinstance(connection, Connection)
    session = server.connections[0].session
    assert session is not None
    assert session.peer[0] == "127.0.0.2"
    await connection.close()


@asynccontextmanager
async def served(dialogue: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]):
    """A server of one dialogue; gives the target to reach it at."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(b"220 ready\r\n")
        for reply in (b"250 a\r\n", b"250 b\r\n", b"250 c\r\n", b"354 d\r\n"):
            await reader.readline()
            writer.write(reply)
        await dialogue(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    try:
        yield Target(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


async def test_a_peer_that_reads_nothing_is_left_before_the_dot():
    in_content = asyncio.Event()

    async def read_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        in_content.set()

    async with served(read_nothing) as target:
        limits = TimeLimits(connect=LIMIT, command=LIMIT, block=0.2, dot=LIMIT)
        connection = await connect(target, NAME, limits)
        assert isinstance(connection, Connection)
        assert await send(connection, b"x" * 20_000_000 + b"\r\n") == Lost(Stage.DATA, "timed out")
        assert in_content.is_set()


async def test_a_peer_that_refuses_in_the_middle_of_the_content_leaves_no_doubt():
    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"552 too much\r\n")
        while await reader.read(65536):
            pass

    async with served(refuse_early) as target:
        connection = await connect(target, NAME, LIMITS)
        assert isinstance(connection, Connection)
        assert await send(connection, b"x" * 20_000_000 + b"\r\n") == Lost(Stage.DATA, "the peer spoke out of turn")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A self-signed certificate of localhost, key and certificate in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    file: Path = tmp_path_factory.mktemp("tls") / "smarthost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command, *names, "-keyout", str(file), "-out", str(file.with_suffix(".crt"))], check=True, capture_output=True
    )
    return file


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.with_suffix(".crt"), certificate)
    return context


async def test_the_smarthost_is_greeted_with_ehlo():
    async with Smarthost() as smarthost:
        connection = await connect(target_of(smarthost, Protocol.ESMTP), NAME, LIMITS)
        assert isinstance(connection, Connection)
        assert isinstance(await send(connection), Sent)
        await connection.close()
        assert [line for _, line in smarthost.commands][:2] == [f"EHLO {NAME}", f"MAIL FROM:<{SENDER}>"]


async def test_required_tls_without_an_offer_sends_nothing_in_clear():
    async with Smarthost() as smarthost:
        result = await connect(target_of(smarthost, Protocol.ESMTP, tls=Tls.REQUIRED), NAME, LIMITS)
        assert result == Lost(Stage.HELO, "STARTTLS is required and the server does not offer it")


async def test_required_tls_encrypts_with_a_trusted_certificate(certificate):
    async with Smarthost("127.0.0.1", tls_context=server_context(certificate)) as smarthost:
        target = Target(
            host="localhost",
            port=smarthost.port,
            protocol=Protocol.ESMTP,
            tls=Tls.REQUIRED,
            ca_file=str(certificate.with_suffix(".crt")),
        )
        connection = await connect(target, NAME, LIMITS)
        assert isinstance(connection, Connection), connection
        assert isinstance(await send(connection), Sent)
        await connection.close()
        session = smarthost.connections[0].session
        assert session is not None
        assert session.ssl
        assert [line.split()[0] for _, line in smarthost.commands][:3] == ["EHLO", "STARTTLS", "EHLO"]


async def test_an_unknown_certificate_is_temporary_trouble_and_nothing_is_sent(certificate):
    async with Smarthost(tls_context=server_context(certificate)) as smarthost:
        result = await connect(target_of(smarthost, Protocol.ESMTP, tls=Tls.REQUIRED), NAME, LIMITS)
        assert isinstance(result, Lost)
        assert result.stage is Stage.HELO
        assert "CERTIFICATE_VERIFY_FAILED" in result.reply
        assert smarthost.mails == []


async def test_verification_can_be_switched_off_by_setting(certificate):
    async with Smarthost(tls_context=server_context(certificate)) as smarthost:
        target = target_of(smarthost, Protocol.ESMTP, tls=Tls.REQUIRED, verify=False)
        connection = await connect(target, NAME, LIMITS)
        assert isinstance(connection, Connection), connection
        await connection.close()


@pytest.mark.parametrize("told", ["454 not now", SILENCE])
async def test_a_starttls_that_fails_is_reported(certificate, clock, told):
    async with Smarthost(tls_context=server_context(certificate)) as smarthost:
        smarthost.behaviour.next("STARTTLS", told)
        asked = connect(target_of(smarthost, Protocol.ESMTP, tls=Tls.REQUIRED), NAME, LIMITS)
        result = await (after_silence(asked, smarthost, clock) if told == SILENCE else asked)
        assert isinstance(result, Refused | Lost)
        assert result.stage is Stage.HELO
