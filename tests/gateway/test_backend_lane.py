"""The lane of requests: many at once, one at a time of each address, effects and outcome together, on both stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from gateway.lane_holder import Effects, HandOver
from storage.effects import CONTENT, Insert, Note
from storage.mail_queue import Origin, Outbound, Secret, arrival
from storage.models import Mail, MailContent
from tests.fakes.in_house_server import until
from tests.gateway.backend_process import BACKEND, BackendProcess
from tests.gateway.delivering import PATIENCE

pytestmark = pytest.mark.usefixtures("all_processes_end")


class Backend:
    """A backend that answers each request by a mail, and does otherwise as told by address."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.raises: dict[str, list[Exception]] = {}
        self.waits_for: dict[str, asyncio.Event] = {}
        self.at_once = 0
        self.most_at_once = 0
        self.process: BackendProcess

    async def hand_over(self, outbound: Outbound, content: bytes) -> Effects:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if outbound.sender in self.waits_for:
                await self.waits_for[outbound.sender].wait()
            if self.raises.get(outbound.sender):
                raise self.raises[outbound.sender].pop(0)
            await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        self.taken.append((outbound.sender, content))
        origin = Origin(listener="backend", mail_from="BACKEND@SMTP.CENTER.EXAMPLE")
        recipients = [(outbound.sender, outbound.sender.lower())]
        _, unit = arrival(self.process.database.new_key, origin, recipients, b"result\r\n", self.process.clock.now())
        return unit.inserts, unit.notes

    def of(self, address: str) -> list[bytes]:
        """What was taken of an address, in order."""
        return [content for sender, content in self.taken if sender == address]


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def process(store_url: str, backend: Backend) -> AsyncIterator[BackendProcess]:
    started = BackendProcess(store_url, simulator=backend.hand_over)
    backend.process = started
    await started.start()
    yield started
    await started.stop()


async def test_the_result_enters_with_the_outcome(process, backend):
    arrived: list[bytes] = []
    process.database.subscribe("arrived", lambda arrival: arrived.append(arrival.content))
    (request,) = await process.queue(BACKEND, b"request\r\n", sender="a@x.example")
    await process.idle()
    row = await process.row(request)
    assert (row.state, row.attempts) == ("delivered", 1)
    assert arrived == [b"result\r\n"]
    results = await process.database.read(
        lambda session: session.scalars(select(MailContent.content).where(MailContent.content == b"result\r\n")).all()
    )
    assert len(results) == 1


async def test_one_address_is_served_in_order_and_many_at_once(process, backend):
    gate = asyncio.Event()
    addresses = [f"{letter}@x.example" for letter in "abcdef"]
    backend.waits_for = dict.fromkeys(addresses, gate)
    for number in range(5):
        for address in addresses:
            await process.queue(BACKEND, b"%d\r\n" % number, sender=address)
    await until(lambda: backend.at_once == len(addresses))
    gate.set()
    await process.idle()
    for address in addresses:
        assert backend.of(address) == [b"%d\r\n" % number for number in range(5)]
    assert backend.most_at_once == len(addresses)


async def test_no_more_are_handed_over_at_once_than_the_setting_allows(store_url, backend):
    process = BackendProcess(store_url, simulator=backend.hand_over, hand_overs=3)
    backend.process = process
    await process.start()
    gate = asyncio.Event()
    addresses = [f"{number}@x.example" for number in range(8)]
    backend.waits_for = dict.fromkeys(addresses, gate)
    for address in addresses:
        await process.queue(BACKEND, b"1\r\n", sender=address)
    await until(lambda: backend.at_once == 3)
    gate.set()
    await process.idle()
    assert backend.most_at_once == 3
    assert len(backend.taken) == 8
    await process.stop()


async def test_an_address_that_must_wait_holds_back_nobody_else(process, backend):
    backend.waits_for["slow@x.example"] = asyncio.Event()
    (slow,) = await process.queue(BACKEND, b"s\r\n", sender="slow@x.example")
    quick = await process.queue(BACKEND, *(b"%d\r\n" % number for number in range(30)), sender="quick@x.example")
    await until(lambda: len(backend.taken) == 30, PATIENCE)
    backend.waits_for["slow@x.example"].set()
    await process.idle()
    assert set(await process.states([slow, *quick])) == {"delivered"}


async def test_a_request_that_can_never_be_taken_is_parked(process, backend):
    backend.raises["a@x.example"] = [ValueError("not a request")]
    first, second = await process.queue(BACKEND, b"1\r\n", b"2\r\n", sender="a@x.example")
    await process.idle()
    assert await process.states([first, second]) == ["parked", "delivered"]
    assert await process.attempts(first) == [("permanent", "hand_over", "not a request")]


async def test_temporary_trouble_is_tried_again_before_what_follows(process, backend):
    backend.raises["a@x.example"] = [RuntimeError("busy"), RuntimeError("busy")]
    first, second = await process.queue(BACKEND, b"1\r\n", b"2\r\n", sender="a@x.example")
    await process.idle()
    assert backend.of("a@x.example") == [b"1\r\n", b"2\r\n"]
    assert await process.attempts(first) == [("temporary", "hand_over", "RuntimeError: busy")] * 2
    assert (await process.row(first)).attempts == 3
    assert await process.attempts(second) == []


async def test_the_third_failure_parks_the_request_and_the_address_goes_on(process, backend):
    backend.raises["a@x.example"] = [RuntimeError("bug")] * 3
    first, second = await process.queue(BACKEND, b"1\r\n", b"2\r\n", sender="a@x.example")
    await process.idle()
    assert await process.states([first, second]) == ["parked", "delivered"]


@pytest.mark.parametrize("remember", [True, False])
async def test_the_password_goes_with_the_request_and_is_forgotten_once_it_is_handed_over(process, backend, remember):
    secret = Secret(content=b"user ******** rest\r\n", offset=5, original=b"PASSWORD")
    content = b"user PASSWORD rest\r\n"
    (request,) = await process.queue(BACKEND, content, sender="a@x.example", secret=secret, remember=remember)
    await process.idle()
    assert backend.of("a@x.example") == [content]
    mail_id = (await process.row(request)).mail_id
    kept = await process.database.read(
        lambda session: session.scalars(select(Mail.secret).where(Mail.id == mail_id)).one()
    )
    assert kept is None


async def test_requests_that_waited_in_the_store_are_handed_over_after_a_restart(store_url, backend):
    before = BackendProcess(store_url, simulator=backend.hand_over)
    for number in range(120):
        await before.queue(BACKEND, b"%d\r\n" % number, sender=f"{number % 7}@x.example")
    await before.database.close()
    after = BackendProcess(store_url, simulator=backend.hand_over)
    backend.process = after
    await after.start()
    await after.idle()
    for residue in range(7):
        assert backend.of(f"{residue}@x.example") == [b"%d\r\n" % n for n in range(120) if n % 7 == residue]
    await after.stop()


async def test_a_request_somebody_took_away_is_not_recorded_and_the_others_go_on(process, backend):
    gates = {address: asyncio.Event() for address in ("a@x.example", "b@x.example")}
    backend.waits_for = dict(gates)
    first, second = await process.queue(BACKEND, b"1\r\n", b"2\r\n", sender="a@x.example")
    (other,) = await process.queue(BACKEND, b"3\r\n", sender="b@x.example")
    await until(lambda: backend.at_once == 2)
    await process.execute("UPDATE recipients SET state = 'cancelled' WHERE id = :id", id=first)
    gates["a@x.example"].set()
    await until(lambda: backend.of("a@x.example"))
    await asyncio.sleep(0.1)
    (late,) = await process.queue(BACKEND, b"4\r\n", sender="c@x.example")
    gates["b@x.example"].set()
    await process.idle()
    states = await process.states([first, second, other, late])
    assert states == ["cancelled", "delivered", "delivered", "delivered"]


async def test_a_store_that_cannot_be_read_now_parks_no_request(store_url, backend):
    process = BackendProcess(store_url, simulator=backend.hand_over)
    backend.process = process
    (request,) = await process.queue(BACKEND, b"1\r\n", sender="a@x.example")
    await process.execute("ALTER TABLE mail_contents RENAME TO hidden")
    await process.start()
    await asyncio.sleep(0.2)
    assert await process.states([request]) == ["queued"]
    await process.execute("ALTER TABLE hidden RENAME TO mail_contents")
    await process.idle()
    assert backend.of("a@x.example") == [b"1\r\n"]
    assert await process.states([request]) == ["delivered"]
    await process.stop()


async def test_a_request_taken_away_before_its_turn_is_not_handed_over(process, backend):
    gate = backend.waits_for["a@x.example"] = asyncio.Event()
    _, second = await process.queue(BACKEND, b"1\r\n", b"2\r\n", sender="a@x.example")
    await until(lambda: backend.at_once)
    await process.execute("UPDATE recipients SET state = 'cancelled' WHERE id = :id", id=second)
    process.delivery._on_foreign(None)
    gate.set()
    await process.idle()
    assert backend.of("a@x.example") == [b"1\r\n"]


async def test_a_request_without_bytes_in_the_store_is_parked(process, backend):
    recipient_id, unit = process.unit(BACKEND, b"1\r\n", sender="a@x.example", remember=False)
    await process.database.apply(type(unit)(inserts=unit.inserts[:1], queued=unit.queued))
    await process.idle()
    row = await process.row(recipient_id)
    assert (row.state, row.last_reply) == ("parked", "its content is not in the store")


async def test_effects_the_store_refuses_are_tried_again_until_it_takes_them(store_url, caplog):
    process: BackendProcess

    async def clash(outbound: Outbound, _content: bytes) -> Effects:
        # The row of the request's own bytes a second time: the first try fails in the store.
        rows = [] if tried else [Insert(CONTENT, (outbound.mail_id, b"again"))]
        tried.append(outbound.recipient_id)
        return tuple(rows), (Note("taken", outbound.recipient_id),)

    tried: list[int] = []
    take: HandOver = clash
    process = BackendProcess(store_url, simulator=take)
    await process.start()
    (request,) = await process.queue(BACKEND, b"1\r\n", sender="a@x.example")
    await until(lambda: "its outcome was not written" in caplog.text)
    await process.execute("DELETE FROM mail_contents")
    await process.idle()
    assert await process.states([request]) == ["delivered"]
    assert tried == [request]
    await process.stop()


async def test_a_stop_ends_the_waits_of_a_back_off(store_url, backend):
    process = BackendProcess(store_url, simulator=backend.hand_over, retry_first=600.0, retry_max=600.0)
    backend.process = process
    await process.start()
    backend.raises["a@x.example"] = [RuntimeError("busy")]
    (request,) = await process.queue(BACKEND, b"1\r\n", sender="a@x.example")
    await process.attempted(request)
    began = time.monotonic()
    await process.stop(600)
    assert time.monotonic() - began < PATIENCE


async def test_more_requests_than_the_window_are_all_handed_over(store_url, backend):
    process = BackendProcess(store_url, simulator=backend.hand_over)
    backend.process = process
    gate = asyncio.Event()
    backend.waits_for["slow@x.example"] = gate
    await process.start()
    process.backend_lane.order.window = 10
    await process.queue(BACKEND, *(b"%d\r\n" % number for number in range(25)), sender="slow@x.example")
    gate.set()
    await process.idle()
    assert backend.of("slow@x.example") == [b"%d\r\n" % number for number in range(25)]
    await process.stop()
