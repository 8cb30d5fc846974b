"""`naccs.before_tcc = refuse`: what a new terminal asks before its first TCC, by the worker (application-desk §7)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from gateway.worker import Worker
from handlers.naccs.exchange import Exchange
from handlers.naccs.first_check import REFUSAL_NOTE
from storage.effects import Unit
from storage.mail_queue import content_of
from storage.models import LogicalTerminal
from tests.gateway.test_current_map import OnMap, on_map, other_process
from tests.gateway.test_health import only_sqlite
from tests.gateway.test_listeners import edi_mail
from tests.gateway.test_worker import OTA, an_exchange, finish, in_lane, put, requests, row_of, working
from tests.gateway.test_worker_exchange import LIST, hand_over, unclean
from tests.handlers.naccs.sound_mime import BODIES, HEADERS
from tests.handlers.naccs.sound_request import ADDRESS as SOUND_ADDRESS
from tests.handlers.naccs.sound_request import BODY
from tests.handlers.test_terminals import ADDRESS, set_terminal

XML = HEADERS["XML"].replace(SOUND_ADDRESS.encode(), ADDRESS.encode()) + b"\r\n" + BODIES["XML"]
WRONG_PASSWORD = edi_mail(BODY.replace(b"TCC  ", b"OTA  ", 1).replace(b"PASSWD01", b"PASSWD02"))


def change_terminal(on: OnMap, **values: Any) -> None:
    """The terminal of the sample office, as an application or a command leaves it."""
    change = update(LogicalTerminal).where(LogicalTerminal.name == "60777S").values(**values)
    on.store.run(lambda session: session.execute(change))


async def issued(on: OnMap, **values: Any) -> Exchange:
    """The terminal is new and has had no TCC; the exchange refuses other procedures before it."""
    await asyncio.to_thread(change_terminal, on, **{"application_id": 1} | values)
    return an_exchange(on, refuse_before_tcc=True)


async def notes_of(on: OnMap, worker: Worker, *mails: bytes) -> list[str]:
    """What is noted beside each mail once all are handled."""
    arrived = [await put(on, content) for content in mails]
    assert await finish(on, worker, *arrived) == ["handled"] * len(mails)
    return [row_of(on.store, each).last_reply for each in arrived]


def answers(on: OnMap) -> list[bytes]:
    """The codes of what waits for the terminal, in its order."""
    contents = [on.store.read(partial(content_of, mail_id=row.mail_id)) for row in in_lane(on.store)]
    return [content.partition(b"\r\n\r\n")[2][400:415] for content in contents]


async def test_before_its_first_tcc_a_new_terminal_gets_one_notification_for_each_other_request(store_url):
    async with on_map(store_url) as on, working(on, exchange=await issued(on)) as worker:
        assert await notes_of(on, worker, OTA, XML) == [REFUSAL_NOTE] * 2
        assert answers(on) == [b"A0002-0000-0000"] * 2
        assert in_lane(on.store, "backend") == []
        assert [(row.procedure, row.answered_at is None) for row in requests(on.store)] == [("OTA", False), ("", False)]
        # A check and a list are taken all the same, and after the check everything is.
        assert await notes_of(on, worker, edi_mail(LIST), edi_mail(), OTA, XML) == ["SYG", "TCC", "OTA", ""]
        assert len(in_lane(on.store, "backend")) == 2
        assert len(requests(on.store)) == 6


@only_sqlite
async def test_a_tcc_that_fails_a_check_opens_nothing(store_url):
    wrong = edi_mail(BODY.replace(b"PASSWD01", b"PASSWD02"))
    async with on_map(store_url) as on, working(on, exchange=await issued(on)) as worker:
        assert await notes_of(on, worker, wrong, OTA) == ["A0004", REFUSAL_NOTE]


@only_sqlite
async def test_every_other_check_comes_first(store_url):
    async with on_map(store_url) as on, working(on, exchange=await issued(on)) as worker:
        assert await notes_of(on, worker, WRONG_PASSWORD) == ["A0004"]


GOES_ON: dict[str, dict[str, Any]] = {
    "of the register": {"application_id": None},
    "checked before this process began": {"checked_at": datetime(2026, 1, 1, tzinfo=UTC)},
}


@only_sqlite
@pytest.mark.parametrize("name", GOES_ON)
async def test_a_terminal_that_owes_no_tcc_is_asked_about_once_and_then_goes_the_usual_way(store_url, name):
    async with on_map(store_url) as on:
        exchange = await issued(on, **GOES_ON[name])
        async with working(on, exchange=exchange) as worker:
            assert await notes_of(on, worker, OTA) == ["OTA"]
        assert len(in_lane(on.store, "backend")) == 1
        assert isinstance(exchange.handle(await put(on, OTA), on.map.view, datetime.now(UTC)), Unit)


@only_sqlite
async def test_by_default_the_request_goes_on_and_the_check_may_be_left_to_the_backend(store_url):
    async with on_map(store_url) as on:
        refusing = await issued(on)
        async with working(on) as worker:
            assert await notes_of(on, worker, OTA) == ["OTA"]
        await asyncio.to_thread(change_terminal, on, left_to_backend="tcc")
        await asyncio.to_thread(set_terminal, on.store)
        await on.map.refresh()
        async with working(on, exchange=refusing) as worker:
            assert await notes_of(on, worker, OTA) == ["OTA"]


async def test_a_tcc_that_another_process_answered_counts_at_once(store_url):
    async with (
        on_map(store_url) as on,
        other_process(store_url) as other,
        working(on, exchange=await issued(on)) as worker,
    ):
        assert await notes_of(on, worker, OTA) == [REFUSAL_NOTE]
        checked = update(LogicalTerminal).values(checked_at=datetime.now(UTC))
        await asyncio.to_thread(other.run, lambda session: session.execute(checked))
        assert await notes_of(on, worker, OTA) == ["OTA"]


@only_sqlite
async def test_the_same_refused_request_after_an_unclean_end_is_a_repeat_with_the_same_answer(store_url):
    async with on_map(store_url) as on, working(on, exchange=await issued(on)) as worker:
        first = await put(on, OTA)
        assert await finish(on, worker, first) == ["handled"]
        await unclean(on, first)
        assert await finish(on, worker, await put(on, OTA)) == ["duplicate"]
        first_answer, again = in_lane(on.store)
        assert first_answer.mail_id == again.mail_id
        assert len(requests(on.store)) == 1


@only_sqlite
async def test_decided_on_an_older_map_it_is_decided_again(store_url):
    async with on_map(store_url, follow=False) as on, other_process(store_url) as other:
        exchange = await issued(on)
        await asyncio.to_thread(set_terminal, other)
        async with working(on, exchange=exchange) as worker:
            assert await notes_of(on, worker, OTA) == [REFUSAL_NOTE]
        assert on.map.view.version == 2
        assert len(requests(on.store)) == 1


@only_sqlite
async def test_where_a_second_request_is_refused_it_is_so_for_the_first_ones_after_the_check_too(store_url):
    async with on_map(store_url) as on:
        await issued(on)
        exchange = an_exchange(on, refuse_before_tcc=True, refuse_second=True)
        async with working(on, exchange=exchange) as worker:
            assert await notes_of(on, worker, OTA, edi_mail(), OTA, OTA) == [REFUSAL_NOTE, "TCC", "OTA", "A0011"]
            await hand_over(on)
            assert len(in_lane(on.store, "backend")) == 1
