"""Hand-overs by SMTP: whose each failure is, what is claimed, and what is in doubt, against servers that misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.smtp_out import TimeLimits
from tests.fakes.in_house_server import DROP, SILENCE, until
from tests.gateway.backend_process import BackendProcess, body_of
from tests.gateway.delivering import PATIENCE, HoldingServer

pytestmark = pytest.mark.usefixtures("all_processes_end")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The store of tests in which the kind of store has no part."""
    tmp_path.chmod(0o700)
    return f"sqlite:///{tmp_path / 'gateway.db'}"


@pytest.fixture
async def server() -> AsyncIterator[HoldingServer]:
    async with HoldingServer() as running:
        yield running


@pytest.fixture
async def process(url: str, server: HoldingServer) -> AsyncIterator[BackendProcess]:
    started = BackendProcess(url, server)
    await started.start()
    yield started
    await started.stop()


def carriers(server: HoldingServer) -> set[int]:
    """The connections that were used for more than a probe."""
    return {number for number, line in server.commands if line.startswith("MAIL")}


def taken(server: HoldingServer) -> list[bytes]:
    return [body_of(mail.content).rstrip() for mail in server.mails]


async def test_a_request_is_claimed_before_it_is_sent_and_delivered_with_the_250(process, server):
    with server.holding("MAIL"):
        request = await process.request(b"one")
        await until(lambda: server.lines("MAIL"), PATIENCE)
        assert await process.claimed(request)
        assert await process.state(request) == "queued"
    await process.becomes(request, "delivered")
    (mail,) = server.mails
    row = await process.request_row(request)
    assert (mail.mail_from, mail.rcpt_to) == ("1@x.example", "BACKEND@SMTP.CENTER.EXAMPLE")
    assert f"X-NACCS-Request-Id: {row.id}\r\n".encode() in mail.content
    assert (await process.row(request)).attempts == 1
    assert await process.attempts(request) == []


async def test_connections_are_kept_and_never_more_than_the_setting_allows(url, server):
    process = BackendProcess(url, server, backend={"connections": 2})
    await process.start()
    with server.holding("MAIL"):
        requests = [await process.request(b"%d" % number, address=number) for number in range(10)]
        await until(lambda: len(server.lines("MAIL")) == 2, PATIENCE)
    for request in requests:
        await process.becomes(request, "delivered")
    assert len(carriers(server)) == len(server.connections) == 2
    await process.stop()
    assert len(server.lines("QUIT")) == 2


async def test_an_idle_connection_is_closed(url, server):
    process = BackendProcess(url, server, backend={"idle_close": 0.1})
    await process.start()
    await process.becomes(await process.request(b"one"), "delivered")
    await until(lambda: server.lines("QUIT"), PATIENCE)
    await process.becomes(await process.request(b"two", address=2), "delivered")
    assert len(server.connections) == 2
    await process.stop()


async def test_a_kept_connection_the_server_closed_costs_nothing(process, server):
    await process.becomes(await process.request(b"one"), "delivered")
    server.connections[0].cut()
    second = await process.request(b"two", address=2)
    await process.becomes(second, "delivered")
    assert await process.attempts(second) == []


@pytest.mark.parametrize("words", ["421 closing", DROP])
async def test_a_kept_connection_that_ends_at_mail_costs_nothing(process, server, words):
    await process.becomes(await process.request(b"one"), "delivered")
    server.behaviour.next("MAIL", words)
    second = await process.request(b"two", address=2)
    await process.becomes(second, "delivered")
    assert await process.attempts(second) == []
    assert taken(server) == [b"one", b"two"]


@pytest.mark.parametrize("reply", ["450 not now", "550 not from you"])
async def test_a_refusal_at_mail_is_the_addresss_alone(process, server, reply):
    server.behaviour.next("MAIL", reply)
    refused = await process.request(b"refused", address=1)
    await process.attempted(refused)
    others = [await process.request(b"%d" % number, address=number) for number in range(2, 6)]
    for other in others:
        await process.becomes(other, "delivered")
    await process.becomes(refused, "delivered")
    (attempt,) = await process.attempts(refused)
    assert attempt == ("permanent" if reply[0] == "5" else "temporary", "mail", reply)
    assert len(taken(server)) == 5


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("RCPT", "450 not now"),
        ("RCPT", "550 nobody here"),
        ("RCPT", DROP),
        ("MAIL", DROP),
        ("MAIL", "421 closing"),
        ("MAIL", "999 what"),
        ("CONNECT", "554 go away"),
        ("CONNECT", "421 too many"),
        ("CONNECT", DROP),
        ("HELO", "451 not now"),
        ("HELO", DROP),
        ("HELO", "gar\r\nbage"),
    ],
)
async def test_a_failure_of_the_endpoint_blames_no_request(process, server, verb, words):
    server.behaviour.next(verb, words)
    request = await process.request(b"one")
    await process.becomes(request, "delivered")
    (attempt,) = await process.attempts(request)
    assert attempt[1] == verb.lower()
    row = await process.row(request)
    assert (row.attempts, row.in_doubt) == (1, 0)
    assert taken(server) == [b"one"]


async def test_of_an_endpoint_that_refuses_all_only_one_at_a_time_finds_out(process, server):
    server.behaviour.always["RCPT"] = "451 not now"
    requests = [await process.request(b"%d" % number, address=number) for number in range(20)]
    await asyncio.sleep(0.5)
    probes = {number for number, line in server.commands if line == "QUIT"} - carriers(server)
    assert len(server.lines("RCPT")) <= 8 + len(probes)  # those that were under way, and one after each probe
    server.behaviour.always.clear()
    for request in requests:
        await process.becomes(request, "delivered")
    assert sorted(taken(server)) == sorted(b"%d" % number for number in range(20))


@pytest.mark.parametrize(
    ("verb", "words", "stage"),
    [
        ("DATA", "451 not now", "data"),
        ("DATA", "554 no", "data"),
        ("DATA", DROP, "data"),
        ("DOT", "451 not now", "dot"),
        ("DOT", "421 closing", "dot"),
    ],
)
async def test_a_definite_failure_gives_the_claim_up_and_the_request_is_tried_again(
    process, server, verb, words, stage
):
    server.behaviour.next(verb, words)
    first, second = await process.requests(b"one", b"two")
    await process.attempted(first)
    await until(lambda: not process.backend_lane.under_way, PATIENCE)
    await process.becomes(first, "delivered")
    assert [attempt[1] for attempt in await process.attempts(first)] == [stage]
    assert (await process.row(first)).in_doubt == 0
    await process.result(first)
    await process.becomes(second, "delivered")
    assert taken(server) == [b"one", b"two"]


async def test_a_request_that_is_refused_for_now_is_not_claimed_while_it_waits(url, server):
    process = BackendProcess(url, server, retry_first=600.0, retry_max=600.0)
    await process.start()
    server.behaviour.next("DOT", "451 not now")
    request = await process.request(b"one")
    await process.attempted(request)
    assert not await process.claimed(request)
    await process.stop()


async def test_a_flush_ends_the_back_off_of_an_address(url, server):
    process = BackendProcess(url, server, retry_first=600.0, retry_max=600.0)
    await process.start()
    server.behaviour.next("DOT", "451 not now")
    request = await process.request(b"one")
    await process.attempted(request)
    await process.flush_backend()
    await process.becomes(request, "delivered")
    assert (await process.row(request)).attempts == 2
    await process.stop()


async def test_a_5xx_at_the_dot_parks_answers_a0007_and_tells_the_operator(process, server):
    server.behaviour.next("DOT", "554 not executable")
    first, second = await process.requests(b"one", b"two")
    await process.becomes(second, "delivered")
    assert await process.state(first) == "parked"
    assert await process.answers() == [b"A0007 one"]
    assert process.parked == [(first, "554 not executable")]
    row = await process.request_row(first)
    assert row.claimed_at is None
    assert row.answered_at is not None
    assert taken(server) == [b"two"]


async def test_an_address_that_cannot_be_written_is_parked_and_answered(process, server):
    request = await process.request(b"one\nbare")
    await process.becomes(request, "parked")
    assert await process.answers() == [b"A0007 one\nbare"]
    assert not await process.claimed(request)
    assert server.mails == []


@pytest.mark.parametrize("words", [DROP, "999 what", "gar\r\nbage"])
async def test_lost_at_the_dot_it_is_never_sent_again_and_never_answered(process, server, words):
    server.behaviour.next("DOT", words)
    request = await process.request(b"one")
    await process.becomes(request, "expired")
    row, asked = await process.row(request), await process.request_row(request)
    assert row.in_doubt == 1
    assert asked.in_doubt
    assert asked.claimed_at is not None
    assert asked.answered_at is None
    assert await process.answers() == []
    assert [attempt[:2] for attempt in await process.attempts(request)] == [("in_doubt", "dot")]
    # What may be executing keeps its address waiting.
    second = await process.request(b"two")
    await asyncio.sleep(0.2)
    assert await process.state(second) == "queued"
    await process.result(request)
    await process.becomes(second, "delivered")


async def test_a_silent_server_at_the_dot_leaves_it_in_doubt(url, server):
    process = BackendProcess(url, server, backend={"limits": TimeLimits(connect=600, command=600, block=600, dot=0.1)})
    await process.start()
    server.behaviour.next("DOT", SILENCE)
    request = await process.request(b"one")
    await process.becomes(request, "expired")
    assert (await process.attempts(request))[0][2] == "timed out"
    await process.stop()


async def test_a_backend_that_discards_repeats_gets_the_same_bytes_again(url, server):
    process = BackendProcess(url, server, backend={"discards_repeats": True})
    await process.start()
    server.behaviour.next("DOT", DROP, DROP)
    request = await process.request(b"one")
    await process.becomes(request, "delivered")
    row = await process.row(request)
    assert (row.attempts, row.in_doubt) == (3, 2)
    assert len({mail.content for mail in server.mails}) == 1
    assert len(server.mails) == 3
    assert not (await process.request_row(request)).in_doubt
    await process.stop()


async def test_what_may_have_arrived_stays_claimed_whatever_follows(url, server):
    process = BackendProcess(url, server, backend={"discards_repeats": True})
    await process.start()
    server.behaviour.next("DOT", DROP, "451 not now", "554 known already")
    request = await process.request(b"one")
    await process.attempted(request, 2)
    assert await process.claimed(request)
    await process.becomes(request, "expired")
    asked = await process.request_row(request)
    assert asked.in_doubt
    assert asked.answered_at is None
    assert await process.answers() == []
    await process.stop()


async def test_what_may_have_arrived_is_not_sent_again_once_its_result_is_there(url, server):
    process = BackendProcess(url, server, backend={"discards_repeats": True}, retry_first=600.0, retry_max=600.0)
    await process.start()
    server.behaviour.next("DOT", DROP)
    request = await process.request(b"one")
    await process.attempted(request)
    await process.result(request)
    await process.flush_backend()
    await process.becomes(request, "delivered")
    assert len(server.mails) == 1
    await process.stop()


async def test_what_may_have_arrived_is_not_sent_again_after_its_life(url, server):
    process = BackendProcess(url, server, backend={"discards_repeats": True}, retry_first=600.0, retry_max=600.0)
    await process.start()
    server.behaviour.next("DOT", DROP)
    request = await process.request(b"one")
    await process.attempted(request)
    process.ages()
    await process.becomes(request, "expired")
    assert (await process.request_row(request)).in_doubt
    assert await process.answers() == []
    assert len(server.mails) == 1
    await process.stop()


async def test_a_slow_address_holds_back_nobody_else(process, server):
    server.behaviour.next("DOT", SILENCE)
    slow = await process.request(b"slow", address=1)
    await until(lambda: server.mails, PATIENCE)
    quick = [await process.request(b"%d" % number, address=2, awaited=False) for number in range(30)]
    for request in quick:
        await process.becomes(request, "delivered")
    assert taken(server)[1:] == [b"<xml>%d" % number for number in range(30)]
    assert await process.state(slow) == "queued"
    server.connections[server.mails[0].connection].cut()


# --- ends ---


async def test_a_stop_lets_what_is_on_its_way_end_and_leaves_nothing_claimed_that_was_not_sent(url, server):
    process = BackendProcess(url, server, backend={"connections": 1})
    await process.start()
    with server.holding("MAIL"):
        requests = [await process.request(b"%d" % number, address=number) for number in range(3)]
        await until(lambda: server.lines("MAIL"), PATIENCE)
        stopping = asyncio.create_task(process.stop())
        await until(lambda: process.delivery._shared.stopping, PATIENCE)
    await stopping
    after = BackendProcess(url, server)
    assert [await after.state(request) for request in requests] == ["delivered", "queued", "queued"]
    assert [await after.claimed(request) for request in requests] == [True, False, False]
    await after.start()
    for request in requests:
        await after.becomes(request, "delivered")
    assert sorted(taken(server)) == [b"0", b"1", b"2"]
    await after.stop()


async def test_a_stop_that_cuts_a_connection_before_the_dot_gives_the_claim_up(url, server):
    process = BackendProcess(url, server)
    await process.start()
    server.behaviour.next("DATA", SILENCE)
    request = await process.request(b"one")
    await until(lambda: server.lines("DATA"), PATIENCE)
    began = time.monotonic()
    await process.stop(0.1)
    assert time.monotonic() - began < PATIENCE  # the server is never given up
    after = BackendProcess(url, server)
    assert (await after.state(request), await after.claimed(request)) == ("queued", False)
    await after.database.close()


@pytest.mark.parametrize("discards", [False, True])
async def test_after_a_kill_what_was_claimed_is_in_doubt(store_url, server, discards):
    options: dict[str, Any] = {"backend": {"discards_repeats": discards}, "scan_every": 0.2}
    killed = BackendProcess(store_url, server, renew=False, **options)
    await killed.start()
    server.behaviour.next("DOT", SILENCE)
    first, second = await killed.requests(b"one", b"two")
    await until(lambda: server.mails, PATIENCE)
    await killed.dies()
    after = BackendProcess(store_url, server, **options)
    await after.start()
    await after.becomes(first, "delivered" if discards else "expired")
    asked, row = await after.request_row(first), await after.row(first)
    assert asked.claimed_at is not None
    assert asked.in_doubt is not discards
    assert row.in_doubt == 1
    assert await after.answers() == []
    assert [attempt[0] for attempt in await after.attempts(first)] == ["in_doubt"]
    assert await after.state(second) == "queued"
    await after.result(first)
    await after.becomes(second, "delivered")
    assert taken(server) == ([b"one"] * 2 if discards else [b"one"]) + [b"two"]
    await after.stop()


async def test_after_a_kill_a_result_that_came_is_as_good_as_the_250(store_url, server):
    before = BackendProcess(store_url, server)
    request = await before.request(b"one", claimed=True)
    await before.result(request)
    await before.database.close()
    after = BackendProcess(store_url, server)
    await after.start()
    await after.becomes(request, "delivered")
    assert server.mails == []
    await after.stop()


async def test_a_request_taken_out_of_the_lane_is_not_sent(process, server):
    with server.holding("MAIL"):
        first, second = await process.requests(b"one", b"two", awaited=False)
        await until(lambda: server.lines("MAIL"), PATIENCE)
        await process.execute("UPDATE recipients SET state = 'cancelled' WHERE id = :id", id=second)
    await process.becomes(first, "delivered")
    await process.idle()
    assert taken(server) == [b"<xml>one"]
    assert not await process.claimed(second)


async def test_that_a_request_arrived_is_written_though_somebody_took_it_meanwhile(process, server):
    with server.holding("MAIL"):
        request = await process.request(b"one")
        await until(lambda: server.lines("MAIL"), PATIENCE)
        await process.execute("UPDATE recipients SET state = 'parked' WHERE id = :id", id=request)
    await process.idle()
    assert await process.state(request) == "parked"
    assert await process.attempts(request) == [("in_doubt", "dot", "250 Mail accepted")]
    assert await process.claimed(request)


async def test_a_request_somebody_took_meanwhile_is_not_claimed_when_it_did_not_arrive(process, server):
    server.behaviour.next("DOT", "451 not now")
    with server.holding("MAIL"):
        request = await process.request(b"one")
        await until(lambda: server.lines("MAIL"), PATIENCE)
        await process.execute("UPDATE recipients SET state = 'parked' WHERE id = :id", id=request)
    await process.idle()
    assert await process.state(request) == "parked"
    assert not await process.claimed(request)


async def test_a_released_request_that_was_answered_is_never_sent(process, server):
    server.behaviour.next("DOT", "554 no")
    request = await process.request(b"one")
    await process.becomes(request, "parked")
    await process.execute("UPDATE recipients SET state = 'queued' WHERE id = :id", id=request)
    process.delivery._on_foreign(None)
    await process.becomes(request, "expired")
    assert (await process.row(request)).last_reply == "it was answered already"
    assert server.mails == []


async def test_a_lane_that_became_anothers_sends_nothing_more(store_url, server):
    process = BackendProcess(store_url, server, scan_every=0.2)
    await process.start()
    await process.becomes(await process.request(b"one", address=1), "delivered")
    await process.execute("UPDATE lanes SET lease_token = 1 WHERE lane = 'backend'")
    server.behaviour.next("MAIL", "999 nothing is to come here")
    second = await process.request(b"two", address=2)
    await process.becomes(second, "delivered")  # the holder does not live, so the lane comes back
    assert [attempt[1] for attempt in await process.attempts(second)] in ([], ["mail"])
    await process.stop()
