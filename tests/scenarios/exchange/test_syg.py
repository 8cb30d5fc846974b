"""SYG over real sockets: the worked sample byte for byte, and no message twice while the lane comes back to life."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from handlers.naccs.common_items import CRLF, INPUT_PLACES, OUTPUT_PLACES
from storage.states import State
from tests.handlers.naccs.sound_request import ADDRESS, EDI
from tests.scenarios.exchange.fleet import Client
from tests.scenarios.exchange.in_house import Arrival
from tests.scenarios.exchange.load import LIST, stuck, syg
from tests.scenarios.exchange.sample_office import NEIGHBOUR, SAMPLE, offices
from tests.scenarios.exchange.site import ExchangeSite, Plan, exchange_site

LANE = f"terminal:{SAMPLE.name}"
LIST_REQUEST = (EDI / "syg-list-request.edi").read_bytes()
LIST_REPLY = (EDI / "syg-list-reply.edi").read_bytes()
FETCH_REQUEST = (EDI / "syg-fetch-request.edi").read_bytes()
RECEIVED_AT = OUTPUT_PLACES["received_at"]
SECONDS = 60.0
LIFE = timedelta(hours=1)  # of a message for a terminal; the clock is moved to end it


PLAN = Plan(
    terminals=(SAMPLE, NEIGHBOUR),
    offices=offices(),
    patience=SECONDS,
    settings={
        "sandbox": {"enabled": True, "movable_clock": True},
        "delivery": {"terminal_life": LIFE.total_seconds(), "retry_first": 0.1, "retry_max": 0.2},
    },
)


def client_of(site: ExchangeSite, address: str) -> Client:
    return next(client for client in site.fleet.clients if client.address == address)


async def outputs_for_the_sample(site: ExchangeSite, *kinds: str) -> None:
    """Let the neighbour's request bring outputs of these types and codes about, all for the sample's address."""
    words = " ".join((f"TO={ADDRESS}", *(f"OUT={kind}" for kind in kinds)))
    before = site.count(State.QUEUED, State.UNDELIVERED, lanes=(LANE,))
    assert await client_of(site, NEIGHBOUR.addresses[0]).request(words) is not None
    there = before + len(kinds)
    await site.until(lambda: site.count(State.QUEUED, State.UNDELIVERED, lanes=(LANE,)) == there, "outputs", SECONDS)


async def all_are_given_up(site: ExchangeSite, number: int) -> None:
    """What waits for the sample's dead server has waited too long."""
    await site.move_clock(LIFE)
    await site.until(lambda: site.count(State.UNDELIVERED, lanes=(LANE,)) == number, "all to be given up", SECONDS)


async def came(site: ExchangeSite, number: int) -> list[Arrival]:
    """What came to the sample's server, once it is so many."""

    def theirs() -> list[Arrival]:
        return [arrival for arrival in site.fleet.recorder.arrivals if arrival.terminal == SAMPLE.name]

    await site.until(lambda: len(theirs()) >= number, f"{number} mails", SECONDS)
    return theirs()


def list_reply(request: bytes, *kinds: tuple[str, int]) -> bytes:
    """The sample's reply with other kinds in it, to a request of another handover."""
    items = b"".join(code.encode().ljust(7) + CRLF + b"%04d" % number + CRLF for code, number in kinds)
    body = bytearray(LIST_REPLY[:477] + b"%04d" % len(kinds) + CRLF + items)
    body[OUTPUT_PLACES["handover"]] = request[INPUT_PLACES["handover"]]
    body[OUTPUT_PLACES["message_length"]] = b"%06d" % len(body)
    return bytes(body)


def but_for_the_time(reply: bytes) -> bytes:
    """A reply with the sample's own time in it; it must have one of the same form."""
    time = reply[RECEIVED_AT]
    assert time[:12].isdigit()
    assert time[12:] == b"  "
    return reply[: RECEIVED_AT.start] + LIST_REPLY[RECEIVED_AT] + reply[RECEIVED_AT.stop :]


@pytest.mark.parametrize("kinds", [("PSAD4031", "PSAD4031", "PSAD4071")])
async def test_the_dialogue_of_the_samples_is_had_byte_for_byte_but_for_the_time(tmp_path: Path, kinds):
    async with exchange_site(tmp_path, PLAN, SAMPLE.name) as site:
        client = client_of(site, ADDRESS)
        await outputs_for_the_sample(site, *kinds)
        await all_are_given_up(site, 3)
        await site.fleet.servers[SAMPLE.name].open()

        listed = await client.request(procedure="SYG", body=LIST_REQUEST)
        assert listed is not None
        assert but_for_the_time(listed.body) == LIST_REPLY

        await client.submit(client.make(procedure="SYG", body=FETCH_REQUEST))
        fetched = (await came(site, 3))[1:]
        made = [entry for entry in site.journal() if entry["what"] == "result" and entry["kind"] == "P"]
        assert [mail.output_code for mail in fetched] == ["SAD4031", "SAD4031"]
        assert [mail.digest for mail in fetched] == [entry["digest"] for entry in made[:2]]

        rest = await syg(client, LIST)
        assert rest is not None
        request = client.submissions[-1].body
        assert but_for_the_time(rest.body) == list_reply(request, ("SAD4071", 1))
        await syg(client, "SAD4071")
        await came(site, 5)
        await site.settle(SECONDS)
        assert stuck(await syg(client, LIST)) == []
        assert len(await came(site, 6)) == 6
        assert site.count(State.UNDELIVERED) == 0


async def test_syg_while_the_lane_comes_back_to_life_delivers_each_message_once(tmp_path: Path):
    kinds = [f"PSAD4{number:03d}" for number in range(5)]
    async with exchange_site(tmp_path, PLAN, SAMPLE.name) as site:
        client = client_of(site, ADDRESS)
        for _ in range(4):
            await outputs_for_the_sample(site, *kinds)
        await all_are_given_up(site, 20)
        await outputs_for_the_sample(site, *kinds)
        await site.fleet.servers[SAMPLE.name].open()
        for _ in range(3):
            await asyncio.gather(*(syg(client, kind[1:]) for kind in kinds))
        await site.settle(SECONDS)
        for kind, _ in stuck(await syg(client, LIST)):
            await syg(client, kind)
        await site.settle(SECONDS)
        outputs = Counter(mail.digest for mail in await came(site, 26) if mail.kind == "P")
        ledger = site.ledger()
    assert len(outputs) == 25
    assert set(outputs.values()) == {1}
    assert ledger.violations == []
