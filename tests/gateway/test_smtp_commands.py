"""The dialogue: what each command is answered, in and out of order, and that an envelope never outlives its mail."""

from __future__ import annotations

import asyncio
import smtplib

import pytest

from gateway.smtp_commands import SmtpCommands
from gateway.smtp_replies import NOT_PERMITTED, TOO_MANY_RECIPIENTS, Reply
from gateway.smtp_server import TunedSMTP
from tests.fakes.policies import ScriptedPolicy
from tests.fakes.raw_client import begin, both_loops, code_of, connected, in_content, listening

MAIL = "MAIL FROM:<a@client.example>"
RCPT = "RCPT TO:<b@gateway.example>"
END = b".\r\n"

# What is said, and the codes that answer it.
DIALOGUES = {
    "a mail in its order": (
        ["HELO client.example", MAIL, RCPT, "DATA", ".", "QUIT"],
        ["250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"],
    ),
    "commands in any case": (
        ["helo client.example", "mail from:<a@b.example>", "rCpT tO:<b@c.example>", "data"],
        ["250", "250 2.1.0", "250 2.1.5", "354"],
    ),
    "MAIL before HELO": ([MAIL, RCPT, "DATA"], ["503 5.5.1"] * 3),
    "RCPT before MAIL": (["HELO c", RCPT, "DATA"], ["250", "503 5.5.1", "503 5.5.1"]),
    "DATA before RCPT": (["HELO c", MAIL, "DATA", RCPT, "DATA"], ["250", "250 2.1.0", "503 5.5.1", "250 2.1.5", "354"]),
    "MAIL within a mail": (["HELO c", MAIL, MAIL], ["250", "250 2.1.0", "503 5.5.1"]),
    "RSET ends the mail": (
        ["HELO c", MAIL, RCPT, "RSET", RCPT, "DATA", MAIL],
        ["250", "250 2.1.0", "250 2.1.5", "250 2.0.0", "503 5.5.1", "503 5.5.1", "250 2.1.0"],
    ),
    "HELO ends the mail": (
        ["HELO c", MAIL, RCPT, "HELO c", RCPT, MAIL],
        ["250", "250 2.1.0", "250 2.1.5", "250", "503 5.5.1", "250 2.1.0"],
    ),
    "several mails": (
        ["HELO c", *([MAIL, RCPT, "DATA", "."] * 2)],
        ["250", *(["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"] * 2)],
    ),
    "the null sender": (["HELO c", "MAIL FROM:<>"], ["250", "250 2.1.0"]),
    "bad addresses": (
        ["HELO c", "MAIL FROM:<a>", MAIL, "RCPT TO:<b@>", "RCPT TO:<>"],
        ["250", "501 5.1.7", "250 2.1.0", "501 5.1.3", "501 5.1.3"],
    ),
    "no addresses": (
        ["HELO c", "MAIL", "MAIL FROM:", MAIL, "RCPT", "RCPT b@c.example"],
        ["250", "501 5.5.4", "501 5.5.4", "250 2.1.0", "501 5.5.4", "501 5.5.4"],
    ),
    "parameters after HELO": (
        ["HELO c", "MAIL FROM:<a@b.example> SIZE=1", MAIL, f"{RCPT} NOTIFY=NEVER"],
        ["250", "555 5.5.4", "250 2.1.0", "555 5.5.4"],
    ),
    "no brackets": (["HELO c", "MAIL FROM:a@b.example"], ["250", "501 5.5.4"]),
    "arguments where none belong": (
        ["HELO c", "RSET x", MAIL, RCPT, "DATA x", "QUIT x", "NOOP x"],
        ["250", "501 5.5.4", "250 2.1.0", "250 2.1.5", "501 5.5.4", "501 5.5.4", "250 2.0.0"],
    ),
    "trailing white space": (
        ["HELO c ", f"{MAIL} \t", f"{RCPT} ", "RSET ", "NOOP\t"],
        ["250", "250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0"],
    ),
    "what is not offered": (["AUTH PLAIN AGEAYQ==", "STARTTLS", "BDAT 10 LAST", "EXPN list"], ["502 5.5.1"] * 4),
    "what is answered without HELO": (
        ["NOOP", "RSET", "VRFY a", "VRFY", "HELP", "HELP MAIL"],
        ["250 2.0.0", "250 2.0.0", "252 2.5.0", "252 2.5.0", "214 2.0.0", "214 2.0.0"],
    ),
    "what is no command": (
        ["", " ", "FOO", "MAILFROM:<a@b.example>", "HELO\tc", "\u00e4\u00f6", "MA\0IL x"],
        ["500 5.5.2"] * 7,
    ),
    "HELO without a name": (["HELO", "EHLO ", "HELO a\0b", "HELO a\rb", "HELO TST"], ["501 5.5.4"] * 4 + ["250"]),
}


@pytest.mark.parametrize("dialogue", DIALOGUES)
@both_loops
async def test_each_command_has_its_answer(dialogue):
    said, expected = DIALOGUES[dialogue]
    async with listening(ScriptedPolicy()) as listener, connected(listener) as client:
        assert await client.say(*said) == expected


def test_every_command_of_the_library_is_served_by_our_own_method():
    served = [name for name in dir(TunedSMTP) if name.startswith("smtp_")]
    assert len(served) == 14
    assert [name for name in served if getattr(TunedSMTP, name) is not getattr(SmtpCommands, name, None)] == []


@both_loops
async def test_the_known_in_house_client_is_understood():
    policy = ScriptedPolicy.naccs()
    async with listening(policy) as listener, connected(listener) as client:
        codes = await client.say("HELO TST", "MAIL FROM:3A0001@SMTP.TST01.NACCS6", "RCPT TO:<NACCS@SMTP.PROD.NACCS6>")
        assert codes == ["250", "250 2.1.0", "250 2.1.5"]
        assert await client.say("DATA") == ["354"]
        client.send(b"From:3A0001@SMTP.TST01.NACCS6\r\n\r\n   TCC\r\n\r\n")
        await asyncio.sleep(0.1)  # the client reads nothing before its dot
        assert await client.say(".", "QUIT") == ["250 2.0.0", "221 2.0.0"]
        assert await client.rest() == b""
    mail = policy.taken[0]
    assert (mail.mail_from, mail.recipients) == ("3A0001@smtp.tst01.naccs6", ["NACCS@smtp.prod.naccs6"])
    assert mail.content == b"From:3A0001@SMTP.TST01.NACCS6\r\n\r\n   TCC\r\n\r\n"
    assert policy.sessions[0].helo == "TST"
    assert not policy.sessions[0].esmtp


@both_loops
async def test_ehlo_answers_all_its_lines_in_one_write():
    async with listening(ScriptedPolicy(max_message_bytes=1000)) as listener, connected(listener) as client:
        client.send(b"EHLO client.example\r\n")
        answer = await client.reader.read(4096)
        assert answer == (b"250-gateway.example\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")


@both_loops
async def test_a_name_in_another_script_is_kept_as_ascii():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, connected(listener) as client:
        assert await client.say(b"HELO \x93\xfa\x96{") == ["250"]
    assert policy.sessions[0].helo.isascii()


@both_loops
async def test_after_a_refused_mail_there_is_neither_rcpt_nor_data():
    policy = ScriptedPolicy(at_mail=NOT_PERMITTED)
    async with listening(policy) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL, RCPT, "DATA") == ["250", "550 5.7.1", "503 5.5.1", "503 5.5.1"]
    assert policy.asked == ["MAIL a@client.example"]


@both_loops
async def test_a_refused_recipient_is_not_in_the_mail():
    policy = ScriptedPolicy(at_rcpt=NOT_PERMITTED)
    async with listening(policy) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL, RCPT, "DATA") == ["250", "250 2.1.0", "550 5.7.1", "503 5.5.1"]
        policy.at_rcpt = None
        assert await client.say("RCPT TO:<c@gateway.example>", "DATA", ".") == ["250 2.1.5", "354", "250 2.0.0"]
    assert policy.taken[0].recipients == ["c@gateway.example"]


@both_loops
async def test_a_policy_may_give_an_acceptance_of_its_own():
    policy = ScriptedPolicy(at_mail=Reply(250, "2.1.0", "Known"), at_rcpt=Reply(250, "2.1.5", "Known"))
    async with listening(policy) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL) == ["250", "250 2.1.0"]
        client.send(RCPT.encode() + b"\r\n")
        assert await client.reply() == "250 2.1.5 Known"
        assert await client.say("DATA") == ["354"]


FAILED_CONTENTS = {
    "refused": (NOT_PERMITTED, b"x\r\n", "550 5.7.1"),
    "raised": (RuntimeError("no"), b"x\r\n", "451 4.3.0"),
    "nothing returned": (None, b"x\r\n", "451 4.3.0"),
    "too large": ("accept", b"x" * 2000 + b"\r\n", "552 5.3.4"),
}


@pytest.mark.parametrize("failure", FAILED_CONTENTS)
@both_loops
async def test_no_recipient_leaks_from_a_failed_mail_into_the_next(failure):
    instruction, content, code = FAILED_CONTENTS[failure]
    policy = ScriptedPolicy(at_data=instruction, max_message_bytes=1000)
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(content + END)
        assert code_of(await client.reply()) == code
        assert await client.say("RCPT TO:<leak@gateway.example>", "DATA") == ["503 5.5.1", "503 5.5.1"]
        policy.at_data = "accept"
        codes = await client.say("MAIL FROM:<two@client.example>", "RCPT TO:<c@gateway.example>", "DATA", ".")
        assert codes == ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"]
    assert [(mail.mail_from, mail.recipients) for mail in policy.taken] == [
        ("two@client.example", ["c@gateway.example"])
    ]


@both_loops
async def test_every_mail_has_an_envelope_object_of_its_own():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, connected(listener) as client:
        await begin(client)
        assert await client.say(".", MAIL, RCPT, "DATA", ".")
    first, second = (mail.envelope for mail in policy.taken)
    assert first is not second
    assert first.recipients is not second.recipients


@both_loops
async def test_recipients_are_limited():
    policy = ScriptedPolicy()
    async with listening(policy, recipients=2) as listener, connected(listener) as client:
        assert await client.say("HELO c", MAIL, RCPT, "RCPT TO:<c@x.example>", "RCPT TO:<d@x.example>") == [
            "250", "250 2.1.0", "250 2.1.5", "250 2.1.5", "452 4.5.3",
        ]  # fmt: skip
        assert await client.say("DATA", ".") == ["354", "250 2.0.0"]
    assert len(policy.taken[0].recipients) == 2
    assert TOO_MANY_RECIPIENTS.code == 452


@both_loops
async def test_no_reply_repeats_what_the_client_said():
    async with listening(ScriptedPolicy()) as listener, connected(listener) as client:
        for command in ("HELO mark%", "FOOmark%", "MAIL FROM:<mark%>", "VRFY mark%", "RCPT TO:<mark%@x>", "HELP mark%"):
            client.send(command.encode() + b"\r\n")
            assert "mark" not in await client.reply()


@both_loops
async def test_smtplib_delivers_a_mail_with_dots_and_gets_its_bytes_through():
    policy = ScriptedPolicy()

    def send(host: str, port: int) -> None:
        with smtplib.SMTP(host, port, timeout=60) as client:
            client.sendmail(
                "a@client.example",
                ["b@gateway.example"],
                b"Subject: s\r\n\r\n.one\r\n..two\r\n.\r\n",
                ["BODY=8BITMIME"],
            )

    async with listening(policy) as listener:
        await asyncio.to_thread(send, *listener.address)
    assert policy.taken[0].content == b"Subject: s\r\n\r\n.one\r\n..two\r\n.\r\n"
    assert policy.ends[0][1] is False


@both_loops
async def test_the_same_recipient_twice_is_one_recipient():
    policy = ScriptedPolicy()
    async with listening(policy) as listener, connected(listener) as client:
        await client.say("HELO c", MAIL, RCPT, RCPT, "DATA")
        assert await client.say("hello\r\n.") == ["250 2.0.0"]
    assert len(policy.taken[0].recipients) == 1
