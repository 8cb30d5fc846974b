"""What mails of the exchange bring about through the worker, over the wire where that decides (semantics §5 to §8)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from gateway import health
from handlers.terminals import Binding
from storage.columns import to_micros
from storage.effects import UNCLEAN_END, Applied, Change, Unit
from storage.mail_queue import Arrival, content_of
from storage.models import AuditEvent, Lane, Mail, Recipient, Request
from storage.states import State
from tests.fakes.in_house_server import until
from tests.fakes.raw_client import connected
from tests.gateway.test_current_map import IP, OnMap, on_map, other_process, today
from tests.gateway.test_health import only_sqlite
from tests.gateway.test_listeners import (
    BACKEND,
    BACKEND_PEER,
    CENTER,
    OFFICES,
    OTHER,
    edi_mail,
    end,
    naccs_listener,
    send,
)
from tests.gateway.test_worker import (
    LANE,
    OTA,
    an_exchange,
    finish,
    handled,
    in_lane,
    operator_mails,
    put,
    requests,
    row_of,
    working,
)
from tests.handlers.naccs.sound_mime import BODIES, HEADERS
from tests.handlers.naccs.sound_request import ADDRESS as SOUND_ADDRESS
from tests.handlers.naccs.sound_request import BODY, EDI
from tests.handlers.naccs.test_exchange import content_of_result
from tests.handlers.stuck_messages import give_up, set_lane
from tests.handlers.test_terminals import ADDRESS, KEY, NEXT_OWNER, reissue, set_terminal

OTHER_LANE = "terminal:60778S"
RESULT: dict[str, Any] = {"listener": "backend", "mail_from": BACKEND, "rcpt_to": ADDRESS}
LIST, FETCH = ((EDI / f"syg-{name}-request.edi").read_bytes() for name in ("list", "fetch"))


@pytest.fixture(autouse=True)
def _a_slow_store_turns_nobody_away(monkeypatch):
    """A pause of the machine during a commit is no reason to refuse a mail: other tests are about that."""
    monkeypatch.setattr(health, "MOST_SECONDS_BEHIND", 60.0)


async def hand_over(on: OnMap) -> None:
    """The backend has what waits for it."""
    claimed = update(Request).where(Request.answered_at.is_(None)).values(claimed_at=datetime.now(UTC))
    await asyncio.to_thread(on.store.run, lambda session: session.execute(claimed))


async def unclean(on: OnMap, arrived: Arrival) -> None:
    """The session of the mail ended right after our 250."""
    change = Change(UNCLEAN_END, (arrived.mail_id, to_micros(datetime.now(UTC))))
    assert await on.database.apply(Unit(changes=(change,))) == Applied((True,))


# What the exchange cannot deal with.


@only_sqlite
async def test_a_result_for_nobody_is_parked_and_the_operator_told(store_url):
    async with on_map(store_url) as on, working(on) as worker:
        arrived = await put(on, content_of_result(), key="x", **RESULT | {"rcpt_to": "NOBODY@X.EXAMPLE"})
        assert await finish(on, worker, arrived) == ["parked"]
        assert len(operator_mails(on.store)) == 1


UNKNOWN = {
    "an address of no map": ("nobody@x.example", content_of_result()),
    "a terminal of no map": ("60799S@terminals.center.example", content_of_result()),
    "the center without a requester": (CENTER, content_of_result(mail_address="")),
    "the center for third parties nobody registered": (CENTER, content_of_result("C", destination_control_type="C")),
    "no message at all": (ADDRESS, b"Subject: failure notice\r\n\r\nSorry.\r\n"),
}


@only_sqlite
async def test_over_the_wire_what_names_nobody_is_taken_parked_and_told_and_the_next_result_goes_on(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, working(on) as worker:
        async with connected(listener, BACKEND_PEER) as client:
            for rcpt_to, content in (*UNKNOWN.values(), (ADDRESS, content_of_result())):
                assert (await send(client, BACKEND, rcpt_to, content)).startswith("250 2.0.0 queued")
            await client.say("QUIT")
        query = select(Recipient).where(Recipient.direction == "inbound").order_by(Recipient.id)
        await until(lambda: State.RECEIVED not in on.store.read(lambda s: {row.state for row in s.scalars(query)}))
        rows = on.store.read(lambda session: list(session.scalars(query)))
        assert [row.state for row in rows] == ["parked"] * len(UNKNOWN) + ["handled"]
        assert len(in_lane(on.store)) == 1
        notices = operator_mails(on.store)
        for row, notice in zip(rows, notices, strict=False):
            assert str(row.mail_id).encode() in notice
        assert len(notices) == len(UNKNOWN)
        await until(lambda: worker.idle)


async def test_over_the_wire_one_mail_for_two_terminals_is_two_recipients(store_url):
    async with on_map(store_url, offices=OFFICES) as on, naccs_listener(on) as listener, working(on):
        async with connected(listener, BACKEND_PEER) as client:
            await client.say(
                "HELO b", "MAIL FROM:<>", f"RCPT TO:<{OTHER}>", "RCPT TO:<60777s@Terminals.Center.example>", "DATA"
            )
            assert (await end(client, content_of_result())).startswith("250 2.0.0 queued")
        await until(lambda: in_lane(on.store) and in_lane(on.store, OTHER_LANE))
        (first,), (second,) = in_lane(on.store), in_lane(on.store, OTHER_LANE)
        assert (first.rcpt_to, second.rcpt_to) == (ADDRESS, OTHER)
        assert first.mail_id == second.mail_id


@only_sqlite
async def test_a_result_stays_with_the_owner_of_its_250_whoever_has_the_address_when_it_is_handled(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        row = on.address_id
        async with connected(listener, BACKEND_PEER) as client:
            for rcpt_to in (ADDRESS, CENTER, "60777S@terminals.center.example"):
                await send(client, BACKEND, rcpt_to, content_of_result(mail_address=ADDRESS))
        await asyncio.to_thread(reissue, on.store, today=today())
        await on.map.refresh()
        assert on.address_id != row
        async with working(on):
            await until(lambda: len(in_lane(on.store)) == 3)
        assert {queued.address_id for queued in in_lane(on.store)} == {row}
        assert in_lane(on.store, OTHER_LANE) == []


# Messages of the other families, both ways.


async def test_over_the_wire_a_message_of_another_family_passes_both_ways_as_it_is(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, working(on):
        sent = {
            name: HEADERS[name].replace(SOUND_ADDRESS.encode(), ADDRESS.encode()) + b"\r\n" + BODIES[name]
            for name in HEADERS
        }
        for source, sender, rcpt_to in ((IP, ADDRESS, CENTER), (BACKEND_PEER, BACKEND, ADDRESS)):
            async with connected(listener, source) as client:
                for content in sent.values():
                    assert (await send(client, sender, rcpt_to, content)).startswith("250 2.0.0 queued")
                await client.say("QUIT")
        await until(lambda: len(in_lane(on.store)) == len(in_lane(on.store, "backend")) == len(sent))
        for name, asked, brought in zip(sent, in_lane(on.store, "backend"), in_lane(on.store), strict=True):
            stored = on.store.read(partial(content_of, mail_id=asked.mail_id))
            assert (asked.header, stored) == (None, sent[name] + b"\r\n")
            stored = on.store.read(partial(content_of, mail_id=brought.mail_id))
            assert stored[brought.body_offset :] == BODIES[name] + b"\r\n"
            assert HEADERS[name].partition(b"Mime-Version")[2] in (brought.header or b"")
        assert [row.outstanding_until for row in requests(on.store)] == [None] * len(sent)


# SYG.


def bound(on: OnMap) -> Binding:
    found = on.map.view.binding(KEY, today())
    assert found is not None
    return found


async def test_over_the_wire_a_list_and_a_fetch_of_what_could_not_be_delivered(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, working(on) as worker:
        stuck = [
            await asyncio.to_thread(give_up, on.store, bound(on), code, datetime.now(UTC))
            for code in ("SAD4031", "SAD4071", "SAD4031")
        ]
        heard: list[str] = []
        looks: list[object] = []
        on.database.subscribe("heard", heard.append)
        on.database.subscribe("foreign", looks.append)
        async with connected(listener, IP) as client:
            for body in (LIST, FETCH):
                assert (await send(client, ADDRESS, CENTER, edi_mail(body))).startswith("250 2.0.0 queued")
            await client.say("QUIT")
        await until(lambda: len(requests(on.store)) == 2)
        await until(lambda: worker.idle)
        assert heard == [LANE, LANE]
        assert looks  # the lanes are told to look for what was queued again
        rows = in_lane(on.store)
        (answer,) = [row for row in rows if row.mail_id not in stuck]
        listed = on.store.read(partial(content_of, mail_id=answer.mail_id)).partition(b"\r\n\r\n")[2]
        assert listed[477:] == b"0002\r\nSAD4031\r\n0002\r\nSAD4071\r\n0001\r\n"
        # In their old order, behind what was in the lane by then.
        assert [row.mail_id for row in rows if row.state == "queued"] == [answer.mail_id, stuck[0], stuck[2]]
        first, second = requests(on.store)
        assert (first.procedure, first.result_mail_id, second.result_mail_id) == ("SYG", answer.mail_id, None)
        assert None not in (first.answered_at, second.answered_at)
        assert {mail.secret for mail in on.store.read(lambda s: list(s.scalars(select(Mail))))} == {None}


async def test_a_retrieval_decided_on_an_older_map_is_decided_again(store_url):
    async with on_map(store_url, follow=False) as on, other_process(store_url) as other:
        await asyncio.to_thread(give_up, on.store, bound(on), "SAD4031", datetime.now(UTC))
        await asyncio.to_thread(set_terminal, other)
        async with working(on) as worker:
            arrived = await put(on, edi_mail(FETCH))
            assert await finish(on, worker, arrived) == ["handled"]
        assert on.map.view.version == 2
        assert [row.state for row in in_lane(on.store)] == ["queued"]
        assert len(requests(on.store)) == 1


async def test_the_same_retrieval_after_an_unclean_end_fetches_nothing_more(store_url):
    async with on_map(store_url) as on, working(on) as worker:
        await asyncio.to_thread(give_up, on.store, bound(on), "SAD4031", datetime.now(UTC))
        first = [await put(on, edi_mail(body)) for body in (LIST, FETCH)]
        await finish(on, worker, *first)
        for each in first:
            await unclean(on, each)
        later = await asyncio.to_thread(give_up, on.store, bound(on), "SAD4031", datetime.now(UTC))
        again = [await put(on, edi_mail(body)) for body in (LIST, FETCH)]
        assert await finish(on, worker, *again) == ["duplicate", "duplicate"]
        assert len(requests(on.store)) == 2
        (row,) = [row for row in in_lane(on.store) if row.mail_id == later]
        assert row.state == "undelivered"
        # The list that was made the first time is sent again.
        (listed, _) = requests(on.store)
        assert len([row for row in in_lane(on.store) if row.mail_id == listed.result_mail_id]) == 2


# A second request of an address.


async def test_where_a_second_request_is_refused_it_is_answered_at_once_and_the_next_one_goes(store_url):
    async with on_map(store_url) as on:
        exchange = an_exchange(on, refuse_second=True)
        async with working(on, exchange=exchange) as worker:
            first, second = await put(on, OTA), await put(on, OTA)
            check = await put(on)
            assert await finish(on, worker, first, second, check) == ["handled"] * 3
            assert [row_of(on.store, each).last_reply for each in (first, second, check)] == ["OTA", "A0011", "TCC"]
            assert len(in_lane(on.store, "backend")) == 1
            await hand_over(on)
            result = await put(on, content_of_result(procedure_code="OTA"), **RESULT)
            third = await put(on, OTA)
            assert await finish(on, worker, result, third) == ["handled"] * 2
            assert len(in_lane(on.store, "backend")) == 2
        queued = in_lane(on.store, "backend")[0]
        assert queued.request_id == first.recipient_id
        assert row_of(on.store, result).request_id == first.recipient_id


@only_sqlite
async def test_a_repeat_of_the_outstanding_request_is_a_repeat_and_no_second_one(store_url):
    async with on_map(store_url) as on, working(on, exchange=an_exchange(on, refuse_second=True)) as worker:
        first = await put(on, OTA)
        await handled(on, first)
        await unclean(on, first)
        again = await put(on, OTA)
        assert await finish(on, worker, again) == ["duplicate"]
        assert in_lane(on.store) == []


@only_sqlite
async def test_without_a_window_an_identical_second_request_is_refused_not_swallowed(store_url):
    exact = datetime.now(UTC)
    async with (
        on_map(store_url) as on,
        working(on, exchange=an_exchange(on, window=0, refuse_second=True)) as worker,
    ):
        first = await put(on, OTA, at=exact)
        await handled(on, first)
        await unclean(on, first)
        again = await put(on, OTA, at=exact)
        assert await finish(on, worker, again) == ["handled"]
        assert row_of(on.store, again).last_reply == "A0011"


# What others are told.


async def test_a_terminal_that_checks_is_heard_and_an_ended_request_is_told(store_url):
    async with on_map(store_url) as on, working(on) as worker:
        told: list[tuple[str, object]] = []
        on.database.subscribe("heard", lambda lane: told.append(("heard", lane)))
        on.database.subscribe("answered", lambda address_id: told.append(("answered", address_id)))
        await asyncio.to_thread(set_lane, on.store, LANE, down_since=datetime.now(UTC))
        before = datetime.now(UTC)
        arrived = [await put(on), await put(on, OTA)]
        await finish(on, worker, *arrived)
        await hand_over(on)
        result = await put(on, content_of_result(procedure_code="OTA"), **RESULT)
        await finish(on, worker, result)
        assert told == [("heard", LANE), ("answered", on.address_id)]
        row = on.store.read(lambda session: session.get_one(Lane, LANE))
        assert row.flushed_at is not None
        assert row.flushed_at >= before


# Repeats.


async def test_the_same_mail_after_an_unclean_end_is_a_repeat_and_its_result_is_sent_again(store_url):
    async with on_map(store_url) as on, working(on) as worker:
        first = await put(on)
        await handled(on, first)
        await unclean(on, first)
        again = await put(on)
        assert await finish(on, worker, first, again) == ["handled", "duplicate"]
        results = in_lane(on.store)
        assert [row.lane_sequence for row in results] == [1, 2]
        # The same mail, so the same bytes and Message-ID.
        assert results[0].mail_id == results[1].mail_id
        assert results[1].output_code == "*CTCC"
        assert len(requests(on.store)) == 1
        resent = select(AuditEvent).where(AuditEvent.event == "result-resent")
        event = on.store.read(lambda session: session.scalars(resent).one())
        assert event.subject == f"mail:{results[0].mail_id}"
        assert str(again.mail_id) in event.detail
        assert on.store.read(lambda session: session.get_one(Mail, again.mail_id)).secret is None


async def test_a_repeat_whose_result_is_not_there_yet_is_not_handed_over_twice(store_url):
    async with on_map(store_url) as on, working(on) as worker:
        first = await put(on, OTA)
        await handled(on, first)
        await unclean(on, first)
        again = await put(on, OTA)
        assert await finish(on, worker, again) == ["duplicate"]
        assert len(in_lane(on.store, "backend")) == 1
        assert in_lane(on.store) == []
        await hand_over(on)
        result = await put(on, content_of_result(procedure_code="OTA"), **RESULT)
        assert await finish(on, worker, result) == ["handled"]
        third = await put(on, OTA)
        assert await finish(on, worker, third) == ["duplicate"]
        assert [row.mail_id for row in in_lane(on.store)] == [result.mail_id] * 2


@only_sqlite
async def test_a_repeat_never_brings_an_older_result_of_the_same_bytes(store_url):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    async with on_map(store_url) as on, working(on) as worker:
        old = await put(on, OTA, at=yesterday)
        await handled(on, old)
        await hand_over(on)
        await unclean(on, old)
        result = await put(on, content_of_result(procedure_code="OTA"), at=yesterday, **RESULT)
        first = await put(on, OTA)
        await handled(on, result, first)
        await unclean(on, first)
        again = await put(on, OTA)
        assert await finish(on, worker, first, again) == ["handled", "duplicate"]
        assert [row.mail_id for row in in_lane(on.store)] == [result.mail_id]


NO_REPEATS: dict[str, dict[str, Any]] = {
    "after a clean end": {"ends": False},
    "with the window switched off": {"window": 0.0},
    "after the window": {"before": timedelta(seconds=31)},
    "with other bytes": {"content": edi_mail(BODY + b"\r\n")},
    "from another sender": {"mail_from": OTHER},
}


@only_sqlite
@pytest.mark.parametrize("name", NO_REPEATS)
async def test_a_mail_is_no_repeat(store_url, name):
    usual = {"ends": True, "window": 30.0, "before": timedelta(), "content": b"", "mail_from": ADDRESS}
    case: dict[str, Any] = usual | NO_REPEATS[name]
    async with on_map(store_url, offices=OFFICES) as on:
        async with working(on, exchange=an_exchange(on, window=case["window"])) as worker:
            first = await put(on, at=datetime.now(UTC) - case["before"])
            await handled(on, first)
            if case["ends"]:
                await unclean(on, first)
            (row,) = on.map.view.by_address[case["mail_from"].lower()]
            again = await put(
                on,
                case["content"],
                mail_from=case["mail_from"],
                key=case["mail_from"].lower(),
                address_id=row.address_id,
            )
            assert await finish(on, worker, again) == ["handled"]
        results = in_lane(on.store) + in_lane(on.store, "terminal:60778S")
        assert len({row.mail_id for row in results}) == 2


@only_sqlite
async def test_within_the_window_counts_from_the_arrival_of_the_first(store_url):
    async with on_map(store_url) as on, working(on) as worker:
        second = datetime.now(UTC)
        first = await put(on, at=second - timedelta(seconds=30))
        await handled(on, first)
        await unclean(on, first)
        again = await put(on, at=second)
        assert await finish(on, worker, again) == ["duplicate"]


SAME_RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "after an unclean end": ({}, "duplicate"),
    "after a clean end": ({"ends": False}, "handled"),
    "after the window": ({"before": timedelta(seconds=31)}, "handled"),
    "for another terminal": ({"rcpt_to": OTHER}, "handled"),
    "from another sender": ({"mail_from": ""}, "handled"),
}


@pytest.mark.parametrize("name", SAME_RESULTS)
async def test_the_same_result_again_is_a_repeat_only_for_the_same_terminal_after_an_unclean_end(store_url, name):
    changes, expected = SAME_RESULTS[name]
    case: dict[str, Any] = {"ends": True, "before": timedelta()} | RESULT | changes
    ends, before = case.pop("ends"), case.pop("before")
    async with on_map(store_url, offices=OFFICES) as on, working(on) as worker:
        first = await put(on, content_of_result(), at=datetime.now(UTC) - before, **RESULT)
        await handled(on, first)
        if ends:
            await unclean(on, first)
        again = await put(on, content_of_result(), **case)
        assert await finish(on, worker, again) == [expected]
        delivered = [*in_lane(on.store), *in_lane(on.store, OTHER_LANE)]
        assert len(delivered) == (1 if expected == "duplicate" else 2)


async def test_over_the_wire_a_client_that_saw_no_250_and_comes_again_gets_one_result_twice(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, working(on) as worker:
        for _ in range(2):
            async with connected(listener, IP) as client:
                assert (await send(client, ADDRESS, CENTER, edi_mail())).startswith("250 2.0.0 queued")
            await until(lambda: listener.connections == 0)
        await until(lambda: len(in_lane(on.store)) == 2)
        await until(lambda: worker.idle)
        query = select(Recipient.state).where(Recipient.direction == "inbound").order_by(Recipient.id)
        assert on.store.read(lambda session: session.scalars(query).all()) == ["handled", "duplicate"]
        for _ in range(2):  # an operator's second TCC
            async with connected(listener, IP) as client:
                await send(client, ADDRESS, CENTER, edi_mail(BODY + b"\r\n"))
                await client.say("QUIT")
        await until(lambda: len(in_lane(on.store)) == 4)
        assert len({row.mail_id for row in in_lane(on.store)}) == 3


# Secrets.


@only_sqlite
async def test_an_answered_request_has_forgotten_its_password_and_one_for_the_backend_keeps_it(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, working(on) as worker:
        for content in (edi_mail(), OTA):
            async with connected(listener, IP) as client:
                await send(client, ADDRESS, CENTER, content)
                await client.say("QUIT")
        await until(lambda: len(requests(on.store)) == 2)
        await until(lambda: worker.idle)
        query = select(Mail.secret).where(Mail.listener == "naccs").order_by(Mail.id)
        assert on.store.read(lambda session: session.scalars(query).all()) == [None, b"PASSWD01"]
        contents = on.store.read(lambda session: session.execute(text("SELECT content FROM mail_contents")).all())
        assert not [row for row in contents if b"PASSWD01" in bytes(row[0])]


@only_sqlite
async def test_a_mail_is_handled_by_the_row_it_is_bound_to_after_its_address_went_to_another(store_url):
    async with on_map(store_url, follow=False) as on:
        row = on.address_id
        arrived = await put(on)
        await asyncio.to_thread(reissue, on.store, today=today())
        async with working(on) as worker:
            assert await finish(on, worker, arrived) == ["handled"]
        assert [queued.address_id for queued in in_lane(on.store)] == [row]
        assert in_lane(on.store, f"terminal:{NEXT_OWNER}") == []
        assert on.store.read(lambda s: s.scalar(select(func.count()).select_from(Request))) == 1
