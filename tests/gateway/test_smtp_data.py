"""The content reader alone, and the same rules over a socket: endings, dots, damage, sizes, budget."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp_data import ContentBudget, ContentReader
from tests.fakes.policies import ScriptedPolicy
from tests.fakes.raw_client import both_loops, code_of, connected, in_content, listening, until

END = b".\r\n"


def read(*pieces: bytes, keep: int = 1 << 20) -> tuple[ContentReader, bytes | None]:
    reader = ContentReader(keep, ContentBudget(1 << 30))
    for number, piece in enumerate(pieces):
        rest = reader.feed(piece)
        if rest is not None:
            return reader, rest + b"".join(pieces[number + 1 :])
    return reader, None


def line_by_line(wire: bytes) -> tuple[bytes, bytes] | None:
    """The same by the letter of RFC 5321 §4.5.2: content and what follows, None without an end."""
    content = b""
    while True:
        line, crlf, wire = wire.partition(b"\r\n")
        if not crlf:
            return None
        if line == b".":
            return content, wire
        content += line.removeprefix(b".") + crlf


WIRE = (
    b".\r\n",
    b"a\r\n.\r\n",
    b"..\r\n.\r\n",
    b"..a\r\n.b\r\n...\r\nc.\r\n.d.\r\n.\r\nNOOP\r\n",
    b"\r\n\r\n..\r\n\r\n.\r\n",
    b".x\r\n..\r\n.\r\n.\r\n",
    b"a\r\r\n.\r\n",
    b"\r\n.\r\n",
)


@pytest.mark.parametrize("wire", WIRE)
def test_one_dot_goes_and_the_end_is_found_at_every_split(wire):
    expected = line_by_line(wire)
    for first in range(len(wire) + 1):
        for second in range(first, len(wire) + 1):
            reader, rest = read(wire[:first], wire[first:second], wire[second:])
            assert (reader.content, rest) == expected


def test_every_octet_may_come_alone():
    wire = b"..one\r\n.two\r\n.\r\nQUIT\r\n"
    reader, rest = read(*[wire[at : at + 1] for at in range(len(wire))])
    assert reader.content == b".one\r\ntwo\r\n"
    assert rest == b"QUIT\r\n"


TORN = st.lists(
    st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"\0", b"a", b"\r\n.\r\n", b"\xff"]), max_size=6).map(
        b"".join
    ),
    max_size=6,
)


@given(TORN)
def test_the_reader_agrees_with_the_letter_of_the_standard(pieces):
    reader, rest = read(*pieces)
    expected = line_by_line(b"".join(pieces))
    if expected is None:
        assert rest is None
        return
    content, after = expected
    assert (reader.content, rest) == (content, after)
    report = reader.report(1 << 20)
    without_pairs = content.replace(b"\r\n", b"")
    assert report.bare_cr == (b"\r" in without_pairs)
    assert report.bare_lf == (b"\n" in without_pairs)
    assert report.nul == (b"\0" in content)
    assert report.size == len(content)
    assert not report.too_long


@pytest.mark.parametrize("dots", [0, 1, 200])
def test_the_cap_counts_the_content_without_its_dots(dots):
    line = b"." * bool(dots) + b"x" * 97 + b"\r\n"
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line for _ in range(max(dots, 5)))
    size = len(line) * max(dots, 5)
    reader, _ = read(stuffed + END, keep=size)
    assert not reader.over
    assert len(reader.content) == size
    reader, _ = read(stuffed + END, keep=size - 1)
    assert reader.over
    assert reader.content == b""
    assert reader.report(size - 1).too_long


def test_a_report_measures_against_the_limit_of_the_plane():
    reader, _ = read(b"x" * 98 + b"\r\n" + END)
    assert not reader.report(100).too_long
    assert reader.report(99).too_long


def test_memory_stays_flat_behind_the_cap_and_the_end_is_still_found():
    budget = ContentBudget(1 << 30)
    reader = ContentReader(1 << 20, budget)
    piece = b"y" * 65_534 + b"\r\n"
    tracemalloc.start()
    for _ in range(512):  # 32 MiB
        assert reader.feed(piece) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert budget.used == 0
    assert reader.feed(b".\r") is None
    assert reader.feed(b"\nNOOP\r\n") == b"NOOP\r\n"
    assert reader.over
    assert reader.received == 512 * 65_536 + 3


def test_many_empty_lines_take_no_more_memory_than_their_octets():
    reader = ContentReader(8 << 20, ContentBudget(1 << 30))
    piece = b"\r\n" * 32_768
    tracemalloc.start()
    for _ in range(64):  # 4 MiB
        reader.feed(piece)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_the_budget_holds_what_is_in_memory_and_gets_it_back_once():
    budget = ContentBudget(1000)
    reader = ContentReader(10_000, budget)
    reader.feed(b"x" * 400)
    assert budget.used == 400
    assert budget.admits(100)
    assert not budget.admits(101)
    reader.feed(b"\r\n.\r\nQUIT\r\n")
    assert budget.used == 405
    reader.release()
    reader.release()
    assert budget.used == 0


def test_a_content_beyond_the_budget_is_let_go():
    budget = ContentBudget(1000)
    reader = ContentReader(10_000, budget)
    assert reader.feed(b"x" * 1001) is None
    assert reader.no_room
    assert budget.used == 0
    assert reader.feed(b"\r\n.\r\n") == b""
    assert reader.content == b""


# Endings that other servers took for CR LF . CR LF (CVE-2023-51764 and its kin).
SMUGGLING = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\r\n.\n",
    b"\n\r\n.\n\r\n",
)
SMUGGLED = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<b@gateway.example>\r\nDATA\r\nsmuggled\r\n"


@pytest.mark.parametrize("ending", SMUGGLING)
@both_loops
async def test_only_the_true_ending_ends_a_content(ending):
    policy = ScriptedPolicy.naccs()
    content = b"Subject: a\r\n\r\nbody" + ending + SMUGGLED
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(content + END)
        assert code_of(await client.reply()) == "250 2.0.0"
        assert await client.say("NOOP") == ["250 2.0.0"]
    assert [mail.mail_from for mail in policy.taken] == ["a@client.example"]
    assert policy.taken[0].content == content.replace(b"\r\n.", b"\r\n")
    assert policy.taken[0].report.bare


@pytest.mark.parametrize("ending", SMUGGLING)
@both_loops
async def test_the_public_listener_refuses_such_a_content_and_closes(ending):
    policy = ScriptedPolicy()
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(b"Subject: a\r\n\r\nbody" + ending + SMUGGLED + END)
        assert code_of(await client.reply()) == "550 5.5.2"
        assert await client.rest() == b""
    assert policy.taken == []


@pytest.mark.parametrize(("damage", "flag"), [(b"\r", "bare_cr"), (b"\n", "bare_lf"), (b"\0", "nul")])
@both_loops
async def test_each_damage_is_named_to_the_policy_that_answers_it(damage, flag):
    policy = ScriptedPolicy.naccs()
    async with listening(policy) as listener, in_content(listener, "HELO 60777S") as client:
        client.send(b"one" + damage + b"two\r\n" + END)
        assert code_of(await client.reply()) == "250 2.0.0"
    report = policy.taken[0].report
    assert [name for name in ("bare_cr", "bare_lf", "nul", "too_long") if getattr(report, name)] == [flag]
    assert policy.taken[0].content == b"one" + damage + b"two\r\n"


@both_loops
async def test_a_long_line_and_eight_bit_octets_pass_untouched():
    policy = ScriptedPolicy()
    content = bytes(octet for octet in range(256) if octet not in b"\r\n\0") * 50 + b"\r\n"
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(content + END)
        assert code_of(await client.reply()) == "250 2.0.0"
    assert policy.taken[0].content == content


@both_loops
async def test_an_oversize_mail_is_552_after_the_dot_and_the_session_goes_on():
    policy = ScriptedPolicy(max_message_bytes=100_000)
    async with listening(policy) as listener, in_content(listener) as client:
        client.send(b"z" * 400_000 + b"\r\n" + END)
        assert code_of(await client.reply()) == "552 5.3.4"
        assert await client.say("MAIL FROM:<a@client.example>", "RSET") == ["250 2.1.0", "250 2.0.0"]
        assert listener.budget.used == 0
    assert policy.taken == []


@both_loops
async def test_a_declared_oversize_is_552_at_mail():
    async with listening(ScriptedPolicy(max_message_bytes=1000)) as listener, connected(listener) as client:
        client.send(b"EHLO client.example\r\n")
        lines = [await client.reply() for _ in range(4)]
        assert "250-SIZE 1000" in lines
        assert await client.say("MAIL FROM:<a@b.example> SIZE=1001") == ["552 5.3.4"]
        assert await client.say("MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME") == ["250 2.1.0"]


@both_loops
async def test_the_naccs_plane_is_given_over_long_content_up_to_its_cap():
    policy = ScriptedPolicy.naccs(max_message_bytes=1000)
    async with listening(policy, damaged_message_bytes=5000) as listener:
        async with in_content(listener) as client:
            client.send(b"z" * 4998 + b"\r\n" + END)
            assert code_of(await client.reply()) == "250 2.0.0"
        async with in_content(listener) as client:
            client.send(b"z" * 4999 + b"\r\n" + END)
            assert code_of(await client.reply()) == "552 5.3.4"
            assert await client.rest() == b""
    assert [(mail.report.size, mail.report.too_long) for mail in policy.taken] == [(5000, True)]


@both_loops
async def test_a_content_without_measure_is_not_read_to_its_end():
    policy = ScriptedPolicy(max_message_bytes=1000)
    async with listening(policy, discarded_bytes=50_000) as listener, in_content(listener) as client:
        client.send(b"z" * 50_001)
        assert code_of(await client.reply()) == "552 5.3.4"
        assert await client.rest() == b""
        assert listener.budget.used == 0


@both_loops
async def test_mail_is_452_while_too_much_content_is_in_memory():
    policy = ScriptedPolicy(max_message_bytes=5000)
    async with (
        listening(policy, content_in_flight=10_000) as listener,
        connected(listener) as client,
        in_content(listener) as one,
        in_content(listener) as two,
    ):
        one.send(b"z" * 3000)
        two.send(b"z" * 3000)
        await until(lambda: listener.budget.used == 6000)
        assert await client.say("HELO client.example", "MAIL FROM:<a@b.example>") == ["250", "452 4.3.1"]
        one.send(b"\r\n" + END)
        assert code_of(await one.reply()) == "250 2.0.0"
        assert await client.say("MAIL FROM:<a@b.example>") == ["250 2.1.0"]


@both_loops
async def test_a_declared_size_counts_against_the_room_there_is():
    policy = ScriptedPolicy(max_message_bytes=5000)
    async with listening(policy, content_in_flight=10_000) as listener, connected(listener) as client:
        client.send(b"EHLO client.example\r\n")
        assert [(await client.reply())[3] for _ in range(4)] == ["-", "-", "-", " "]
        async with in_content(listener) as other:
            other.send(b"z" * 1000)
            await until(lambda: listener.budget.used == 1000)
            assert await client.say("MAIL FROM:<a@b.example> SIZE=4001") == ["452 4.3.1"]
            assert await client.say("MAIL FROM:<a@b.example> SIZE=4000") == ["250 2.1.0"]


@both_loops
async def test_a_content_that_finds_no_room_is_452_at_the_dot_and_may_come_again():
    policy = ScriptedPolicy(max_message_bytes=5000)
    async with listening(policy, content_in_flight=1) as listener, in_content(listener) as client:
        async with in_content(listener) as one, in_content(listener) as two:
            one.send(b"z" * 4000)
            two.send(b"z" * 4000)
            await until(lambda: listener.budget.used == 8000)
            client.send(b"z" * 4000 + b"\r\n" + END)
            assert code_of(await client.reply()) == "452 4.3.1"
            assert listener.budget.used == 8000
        await until(lambda: listener.budget.used == 0)
        assert await client.say("MAIL FROM:<a@b.example>") == ["250 2.1.0"]


@both_loops
async def test_a_mail_of_the_allowed_size_finds_room_while_it_is_alone():
    policy = ScriptedPolicy(max_message_bytes=5000)
    async with listening(policy, content_in_flight=1) as listener, in_content(listener) as client:
        client.send(b"z" * 4998 + b"\r\n" + END)
        assert code_of(await client.reply()) == "250 2.0.0"
