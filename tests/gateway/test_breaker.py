"""The circuit breaker of lanes, pauses, flushes and the life of what waits, on both stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.breaker import Breaker
from gateway.clock_guard import ClockGuard
from gateway.failures import Lost, Stage
from gateway.lanes import DeliverySettings
from gateway.smtp_out import TimeLimits
from storage.effects import LANE_BREAKER
from tests.fakes.in_house_server import DROP, SILENCE, InHouseServer, until
from tests.fakes.smarthost import Smarthost
from tests.gateway.delivering import BRISK, LANE, PATIENCE, HoldingServer, Process

pytestmark = pytest.mark.usefixtures("all_processes_end")
PATIENT: dict[str, Any] = {"retry_first": 60.0, "retry_max": 600.0}
NOTICES = "smarthost:0"


@pytest.fixture
async def server() -> AsyncIterator[HoldingServer]:
    async with HoldingServer() as opened:
        yield opened


async def started(store_url: str, server: InHouseServer, **options: Any) -> Process:
    process = Process(store_url, **options)
    process.lead(LANE, server)
    return await process.start()


@pytest.fixture
async def process(store_url: str, server: InHouseServer) -> AsyncIterator[Process]:
    """Its back-off is longer than any test."""
    made = await started(store_url, server, **PATIENT)
    yield made
    await made.stop()


def test_a_closed_breaker_has_nothing_to_write():
    assert Breaker(LANE, 7).answered() == ()


def test_an_open_breaker_keeps_when_it_opened_until_it_is_closed(now):
    breaker = Breaker(LANE, 7, failures=1)
    failure = Lost(Stage.CONNECT, "Connection refused")
    first = breaker.failed(failure, now, 2.0)
    breaker.failures += 1
    second = breaker.failed(failure, now + timedelta(seconds=2), 4.0)
    assert first.kind is second.kind is LANE_BREAKER
    micros = int(now.timestamp() * 1_000_000)
    assert first.values == (LANE, 7, micros, 1, "connect: Connection refused", micros + 2_000_000)
    assert second.values == (LANE, 7, micros, 2, "connect: Connection refused", micros + 6_000_000)
    (closed,) = breaker.answered()
    assert closed.values == (LANE, 7, None, 0, "", None)
    assert not breaker.is_open


@pytest.mark.parametrize(
    ("verb", "told", "words"),
    [
        ("CONNECT", "421 busy", "connect: 421 busy"),
        ("HELO", "501 who", "helo: 501 who"),
        ("MAIL", "452 full", "mail: 452 full"),
    ],
)
async def test_the_store_says_since_when_a_lane_is_down_and_when_it_is_tried_next(process, server, verb, told, words):
    server.behaviour.always[verb] = told
    await process.queue(LANE, b"1\r\n")
    row = await process.down()
    assert (row.failures, row.last_failure) == (1, words)
    assert row.down_since is not None
    assert row.next_try_at is not None
    assert 40 <= (row.next_try_at - row.down_since).total_seconds() <= 80
    server.behaviour.always.clear()
    await process.hear()
    await process.idle()
    row = await process.lane()
    assert (row.down_since, row.failures, row.last_failure, row.next_try_at) == (None, 0, "", None)


async def test_each_failed_probe_is_one_commit_and_a_good_mail_writes_nothing_of_the_lane(store_url, server):
    process = await started(store_url, server, **PATIENT)
    await server.close()
    before = process.database.commits
    await process.queue(LANE, b"1\r\n")
    await process.down()
    await until(lambda: process.database.commits - before >= 2, PATIENCE)  # a commit is counted after it can be read
    assert process.database.commits - before == 2
    await server.open()
    before = process.database.commits
    await process.hear()
    await process.idle()
    assert process.database.commits - before == 2
    before = process.database.units
    await process.queue(LANE, b"2\r\n")
    await process.idle()
    assert process.database.units - before == 2
    await process.stop()


async def test_the_wait_between_probes_doubles_up_to_the_longest(store_url, server):
    process = await started(store_url, server, retry_first=0.05, retry_max=0.2)
    await server.close()
    (first,) = await process.queue(LANE, b"1\r\n")
    began = time.monotonic()
    rows = [await process.down(failures) for failures in (1, 2, 3, 5)]
    assert len({row.down_since for row in rows}) == 1
    tries = len(await process.attempts(first))
    assert tries <= 4 + (time.monotonic() - began) / 0.16  # no wait is shorter by more than a fifth
    await process.stop()


async def test_a_terminal_that_speaks_is_tried_at_once(process, server):
    await server.close()
    ids = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.down()
    await server.open()
    await process.hear()
    await process.idle()
    assert await process.states(ids) == ["delivered"] * 2
    assert len(await process.attempts(ids[0])) == 1


async def test_a_terminal_that_speaks_and_is_still_down_begins_the_back_off_anew(process, server):
    await server.close()
    (first,) = await process.queue(LANE, b"1\r\n")
    down_since = (await process.down()).down_since
    for times in (2, 3):
        await process.hear()
        await process.attempted(first, times)
        row = await process.lane()
        assert (row.failures, row.down_since) == (1, down_since)


async def test_words_of_a_lane_without_mail_or_unknown_here_do_no_harm(process, server):
    await process.hear("terminal:99999S")
    await process.queue(LANE, b"1\r\n")
    await process.idle()
    await process.hear()
    await process.queue(LANE, b"2\r\n")
    await process.idle()
    assert server.contents == [b"1\r\n", b"2\r\n"]


async def test_a_lane_with_nothing_left_is_up_again_when_its_terminal_speaks(store_url, server):
    process = await started(store_url, server, terminal_life=300.0, **PATIENT)
    await server.close()
    ids = await process.queue(LANE, b"1\r\n")
    await process.down()
    process.clock.offset = timedelta(seconds=301)
    process.delivery._on_foreign(None)
    await process.idle()
    assert await process.states(ids) == ["undelivered"]
    assert (await process.lane()).down_since is not None
    await process.hear()
    async with asyncio.timeout(PATIENCE):
        while (await process.lane()).down_since is not None:  # noqa: ASYNC110 - nothing announces a row
            await asyncio.sleep(0.02)
    await process.stop()


async def test_after_a_restart_a_dead_terminal_is_probed_once(store_url, server):
    await server.close()
    before = await started(store_url, server, retry_first=0.02, retry_max=0.02)
    (first,) = await before.queue(LANE, b"1\r\n")
    down_since = (await before.down(4)).down_since
    await before.stop()
    tries = await tries_of(store_url, first)
    restarted_at = before.clock.now()
    after = await started(store_url, server, retry_first=1.0, retry_max=600.0)
    row = await after.down(tries + 1)
    await asyncio.sleep(0.2)
    assert len(await after.attempts(first)) == tries + 1
    assert row.down_since == down_since
    assert row.next_try_at is not None
    assert (row.next_try_at - restarted_at).total_seconds() > 8
    await after.stop()


async def tries_of(store_url: str, recipient_id: int) -> int:
    reader = Process(store_url)
    found = await reader.attempts(recipient_id)
    await reader.database.close()
    return len(found)


async def test_a_flush_tries_at_once_what_was_put_off_too(store_url, server):
    process = await started(store_url, server, mail_tries_within=900.0, **PATIENT)
    server.behaviour.next("DOT", "451 later")
    ids = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.attempted(ids[0])
    await process.flush()
    await process.idle()
    assert server.contents == [b"1\r\n", b"2\r\n"]
    await server.close()
    await process.queue(LANE, b"3\r\n")
    await process.down()
    await server.open()
    await process.flush()
    await process.idle()
    assert server.contents == [b"1\r\n", b"2\r\n", b"3\r\n"]
    await process.stop()


async def test_a_mail_put_off_that_a_command_makes_due_is_tried_at_once(store_url, server):
    process = await started(store_url, server, mail_tries_within=900.0)
    server.behaviour.next("DOT", "451 later")
    (first,) = await process.queue(LANE, b"1\r\n")
    await process.attempted(first)
    await process.command("UPDATE recipients SET due_at = 0 WHERE id = :id", id=first)
    await process.idle()
    assert server.contents == [b"1\r\n"]
    await process.stop()


async def test_a_deferred_notice_that_a_command_makes_due_is_tried_at_once(store_url, server):
    process = await started(store_url, server, notice_retry_first=900.0, notice_retry_max=900.0)
    async with Smarthost() as smarthost:
        process.lead(NOTICES, smarthost)
        smarthost.behaviour.next("RCPT", "450 greylisted")
        (first,) = await process.queue(NOTICES, b"1\r\n")
        await process.attempted(first)
        await process.command("UPDATE recipients SET due_at = 0 WHERE id = :id", id=first)
        await process.idle()
        assert smarthost.contents == [b"1\r\n"]
    await process.stop()


async def test_a_paused_lane_sends_nothing_and_keeps_no_connection(process, server):
    await process.queue(LANE, b"1\r\n")
    await process.idle()
    await process.pause()
    await until(lambda: server.connections[0].is_cut, PATIENCE)
    ids = await process.queue(LANE, b"2\r\n", b"3\r\n")
    await asyncio.sleep(0.3)
    assert await process.states(ids) == ["queued"] * 2
    assert len(server.connections) == 1
    await process.resume()
    await process.idle()
    assert server.contents == [b"1\r\n", b"2\r\n", b"3\r\n"]


async def test_a_pause_lets_the_mail_under_way_end(process, server):
    with server.holding("MAIL"):
        ids = await process.queue(LANE, b"1\r\n", b"2\r\n")
        await until(lambda: server.lines("MAIL"), PATIENCE)
        await process.pause()
    await until(lambda: server.connections[0].is_cut, PATIENCE)  # it keeps no connection, and has nothing else to do
    await asyncio.sleep(0.1)
    assert await process.states(ids) == ["delivered", "queued"]
    await process.resume()
    await process.idle()


async def test_a_pause_is_found_at_start(store_url, server):
    before = Process(store_url)
    ids = await before.queue(LANE, b"1\r\n")
    await before.control.start()
    await before.pause()
    await before.control.stop()
    await before.database.close()
    after = await started(store_url, server)
    await asyncio.sleep(0.3)
    assert await after.states(ids) == ["queued"]
    await after.resume()
    await after.idle()
    assert server.contents == [b"1\r\n"]
    await after.stop()


async def test_a_pause_ages_no_mail(store_url, server):
    process = await started(store_url, server, terminal_life=1000.0)
    await process.pause(ago=9500.0)
    old = await process.queue(LANE, b"old\r\n", age=10600.0)
    waiting = await process.queue(LANE, b"waiting\r\n", age=10400.0)
    await asyncio.sleep(0.2)
    assert await process.states(old + waiting) == ["queued", "queued"]
    await process.resume()
    await process.idle()
    assert await process.states(old + waiting) == ["undelivered", "delivered"]
    await process.stop()


async def test_hearing_from_a_terminal_and_a_flush_end_no_pause(process, server):
    await process.pause()
    ids = await process.queue(LANE, b"1\r\n")
    await process.hear()
    await process.flush()
    await asyncio.sleep(0.2)
    assert await process.states(ids) == ["queued"]
    await process.resume()
    await process.idle()


class SteppedWall:
    """The host's clock, set wrong by `ahead` seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def step(self, process: Process, seconds: float) -> None:
        self.ahead = seconds
        process.clock.offset = timedelta(seconds=seconds)


@pytest.mark.parametrize("step", [86400.0, -86400.0])
async def test_a_clock_that_steps_gives_nothing_up_and_retries_go_on(store_url, server, step):
    wall = SteppedWall()
    process = await started(store_url, server, guard=ClockGuard(wall), retry_first=0.05, retry_max=0.1)
    await server.close()
    ids = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.down()
    wall.step(process, step)
    tries = len(await process.attempts(ids[0]))
    await process.attempted(ids[0], tries + 2)
    assert await process.states(ids) == ["queued"] * 2
    await server.open()
    await process.idle()
    assert await process.states(ids) == ["delivered"] * 2
    await process.stop()


async def test_ten_minutes_after_the_step_what_is_too_old_is_given_up(store_url, server):
    wall = SteppedWall()
    uptime = [0.0]
    guard = ClockGuard(lambda: wall() + uptime[0], lambda: time.monotonic() + uptime[0])
    process = await started(store_url, server, guard=guard, retry_first=0.05, retry_max=0.1)
    await server.close()
    ids = await process.queue(LANE, b"1\r\n")
    await process.down()
    wall.step(process, 86400.0)
    await process.attempted(ids[0], 3)
    assert guard.suspended()
    uptime[0] = 601.0
    await process.idle()
    assert await process.states(ids) == ["undelivered"]
    await process.stop()


async def test_a_wall_clock_set_back_puts_no_mail_off_for_long(store_url, server):
    process = Process(store_url)
    (first,) = await process.queue(LANE, b"1\r\n")
    await process.execute("UPDATE recipients SET due_at = due_at + 86400000000")
    await process.database.close()
    after = await started(store_url, server, mail_tries_within=0.3, notice_retry_max=0.3)
    await after.idle()
    assert await after.states([first]) == ["delivered"]
    await after.stop()


async def test_a_deferred_notice_expires_at_the_end_of_its_life(store_url, server):
    process = await started(store_url, server, notice_life=300.0, notice_retry_first=0.1, notice_retry_max=0.1)
    async with Smarthost() as smarthost:
        process.lead(NOTICES, smarthost)
        smarthost.behaviour.always["RCPT"] = "450 not yet"
        ids = await process.queue(NOTICES, b"1\r\n")
        await process.attempted(ids[0], 2)
        assert await process.states(ids) == ["queued"]
        process.clock.offset = timedelta(seconds=301)
        await process.idle()
        assert await process.states(ids) == ["expired"]
    await process.stop()


async def test_more_mail_than_a_lane_keeps_in_mind_is_given_up_in_few_commits(store_url, server):
    process = Process(store_url, **PATIENT)
    process.lead(LANE, server)
    await asyncio.gather(*(process.queue(LANE, b"%d\r\n" % number, age=2000) for number in range(450)))
    before = process.database.commits
    await process.start()
    await process.idle()
    assert process.database.commits - before <= 12
    assert server.connections == []
    await process.stop()


async def test_a_terminal_has_settings_of_its_own(store_url, server):
    other_lane = "terminal:60002S"
    own = DeliverySettings(
        name="center.example",
        **{**BRISK, "mail_tries": 1, "terminal_limits": TimeLimits(connect=600, command=600, block=600, dot=0.2)},
    )
    process = await started(store_url, server, destinations={"60001S": own})
    async with InHouseServer() as other:
        process.lead(other_lane, other)
        for each in (server, other):
            each.behaviour.next("DOT", SILENCE, "451 b")
        (impatient,) = await process.queue(LANE, b"1\r\n")
        (patient,) = await process.queue(other_lane, b"1\r\n")
        await process.attempted(impatient)
        assert await process.states([impatient, patient]) == ["undelivered", "queued"]
        assert await process.attempts(impatient) == [("in_doubt", "dot", "timed out")]
        await until(lambda: other.mails, PATIENCE)
        other.connections[0].cut()
        await process.idle()
        assert len(await process.attempts(patient)) == 2
        await process.stop()


async def test_a_lane_is_found_by_the_name_of_its_terminal():
    own = DeliverySettings(name="own.example")
    settings = DeliverySettings(name="center.example", destinations={"60001S": own})
    assert settings.of("terminal:60001S") is own
    assert settings.of("terminal:60002S") is settings.of("smarthost:0") is settings.of("backend") is settings


async def test_a_connection_dropped_at_mail_counts_as_the_lanes(process, server):
    server.behaviour.always["MAIL"] = DROP
    (first,) = await process.queue(LANE, b"1\r\n")
    row = await process.down()
    assert row.last_failure.startswith("mail: ")
    assert await process.states([first]) == ["queued"]
