"""What in-house servers do wrong, and what comes of it: the outcome, its stage, and whether the lane is held.

Every case is played over real sockets by a whole delivering process with two mails in the lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.smtp_out import Target, TimeLimits
from tests.conftest import make_postgresql_database, sqlite_store_in
from tests.fakes.in_house_server import DROP, DROP_IN_DATA, SILENCE, InHouseServer, until
from tests.fakes.rude_server import Flood, Manners, RudeServer
from tests.fakes.smarthost import Smarthost
from tests.gateway.delivering import LANE, Process
from tests.gateway.loop_clock import LoopClock

LIMIT = 30.0
# A time limit ends when a test moves the loop's clock, a back-off not even then.
SETTINGS: dict[str, Any] = {
    "retry_first": 3600.0,
    "retry_max": 3600.0,
    "terminal_limits": TimeLimits(connect=LIMIT, command=LIMIT, block=LIMIT, dot=LIMIT),
}


@pytest.fixture
def store_url(request, tmp_path) -> str:
    """SQLite alone, where nothing else is said: what a peer does is the same to either store."""
    if getattr(request, "param", "sqlite") == "postgresql":
        template = request.getfixturevalue("postgresql_template")
        return make_postgresql_database(request.getfixturevalue("postgresql"), template)
    return sqlite_store_in(tmp_path, request.getfixturevalue("sqlite_template"))


@pytest.fixture
async def process(store_url) -> AsyncIterator[Process]:
    started = await Process(store_url, **SETTINGS).start()
    try:
        yield started
    finally:
        await started.stop()


@pytest.fixture
async def clock() -> LoopClock:
    return LoopClock()


@pytest.fixture
async def server(process) -> AsyncIterator[InHouseServer]:
    async with InHouseServer() as opened:
        process.lead(LANE, opened)
        yield opened


@dataclass(frozen=True)
class Case:
    """At `verb` the server does `told`, once, while it gets the first of two mails."""

    verb: str
    told: str
    outcome: str  # of the attempt
    stage: str
    words: str = ""  # "": what was told
    holds: bool = False  # the lane: the breaker opens, and the next mail waits
    end: str = "delivered"  # the first mail
    copies: int = 1  # of the first mail that the server took


def refused_everywhere() -> list[Case]:
    cases = []
    for verb in ("CONNECT", "HELO", "MAIL"):
        stage = verb.lower()
        cases += [
            Case(verb, f"{code} its words", outcome, stage, holds=True)
            for code, outcome in ((421, "temporary"), (451, "temporary"), (550, "permanent"))
        ]
    for verb in ("RCPT", "DATA", "DOT"):
        stage = verb.lower()
        cases += [Case(verb, f"{code} its words", "temporary", stage) for code in (421, 450, 452)]
        cases += [
            Case(verb, f"{code} its words", "permanent", stage, end="undelivered", copies=0) for code in (500, 554)
        ]
    return cases


GONE = " "  # in the words of the system
LATE = "timed out"
CASES = [
    *refused_everywhere(),
    Case("CONNECT", SILENCE, "temporary", "connect", LATE, holds=True),
    Case("CONNECT", "hello there", "temporary", "connect", holds=True),
    Case("CONNECT", "250 hello", "temporary", "connect", holds=True),
    Case("HELO", "500 EHLO or nothing", "permanent", "helo", holds=True),
    Case("HELO", "503 HELO was given", "permanent", "helo", holds=True),
    Case("HELO", DROP, "temporary", "helo", GONE, holds=True),
    Case("HELO", SILENCE, "temporary", "helo", LATE, holds=True),
    Case("HELO", "354 go on", "temporary", "helo", holds=True),
    Case("MAIL", DROP, "temporary", "mail", GONE, holds=True),
    Case("MAIL", SILENCE, "temporary", "mail", LATE, holds=True),
    Case("MAIL", "999 what", "temporary", "mail", holds=True),
    Case("RCPT", DROP, "temporary", "rcpt", GONE),
    Case("RCPT", SILENCE, "temporary", "rcpt", LATE),
    Case("RCPT", "???", "temporary", "rcpt"),
    Case("RCPT", "501 no parameter is understood", "permanent", "rcpt", end="undelivered", copies=0),
    Case("DATA", DROP, "temporary", "data", GONE),
    Case("DATA", "250 OK", "temporary", "data"),
    Case("DATA", DROP_IN_DATA, "in_doubt", "dot", GONE),
    Case("DOT", DROP, "in_doubt", "dot", GONE, copies=2),
    Case("DOT", SILENCE, "in_doubt", "dot", LATE, copies=2),
    Case("DOT", "354 more", "in_doubt", "dot"),
    Case("DOT", "gibberish", "in_doubt", "dot"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.verb}-{case.told}".replace(" ", "_"))
async def test_what_one_misbehaviour_comes_to(process, server, clock, case):
    server.behaviour.next(case.verb, case.told)
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    if case.told == SILENCE:
        await until(lambda: not server.behaviour.once[case.verb])
        clock.move(LIMIT)
    await process.attempted(first)
    ((outcome, stage, words),) = await process.attempts(first)
    assert (outcome, stage) == (case.outcome, case.stage)
    assert (case.words or case.told) in words
    assert ((await process.lane()).down_since is not None) is case.holds
    if case.holds:
        assert await process.states([first, second]) == ["queued", "queued"]
        await process.hear()
    await process.idle()
    row = await process.row(first)
    assert (row.state, row.in_doubt) == (case.end, int(case.outcome == "in_doubt"))
    assert await process.states([second]) == ["delivered"]
    assert server.contents == [b"1\r\n"] * case.copies + [b"2\r\n"]
    assert (await process.lane()).down_since is None


@pytest.mark.parametrize(("verb", "tries"), [("MAIL", 0), ("RCPT", 1), ("DATA", 1), ("DOT", 1)])
async def test_421_in_mid_connection_does_not_penalise_the_next_mail(process, server, verb, tries):
    await process.queue(LANE, b"0\r\n")
    await process.idle()
    server.behaviour.next(verb, "421 closing")
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.idle()
    assert server.contents == [b"0\r\n", b"1\r\n", b"2\r\n"]
    assert [len(await process.attempts(each)) for each in (first, second)] == [tries, 0]
    assert len(server.connections) == 2
    assert (await process.lane()).down_since is None


async def test_a_server_that_knows_no_ehlo_no_second_helo_and_no_parameter_hears_none(process, server):
    ids = await process.queue(LANE, *(b"%d\r\n" % number for number in range(5)))
    server.behaviour.next("DOT", "451 once")
    await process.idle()
    assert await process.states(ids) == ["delivered"] * 5
    said = [line for _, line in server.commands]
    assert {line.split()[0] for line in said} == {"HELO", "MAIL", "RCPT", "DATA"}
    assert sum(line.startswith("HELO") for line in said) == 1
    assert all(
        len(line.split()) == 2 for line in server.lines("MAIL") + server.lines("RCPT") if ":" in line.split()[-1]
    )


async def test_a_smarthost_that_refuses_ehlo_gets_no_mail_and_holds_its_lane(process):
    async with Smarthost() as smarthost:
        process.lead("smarthost:0", smarthost)
        smarthost.behaviour.next("EHLO", "500 what")
        (notice,) = await process.queue("smarthost:0", b"1\r\n")
        await process.attempted(notice)
        assert await process.attempts(notice) == [("permanent", "helo", "500 what")]
        assert (await process.lane("smarthost:0")).last_failure == "helo: 500 what"
        await process.flush("smarthost:0")
        await process.idle()
        assert smarthost.contents == [b"1\r\n"]


async def test_one_mail_on_several_lanes_keeps_an_outcome_for_each(process, server):
    """One result for four terminals: taken, put off, refused, and not reached."""
    async with InHouseServer() as later, InHouseServer() as never, InHouseServer() as dead:
        lanes = {f"terminal:6100{number}S": peer for number, peer in enumerate((server, later, never, dead))}
        for lane, peer in lanes.items():
            process.lead(lane, peer)
        later.behaviour.next("RCPT", "450 later")
        never.behaviour.next("RCPT", "550 never")
        await dead.close()
        ids = await process.queue_one(b"result\r\n", *lanes)
        await process.attempted(ids[3])
        async with asyncio.timeout(30):
            while await process.states(ids) != ["delivered", "delivered", "undelivered", "queued"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert [len(await process.attempts(each)) for each in ids] == [0, 1, 1, 1]
        assert [peer.contents for peer in (server, later, never)] == [[b"result\r\n"], [b"result\r\n"], []]
        await dead.open()
        await process.hear("terminal:61003S")
        await process.idle()
        assert dead.contents == [b"result\r\n"]


async def until_tried(process: Process, recipient_id: int, clock: LoopClock) -> None:
    """Let time pass, a second every few milliseconds, until a try of the recipient has failed."""
    async with asyncio.timeout(600):
        while not await process.attempts(recipient_id):
            clock.move(1.0)
            await asyncio.sleep(0.005)


@pytest.fixture
async def rude(process) -> AsyncIterator[RudeServer]:
    async with RudeServer() as opened:
        process.targets[LANE] = Target(host=opened.host, port=opened.port)
        yield opened


async def test_a_peer_that_drips_its_replies_is_borne_with(process, rude):
    rude.manners.byte_every = 0.005
    ids = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.idle()
    assert await process.states(ids) == ["delivered"] * 2
    assert rude.contents == [b"1\r\n", b"2\r\n"]
    assert rude.connections == 1


async def test_a_peer_that_takes_too_long_over_one_reply_is_left(process, rude, clock):
    rude.manners.byte_every = LIMIT / 6  # each byte in time, all of them too late
    (first,) = await process.queue(LANE, b"1\r\n")
    await until_tried(process, first, clock)
    assert await process.attempts(first) == [("temporary", "connect", "timed out")]
    rude.manners = Manners()
    await process.hear()
    await process.idle()
    assert rude.contents == [b"1\r\n"]


async def test_each_reply_may_take_nearly_as_long_as_allowed(process, server, clock):
    server.behaviour.reply_after = 0.6 * LIMIT
    ids = await process.queue(LANE, b"1\r\n", b"2\r\n")
    async with asyncio.timeout(3600):
        while not process.delivery.idle():
            clock.move(1.0)
            await asyncio.sleep(0.001)
    assert await process.states(ids) == ["delivered"] * 2
    assert await process.attempts(ids[0]) == []


@pytest.mark.parametrize("verb", ["CONNECT", "HELO", "MAIL", "RCPT", "DOT"])
@pytest.mark.parametrize("block", [b"x" * 65536, b"250-and more\r\n" * 4000, bytes(range(256)) * 256, b"\x00" * 65536])
async def test_a_peer_that_never_stops_talking_is_left_before_it_fills_the_memory(process, rude, verb, block):
    rude.manners.once[verb] = flood = Flood(block)
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.attempted(first)
    ((outcome, stage, words),) = await process.attempts(first)
    assert (outcome, stage) == ("in_doubt" if verb == "DOT" else "temporary", verb.lower())
    assert words
    assert len(words) <= 500
    assert flood.sent < 32 * 1024 * 1024
    await process.hear()
    await process.idle()
    assert await process.states([first, second]) == ["delivered", "delivered"]
    assert rude.contents == [b"1\r\n"] * (2 if verb == "DOT" else 1) + [b"2\r\n"]


async def test_a_banner_of_a_megabyte_is_no_greeting(process, rude):
    rude.manners.once["CONNECT"] = b"220 " + b"x" * 1_000_000 + b"\r\n"
    (first,) = await process.queue(LANE, b"1\r\n")
    await process.attempted(first)
    ((outcome, stage, words),) = await process.attempts(first)
    assert (outcome, stage) == ("temporary", "connect")
    assert "too long" in words


@pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)
async def test_words_that_no_store_takes_do_not_keep_the_outcome_from_being_written(process, rude):
    rude.manners.once["DOT"] = b"250-taken \xff\x00\r\n250 \xe9\t\x1b[1mok\r\n"
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.idle()
    assert await process.states([first, second]) == ["delivered"] * 2
    assert (await process.row(first)).last_reply == "250 taken \ufffd \ufffd [1mok"


async def test_a_peer_that_half_closes_after_its_greeting_holds_the_lane(process, rude):
    rude.manners.half_close_after = "CONNECT"
    (first,) = await process.queue(LANE, b"1\r\n")
    await process.attempted(first)
    ((outcome, stage, _),) = await process.attempts(first)
    assert (outcome, stage) == ("temporary", "helo")
    rude.manners.half_close_after = ""
    await process.hear()
    await process.idle()


async def test_a_peer_that_reads_a_byte_at_a_time_is_left_before_the_dot(process, clock):
    async with RudeServer(tiny_window=True) as peer:
        process.targets[LANE] = Target(host=peer.host, port=peer.port)
        peer.manners.read_bytes, peer.manners.read_every = 1, 1.0
        (first,) = await process.queue(LANE, b"x" * 20_000_000 + b"\r\n")
        await until_tried(process, first, clock)
        assert await process.attempts(first) == [("temporary", "data", "timed out")]
        assert peer.contents == []


async def test_a_peer_that_reads_slowly_gets_all_of_it(process):
    async with RudeServer(tiny_window=True) as peer:
        process.targets[LANE] = Target(host=peer.host, port=peer.port)
        peer.manners.read_bytes, peer.manners.read_every = 65536, 0.002
        content = b"x" * 700_000 + b"\r\n"
        await process.queue(LANE, content)
        await process.idle()
        assert peer.contents == [content]
