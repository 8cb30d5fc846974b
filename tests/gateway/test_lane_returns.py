"""What comes back into a lane, leaves it or moves in it by command while the lane is at work, on both stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from storage.batch import take_sequences
from storage.columns import to_micros
from storage.models import Recipient
from storage.store import note, opened
from tests.fakes.in_house_server import DROP, until
from tests.gateway.delivering import LANE, PATIENCE, HoldingServer, Process

pytestmark = pytest.mark.usefixtures("all_processes_end")


@pytest.fixture
async def server() -> AsyncIterator[HoldingServer]:
    async with HoldingServer() as listening:
        yield listening


@pytest.fixture
async def process(store_url: str, server: HoldingServer) -> AsyncIterator[Process]:
    made = Process(store_url, retry_first=60.0, retry_max=600.0)
    made.lead(LANE, server)
    await made.start()
    yield made
    await made.stop()


def fetch(session: Session, *, micros: int) -> int:
    """What SYG does: everything given up goes to the end of the lane again, in its order."""
    take_sequences(session.connection(), {LANE: 0})  # from here on nobody else takes a place
    moved = session.execute(
        text(
            "UPDATE recipients SET state = 'queued', waiting_since = :now, due_at = :now, finished_at = NULL, "
            "lane_sequence = (SELECT last_sequence FROM lanes WHERE lane = recipients.lane) + place.number "
            "FROM (SELECT id, row_number() OVER (ORDER BY lane_sequence) AS number FROM recipients "
            "WHERE state = 'undelivered') AS place WHERE place.id = recipients.id AND state = 'undelivered' "
            "RETURNING recipients.id"
        ),
        {"now": micros},
    ).fetchall()
    if moved:
        take_sequences(session.connection(), {LANE: len(moved)})
        note(session, "foreign", None)
    return len(moved)


async def in_order_of_the_store(process: Process) -> list[int]:
    return await process.database.read(
        lambda session: list(session.scalars(select(Recipient.id).order_by(Recipient.lane_sequence)))
    )


@pytest.mark.parametrize("by", ["this process", "another process"])
async def test_what_is_fetched_while_the_lane_comes_back_to_life_arrives_once(store_url, server, by):
    """Mails are given up one after another, fetched at once, given up again, until the server answers."""
    process = Process(store_url, terminal_life=0.4, retry_first=0.05, retry_max=0.1)
    process.lead(LANE, server)
    await server.close()
    ids = []
    for number in range(120):
        ids += await process.queue(LANE, b"%d\r\n" % number, age=0.4 - number * 0.005)
    await process.start()
    fetched = 0
    all_arrived = asyncio.Event()

    async def fetch_again_and_again() -> None:
        nonlocal fetched
        with opened(store_url) as beside:
            while not all_arrived.is_set():
                work = partial(fetch, micros=to_micros(process.clock.now()))
                if by == "this process":
                    fetched += await process.database.run(work)
                else:
                    fetched += await asyncio.to_thread(beside.run, work)
                await asyncio.sleep(0.01)

    fetching = asyncio.create_task(fetch_again_and_again())
    try:
        await until(lambda: fetched > 150, PATIENCE)
        await server.open()
        await process.hear()
        async with asyncio.timeout(2 * PATIENCE):
            while set(await process.states(ids)) != {"delivered"}:  # noqa: ASYNC110 - nothing announces a row
                await asyncio.sleep(0.05)
    finally:
        all_arrived.set()
        await fetching
    await process.idle()
    number_of = {recipient_id: number for number, recipient_id in enumerate(ids)}
    expected = [b"%d\r\n" % number_of[recipient_id] for recipient_id in await in_order_of_the_store(process)]
    assert Counter(server.contents) == Counter(expected)
    assert server.contents == expected
    await process.stop()


async def test_new_mail_stays_behind_what_was_fetched_before_it(process, server):
    old = await process.queue(LANE, b"old 1\r\n", b"old 2\r\n", age=2000)
    await process.idle()
    assert await process.states(old) == ["undelivered"] * 2
    await process.pause()
    await process.queue(LANE, b"before\r\n")
    await process.database.run(partial(fetch, micros=to_micros(process.clock.now())))
    await process.queue(LANE, b"after\r\n")
    await process.resume()
    await process.idle()
    assert server.contents == [b"before\r\n", b"old 1\r\n", b"old 2\r\n", b"after\r\n"]


async def test_a_mail_that_was_moved_to_the_end_of_its_lane_is_sent_there_and_once(process, server):
    await server.close()
    ids = await process.queue(LANE, *(b"%d\r\n" % number for number in range(1, 5)))
    await process.down()
    await process.command("UPDATE recipients SET state = 'parked' WHERE id = :id", id=ids[1])
    last = await process.database.run(lambda session: take_sequences(session.connection(), {LANE: 1})[LANE])
    move = "UPDATE recipients SET state = 'queued', lane_sequence = :last WHERE id = :id"
    await process.command(move, id=ids[1], last=last)
    await process.queue(LANE, b"5\r\n")
    await server.open()
    await process.hear()
    await process.idle()
    assert server.contents == [b"1\r\n", b"3\r\n", b"4\r\n", b"2\r\n", b"5\r\n"]


async def test_a_mail_whose_life_began_anew_is_not_given_up_by_the_old_one(store_url, server):
    process = Process(store_url, terminal_life=300.0, retry_first=60.0, retry_max=600.0)
    process.lead(LANE, server)
    await process.start()
    await server.close()
    (first,) = await process.queue(LANE, b"1\r\n")
    await process.down()
    later = to_micros(process.clock.now()) + 3_600_000_000
    await process.command("UPDATE recipients SET waiting_since = :later WHERE id = :id", later=later, id=first)
    process.clock.offset = timedelta(seconds=301)
    await process.hear()
    await process.attempted(first, 2)
    assert await process.states([first]) == ["queued"]
    await process.stop()


async def test_a_waiting_head_that_is_taken_away_lets_the_next_go_at_once(store_url, server):
    process = Process(store_url, mail_tries_within=900.0)
    process.lead(LANE, server)
    await process.start()
    server.behaviour.next("DOT", "451 later")
    first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
    await process.attempted(first)
    await process.command("UPDATE recipients SET state = 'parked' WHERE id = :id", id=first)
    await process.idle()
    assert await process.states([first, second]) == ["parked", "delivered"]
    await process.stop()


@pytest.mark.parametrize("state", ["cancelled", "parked"])
@pytest.mark.parametrize(
    ("told", "kept"),
    [(None, [("in_doubt", "dot")]), (DROP, [("in_doubt", "dot")]), ("451 later", []), ("554 never", [])],
)
async def test_what_a_peer_may_hold_is_written_although_the_mail_was_taken_away(process, server, state, told, kept):
    if told is not None:
        server.behaviour.next("DOT", told)
    with server.holding("MAIL"):
        first, second = await process.queue(LANE, b"1\r\n", b"2\r\n")
        await until(lambda: server.lines("MAIL"), PATIENCE)
        await process.execute(f"UPDATE recipients SET state = '{state}' WHERE id = :id", id=first)
    await process.idle()
    assert await process.states([first, second]) == [state, "delivered"]
    attempts = await process.attempts(first)
    assert [attempt[:2] for attempt in attempts] == kept


async def test_an_idle_lane_left_uncleanly_has_nothing_of_later_in_doubt(store_url, server):
    died = Process(store_url, renew=False)
    died.lead(LANE, server)
    await died.start()
    await died.queue(LANE, b"1\r\n")
    await died.idle()
    successor = Process(store_url, scan_every=0.2)
    successor.lead(LANE, server)
    await died.held_dead()
    await successor.start()
    (second,) = await successor.queue(LANE, b"2\r\n")
    await successor.idle()
    row = await successor.row(second)
    assert (row.state, row.in_doubt, row.attempts) == ("delivered", 0, 1)
    assert await successor.attempts(second) == []
    await successor.stop()
    await died.stop()
