"""Primary and backup: who is in use when, by itself, as planned and in a drill, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import backend_smtp
from gateway.backend_endpoints import Endpoints, Openness, Wish
from gateway.backend_parts import BackendLaneSettings
from gateway.failures import Lost, Refused, Stage
from gateway.smtp_out import Target
from storage.columns import to_micros
from tests.fakes.in_house_server import SILENCE, InHouseServer, until
from tests.gateway.backend_process import BACKEND, BackendProcess, body_of
from tests.gateway.delivering import PATIENCE, HoldingServer

pytestmark = pytest.mark.usefixtures("all_processes_end")
WALL = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
AUTOMATIC = Wish()
REFUSED = Lost(Stage.CONNECT, "Connection refused")
NO_SUCH = Refused(Stage.RCPT, 550, "550 nobody here")


def endpoints(**changes: float) -> Endpoints:
    settings = BackendLaneSettings(
        primary=Target(host="a", port=25),
        backup=Target(host="b", port=25),
        switch_after=changes.get("switch_after", 15),
        switch_back_after=changes.get("switch_back_after", 60),
        connections=8,
    )
    return Endpoints(settings)


def wanted(both: Endpoints, now: float, wish: Wish = AUTOMATIC, wall: datetime = WALL) -> str:
    return both.wanted(wish, now, wall)[0].name


def backup_answers(both: Endpoints, now: float = 0.0) -> None:
    assert both.backup is not None
    both.backup.probe_ended(None, now, 5)


def on_backup(**changes: float) -> Endpoints:
    both = endpoints(**changes)
    assert both.backup is not None
    both.switched(both.backup, WALL)
    return both


def test_requests_use_all_connections_until_a_failure_and_none_after_it():
    both = endpoints()
    assert both.room(7)
    assert not both.room(8)
    both.active.failed(REFUSED, 0, 5)
    assert not both.room(0)


def test_after_a_probe_one_request_tries_and_its_success_opens_for_all():
    both = endpoints()
    both.active.failed(REFUSED, 0, 5)
    both.active.probe_ended(None, 5, 5)
    assert (both.room(0), both.room(1)) == (True, False)
    both.active.succeeded()
    assert both.room(7)


def test_the_first_failure_is_probed_at_once_and_the_others_at_their_pace():
    both = endpoints()
    both.active.failed(REFUSED, 10, 5)
    assert both.active in both.due_for_probe(10)
    both.active.probe_ended(REFUSED, 10, 5)
    assert both.active not in both.due_for_probe(14)
    both.active.failed(REFUSED, 14, 5)
    assert both.active not in both.due_for_probe(18)
    assert both.active in both.due_for_probe(19)


def test_the_endpoint_not_in_use_is_probed_always_and_the_other_only_while_it_fails():
    both = endpoints()
    assert both.due_for_probe(0) == [both.backup]


def test_it_switches_when_the_active_one_failed_for_long_and_the_other_answers():
    both = endpoints()
    both.active.failed(REFUSED, 0, 5)
    assert wanted(both, 20) == "primary"
    backup_answers(both)
    assert wanted(both, 14.9) == "primary"
    assert wanted(both, 15) == "backup"


def test_a_probe_does_not_mend_what_failed_behind_the_greeting():
    both = endpoints()
    backup_answers(both)
    both.active.failed(NO_SUCH, 0, 5)
    both.active.probe_ended(None, 5, 5)
    both.active.failed(NO_SUCH, 6, 5)
    both.active.probe_ended(None, 11, 5)
    assert wanted(both, 15) == "backup"


def test_a_probe_mends_what_failed_at_the_door():
    both = endpoints()
    backup_answers(both)
    both.active.failed(REFUSED, 0, 5)
    both.active.probe_ended(None, 5, 5)
    both.active.failed(REFUSED, 10, 5)
    assert wanted(both, 20) == "primary"


def test_with_switch_after_zero_it_never_switches_by_itself():
    both = endpoints(switch_after=0)
    backup_answers(both)
    both.active.failed(REFUSED, 0, 5)
    assert wanted(both, 1000) == "primary"


def test_it_switches_back_when_the_primary_has_answered_without_a_break():
    both = on_backup()
    both.primary.probe_ended(None, 100, 5)
    assert wanted(both, 159) == "backup"
    both.primary.probe_ended(REFUSED, 159, 5)
    both.primary.probe_ended(None, 164, 5)
    assert wanted(both, 200) == "backup"
    assert wanted(both, 224) == "primary"


def test_with_switch_back_after_zero_it_returns_by_hand_only():
    both = on_backup(switch_back_after=0)
    both.primary.probe_ended(None, 0, 5)
    assert wanted(both, 1e6) == "backup"
    assert wanted(both, 1e6, Wish(endpoint="primary")) == "primary"


def test_a_failing_backup_is_left_for_the_primary_as_soon_as_that_answers():
    both = on_backup()
    both.active.failed(REFUSED, 0, 5)
    both.primary.probe_ended(None, 16, 5)
    assert wanted(both, 16) == "primary"


def test_what_the_operator_wants_goes_before_everything():
    both = endpoints()
    assert wanted(both, 0, Wish(endpoint="backup")) == "backup"
    backup_answers(both)
    both.active.failed(REFUSED, 0, 5)
    assert wanted(both, 100, Wish(endpoint="primary")) == "primary"
    assert both.is_down(Wish(endpoint="primary"), WALL) is False
    both.active.probe_ended(REFUSED, 1, 5)
    assert both.is_down(Wish(endpoint="primary"), WALL)


def test_a_drill_ends_by_itself_whatever_the_switch_back_setting():
    both = on_backup(switch_back_after=0)
    drill = Wish(endpoint="backup", until=WALL + timedelta(minutes=5))
    both.primary.probe_ended(None, 0, 5)
    assert wanted(both, 1, drill) == "backup"
    assert wanted(both, 1, drill, WALL + timedelta(minutes=5)) == "primary"


def test_an_old_drill_says_nothing_of_a_later_switch():
    both = endpoints(switch_back_after=0)
    assert both.backup is not None
    both.switched(both.backup, WALL + timedelta(hours=1))
    both.primary.probe_ended(None, 0, 5)
    assert wanted(both, 1, Wish(endpoint="backup", until=WALL), WALL + timedelta(hours=2)) == "backup"


def test_it_is_down_only_when_the_failure_is_confirmed_and_the_other_fails_too():
    both = endpoints()
    assert both.backup is not None
    both.active.failed(REFUSED, 0, 5)
    both.active.probe_ended(REFUSED, 0, 5)
    assert not both.is_down(AUTOMATIC, WALL)  # the backup is not known yet
    backup_answers(both)
    assert not both.is_down(AUTOMATIC, WALL)
    both.backup.probe_ended(REFUSED, 5, 5)
    assert both.is_down(AUTOMATIC, WALL)


def test_what_another_process_left_failing_is_probed_first():
    both = endpoints()
    both.taken_over("backup", WALL)
    both.active.is_said_to_fail(3)
    assert (both.active.name, both.active.openness) == ("backup", Openness.SHUT)
    assert both.active in both.due_for_probe(3)


# --- with servers ---


@pytest.fixture
def url(tmp_path: Path) -> str:
    tmp_path.chmod(0o700)
    return f"sqlite:///{tmp_path / 'gateway.db'}"


@pytest.fixture
async def primary() -> AsyncIterator[HoldingServer]:
    async with HoldingServer() as running:
        yield running


@pytest.fixture
async def backup() -> AsyncIterator[InHouseServer]:
    async with InHouseServer() as running:
        yield running


@pytest.fixture
async def process(url: str, primary: InHouseServer, backup: InHouseServer) -> AsyncIterator[BackendProcess]:
    started = BackendProcess(url, primary, backup)
    await started.start()
    await started.becomes(await started.request(b"first", address=99, awaited=False), "delivered")
    yield started
    await started.stop()


async def want(process: BackendProcess, endpoint: str, until_: timedelta | None = None) -> None:
    until_at = None if until_ is None else to_micros(process.clock.now() + until_)
    await process.execute(
        "UPDATE lanes SET wanted_endpoint = :endpoint, drill_until = :at WHERE lane = 'backend'",
        endpoint=endpoint,
        at=until_at,
    )
    await process.control.refresh()


async def uses(process: BackendProcess, endpoint: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await process.lane(BACKEND)).endpoint != endpoint:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


async def is_down(process: BackendProcess, *, down: bool = True) -> None:
    """Wait until the store says that requests have nowhere to go, or that they have again."""
    async with asyncio.timeout(PATIENCE):
        while ((await process.lane(BACKEND)).down_since is not None) != down:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


async def test_a_dead_primary_is_left_for_the_backup_and_returned_to(process, primary, backup, caplog):
    await primary.close()
    requests = [await process.request(b"%d" % number, address=number) for number in range(5)]
    for request in requests:
        await process.becomes(request, "delivered")
    assert len(backup.mails) == 5
    lane = await process.lane(BACKEND)
    assert lane.endpoint == "backup"
    assert lane.endpoint_since is not None
    assert lane.down_since is None
    assert "requests go to the backup backend" in caplog.text
    await primary.open()
    await uses(process, "primary")
    await process.becomes(await process.request(b"back", address=7), "delivered")
    assert body_of(primary.mails[-1].content) == b"back\r\n"
    assert "requests go to the primary backend" in caplog.text


async def test_with_both_dead_operators_see_it_and_what_comes_back_first_is_used(process, primary, backup):
    await primary.close()
    await backup.close()
    request = await process.request(b"one")
    await is_down(process)
    lane = await process.lane(BACKEND)
    assert lane.last_failure == "primary: connect: Connection refused"
    assert lane.next_try_at is not None
    await backup.open()
    await process.becomes(request, "delivered")
    assert len(backup.mails) == 1
    await is_down(process, down=False)
    assert (await process.lane(BACKEND)).failures == 0


async def test_an_endpoint_that_fails_while_there_is_no_request_is_told_all_the_same(url, primary):
    process = BackendProcess(url, primary, idle_probes=True)
    await process.start()
    await process.becomes(await process.request(b"one"), "delivered")
    await primary.close()
    await is_down(process)
    await process.stop()


async def test_a_breaker_is_told_without_a_backup_too_and_the_next_process_knows(url, primary):
    await primary.close()
    process = BackendProcess(url, primary)
    await process.start()
    request = await process.request(b"one")
    await is_down(process)
    since = (await process.lane(BACKEND)).down_since
    await process.stop()
    after = BackendProcess(url, primary)
    await after.start()
    await asyncio.sleep(0.2)
    assert (await after.lane(BACKEND)).down_since == since
    await primary.open()
    await after.becomes(request, "delivered")
    assert (await after.attempts(request))[0][1] == "connect"
    await after.stop()


async def test_a_planned_switch_loses_and_reorders_nothing_of_an_address(process, primary, backup):
    primary.behaviour.reply_after = backup.behaviour.reply_after = 0.003
    servers = {"primary": primary, "backup": backup}
    requests: list[int] = []

    async def load() -> None:
        for number in range(25):
            requests.extend([await process.request(b"%d" % number, address=n, awaited=False) for n in range(4)])

    loading = asyncio.create_task(load())
    for turn, endpoint in enumerate(("backup", "primary", "backup", "")):
        await asyncio.sleep(0.1)
        await want(process, endpoint)
        if endpoint:
            await uses(process, endpoint)
            probing = b"turn %d" % turn
            await process.becomes(await process.request(probing, address=10 + turn), "delivered")
            assert any(body_of(mail.content).rstrip() == probing for mail in servers[endpoint].mails)
    await loading
    for request in requests:
        await process.becomes(request, "delivered")
    for address in range(4):
        sender = f"{address}@x.example"
        orders = [[int(body_of(m.content)[5:]) for m in s.mails if m.mail_from == sender] for s in (primary, backup)]
        assert all(order == sorted(order) for order in orders)
        assert sorted(orders[0] + orders[1]) == list(range(25))


async def test_a_planned_switch_waits_for_what_is_on_its_way(process, primary, backup):
    with primary.holding("MAIL"):
        slow, following = await process.requests(b"slow", b"following", awaited=False)
        await until(lambda: "MAIL FROM:<1@x.example>" in primary.lines("MAIL"), PATIENCE)
        await want(process, "backup")
        await until(lambda: process.smtp_route._draining, PATIENCE)
    await process.becomes(following, "delivered")
    assert await process.state(slow) == "delivered"
    assert body_of(primary.mails[-1].content) == b"<xml>slow\r\n"
    assert [body_of(mail.content) for mail in backup.mails] == [b"<xml>following\r\n"]


async def test_a_drill_returns_by_itself(process, primary, backup):
    await want(process, "backup", timedelta(hours=1))
    await uses(process, "backup")
    await process.becomes(await process.request(b"drilled"), "delivered")
    assert len(backup.mails) == 1
    process.ages(3600)
    await uses(process, "primary")


async def test_the_endpoint_in_use_outlives_the_process(url, primary, backup):
    process = BackendProcess(url, primary, backup, backend={"switch_back_after": 0.0})
    await process.start()
    await process.becomes(await process.request(b"1", address=1), "delivered")
    await want(process, "backup")
    await uses(process, "backup")
    await want(process, "")
    await process.stop()
    after = BackendProcess(url, primary, backup, backend={"switch_back_after": 0.0})
    await after.start()
    await after.becomes(await after.request(b"2", address=2), "delivered")
    assert len(backup.mails) == 1
    await after.stop()


async def test_a_backup_that_is_configured_no_more_means_the_primary(url, primary, backup):
    process = BackendProcess(url, primary, backup)
    await process.start()
    await process.becomes(await process.request(b"1", address=1), "delivered")
    await want(process, "backup")
    await uses(process, "backup")
    await process.stop()
    after = BackendProcess(url, primary)
    await after.start()
    await after.becomes(await after.request(b"2", address=2), "delivered")
    await uses(after, "primary")
    assert len(primary.mails) == 2
    await after.stop()


async def test_a_flush_probes_at_once(url, primary):
    process = BackendProcess(url, primary, backend={"probe_every": 3600.0})
    await primary.close()
    await process.start()
    request = await process.request(b"1")
    await is_down(process)  # the probe that follows a first failure at once has failed too
    await primary.open()
    await asyncio.sleep(0.1)
    assert await process.state(request) == "queued"
    await process.flush_backend()
    await process.becomes(request, "delivered")
    await process.stop()


async def test_a_switch_does_not_wait_for_a_failing_endpoint(process, primary, backup, monkeypatch):
    monkeypatch.setattr(backend_smtp, "_DRAIN", 3600.0)
    primary.behaviour.next("DOT", SILENCE)
    stuck = await process.request(b"stuck")
    await until(lambda: any(body_of(mail.content) == b"stuck\r\n" for mail in primary.mails), PATIENCE)
    primary.behaviour.always["RCPT"] = "550 nobody here"
    request = await process.request(b"other", address=2)
    await process.becomes(request, "delivered")
    assert len(backup.mails) == 1
    assert await process.state(stuck) == "queued"
    primary.connections[primary.mails[-1].connection].cut()
    await process.becomes(stuck, "expired")
    assert (await process.request_row(stuck)).in_doubt


async def test_what_a_silent_endpoint_holds_takes_no_room_on_the_next_one(url, primary, backup, monkeypatch):
    monkeypatch.setattr(backend_smtp, "_DRAIN", 0.1)
    process = BackendProcess(url, primary, backup, backend={"connections": 2})
    await process.start()
    primary.behaviour.always["DOT"] = SILENCE
    for number in (1, 2):
        await process.request(b"%d" % number, address=number)
    await until(lambda: len(primary.mails) == 2, PATIENCE)
    await want(process, "backup")
    other = await process.request(b"other", address=3)
    await process.becomes(other, "delivered")  # the silent one is not given up before the test ends
    assert [body_of(mail.content) for mail in backup.mails] == [b"other\r\n"]
    await process.stop(0.05)
