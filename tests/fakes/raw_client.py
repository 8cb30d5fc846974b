"""An SMTP client that sends exactly the bytes it is told to, and the event loops servers are tested on."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvloop

from gateway.smtp_server import Listener, SmtpLimits, create_listener
from gateway.smtp_session import ListenerPolicy

PATIENCE = 60.0  # of a test; far more than any step needs

LOOPS = {"uvloop": uvloop.new_event_loop, "stdlib": asyncio.new_event_loop}


def both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test once on uvloop and once on the loop of the standard library."""

    @functools.wraps(test)
    def on_loop(loop_name: str, **arguments: Any) -> None:
        async def in_time() -> None:
            async with asyncio.timeout(PATIENCE):
                await test(**arguments)

        with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            runner.run(in_time())

    parameters = list(inspect.signature(test).parameters.values())
    loop_name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    del on_loop.__wrapped__
    on_loop.__signature__ = inspect.Signature([loop_name, *parameters])  # type: ignore[attr-defined]
    return cast("Callable[..., None]", pytest.mark.parametrize("loop_name", list(LOOPS))(on_loop))


class RawClient:
    """One connection. Replies are the text after the last hyphen-joined line, without CR LF."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(
        cls, listener: Listener, source: str = "127.0.0.1", receive_buffer: int | None = None
    ) -> RawClient:
        """Connect from `source`, an address of this machine."""
        link = socket.socket()
        link.setblocking(False)
        if receive_buffer is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            link.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(link, listener.address)
        except OSError:
            link.close()
            raise
        return cls(*await asyncio.open_connection(sock=link))

    async def reply(self) -> str:
        """The next reply line."""
        return (await self.reader.readuntil(b"\r\n")).decode("ascii").removesuffix("\r\n")

    def send(self, data: bytes) -> None:
        """Send without waiting."""
        self.writer.write(data)

    async def say(self, *commands: str | bytes) -> list[str]:
        """Each command in turn, CR LF added; the code and enhanced code of each reply."""
        codes = []
        for command in commands:
            line = command.encode("latin-1") if isinstance(command, str) else command
            self.send(line + b"\r\n")
            codes.append(code_of(await self.reply()))
        return codes

    async def rest(self) -> bytes:
        """All that still comes, until the server closes."""
        return await self.reader.read()

    async def close(self) -> None:
        """Close, waiting for nobody."""
        self.writer.close()

    def drop(self) -> None:
        """Break the connection with a reset."""
        link = self.writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def half_close(self) -> None:
        """Send nothing more, but go on reading."""
        self.writer.write_eof()


def code_of(reply: str) -> str:
    """`250 2.1.0` of `250 2.1.0 Sender ok`; the bare code where no enhanced one follows."""
    code, _, text = reply.partition(" ")
    enhanced = text.split(" ")[0]
    return f"{code} {enhanced}" if enhanced[:2] in {"2.", "4.", "5."} else code


@asynccontextmanager
async def listening(policy: ListenerPolicy, **limits: Any) -> AsyncIterator[Listener]:
    """A listener on a free port of 127.0.0.1, stopped without grace at the end."""
    listener = await create_listener(
        asyncio.get_running_loop(),
        policy,
        "127.0.0.1",
        0,
        hostname="gateway.example",
        limits=SmtpLimits(**limits),
    )
    try:
        yield listener
    finally:
        await listener.stop(0)


@asynccontextmanager
async def connected(
    listener: Listener, source: str = "127.0.0.1", receive_buffer: int | None = None
) -> AsyncIterator[RawClient]:
    """A client that has read the greeting."""
    client = await RawClient.connect(listener, source, receive_buffer)
    try:
        assert code_of(await client.reply()) == "220"
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def in_content(listener: Listener, hello: str = "EHLO client.example") -> AsyncIterator[RawClient]:
    """A client that has been answered 354."""
    async with connected(listener) as client:
        await begin(client, hello)
        yield client


async def begin(client: RawClient, hello: str = "EHLO client.example") -> None:
    """From the greeting to the 354."""
    client.send(hello.encode("ascii") + b"\r\n")
    while (await client.reply())[3] == "-":
        pass
    codes = await client.say("MAIL FROM:<a@client.example>", "RCPT TO:<b@gateway.example>", "DATA")
    assert codes == ["250 2.1.0", "250 2.1.5", "354"]


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; the time limit is the test's."""
    while not condition():  # noqa: ASYNC110 - conditions of foreign objects have no event
        await asyncio.sleep(0.002)
