"""A listener: caps, deadlines, clients that do not read, and its own end. Each listener for itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest

from gateway.smtp_replies import NOT_PERMITTED, SHUTTING_DOWN
from gateway.smtp_server import Listener, SmtpLimits, TunedSMTP, create_listener
from tests.fakes.policies import After, ScriptedPolicy
from tests.fakes.raw_client import RawClient, both_loops, code_of, connected, in_content, listening, until

MAIL = "MAIL FROM:<a@client.example>"
TICK = 0.02


class Clock:
    """What a listener takes for its loop: its time stands still until a test moves it, however slow the machine is."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._time = self._loop.time()
        listener.loop = cast(asyncio.AbstractEventLoop, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self._time

    async def move(self, seconds: float) -> None:
        """Let so much time pass, and wait until the listener has looked at the clock."""
        self._time += seconds
        await until(lambda: self._listener.deadline(0) > self._time)


async def first_reply(listener, source="127.0.0.1"):
    client = await RawClient.connect(listener, source)
    reply = code_of(await client.reply())
    if reply != "220":
        assert await client.rest() == b""
    await client.close()
    return reply


# Caps.


@both_loops
async def test_connections_of_one_peer_and_of_all_are_capped():
    policy = ScriptedPolicy()
    async with listening(policy, connections=3, connections_per_peer=2) as listener:
        async with connected(listener), connected(listener):
            assert await first_reply(listener) == "421 4.7.0"
            async with connected(listener, "127.0.0.2"):
                assert listener.connections == 3
                assert await first_reply(listener, "127.0.0.3") == "421 4.7.0"
        await until(lambda: not listener.live)
        assert await first_reply(listener) == "220"
    assert len(policy.sessions) == 4


@both_loops
async def test_a_policy_may_refuse_a_connection():
    policy = ScriptedPolicy(at_connect=SHUTTING_DOWN)
    async with listening(policy) as listener:
        assert await first_reply(listener) == "421 4.3.2"
        policy.at_connect = NOT_PERMITTED
        assert await first_reply(listener) == "550 5.7.1"
        await until(lambda: not listener.live)
        assert listener.connections == 0
    assert policy.ends == []


@both_loops
async def test_a_connection_that_comes_in_as_the_listener_stops_is_told_so():
    policy = ScriptedPolicy()
    async with listening(policy) as listener:
        listener.draining = True
        assert await first_reply(listener) == "421 4.3.2"
    assert policy.sessions == []


@both_loops
async def test_errors_end_a_session_at_the_command_after_the_last_one():
    async with listening(ScriptedPolicy(), errors=3) as listener:
        async with connected(listener) as client:
            assert await client.say("FOO", "FOO", "FOO", "NOOP") == ["500 5.5.2"] * 3 + ["421 4.7.0"]
            assert await client.rest() == b""
        async with connected(listener) as client:
            assert await client.say("FOO", "FOO", "FOO", "QUIT") == ["500 5.5.2"] * 3 + ["221 2.0.0"]


@both_loops
async def test_refused_recipients_count_as_errors_and_our_own_trouble_does_not():
    policy = ScriptedPolicy(at_rcpt=NOT_PERMITTED)
    async with listening(policy, errors=2) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL, *["RCPT TO:<b@c.example>"] * 3) == [
            "250", "250 2.1.0", "550 5.7.1", "550 5.7.1", "421 4.7.0",
        ]  # fmt: skip
    policy = ScriptedPolicy(at_mail=RuntimeError("ours"))
    async with listening(policy, errors=2) as listener, connected(listener) as client:
        assert await client.say("HELO c", *[MAIL] * 5) == ["250", *["451 4.3.0"] * 5]


@both_loops
async def test_a_connection_carries_only_so_many_mails():
    async with listening(ScriptedPolicy(), messages_per_connection=1) as listener, in_content(listener) as client:
        assert await client.say(".", MAIL) == ["250 2.0.0", "421 4.7.0"]
        assert await client.rest() == b""


@both_loops
async def test_two_listeners_have_limits_and_counts_of_their_own():
    async with (
        listening(ScriptedPolicy(max_message_bytes=100), connections=1, errors=1) as narrow,
        listening(ScriptedPolicy(max_message_bytes=10_000), connections=5, errors=9) as wide,
        connected(narrow) as in_narrow,
    ):
        assert narrow.address != wide.address
        assert await first_reply(narrow) == "421 4.7.0"
        async with in_content(wide) as one, connected(wide):
            one.send(b"x" * 1000 + b"\r\n.\r\n")
            assert code_of(await one.reply()) == "250 2.0.0"
            assert await one.say("FOO", "FOO", "NOOP") == ["500 5.5.2", "500 5.5.2", "250 2.0.0"]
            assert await in_narrow.say("FOO", "NOOP") == ["500 5.5.2", "421 4.7.0"]
            assert (narrow.budget.used, wide.connections) == (0, 2)


@both_loops
async def test_a_listener_says_what_it_listens_on_and_a_taken_port_is_an_error():
    async with listening(ScriptedPolicy()) as listener:
        host, port = listener.address
        assert host == "127.0.0.1"
        with pytest.raises(OSError, match="in use"):
            await create_listener(asyncio.get_running_loop(), ScriptedPolicy(), host, port, hostname="gateway.example")


# Deadlines.


@both_loops
async def test_a_client_that_says_nothing_or_half_a_command_is_let_go():
    async with listening(ScriptedPolicy(), tick_seconds=TICK, command_seconds=300) as listener:
        clock = Clock(listener)
        async with connected(listener) as silent, connected(listener) as slow:
            for sent in range(1, 4):  # octets that make no command do not lengthen the wait
                assert listener.connections == 2
                slow.send(b"N")
                await until(partial(has_unserved, listener, b"N" * sent))
                await clock.move(101)
            assert code_of(await silent.reply()) == "421 4.4.2"
            assert code_of(await slow.reply()) == "421 4.4.2"
            assert await silent.rest() == b""


def has_unserved(listener: Listener, octets: bytes) -> bool:
    """Whether just this has come over all connections together and makes no command."""
    return b"".join(bytes(cast(TunedSMTP, connection)._input) for connection in listener.live) == octets


@both_loops
async def test_commands_lengthen_the_wait_up_to_the_end_of_the_session():
    limits = {"tick_seconds": TICK, "command_seconds": 300, "session_seconds": 1000}
    async with listening(ScriptedPolicy(), **limits) as listener:
        clock = Clock(listener)
        async with connected(listener) as client:
            for _ in range(3):
                await clock.move(299)
                assert await client.say("NOOP") == ["250 2.0.0"]
            await clock.move(104)
            assert code_of(await client.reply()) == "421 4.7.0"
            assert await client.rest() == b""


@both_loops
async def test_a_session_does_not_end_in_the_middle_of_a_mail():
    limits = {"tick_seconds": TICK, "session_seconds": 100}
    async with listening(ScriptedPolicy(), **limits) as listener:
        clock = Clock(listener)
        async with connected(listener) as client:
            assert await client.say("HELO c", MAIL) == ["250", "250 2.1.0"]
            await clock.move(101)
            assert await client.say("RCPT TO:<b@c.example>", "DATA", ".") == ["250 2.1.5", "354", "250 2.0.0"]
            assert code_of(await client.reply()) == "421 4.7.0"


@both_loops
async def test_a_mail_that_is_begun_and_never_sent_does_not_keep_a_session_for_ever():
    limits = {"tick_seconds": TICK, "command_seconds": 300, "session_seconds": 100}
    async with listening(ScriptedPolicy(), **limits) as listener:
        clock = Clock(listener)
        async with connected(listener) as client:
            assert await client.say("HELO c", MAIL) == ["250", "250 2.1.0"]
            for _ in range(2):
                await clock.move(150)
                assert await client.say("NOOP") == ["250 2.0.0"]
            await clock.move(101)
            assert code_of(await client.reply()) == "421 4.7.0"


@both_loops
async def test_a_content_that_stops_coming_is_let_go():
    policy = ScriptedPolicy()
    async with listening(policy, tick_seconds=TICK, content_read_seconds=180) as listener:
        clock = Clock(listener)
        async with in_content(listener) as client:
            client.send(b"half a mail")
            await until(lambda: listener.budget.used)
            await clock.move(179)
            assert listener.budget.used
            await clock.move(2)
            assert code_of(await client.reply()) == "421 4.4.2"
            assert await client.rest() == b""
            assert listener.budget.used == 0
    assert policy.taken == []


@both_loops
async def test_a_content_that_comes_too_slowly_is_let_go_and_an_honest_slow_one_is_not():
    limits = {"tick_seconds": TICK, "content_read_seconds": 180, "content_seconds": 100, "content_bytes_per_second": 10}
    policy = ScriptedPolicy()
    async with listening(policy, **limits) as listener:
        clock = Clock(listener)
        async with in_content(listener) as trickle, in_content(listener) as honest:
            for times in range(1, 5):
                assert listener.connections == 2
                trickle.send(b"x")
                honest.send(b"y" * 498 + b"\r\n")
                await until(partial(has_in_memory, listener, 501 * times))
                await clock.move(30)
            assert code_of(await trickle.reply()) == "421 4.4.2"
            honest.send(b".\r\n")
            assert code_of(await honest.reply()) == "250 2.0.0"
    assert len(policy.taken) == 1


def test_by_default_a_client_may_wait_minutes_before_its_dot():
    limits = SmtpLimits()
    assert min(limits.content_read_seconds, limits.content_seconds, limits.command_seconds) >= 180


@pytest.mark.parametrize(("verb", "command"), [("at_mail", MAIL), ("at_rcpt", "RCPT TO:<b@c.example>")])
@both_loops
async def test_an_overdue_hook_before_data_is_cancelled_and_answered_451(verb, command):
    policy = ScriptedPolicy.told(**{verb: After(asyncio.Event())})
    async with listening(policy, tick_seconds=TICK, hook_seconds=30) as listener:
        clock = Clock(listener)
        async with connected(listener) as client:
            said = ["HELO c", MAIL, "RCPT TO:<b@c.example>"]
            await client.say(*said[: said.index(command)])
            client.send(command.encode() + b"\r\n")
            await until(lambda: policy.asked and policy.asked[-1].startswith(verb[3:].upper()))
            await clock.move(31)
            assert code_of(await client.reply()) == "451 4.3.0"
            assert policy.cancelled == [verb[3:].upper()]
            assert await client.say("DATA", "NOOP") == ["503 5.5.1", "250 2.0.0"]


def has_in_memory(listener: Listener, octets: int) -> bool:
    """Whether so much content has come."""
    return listener.budget.used == octets


@asynccontextmanager
async def overdue_at_the_dot(policy: ScriptedPolicy) -> AsyncIterator[tuple[Listener, RawClient]]:
    """A listener and a client whose mail was answered 451: its hook takes longer than it may."""
    async with listening(policy, tick_seconds=TICK, hook_seconds=30) as listener:
        clock = Clock(listener)
        async with in_content(listener) as client:
            client.send(b".\r\n")
            await until(lambda: "DATA" in policy.asked)
            await clock.move(31)
            assert code_of(await client.reply()) == "451 4.3.0"
            yield listener, client


@both_loops
async def test_an_overdue_data_hook_is_answered_451_and_left_to_finish():
    gate = asyncio.Event()
    policy = ScriptedPolicy(at_data=After(gate, "accept"))
    async with overdue_at_the_dot(policy) as (listener, client):
        # Nobody knows yet whether that mail was stored: the session takes no other.
        assert await client.say("NOOP", MAIL) == ["250 2.0.0", "421 4.3.0"]
        await client.rest()
        await until(lambda: not listener.live)
        assert policy.ends == []
        gate.set()
        await until(lambda: policy.ends)
        assert listener.budget.used == 0
    assert policy.cancelled == []
    assert len(policy.taken) == 1
    assert policy.ends[0][1] is True  # it was taken, and the client does not know


@both_loops
async def test_a_data_hook_that_is_late_within_the_session_makes_its_end_unclean():
    gate = asyncio.Event()
    policy = ScriptedPolicy(at_data=After(gate, "accept"))
    async with overdue_at_the_dot(policy) as (_, client):
        gate.set()
        await until(lambda: policy.taken)
        assert await client.say("QUIT") == ["221 2.0.0"]
        await until(lambda: policy.ends)
    assert policy.ends[0][1] is True


@both_loops
async def test_a_client_that_never_reads_its_replies_is_dropped():
    policy = ScriptedPolicy()
    limits = {"tick_seconds": TICK, "write_stall_seconds": 30, "command_seconds": 1e9, "session_seconds": 1e9}
    async with listening(policy, **limits) as listener:
        clock = Clock(listener)
        async with connected(listener, receive_buffer=262_144) as client:
            flooding = Flood(client, listener)
            while not policy.ends:
                await clock.move(31)
            await until(lambda: not listener.live)
            await flooding.stop()
    assert len(policy.ends) == 1


@both_loops
async def test_a_client_that_reads_again_in_time_gets_every_reply():
    async with listening(ScriptedPolicy()) as listener:
        Clock(listener)
        async with connected(listener, receive_buffer=262_144) as client:
            flooding = Flood(client, listener)
            await until(lambda: flooding.connection._stalled)
            flooding.enough = True
            lines = 0
            while lines < 4 * flooding.sent or not flooding.task.done():
                lines += (await client.reader.read(1 << 20)).count(b"\n")
            assert lines == 4 * flooding.sent


class Flood:
    """Sends the command with the longest answer, again and again, as far as the connection takes it."""

    def __init__(self, client: RawClient, listener: Listener) -> None:
        self.client = client
        self.connection = cast(TunedSMTP, next(iter(listener.live)))
        # A small send buffer: the kernel would take megabytes before the server notices anything.
        link = self.connection._link.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self.sent = 0
        self.enough = False
        self.task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while not self.enough:
            self.client.send(b"EHLO c\r\n" * 1000)
            self.sent += 1000
            await self.client.writer.drain()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


# The end.


@both_loops
async def test_stop_ends_idle_sessions_and_lets_a_content_finish():
    policy = ScriptedPolicy()
    async with listening(policy, tick_seconds=TICK) as listener:
        Clock(listener)
        async with connected(listener) as idle, in_content(listener) as busy:
            busy.send(b"first half ")
            stopping = asyncio.create_task(listener.stop(60))
            assert code_of(await idle.reply()) == "421 4.3.2"
            assert await idle.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await RawClient.connect(listener)
            busy.send(b"second half\r\n.\r\n")
            assert code_of(await busy.reply()) == "250 2.0.0"
            assert await busy.say("QUIT") == ["221 2.0.0"]
            assert await busy.rest() == b""
        await stopping
        assert not listener.live
    assert policy.taken[0].content == b"first half second half\r\n"
    assert [end[1] for end in policy.ends] == [False, False]


@both_loops
async def test_a_session_that_lingers_after_its_mail_is_ended_by_stop():
    policy = ScriptedPolicy()
    async with listening(policy, tick_seconds=TICK, drain_seconds=2) as listener:
        clock = Clock(listener)
        async with in_content(listener) as one, in_content(listener) as two:
            stopping = asyncio.create_task(listener.stop(60))
            await until(lambda: listener.draining)
            assert await one.say(".", MAIL) == ["250 2.0.0", "421 4.3.2"]
            assert await two.say(".") == ["250 2.0.0"]
            await clock.move(3)
            assert code_of(await two.reply()) == "421 4.3.2"
            await stopping


@both_loops
async def test_stop_waits_for_a_data_hook_but_not_longer_than_its_grace():
    gate = asyncio.Event()
    policy = ScriptedPolicy(at_data=After(gate, "accept"))
    async with listening(policy, tick_seconds=TICK) as listener, in_content(listener) as client:
        client.send(b".\r\n")
        await until(lambda: "DATA" in policy.asked)
        await listener.stop(0.1)
        assert not listener.live
        assert policy.cancelled == []
        gate.set()
        await until(lambda: policy.ends)
    assert policy.ends[0][1] is True


@both_loops
async def test_stop_drops_a_content_that_does_not_end_in_its_grace():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(b"half a mail")
        await listener.stop(0.05)
        assert listener.budget.used == 0
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.reply()
    assert policy.taken == []
