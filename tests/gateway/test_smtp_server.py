"""One connection: input in every shape, hooks that fail or wait, and connections that end at any moment."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from gateway.smtp_replies import NOT_READY, UNAVAILABLE
from gateway.smtp_server import TunedSMTP
from tests.fakes.policies import After, ScriptedPolicy
from tests.fakes.raw_client import begin, both_loops, code_of, connected, in_content, listening, until

MAIL = "MAIL FROM:<a@client.example>"
RCPT = "RCPT TO:<b@gateway.example>"
SESSION = (
    b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@gateway.example>\r\nDATA\r\n"
    b"Subject: s\r\n\r\n..body\r\n.\r\nQUIT\r\n"
)


def codes(replies: bytes) -> list[str]:
    return [code_of(line) for line in replies.decode("ascii").splitlines() if line[3] == " "]


# Input in every shape.


@both_loops
async def test_a_session_sent_in_one_piece_is_answered_in_order():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, connected(listener) as client:
        client.send(SESSION)
        assert codes(await client.rest()) == [
            "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0",
        ]  # fmt: skip
    assert policy.taken[0].content == b"Subject: s\r\n\r\n.body\r\n"


@both_loops
async def test_a_session_sent_octet_by_octet_is_the_same():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, connected(listener) as client:
        for at in range(len(SESSION)):
            client.send(SESSION[at : at + 1])
            await asyncio.sleep(0)
        assert codes(await client.rest())[-2:] == ["250 2.0.0", "221 2.0.0"]
    assert policy.taken[0].content == b"Subject: s\r\n\r\n.body\r\n"


@pytest.mark.parametrize("verb", ["at_mail", "at_rcpt", "at_data"])
@both_loops
async def test_input_that_comes_while_a_hook_waits_is_served_after_it(verb):
    gate = asyncio.Event()
    policy = ScriptedPolicy.told(**{verb: After(gate, "accept" if verb == "at_data" else None)})
    async with listening(policy) as listener, connected(listener) as client:
        client.send(SESSION)
        await until(lambda: policy.asked and policy.asked[-1].startswith(verb[3:].upper()))
        asked = len(policy.asked)
        await asyncio.sleep(0.02)
        assert len(policy.asked) == asked
        gate.set()
        assert codes(await client.rest())[-2:] == ["250 2.0.0", "221 2.0.0"]
    assert policy.asked == ["MAIL a@client.example", "RCPT b@gateway.example", "DATA"]


@both_loops
async def test_many_pipelined_mails_are_all_taken():
    policy = ScriptedPolicy()
    one = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<b@c.example>\r\nDATA\r\nx\r\n.\r\n"
    async with listening(policy) as listener, connected(listener) as client:
        client.send(b"HELO c\r\n" + one * 200 + b"QUIT\r\n")
        assert codes(await client.rest()).count("354") == 200
    assert len(policy.taken) == 200


@both_loops
async def test_one_session_full_of_commands_does_not_keep_the_others_waiting():
    async with listening(ScriptedPolicy()) as listener, connected(listener) as flood, connected(listener) as other:
        flood.send(b"NOOP\r\n" * 5000)
        assert await other.say("NOOP") == ["250 2.0.0"]
        for _ in range(5000):
            assert code_of(await flood.reply()) == "250 2.0.0"


@both_loops
async def test_a_client_that_runs_far_ahead_of_a_hook_is_not_read():
    gate = asyncio.Event()
    policy = ScriptedPolicy(at_mail=After(gate))
    async with listening(policy, waiting_octets=10_000) as listener, connected(listener) as client:
        client.send(b"HELO c\r\nMAIL FROM:<a@b.example>\r\n")
        await until(lambda: policy.asked)
        client.send(b"NOOP\r\n" * 2_000_000)
        await asyncio.sleep(0.1)
        connection = next(iter(listener.live))
        assert len(connection._input) < 1_000_000  # type: ignore[attr-defined]
        gate.set()
        client.drop()


@pytest.mark.parametrize("line", [b"NOOP\n", b"MAIL FROM:<a@b.example>\n", b"\n", b"NOOP\r\r\n\n", b"NO\nOP\r\n"])
@both_loops
async def test_a_command_that_ends_in_a_bare_lf_ends_the_session(line):
    async with listening(ScriptedPolicy()) as listener, connected(listener) as client:
        client.send(b"HELO c\r\n" + line + b"QUIT\r\n")
        answers = codes(await client.rest())
        assert answers[-1] == "500 5.5.2"
        assert "221 2.0.0" not in answers


LONG_LINES = {
    b"NOOP " + b"x" * 505: "250 2.0.0",
    b"NOOP " + b"x" * 506: "500 5.5.2",
    b"MAIL FROM:<" + b"x" * 800 + b"@b.example>": "501 5.1.7",
    b"MAIL FROM:<a@b.example>" + b" " * 900: "250 2.1.0",
    b"MAIL FROM:<" + b"x" * 1100 + b"@b.example>": "500 5.5.2",
    b"X" * 200_000: "500 5.5.2",
}


@pytest.mark.parametrize("line", LONG_LINES, ids=range(len(LONG_LINES)))
@pytest.mark.parametrize("piece", [700, 1_000_000])
@both_loops
async def test_a_line_that_is_too_long_is_refused_whole_and_the_next_one_served(line, piece):
    async with listening(ScriptedPolicy()) as listener, connected(listener) as client:
        assert await client.say("HELO c") == ["250"]
        wire = line + b"\r\n"
        for at in range(0, len(wire), piece):
            client.send(wire[at : at + piece])
            await asyncio.sleep(0)
        assert code_of(await client.reply()) == LONG_LINES[line]
        assert await client.say("NOOP") == ["250 2.0.0"]


@both_loops
async def test_two_sessions_do_not_change_each_others_limits():
    line = "MAIL FROM:<a@b.example>" + " " * 600
    async with listening(ScriptedPolicy()) as listener, connected(listener) as one:
        assert await one.say(*["HELO c"] * 50, line, "RSET") == [*["250"] * 50, "250 2.1.0", "250 2.0.0"]
        async with connected(listener) as two:
            assert await two.say("HELO c", line) == ["250", "250 2.1.0"]
            assert await one.say(line, "NOOP " + "x" * 506) == ["250 2.1.0", "500 5.5.2"]


# Hooks that fail.


@pytest.mark.parametrize("verb", ["at_mail", "at_rcpt", "at_data"])
@pytest.mark.parametrize(
    "failure",
    [RuntimeError("secret\r\n250 fake ok"), ValueError("\u79d8\u5bc6"), "250 ok", 250, asyncio.CancelledError()],
    ids=["raises", "raises-japanese", "text", "number", "cancels-itself"],
)
@both_loops
async def test_a_hook_that_fails_is_451_with_an_incident_number_and_nothing_else(verb, failure, caplog):
    policy = ScriptedPolicy.told(**{verb: failure})
    async with listening(policy) as listener, connected(listener) as client:
        client.send(SESSION.replace(b"QUIT", b"NOOP"))
        await asyncio.sleep(0)
        lines: list[bytes] = []
        while not lines or b"451" not in lines[-1]:
            lines.append(await client.reader.readuntil(b"\r\n"))
        assert re.fullmatch(rb"451 4\.3\.0 Local trouble, try later, incident [0-9a-f]{8}\r\n", lines[-1])
        incident = lines[-1].split()[-1].decode()
    logged = [record for record in caplog.records if incident in record.getMessage()]
    assert len(logged) == 1
    assert logged[0].exc_info is not None
    assert policy.taken == []


@both_loops
async def test_a_session_goes_on_after_a_failed_hook():
    policy = ScriptedPolicy(at_mail=RuntimeError("once"))
    async with listening(policy) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL, RCPT, "DATA") == ["250", "451 4.3.0", "503 5.5.1", "503 5.5.1"]
        policy.at_mail = None
        assert await client.say(MAIL, RCPT, "DATA", ".") == ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"]


@both_loops
async def test_a_hook_may_close_the_session_with_a_421():
    async with listening(ScriptedPolicy(at_mail=NOT_READY)) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL) == ["250", "421 4.3.0"]
        assert await client.rest() == b""


@both_loops
async def test_a_hook_that_catches_what_it_waits_for_goes_on():
    class Stubborn(ScriptedPolicy):
        async def mail_from(self, session, path):
            failed = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(failed.set_exception, OSError("store"))
            try:
                await failed
            except OSError:
                await asyncio.sleep(0)
                async with asyncio.timeout(60):
                    await asyncio.sleep(0.001)
            return UNAVAILABLE

    async with listening(Stubborn()) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL) == ["250", "451 4.3.0"]


@both_loops
async def test_trouble_at_connect_is_421_and_trouble_at_the_end_is_logged(caplog):
    policy = ScriptedPolicy(at_connect=RuntimeError("no store"))
    async with listening(policy) as listener:
        reader, writer = await asyncio.open_connection(*listener.address)
        assert codes(await reader.read()) == ["421 4.3.0"]
        writer.close()
        await until(lambda: not listener.live)
        assert policy.ends == []
        policy.at_connect, policy.at_end = None, RuntimeError("at the end")
        async with connected(listener) as client:
            assert await client.say("QUIT") == ["221 2.0.0"]
        await until(lambda: policy.ends)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


# Connections that end.


@both_loops
async def test_a_half_close_after_the_dot_does_not_lose_the_mail_nor_its_reply():
    gate = asyncio.Event()
    policy = ScriptedPolicy(at_data=After(gate, "accept"))
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(b"x\r\n.\r\n")
        await until(lambda: "DATA" in policy.asked)
        client.half_close()
        await asyncio.sleep(0.02)
        gate.set()
        assert codes(await client.rest()) == ["250 2.0.0"]
        await until(lambda: policy.ends)
    assert len(policy.taken) == 1
    assert policy.ends[0][1] is True
    assert policy.cancelled == []


@both_loops
async def test_a_whole_session_followed_by_a_half_close_is_served():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, connected(listener) as client:
        client.send(SESSION.removesuffix(b"QUIT\r\n") + b"NOOP\r\nNO")
        client.half_close()
        assert codes(await client.rest())[-2:] == ["250 2.0.0", "250 2.0.0"]
    assert len(policy.taken) == 1


@both_loops
async def test_a_reset_while_the_data_hook_runs_does_not_cancel_it():
    gate = asyncio.Event()
    policy = ScriptedPolicy(at_data=After(gate, "accept"))
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(b"x\r\n.\r\n")
        await until(lambda: "DATA" in policy.asked)
        client.drop()
        await until(lambda: not listener.live)
        assert policy.ends == []
        assert listener.budget.used > 0
        gate.set()
        await until(lambda: policy.ends)
        assert listener.budget.used == 0
    assert len(policy.taken) == 1
    assert policy.cancelled == []
    assert policy.ends[0][1] is True
    assert policy.ends[0][0].last_mail_id == 1


@pytest.mark.parametrize("verb", ["at_mail", "at_rcpt"])
@both_loops
async def test_a_reset_while_another_hook_runs_ends_it(verb):
    policy = ScriptedPolicy.told(**{verb: After(asyncio.Event())})
    async with listening(policy) as listener, connected(listener) as client:
        client.send(SESSION)
        await until(lambda: policy.asked and policy.asked[-1].startswith(verb[3:].upper()))
        client.drop()
        await until(lambda: policy.cancelled)
        await until(lambda: policy.ends)
    assert policy.ends[0][1] is False


@pytest.mark.parametrize("how", ["close", "drop", "half_close"])
@both_loops
async def test_a_session_that_breaks_at_any_octet_leaves_nothing_behind(how):
    policy = ScriptedPolicy()
    async with listening(policy) as listener:
        for length in range(len(SESSION)):
            async with connected(listener) as client:
                client.send(SESSION[:length])
                if how == "drop":
                    client.drop()
                elif how == "half_close":
                    client.half_close()
                    await client.rest()
        await until(lambda: not listener.live and not listener.data_tasks)
        assert listener.connections == 0
        assert listener.budget.used == 0
    assert len(policy.ends) == len(policy.sessions)
    assert {tuple(mail.recipients) for mail in policy.taken} <= {("b@gateway.example",)}
    if how == "half_close":
        # The end is the last octet before QUIT: whoever got that far has a mail, everybody else none.
        assert len(policy.taken) == len(b"QUIT\r\n")


ENDINGS = {
    "nothing more": (b"", True),
    "QUIT": (b"QUIT\r\n", False),
    "NOOP": (b"NOOP\r\n", False),
    "what is no command": (b"FOO\r\n", False),
    "half a command": (b"QUI", True),
}


@pytest.mark.parametrize("ending", ENDINGS)
@both_loops
async def test_an_end_without_another_command_after_the_250_is_unclean(ending):
    said, unclean = ENDINGS[ending]
    policy = ScriptedPolicy()
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(b"x\r\n.\r\n")
        assert code_of(await client.reply()) == "250 2.0.0"
        client.send(said)
        client.half_close()
        await client.rest()
        await until(lambda: policy.ends)
    assert [end[1] for end in policy.ends] == [unclean]


@both_loops
async def test_a_command_sent_before_the_250_does_not_show_that_it_was_seen():
    gate = asyncio.Event()
    policy = ScriptedPolicy(at_data=After(gate, "accept"))
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(b"x\r\n.\r\nQUIT\r\n")
        await until(lambda: "DATA" in policy.asked)
        gate.set()
        assert codes(await client.rest()) == ["250 2.0.0", "221 2.0.0"]
        await until(lambda: policy.ends)
    assert policy.ends[0][1] is True


@both_loops
async def test_an_end_without_a_mail_or_after_a_refusal_is_clean():
    policy = ScriptedPolicy(at_data=UNAVAILABLE)
    async with listening(policy) as listener:
        async with connected(listener):
            pass
        async with in_content(listener) as client:
            client.send(b"x\r\n.\r\n")
            assert code_of(await client.reply()) == "451 4.3.0"
        async with in_content(listener) as client:
            client.send(b"x\r\n")
        await until(lambda: len(policy.ends) == 3)
    assert [end[1] for end in policy.ends] == [False] * 3


@both_loops
async def test_only_the_last_mail_of_a_session_decides():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, in_content(listener) as client:
        assert await client.say(".", MAIL, RCPT, "DATA") == ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354"]
        client.drop()
        await until(lambda: policy.ends)
    assert policy.ends[0][1] is False


class KnownPeer(asyncio.Transport):
    """A transport that only says who is at its other end."""

    def __init__(self, peername):
        super().__init__({"peername": peername})

    def write(self, data):
        pass

    def close(self):
        pass


@pytest.mark.parametrize(
    ("peername", "ip"),
    [
        (("::ffff:192.0.2.1", 25, 0, 0), "192.0.2.1"),
        (("2001:db8::1", 25, 0, 0), "2001:db8::1"),
        (("::ffff:abcd", 25, 0, 0), "::ffff:abcd"),
        (None, ""),
    ],
)
@both_loops
async def test_a_mapped_address_is_the_ipv4_address_it_stands_for(peername, ip):
    policy = ScriptedPolicy()
    async with listening(policy) as listener:
        connection = TunedSMTP(listener, {})
        connection.connection_made(KnownPeer(peername))
        assert policy.sessions[0].peer_ip == ip
        connection.connection_lost(None)


@both_loops
async def test_a_session_knows_its_peer():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, connected(listener, "127.20.13.2") as client:
        await begin(client)
        session = policy.sessions[0]
        assert (session.peer_ip, session.local_port) == ("127.20.13.2", listener.address[1])
        assert session.peer_port == client.writer.get_extra_info("sockname")[1]
        assert (session.helo, session.esmtp, session.tls) == ("client.example", True, False)
