"""Delivery as a process: what it finds, whom it shares the lanes with, and how it ends, on both stores."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta

import pysqlite3.dbapi2 as pysqlite
import pytest
from sqlalchemy import text

from storage.effects import Applied
from storage.failures import StoreBroken
from storage.mail_queue import Origin, enqueue
from storage.store import Store, opened
from tests.fakes.in_house_server import DROP, SILENCE, until
from tests.gateway.delivering import CENTER, IN_HOUSE, LANE, PATIENCE, HoldingServer, Process

pytestmark = pytest.mark.usefixtures("all_processes_end")
OTHER_LANE = "terminal:60002S"


@pytest.fixture
async def server() -> AsyncIterator[HoldingServer]:
    async with HoldingServer() as listening:
        yield listening


@pytest.fixture
async def process(store_url: str, server: HoldingServer) -> AsyncIterator[Process]:
    started = Process(store_url)
    started.lead(LANE, server)
    started.lead(OTHER_LANE, server)
    await started.start()
    yield started
    await started.stop()


def queue_beside(store: Store, content: bytes, process: Process) -> None:
    """What a command of the command line does while the service runs."""
    origin = Origin(listener="gateway", mail_from=CENTER)
    store.run(lambda session: enqueue(session, origin, LANE, CENTER, IN_HOUSE, content, process.clock.now()))


async def test_what_waited_in_the_store_is_delivered_after_a_restart(store_url, server):
    before = Process(store_url)
    ids = await before.queue(LANE, *(b"%d\r\n" % number for number in range(120)))
    ids += await before.queue(OTHER_LANE, b"other\r\n")
    await before.database.close()
    after = Process(store_url)
    after.lead(LANE, server)
    after.lead(OTHER_LANE, server)
    await after.start()
    await after.idle()
    assert [content for content in server.contents if content != b"other\r\n"] == [b"%d\r\n" % n for n in range(120)]
    assert set(await after.states(ids)) == {"delivered"}
    await after.stop()


async def test_more_lanes_than_one_unit_of_work_leases_are_all_delivered(store_url, server):
    process = Process(store_url)
    lanes = [f"terminal:{number}S" for number in range(60000, 60045)]
    for lane in lanes:
        process.lead(lane, server)
        await process.queue(lane, lane.encode() + b"\r\n")
    await process.start()
    await process.idle()
    assert sorted(server.contents) == [lane.encode() + b"\r\n" for lane in lanes]
    await process.stop()


async def test_what_another_process_queues_is_noticed_and_keeps_the_lanes_order(process, server, store_url):
    await process.queue(LANE, b"1\r\n")
    await process.idle()
    with opened(store_url) as beside:
        queue_beside(beside, b"2\r\n", process)
        queue_beside(beside, b"3\r\n", process)
        await process.queue(LANE, b"4\r\n")
        await until(lambda: len(server.mails) == 4, PATIENCE)
    assert server.contents == [b"1\r\n", b"2\r\n", b"3\r\n", b"4\r\n"]


def cancel_beside(store_url: str, recipient_id: int) -> None:
    """What an operator's command does while the service runs."""
    cancel = f"UPDATE recipients SET state = 'cancelled' WHERE id = {recipient_id}"
    with opened(store_url) as beside:
        beside.run(lambda session: session.connection().exec_driver_sql(cancel))


async def test_a_mail_another_process_took_away_is_not_tried_again(store_url, server):
    process = Process(store_url, mail_tries_within=900.0)
    process.lead(LANE, server)
    await process.start()
    server.behaviour.next("DOT", "451 later")
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.attempted(first)
    await asyncio.to_thread(cancel_beside, store_url, first)
    await process.idle()
    assert server.contents == [b"2\r\n"]
    assert await process.states([first, second]) == ["cancelled", "delivered"]
    await process.stop()


async def test_a_mail_taken_away_from_a_dead_terminals_lane_is_not_probed_with(process, server, store_url):
    await server.close()
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.attempted(first)
    await asyncio.to_thread(cancel_beside, store_url, first)
    await process.attempted(second)
    await server.open()
    await process.idle()
    assert server.contents == [b"2\r\n"]
    assert await process.states([first, second]) == ["cancelled", "delivered"]


async def test_a_mail_taken_away_while_it_was_sent_keeps_its_state_and_the_lane_goes_on(process, server):
    with server.holding("MAIL"):
        first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
        await until(lambda: server.lines("MAIL"), PATIENCE)
        await process.execute("UPDATE recipients SET state = 'cancelled' WHERE id = :id", id=first)
    await process.idle()
    assert await process.states([first, second]) == ["cancelled", "delivered"]
    assert server.contents == [b"1\r\n", b"2\r\n"]


async def test_after_an_unclean_end_the_head_of_the_lane_is_in_doubt(store_url, server):
    before = Process(store_url)
    first, second = await before.queue(LANE, b"1\r\n", b"2\r\n")
    await before.execute("UPDATE lanes SET state = 'sending', lease_node = 999, lease_token = 77")
    await before.database.close()
    after = Process(store_url)
    after.lead(LANE, server)
    await after.start()
    await after.idle()
    assert [(await after.row(first)).in_doubt, (await after.row(second)).in_doubt] == [1, 0]
    assert await after.attempts(first) == [("in_doubt", "dot", "the process that was sending ended")]
    assert server.contents == [b"1\r\n", b"2\r\n"]
    await after.stop()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_what_was_queued_after_the_unclean_end_is_not_in_doubt(process, server):
    """Where this process is the only one that sends, what it queued itself cannot have been sent before."""
    await process.execute(
        "INSERT INTO lanes (lane, last_sequence, state, lease_node, lease_token) VALUES (:lane, 0, 'sending', 999, 77)",
        lane=LANE,
    )
    (only,) = await process.queue(LANE, b"1\r\n")
    await process.idle()
    assert (await process.row(only)).in_doubt == 0
    assert await process.attempts(only) == []
    assert server.contents == [b"1\r\n"]


async def test_an_empty_lane_left_uncleanly_has_nothing_to_doubt(process, server):
    await process.queue(LANE, b"1\r\n")
    await process.idle()
    assert (await process.lane()).state == "sending"
    await process.execute("UPDATE lanes SET lease_node = 999, lease_token = 77 WHERE lane = :lane", lane=LANE)
    (second,) = await process.queue(LANE, b"2\r\n")
    await process.idle()
    assert (await process.row(second)).state == "delivered"


async def test_a_holder_whose_lease_ended_cannot_write_its_outcome(store_url, server):
    server.behaviour.next("DOT", SILENCE)
    frozen = Process(store_url, renew=False, scan_every=60.0)
    successor = Process(store_url)
    for process in (frozen, successor):
        process.lead(LANE, server)
    await frozen.start()
    (recipient_id,) = await frozen.queue(LANE, b"1\r\n")
    await until(lambda: len(server.mails) == 1, PATIENCE)
    await frozen.held_dead()
    await successor.start()
    await until(lambda: len(server.mails) == 2, PATIENCE)
    await successor.idle()
    server.connections[0].cut()
    # One by the successor, that found the lane so; one by the frozen process, that waited for the reply to its dot.
    await successor.attempted(recipient_id, 2)
    assert [outcome for outcome, _, _ in await successor.attempts(recipient_id)] == ["in_doubt"] * 2
    row = await successor.row(recipient_id)
    assert (row.state, row.in_doubt, row.attempts) == ("delivered", 1, 1)
    assert server.contents == [b"1\r\n", b"1\r\n"]
    await successor.stop()
    await frozen.stop()


async def test_the_lanes_of_a_process_that_died_go_to_the_one_that_got_its_node(store_url, server):
    died = Process(store_url, renew=False)
    died.lead(LANE, server)
    await died.start()
    successor: Process | None = None
    try:
        await died.queue(LANE, b"1\r\n")
        await died.idle()
        # It is held dead, and nothing lies reserved ahead any more, as a minute later.
        expired = text("UPDATE nodes SET lease_until = 0, keys_below_ms = 0")
        await asyncio.to_thread(died.database.store.run, lambda session: session.execute(expired))
        successor = Process(store_url)
        assert successor.database.store.claim.node == died.database.store.claim.node
        successor.lead(LANE, server)
        await successor.start()
        await successor.queue(LANE, b"2\r\n")
        await until(lambda: len(server.mails) == 2, PATIENCE)
    finally:
        if successor is not None:
            await successor.stop()
        await died.dies()


async def test_a_lane_held_by_a_living_process_is_left_to_it(process, server, store_url):
    if not process.database.store.engines.on_sqlite:
        await process.queue(LANE, b"1\r\n")
        await process.idle()
        second = Process(store_url, scan_every=0.1)
        second.lead(LANE, server)
        await second.start()
        server.behaviour.reply_after = 0.05
        await second.queue(LANE, b"2\r\n", b"3\r\n")
        await until(lambda: len(server.mails) == 3, PATIENCE)
        assert server.contents == [b"1\r\n", b"2\r\n", b"3\r\n"]
        assert len(server.connections) == 1
        await second.stop()
        await process.queue(LANE, b"4\r\n")
        await process.idle()
        assert len(server.connections) == 1


async def test_nothing_is_sent_while_too_little_of_the_lease_remains(store_url, server):
    process = Process(store_url, renew=False, lease_margin=60.0)
    process.lead(LANE, server)
    await process.start()
    (recipient_id,) = await process.queue(LANE, b"1\r\n")
    await until(lambda: server.connections, PATIENCE)
    await asyncio.sleep(0.2)
    assert not server.lines("MAIL")
    await asyncio.to_thread(process.database.store.renew, timedelta(seconds=600))
    await process.idle()
    assert await process.states([recipient_id]) == ["delivered"]
    assert await process.attempts(recipient_id) == []
    await process.stop()


async def test_a_clean_stop_gives_the_lanes_back_with_nothing_in_doubt(store_url, server):
    first = Process(store_url)
    first.lead(LANE, server)
    await first.start()
    await first.queue(LANE, b"1\r\n")
    await first.idle()
    await first.delivery.stop(PATIENCE)
    lane = await first.lane()
    assert (lane.state, lane.lease_token, lane.lease_node) == ("idle", None, None)
    await until(lambda: server.connections[0].is_cut, PATIENCE)
    (second,) = await first.queue(LANE, b"2\r\n")
    await first.database.close()
    after = Process(store_url)
    after.lead(LANE, server)
    await after.start()
    await after.idle()
    assert (await after.row(second)).in_doubt == 0
    await after.stop()


async def test_a_stop_lets_the_mail_under_way_end_and_begins_no_other(store_url, server):
    process = Process(store_url)
    process.lead(LANE, server)
    await process.start()
    with server.holding("MAIL"):
        ids = await process.queue(LANE, *(b"%d\r\n" % number for number in range(10)))
        await until(lambda: server.lines("MAIL"), PATIENCE)
        stopping = asyncio.create_task(process.delivery.stop(PATIENCE))
        await until(lambda: process.delivery._shared.stopping, PATIENCE)
    await stopping
    states = await process.states(ids)
    assert states.count("delivered") == len(server.mails) == 1
    assert (await process.lane()).state == "idle"
    await process.database.close()


async def test_a_peer_that_stays_silent_is_left_after_the_grace_and_its_mail_is_in_doubt(store_url, server):
    server.behaviour.next("DOT", SILENCE)
    process = Process(store_url)
    process.lead(LANE, server)
    await process.start()
    (recipient_id,) = await process.queue(LANE, b"1\r\n")
    await until(lambda: server.mails)
    await process.delivery.stop(0.2)
    row = await process.row(recipient_id)
    assert (row.state, row.in_doubt) == ("queued", 1)
    assert (await process.lane()).state == "idle"
    await process.database.close()


@pytest.mark.parametrize("verb", ["CONNECT", "HELO"])
async def test_a_stop_does_not_wait_for_a_connection_that_is_being_opened(store_url, server, verb):
    server.behaviour.always[verb] = SILENCE
    process = Process(store_url)
    process.lead(LANE, server)
    await process.start()
    (recipient_id,) = await process.queue(LANE, b"1\r\n")
    await until(lambda: server.connections)
    began = time.monotonic()
    await process.delivery.stop(600)
    assert time.monotonic() - began < PATIENCE
    assert (await process.row(recipient_id)).state == "queued"
    assert (await process.lane()).state == "idle"
    await process.database.close()


async def test_a_stop_right_after_the_start_ends_at_once(store_url, server):
    for _ in range(5):
        process = Process(store_url)
        process.lead(LANE, server)
        await process.queue(LANE, b"1\r\n")
        began = time.monotonic()
        await process.start()
        await process.stop(600)
        assert time.monotonic() - began < PATIENCE


async def test_an_outcome_the_store_cannot_take_yet_stops_its_lane_until_it_is_written(
    tmp_path, server, postgresql, caplog
):
    tmp_path.chmod(0o700)
    process = Process(f"sqlite:///{tmp_path / 'gateway.db'}", scan_every=60.0)
    process.lead(LANE, server)
    await process.start()
    with closing(pysqlite.connect(str(tmp_path / "gateway.db"), isolation_level=None)) as beside:
        with server.holding("MAIL"):
            first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
            await until(lambda: server.lines("MAIL"), PATIENCE)
            beside.execute("BEGIN IMMEDIATE")
        await until(lambda: "its outcome was not written" in caplog.text, PATIENCE)
        assert server.contents == [b"1\r\n"]
        assert await process.states([first, second]) == ["queued", "queued"]
        beside.execute("ROLLBACK")
    await process.idle()
    assert server.contents == [b"1\r\n", b"2\r\n"]
    assert await process.states([first, second]) == ["delivered", "delivered"]
    await process.stop()


async def test_a_broken_store_ends_the_lane_and_leaves_its_head_in_doubt(store_url, server):
    process = Process(store_url)
    process.lead(LANE, server)
    await process.start()
    with server.holding("MAIL"):
        (recipient_id,) = await process.queue(LANE, b"1\r\n")
        await until(lambda: server.lines("MAIL"), PATIENCE)
        process.database.broken.set_result(StoreBroken("the disk is gone"))
    await until(lambda: server.mails, PATIENCE)
    await process.delivery.stop(PATIENCE)
    assert (await process.row(recipient_id)).state == "queued"
    assert (await process.lane()).state == "sending"
    await process.database.close()


async def test_a_lane_nobody_delivers_is_told_of_and_left_alone(process, caplog):
    with caplog.at_level(logging.ERROR):
        ids = await process.queue("carrier-pigeon:1", b"1\r\n", b"2\r\n")
    assert await process.states(ids) == ["queued", "queued"]
    assert caplog.text.count("nothing here delivers the lane carrier-pigeon:1") == 1


async def test_lanes_are_looked_through_again_after_the_store_was_out_of_reach(process, server):
    await process.execute("ALTER TABLE recipients RENAME TO hidden")
    process.delivery._on_foreign(None)
    await asyncio.sleep(0.2)
    await process.execute("ALTER TABLE hidden RENAME TO recipients")
    assert isinstance(await process.database.apply(process.unit(LANE, b"1\r\n")[1]), Applied)
    await process.idle()
    assert server.contents == [b"1\r\n"]


async def test_a_lane_that_cannot_be_leased_now_is_leased_later(store_url, server):
    process = Process(store_url)
    process.lead(LANE, server)
    await process.queue(LANE, b"1\r\n")
    await process.control.start()
    await process.execute("ALTER TABLE lanes RENAME TO hidden")
    await process.start()
    await asyncio.sleep(0.2)
    await process.execute("ALTER TABLE hidden RENAME TO lanes")
    await process.idle()
    assert server.contents == [b"1\r\n"]
    await process.stop()


async def test_a_mail_dropped_at_the_dot_again_and_again_is_undelivered_in_doubt(process, server):
    server.behaviour.next("DOT", DROP, DROP, DROP)
    (recipient_id,) = await process.queue(LANE, b"1\r\n")
    await process.idle()
    row = await process.row(recipient_id)
    assert (row.state, row.in_doubt, row.attempts) == ("undelivered", 3, 3)
