"""The life of a request and its place behind an outstanding one, with the simulator and with SMTP, on both stores."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from gateway.clock_guard import ClockGuard
from gateway.lane_holder import Effects
from gateway.smtp_out import Target
from storage.columns import to_micros
from storage.mail_queue import Outbound
from tests.fakes.in_house_server import SILENCE, InHouseServer, until
from tests.gateway.backend_process import BackendProcess, body_of
from tests.gateway.delivering import PATIENCE, HoldingServer
from tests.gateway.test_health import held

pytestmark = pytest.mark.usefixtures("all_processes_end")
NOWHERE = Target(host="127.0.0.1", port=1)
LIFE = 300.0  # of a request, where nothing else is said: longer than any test


class Steps:
    """A wall clock that steps when it is told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead


class Simulated:
    """A backend inside the process that keeps what it was handed, in order."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def hand_over(self, _outbound: Outbound, content: bytes) -> Effects:
        self.taken.append(body_of(content).rstrip())
        return (), ()


@pytest.fixture
def simulated() -> Simulated:
    return Simulated()


async def pause(process: BackendProcess, *, end: bool = False) -> None:
    now = to_micros(process.clock.now())
    if end:
        await process.execute("UPDATE lane_pauses SET resumed_at = :now", now=now)
    else:
        await process.execute(
            "INSERT INTO lane_pauses (id, lane, paused_at, actor, reason) VALUES (1, 'backend', :now, 'test', '')",
            now=now,
        )
    await process.control.refresh()


async def held_back(process: BackendProcess, request: int) -> None:
    await asyncio.sleep(0.15)
    assert await process.state(request) == "queued"


# --- outstanding ---


async def test_a_second_request_waits_until_the_first_has_its_result(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    await process.start()
    first, second, third = await process.requests(b"1", b"2", b"3")
    other = await process.request(b"other", address=2)
    await process.becomes(first, "delivered")
    await process.becomes(other, "delivered")
    await held_back(process, second)
    await process.result(first)
    await process.becomes(second, "delivered")
    await held_back(process, third)
    await process.result(second)
    await process.becomes(third, "delivered")
    assert [text for text in simulated.taken if text != b"other"] == [b"1", b"2", b"3"]
    await process.stop()


async def test_a_result_that_another_process_commits_is_noticed(store_url):
    async with InHouseServer() as server:
        process = BackendProcess(store_url, server)
        await process.start()
        first, second = await process.requests(b"1", b"2")
        await process.becomes(first, "delivered")
        await held_back(process, second)
        await process.result(first, told=False)
        await process.becomes(second, "delivered")  # long before the life of the first one ends
        assert [body_of(mail).rstrip() for mail in server.contents] == [b"1", b"2"]
        await process.stop()


async def test_an_outstanding_request_holds_its_address_for_its_life_only(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    await process.start()
    first = await process.request(b"1", age=LIFE * 2 / 3)
    await process.becomes(first, "delivered")
    second = await process.request(b"2")
    await held_back(process, second)
    process.ages(LIFE / 2)
    await process.becomes(second, "delivered")
    assert await process.state(first) == "delivered"
    assert await process.answers() == []
    await process.stop()


async def test_what_awaits_no_result_neither_waits_nor_counts_and_keeps_its_place(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    await process.start()
    await process.becomes(await process.request(b"1"), "delivered")
    mixed = [await process.request(b"%d" % number, awaited=False) for number in range(2, 6)]
    for request in mixed:
        await process.becomes(request, "delivered")
    assert simulated.taken == [b"1", b"<xml>2", b"<xml>3", b"<xml>4", b"<xml>5"]
    await held_back(process, await process.request(b"6"))
    await process.stop()


async def test_what_another_process_knows_to_be_outstanding_counts(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    first = await process.request(b"1", claimed=True)
    await process.execute("UPDATE recipients SET state = 'delivered' WHERE id = :id", id=first)
    second = await process.request(b"2")
    await process.start()
    await held_back(process, second)
    await process.result(first)
    await process.becomes(second, "delivered")
    assert simulated.taken[-1] == b"2"
    await process.stop()


async def test_a_result_that_comes_before_the_250_frees_the_address(tmp_path):
    tmp_path.chmod(0o700)
    async with HoldingServer() as server:
        process = BackendProcess(f"sqlite:///{tmp_path / 'gateway.db'}", server)
        await process.start()
        with server.holding("DOT"):
            first, second = await process.requests(b"1", b"2")
            await until(lambda: server.mails, PATIENCE)
            await process.result(first)
        await process.becomes(second, "delivered")
        assert await process.state(first) == "delivered"
        await process.stop()


# --- life ---


@pytest.mark.parametrize("why", ["down", "paused", "outstanding", "refused"])
async def test_what_is_not_handed_over_in_its_life_is_answered_a0011_on_time(store_url, why):
    async with InHouseServer() as server:
        where: Any = NOWHERE if why == "down" else server
        process = BackendProcess(store_url, where)
        await process.start()
        if why == "paused":
            await pause(process)
        if why == "refused":
            server.behaviour.always["MAIL"] = "450 not now"
        if why == "outstanding":
            await process.becomes(await process.request(b"0"), "delivered")
        began = time.monotonic()
        requests = await process.requests(b"1", b"2", b"3", age=LIFE - 0.5)
        for request in requests:
            await process.becomes(request, "expired")
        assert 0.4 < time.monotonic() - began < PATIENCE
        assert sorted(await process.answers()) == [b"A0011 1", b"A0011 2", b"A0011 3"]
        assert not any([await process.claimed(request) for request in requests])
        assert [body_of(mail.content).rstrip() for mail in server.mails] == ([b"0"] if why == "outstanding" else [])
        await process.stop()


async def test_one_that_is_being_sent_for_long_keeps_no_other_from_its_answer(store_url):
    async with InHouseServer() as server:
        process = BackendProcess(store_url, server)
        await process.start()
        server.behaviour.next("DOT", SILENCE)
        slow = await process.request(b"slow")
        await until(lambda: server.mails, PATIENCE)
        second = await process.request(b"2", age=LIFE - 0.2)
        await process.becomes(second, "expired")
        assert await process.answers() == [b"A0011 2"]
        assert await process.state(slow) == "queued"
        await process.stop(0.05)


async def test_a_request_whose_life_ends_before_the_dot_does_not_arrive(store_url):
    async with HoldingServer() as server:
        process = BackendProcess(store_url, server)
        await process.start()
        await process.becomes(await process.request(b"0", awaited=False), "delivered")
        with server.holding("DATA"):
            request = await process.request(b"slow")
            await until(lambda: len(server.lines("DATA")) == 2, PATIENCE)
            process.ages()
        await process.becomes(request, "expired")
        assert await process.answers() == [b"A0011 slow"]
        assert not await process.claimed(request)
        assert len(server.lines("MAIL")) == 2
        assert len(server.mails) == 1
        await process.stop()


async def test_what_follows_an_expired_request_does_not_wait_for_what_that_waited_for(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    await process.start()
    await process.becomes(await process.request(b"1"), "delivered")
    waiting = await process.request(b"2", age=LIFE - 0.3)
    behind = await process.request(b"3", awaited=False)
    await process.becomes(waiting, "expired")
    await process.becomes(behind, "delivered")  # long before the life of the first one ends
    assert simulated.taken == [b"1", b"<xml>3"]
    await process.stop()


async def test_requests_past_their_life_at_a_start_are_answered_and_not_executed(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    requests = [await process.request(b"%d" % number, address=number % 40, age=LIFE + 1) for number in range(80)]
    await process.start()
    await process.idle()
    assert {await process.state(request) for request in requests} == {"expired"}
    assert len(await process.answers()) == 80
    assert simulated.taken == []
    await process.stop()


async def test_a_map_that_moved_is_read_again_before_the_answer(store_url):
    process = BackendProcess(store_url, NOWHERE, backend={"request_life": 0.2})
    process.map_version = 7
    await process.start()
    request = await process.request(b"1")
    await process.becomes(request, "expired")
    assert process.refreshed == 1
    assert await process.answers() == [b"A0011 1"]
    await process.stop()


async def test_a_request_with_nobody_to_answer_ends_without_an_answer(store_url):
    process = BackendProcess(store_url, NOWHERE, backend={"request_life": 0.2})
    process.answerable = False
    await process.start()
    request = await process.request(b"1")
    await process.becomes(request, "expired")
    assert process.refreshed == 1
    assert await process.answers() == []
    await process.stop()


async def test_paused_the_lane_sends_nothing_and_goes_on_after_it(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    await process.start()
    await pause(process)
    request = await process.request(b"1")
    await held_back(process, request)
    assert simulated.taken == []
    await pause(process, end=True)
    await process.becomes(request, "delivered")
    assert simulated.taken == [b"1"]
    await process.stop()


async def test_while_the_clock_is_not_trusted_nothing_expires_and_nothing_late_is_sent(store_url, simulated):
    steps = Steps()
    guard = ClockGuard(wall=steps.wall)
    process = BackendProcess(store_url, simulator=simulated.hand_over, backend={"request_life": 0.3}, guard=guard)
    await process.start()
    await pause(process)
    steps.ahead = 3600.0
    assert guard.suspended()
    request = await process.request(b"1")
    await asyncio.sleep(0.5)
    await pause(process, end=True)
    await held_back(process, request)
    assert simulated.taken == []
    guard._until = 0.0
    await process.becomes(request, "expired")
    assert await process.answers() == [b"A0011 1"]
    await process.stop()


async def test_a_clock_that_leaps_ahead_expires_nothing_that_is_young(store_url, simulated):
    steps = Steps()
    process = BackendProcess(store_url, simulator=simulated.hand_over, guard=ClockGuard(wall=steps.wall))
    await process.start()
    await pause(process)
    request = await process.request(b"1")
    await held_back(process, request)
    steps.ahead = 3600.0
    process.clock.offset = timedelta(hours=1)
    await held_back(process, request)
    await pause(process, end=True)
    await process.becomes(request, "delivered")
    assert await process.answers() == []
    await process.stop()


async def test_a_movable_clock_ends_lives_at_once(store_url):
    process = BackendProcess(store_url, NOWHERE)
    await process.start()
    request = await process.request(b"1")
    await process.attempted(request)
    process.ages()
    await process.becomes(request, "expired")
    assert await process.answers() == [b"A0011 1"]
    await process.stop()


async def test_many_requests_of_a_dead_backend_are_all_answered_in_time(store_url):
    process = BackendProcess(store_url, NOWHERE, backend={"request_life": 1.0})
    await process.start()
    requests = await asyncio.gather(*(process.request(b"%d" % n, address=n % 50) for n in range(600)))
    began = time.monotonic()
    await until(lambda: len(process.backend_lane.order) == 0, 2 * PATIENCE)
    assert time.monotonic() - began < PATIENCE
    assert len(await process.answers()) == len(requests)
    attempts = [await process.attempts(request) for request in requests]
    assert sum(map(len, attempts)) <= 8  # one probe, not one per request
    await process.stop()


async def test_an_address_with_more_requests_than_the_window_holds_back_nobody_else(store_url, simulated):
    process = BackendProcess(store_url, simulator=simulated.hand_over)
    await process.start()
    process.backend_lane.order.window = 10
    requests = await asyncio.gather(*(process.request(b"%d" % n) for n in range(25)))  # the first has no result
    other = await process.request(b"other", address=2)
    await process.becomes(other, "delivered")
    await process.becomes(requests[0], "delivered")
    assert sorted(simulated.taken) == [b"0", b"other"]  # of two addresses either may be first
    await process.stop()


async def test_a_clock_set_back_keeps_no_address_waiting_for_longer_than_a_life(store_url, simulated):
    steps = Steps()
    process = BackendProcess(store_url, simulator=simulated.hand_over, guard=ClockGuard(wall=steps.wall))
    await process.start()
    first = await process.request(b"1")
    await process.becomes(first, "delivered")
    (address,) = lane_waits = process.backend_lane._outstanding
    lane_waits[address] -= LIFE - 1  # all of its life but a second has passed
    over_at = lane_waits[address]
    steps.ahead = -3600.0
    process.clock.offset = timedelta(hours=-1)
    later = await process.request(b"later")
    await process.becomes(later, "delivered")
    assert process.loop.time() >= over_at
    await process.stop()


async def test_answers_that_cannot_be_written_are_tried_again_once_a_second(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    async with InHouseServer() as server:
        process = BackendProcess(f"sqlite:///{tmp_path / 'gateway.db'}", server)
        await process.start()
        tries: list[object] = []

        async def fails(held: object) -> bytes:
            tries.append(held)
            raise OSError("no store")

        monkeypatch.setattr(process.backend_lane, "_content_or_none", fails)
        began = time.monotonic()
        late = await asyncio.gather(*(process.request(b"%d" % n, address=n, age=2 * LIFE) for n in range(120)))
        await asyncio.sleep(0.5)
        assert len(tries) <= (3 + time.monotonic() - began) * len(late)
        monkeypatch.undo()
        for request in late:
            await process.becomes(request, "expired")
        assert server.mails == []
        await process.stop()


# --- the life of what the simulator takes ---


class Gated(Simulated):
    """It takes its time: until `may_end`."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def hand_over(self, outbound: Outbound, content: bytes) -> Effects:
        self.begun.set()
        await self.may_end.wait()
        return await super().hand_over(outbound, content)


async def test_what_the_simulator_works_out_too_late_is_thrown_away(store_url):
    simulated = Gated()
    process = await BackendProcess(store_url, simulator=simulated.hand_over).start()
    request = await process.request(b"1")
    await simulated.begun.wait()
    process.ages()
    simulated.may_end.set()
    await process.becomes(request, "expired")
    assert (simulated.taken, await process.answers()) == ([b"1"], [b"A0011 1"])
    assert (await process.row(request)).attempts == 0
    await process.stop()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_what_the_store_takes_too_late_from_the_simulator_is_answered_instead(store_url):
    simulated = Gated()
    process = await BackendProcess(store_url, simulator=simulated.hand_over).start()
    request = await process.request(b"1")
    await simulated.begun.wait()
    with held(store_url):
        simulated.may_end.set()
        await until(lambda: process.backend_lane.unwritten == 1)
        process.ages()
        await until(lambda: process.backend_lane.unwritten == 0)
    await process.becomes(request, "expired")
    assert (simulated.taken, await process.answers()) == ([b"1"], [b"A0011 1"])
    await process.stop()
