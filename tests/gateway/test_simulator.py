"""The built-in backend: hand-over and result are one unit (semantics §5)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count

import pytest
from sqlalchemy import func, select, update

from gateway.backend_parts import BackendLaneSettings, BackendParts
from gateway.clock_guard import ClockGuard
from gateway.delivery import Delivery
from gateway.lane_control import LaneControl
from gateway.lane_holder import Gone, HandOver
from gateway.lanes import DeliverySettings
from gateway.sandbox.simulator import Simulator
from handlers.calendar import JST
from handlers.naccs.message import body_of
from handlers.naccs.results import read_output
from storage.clock import Clock
from storage.committer import Committer
from storage.effects import CONTENT, MAIL, RECIPIENT_OUTCOME, Change, Insert, Note, Stale, Unit
from storage.mail_queue import Arrival, Outbound, queued_in_lane
from storage.models import Mail, MailContent, Recipient, Request
from storage.states import State
from tests.fakes.in_house_server import until
from tests.gateway.test_current_map import OnMap, on_map
from tests.gateway.test_health import only_sqlite
from tests.gateway.test_listeners import BACKEND
from tests.gateway.test_worker import OTA, put, working
from tests.handlers.naccs.sound_request import BODY
from tests.handlers.test_terminals import ADDRESS, KEY

NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)  # midnight in Japan


def a_request(content: bytes = OTA) -> Outbound:
    return Outbound(
        recipient_id=5,
        mail_id=4,
        lane="backend",
        sequence=1,
        sender=ADDRESS,
        rcpt_to=BACKEND,
        created_at=NOW,
        due_at=NOW,
        waiting_since=NOW,
        header=None,
        body_offset=0,
        attempts=0,
        in_doubt=0,
        address_id=71,
        content=content,
    )


async def handed_over(content: bytes = OTA) -> tuple[tuple[Insert, ...], tuple[Note, ...]]:
    simulator = Simulator(BACKEND, Clock(), count(1000).__next__)
    return await simulator.hand_over(a_request(content), content)


async def test_a_request_is_answered_by_a_result_mail_to_the_address_it_came_from():
    inserts, (note,) = await handed_over()
    (mail,) = [dict(zip(MAIL.columns, insert.values, strict=True)) for insert in inserts if insert.kind is MAIL]
    assert (mail["direction"], mail["listener"], mail["mail_from"]) == ("inbound", "backend", BACKEND)
    assert (mail["address_id"], mail["secret"]) == (71, None)
    arrived = note.payload
    assert isinstance(arrived, Arrival)
    assert note.topic == "arrived"
    assert (arrived.rcpt_to, arrived.order_key, arrived.address_id) == (ADDRESS, KEY, 71)


async def test_the_result_is_normal_and_echoes_the_request():
    inserts, (note,) = await handed_over()
    content = note.payload.content
    assert [insert.values[1] for insert in inserts if insert.kind is CONTENT] == [content]
    assert content.startswith(f"From: {BACKEND}\r\nTo: {ADDRESS}\r\n".encode())
    body = body_of(content)[1]
    output = read_output(body)
    assert output is not None
    assert body[400:415] == b"00000-0000-0000"
    assert (output.procedure_code, output.message_type, output.mail_address) == ("OTA", "R", ADDRESS)
    assert output.message_length == len(body)
    assert b"PASSWD01" not in content
    today = datetime.now(UTC).astimezone(JST).date()
    assert output.received_at is not None
    assert abs((output.received_at.date() - today).days) <= 1


async def test_a_request_in_base64_is_read():
    encoded = base64.encodebytes(BODY).replace(b"\n", b"\r\n")
    header = f"From:{ADDRESS}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
    _, (note,) = await handed_over(header + encoded)
    assert b"00000-0000-0000" in note.payload.content


@pytest.mark.parametrize("body", [b"<?xml version='1.0'?><a/>\r\n", b"UNB+UNOA:3+TST01+NACCS+261124:1000+1'\r\n"])
async def test_of_other_families_nothing_is_answered(body):
    assert await handed_over(f"From:{ADDRESS}\r\n\r\n".encode() + body) == ((), ())


@pytest.mark.parametrize("content", [b"", b"Subject: x\r\n\r\nx", OTA[:300]])
async def test_what_is_no_request_can_never_be_handed_over(content):
    with pytest.raises(ValueError, match="cannot be read"):
        await handed_over(content)


# In the store.


async def nowhere(_lane: str, _outbound: Outbound) -> Gone:
    return Gone("no terminal in this test")


@asynccontextmanager
async def delivering(on: OnMap) -> AsyncIterator[Delivery]:
    """Delivery with the simulator behind it; every other lane leads nowhere."""
    simulator = Simulator(BACKEND, Clock(), on.database.new_key)
    control = LaneControl(on.database, Clock())
    delivery = Delivery(
        on.database,
        nowhere,
        a_backend(simulator.hand_over),
        Clock(),
        DeliverySettings(name="gateway.example"),
        control=control,
        guard=ClockGuard(),
    )
    await control.start()
    await delivery.start()
    try:
        yield delivery
    finally:
        await delivery.stop(5)
        await control.stop()


def a_backend(hand_over: HandOver) -> BackendParts:
    async def nothing(*_: object) -> None:
        return None

    return BackendParts(
        settings=BackendLaneSettings(discards_repeats=True),
        refuse=lambda *_: None,
        refresh_map=nothing,
        park=nothing,
        simulator=hand_over,
    )


def handed(on: OnMap) -> tuple[int, int]:
    """(requests handed over, results that came), by one statement."""
    lane = select(func.count()).where(Recipient.lane == "backend", Recipient.state == State.DELIVERED)
    results = select(func.count()).where(Mail.listener == "backend")
    row = on.store.read(lambda s: s.execute(select(lane.scalar_subquery(), results.scalar_subquery())).one())
    return row[0], row[1]


async def test_no_request_is_ever_handed_over_without_its_result(store_url):
    async with on_map(store_url) as on:
        async with working(on) as worker, delivering(on):
            seen = set()
            for number in range(10):
                await put(on, OTA + b"\r\n" * number)
            while (state := await asyncio.to_thread(handed, on)) != (10, 10):
                seen.add(state)
            await until(lambda: worker.idle)
        assert all(handed_over == results for handed_over, results in seen)
        requests = on.store.read(lambda s: s.scalars(select(Request)).all())
        assert len({request.result_mail_id for request in requests}) == 10
        assert all(request.answered_at for request in requests)


@only_sqlite
async def test_handed_over_a_request_has_forgotten_its_password(store_url):
    async with on_map(store_url) as on, working(on), delivering(on):
        arrived = await put(on, OTA)
        await until(lambda: handed(on) == (1, 1))
        assert on.store.read(lambda s: s.get_one(Mail, arrived.mail_id)).secret is None


async def test_a_hand_over_that_is_not_committed_leaves_no_result(store_url):
    async with on_map(store_url) as on:
        async with working(on) as worker:
            await put(on, OTA)
            await until(lambda: on.store.read(lambda s: queued_in_lane(s, "backend", 0, 1)) and worker.idle)
        (outbound,) = on.store.read(lambda s: queued_in_lane(s, "backend", 0, 2))
        inserts, notes = await Simulator(BACKEND, Clock(), on.database.new_key).hand_over(outbound, OTA)
        not_our_lane = (outbound.recipient_id, on.store.lease_token, "delivered", 0, 0, 1, 0, "")
        unit = Unit(changes=(Change(RECIPIENT_OUTCOME, not_our_lane),), inserts=inserts, notes=notes)
        assert Committer(on.store).commit([unit]) == [Stale("state")]
        assert handed(on) == (0, 0)
        async with delivering(on):  # who holds the lane hands it over again
            await until(lambda: handed(on) == (1, 1))


@only_sqlite
async def test_what_cannot_be_read_any_more_is_parked_and_holds_nobody_back(store_url):
    async with on_map(store_url) as on:
        async with working(on) as worker:
            for _ in range(2):
                await put(on, OTA)
            await until(lambda: len(on.store.read(lambda s: queued_in_lane(s, "backend", 0, 9))) == 2 and worker.idle)
        first, second = on.store.read(lambda s: queued_in_lane(s, "backend", 0, 2))

        spoil = update(MailContent).where(MailContent.mail_id == first.mail_id).values(content=b"x")
        await asyncio.to_thread(on.store.run, lambda session: session.execute(spoil))
        async with delivering(on):
            await until(lambda: handed(on) == (1, 1))
        query = select(Recipient.state).where(Recipient.lane == "backend").order_by(Recipient.lane_sequence)
        assert on.store.read(lambda s: s.scalars(query).all()) == ["parked", "delivered"]
        assert first.sequence < second.sequence
