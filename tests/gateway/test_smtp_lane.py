"""Lanes that end at SMTP servers: order, refusals, doubt, back-off and kept connections, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from gateway.delivery import Gone
from gateway.smtp_out import TimeLimits
from storage.effects import Applied
from tests.fakes.in_house_server import DROP, SILENCE, InHouseServer, until
from tests.fakes.smarthost import Smarthost
from tests.gateway.delivering import IN_HOUSE, LANE, Process

NOTICES = "smarthost:0"
# Servers that end and come back on their port are at an address of their own: nobody else can be given the port.
HERE = "127.20.14.14"
LIMIT = 300.0
PATIENT = TimeLimits(connect=LIMIT, command=LIMIT, block=LIMIT, dot=LIMIT)


@pytest.fixture
async def server() -> AsyncIterator[InHouseServer]:
    async with InHouseServer(HERE) as opened:
        yield opened


@asynccontextmanager
async def delivering(store_url: str, server: InHouseServer, **settings: Any) -> AsyncIterator[Process]:
    process = Process(store_url, terminal_limits=PATIENT, smarthost_limits=PATIENT, **settings)
    process.lead(LANE, server)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


@pytest.fixture
async def process(store_url: str, server: InHouseServer) -> AsyncIterator[Process]:
    async with delivering(store_url, server) as started:
        yield started


@pytest.fixture
async def smarthost(process: Process) -> AsyncIterator[Smarthost]:
    async with Smarthost(HERE) as opened:
        process.lead(NOTICES, opened)
        yield opened


async def test_each_lane_is_delivered_in_its_order_over_one_connection(process, server):
    async with InHouseServer() as other:
        process.lead("terminal:60002S", other)
        ids = []
        for number in range(12):
            lane = LANE if number % 3 else "terminal:60002S"
            ids += await process.queue(lane, b"%d\r\n" % number)
        await process.idle()
        assert server.contents == [b"%d\r\n" % number for number in range(12) if number % 3]
        assert other.contents == [b"%d\r\n" % number for number in range(12) if not number % 3]
        assert (len(server.connections), len(other.connections)) == (1, 1)
    for recipient_id in ids:
        row = await process.row(recipient_id)
        assert (row.state, row.attempts, row.in_doubt) == ("delivered", 1, 0)
        assert row.last_reply == "250 Mail accepted"
        assert row.finished_at is not None
        assert await process.attempts(recipient_id) == []


async def test_a_burst_committed_in_any_batches_keeps_its_order(process, server):
    units = [process.unit(LANE, b"%d\r\n" % number)[1] for number in range(60)]
    outcomes = await asyncio.gather(*(process.database.apply(unit) for unit in units))
    await process.idle()
    places = [outcome.sequences[0] for outcome in outcomes if isinstance(outcome, Applied)]
    in_order = sorted(range(60), key=lambda number: places[number])
    assert server.contents == [b"%d\r\n" % number for number in in_order]


@pytest.mark.parametrize("remember", [True, False])
async def test_the_bytes_on_the_wire_are_the_bytes_queued(process, server, remember):
    mails = [
        b".leading\r\n..two\r\n.\r\n",
        "処理結果通知\r\n".encode("euc_jp") + bytes(range(0x80, 0x100)) + b"\r\n",
        b"x" * 300_000 + b"\r\n",
    ]
    await process.queue(LANE, *mails, remember=remember)
    await process.idle()
    assert server.contents == mails


async def test_a_header_block_of_its_own_replaces_the_mails(process, server):
    await process.queue(LANE, b"Old: x\r\n\r\nbody\r\n", header=b"New: y\r\n\r\n", body_offset=10)
    await process.idle()
    assert server.contents == [b"New: y\r\n\r\nbody\r\n"]


@pytest.mark.parametrize(("verb", "stage"), [("RCPT", "rcpt"), ("DATA", "data"), ("DOT", "dot")])
async def test_a_mail_refused_for_good_is_undelivered_at_once_and_the_lane_goes_on(process, server, verb, stage):
    server.behaviour.next(verb, "554 5.6.0 not this one")
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.idle()
    row = await process.row(first)
    assert (row.state, row.attempts, row.last_reply) == ("undelivered", 1, "554 5.6.0 not this one")
    assert await process.attempts(first) == [("permanent", stage, "554 5.6.0 not this one")]
    assert await process.states([second]) == ["delivered"]
    assert len(server.connections) == 1


@pytest.mark.parametrize("verb", ["RCPT", "DATA", "DOT"])
async def test_a_mail_put_off_three_times_is_undelivered_and_the_lane_goes_on(process, server, verb):
    server.behaviour.next(verb, "451 a", "451 b", "451 c")
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.idle()
    assert await process.states([first, second]) == ["undelivered", "delivered"]
    assert [reply for _, _, reply in await process.attempts(first)] == ["451 a", "451 b", "451 c"]
    assert server.contents == [b"2\r\n"]


async def test_nothing_passes_a_mail_that_is_tried_again(process, server):
    server.behaviour.next("DOT", "451 later")
    ids = await process.queue(LANE, b"1\r\n", b"2\r\n", b"3\r\n")
    await process.idle()
    assert server.contents == [b"1\r\n", b"2\r\n", b"3\r\n"]
    assert (await process.row(ids[0])).attempts == 2


async def test_a_reply_lost_after_the_dot_leaves_the_mail_in_doubt_and_it_is_sent_again(process, server):
    server.behaviour.next("DOT", DROP)
    first, second = await process.queue(LANE, b"Message-ID: <1@x.example>\r\n\r\n1\r\n", b"2\r\n")
    await process.idle()
    row = await process.row(first)
    assert (row.state, row.attempts, row.in_doubt) == ("delivered", 2, 1)
    assert server.contents == [b"Message-ID: <1@x.example>\r\n\r\n1\r\n"] * 2 + [b"2\r\n"]
    assert [(outcome, stage) for outcome, stage, _ in await process.attempts(first)] == [("in_doubt", "dot")]
    assert (await process.row(second)).in_doubt == 0


async def test_trouble_up_to_mail_blames_no_mail(process, server):
    server.behaviour.next("CONNECT", "554 closed")
    server.behaviour.next("HELO", "421 busy")
    server.behaviour.next("MAIL", "550 no", "451 no", "550 no", "550 no")
    (first,) = await process.queue(LANE, b"1\r\n")
    await process.idle()
    row = await process.row(first)
    assert (row.state, row.attempts) == ("delivered", 1)
    stages = [stage for _, stage, _ in await process.attempts(first)]
    assert stages == ["connect", "helo", "mail", "mail", "mail", "mail"]


async def test_a_dead_terminal_gets_one_probe_at_a_time_and_everything_once_it_is_back(process, server):
    await server.close()
    ids = await process.queue(LANE, *(b"%d\r\n" % number for number in range(5)))
    await process.attempted(ids[0], times=3)
    assert await process.states(ids) == ["queued"] * 5
    probes = await process.attempts(ids[0])
    assert all(probe == ("temporary", "connect", "Connection refused") for probe in probes)
    assert (await process.row(ids[0])).last_reply == "Connection refused"
    assert [await process.attempts(recipient_id) for recipient_id in ids[1:]] == [[]] * 4
    await server.open()
    await process.idle()
    assert server.contents == [b"%d\r\n" % number for number in range(5)]


async def test_a_dead_terminal_does_not_slow_another(process, server):
    async with InHouseServer() as dead:
        dead.behaviour.always["CONNECT"] = SILENCE
        for number in range(5):
            process.lead(f"terminal:7000{number}S", dead)
            await process.queue(f"terminal:7000{number}S", b"x\r\n")
        await until(lambda: len(dead.connections) == 5)
        await process.queue(LANE, *(b"%d\r\n" % number for number in range(50)))
        await until(lambda: len(server.mails) == 50)
        assert len(dead.connections) == 5  # each of them still waits for its greeting
        assert dead.mails == []


async def test_waiting_mail_is_undelivered_when_its_life_is_over(process, server):
    await server.close()
    ids = await process.queue(LANE, b"1\r\n", b"2\r\n", b"3\r\n")
    await process.attempted(ids[0])
    process.clock.offset = timedelta(minutes=30)
    await process.idle()
    assert await process.states(ids) == ["undelivered"] * 3
    row = await process.row(ids[2])
    assert row.last_reply == "waited 1800 s; last failure at connect: Connection refused"
    await server.open()
    await process.queue(LANE, b"4\r\n")
    await process.idle()
    assert server.contents == [b"4\r\n"]


async def test_mail_that_is_too_old_at_start_is_not_sent_any_more(process, server):
    old = await process.queue(LANE, b"old\r\n", age=1801)
    new = await process.queue(LANE, b"new\r\n", age=1700)
    await process.idle()
    assert await process.states(old + new) == ["undelivered", "delivered"]
    assert server.contents == [b"new\r\n"]


async def test_a_binding_no_longer_effective_is_not_sent(process, server):
    process.targets[LANE] = Gone("3A0001 is another's now")
    (first,) = await process.queue(LANE, b"1\r\n")
    await process.idle()
    row = await process.row(first)
    assert (row.state, row.last_reply) == ("undelivered", "3A0001 is another's now")
    assert server.connections == []


async def test_a_kept_connection_is_closed_when_the_terminal_moved(process, server):
    await process.queue(LANE, b"1\r\n")
    await process.idle()
    async with InHouseServer() as moved:
        process.lead(LANE, moved)
        await process.queue(LANE, b"2\r\n")
        await process.idle()
        assert (server.contents, moved.contents) == ([b"1\r\n"], [b"2\r\n"])
        assert server.connections[0].is_cut


async def test_a_kept_connection_the_server_closed_costs_no_try(process, server):
    await process.queue(LANE, b"1\r\n")
    await process.idle()
    server.behaviour.next("MAIL", "421 idle too long")
    (second,) = await process.queue(LANE, b"2\r\n")
    await process.idle()
    server.connections[1].cut()
    (third,) = await process.queue(LANE, b"3\r\n")
    await process.idle()
    assert server.contents == [b"1\r\n", b"2\r\n", b"3\r\n"]
    assert await process.attempts(second) == await process.attempts(third) == []
    assert len(server.connections) == 3


async def test_an_idle_connection_is_closed_and_opened_again(store_url, server):
    async with delivering(store_url, server, idle_close=0.15) as process:
        await process.queue(LANE, b"1\r\n")
        await process.idle()
        await until(lambda: server.connections[0].is_cut)
        await process.queue(LANE, b"2\r\n")
        await process.idle()
        assert server.contents == [b"1\r\n", b"2\r\n"]
        assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        (b"bare\nline\r\n", {}, "the content has a bare CR or LF"),
        (b"1\r\n", {"rcpt_to": "a> NOTIFY=NEVER"}, "not an address that can be sent: 'a> NOTIFY=NEVER'"),
        (b"1\r\n", {"sender": "名@c.example"}, "not an address that can be sent: '名@c.example'"),
    ],
)
async def test_a_mail_that_can_never_be_sent_is_parked_and_the_lane_goes_on(process, server, content, options, reason):
    (poison,) = await process.queue(LANE, content, **options)
    (after,) = await process.queue(LANE, b"after\r\n")
    await process.idle()
    row = await process.row(poison)
    assert (row.state, row.last_reply) == ("parked", reason)
    assert await process.attempts(poison) == [("permanent", "mail", reason)]
    assert await process.states([after]) == ["delivered"]
    assert server.contents == [b"after\r\n"]


async def test_a_mail_without_bytes_in_the_store_is_parked(process, server):
    recipient_id, unit = process.unit(LANE, b"1\r\n", remember=False)
    mail_id = unit.queued[0].recipient.mail_id
    process.targets[LANE] = Gone("it is asked for its bytes first")
    without_bytes = type(unit)(inserts=unit.inserts[:1], queued=unit.queued)
    await process.database.apply(without_bytes)
    await process.idle()
    row = await process.row(recipient_id)
    assert (row.mail_id, row.state, row.last_reply) == (mail_id, "parked", "its content is not in the store")


async def test_a_map_that_cannot_be_asked_stops_the_lane_for_a_while_only(process, server):
    target = process.targets.pop(LANE)
    (first,) = await process.queue(LANE, b"1\r\n")
    await asyncio.sleep(0.15)
    assert await process.states([first]) == ["queued"]
    process.targets[LANE] = target
    await process.idle()
    assert server.contents == [b"1\r\n"]


async def test_a_deferred_notice_lets_later_ones_pass(process, smarthost):
    smarthost.behaviour.for_recipient["late@applicant.example"] = "450 4.2.1 greylisted"
    (late,) = await process.queue(NOTICES, b"late\r\n", rcpt_to="late@applicant.example")
    ids = await process.queue(NOTICES, b"1\r\n", b"2\r\n", rcpt_to="other@applicant.example")
    async with asyncio.timeout(30):
        while await process.states(ids) != ["delivered", "delivered"]:  # noqa: ASYNC110 - of the store
            await asyncio.sleep(0.01)
    assert await process.states([late]) == ["queued"]
    row = await process.row(late)
    assert row.due_at > row.created_at
    del smarthost.behaviour.for_recipient["late@applicant.example"]
    await process.idle()
    assert smarthost.contents == [b"1\r\n", b"2\r\n", b"late\r\n"]
    assert (await process.row(late)).attempts >= 2


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DOT"])
async def test_a_notice_refused_for_good_failed(process, smarthost, verb):
    smarthost.behaviour.next(verb, "550 5.1.1 nobody")
    first, second = await process.queue(NOTICES, b"1\r\n", b"2\r\n", rcpt_to="a@applicant.example")
    await process.idle()
    assert await process.states([first, second]) == ["failed", "delivered"]
    assert (await process.row(first)).last_reply == "550 5.1.1 nobody"


async def test_a_notice_expires_when_its_life_is_over(process, smarthost):
    (old,) = await process.queue(NOTICES, b"1\r\n", age=5 * 86400 + 1)
    await process.idle()
    assert await process.states([old]) == ["expired"]
    assert smarthost.mails == []


async def test_a_smarthost_that_is_down_is_probed_by_one_notice(process, smarthost):
    await smarthost.close()
    ids = await process.queue(NOTICES, b"1\r\n", b"2\r\n", rcpt_to="a@applicant.example")
    await process.attempted(ids[0])
    assert await process.attempts(ids[1]) == []
    await smarthost.open()
    await process.idle()
    assert smarthost.contents == [b"1\r\n", b"2\r\n"]
    assert smarthost.lines("EHLO")
    assert not smarthost.lines("HELO")


async def test_content_beyond_the_memory_is_read_again_from_the_store(store_url, server):
    async with delivering(store_url, server, memory_bytes=10) as process:
        mails = [b"%06d\r\n" % number for number in range(20)]
        await asyncio.gather(*(process.database.apply(process.unit(LANE, mail)[1]) for mail in mails))
        await process.idle()
        assert sorted(server.contents) == mails
        assert process.delivery.idle()


async def test_the_envelope_is_the_queued_one(process, server):
    await process.queue(LANE, b"1\r\n", sender="", rcpt_to=IN_HOUSE)
    await process.idle()
    assert (server.mails[0].mail_from, server.mails[0].rcpt_to) == ("", IN_HOUSE)
