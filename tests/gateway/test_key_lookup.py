"""What the DNS says of a key: there, not there, or trouble; real questions to a server that misbehaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.key_lookup import KeyLookup, LookupTrouble
from gateway.setting_desk import address_and_port
from tests.fakes.dns_server import CUT_OFF, GARBAGE, LOOP, NO_DATA, REFUSED, SERVFAIL, SILENT, DnsServer
from tests.fakes.raw_client import both_loops, until
from tests.gateway.loop_clock import LoopClock

NAME = "naccs._domainkey.kanda.example."


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server


PATIENT = 30.0  # seconds for a question that is answered


async def asked(dns: DnsServer, *names: str) -> dict[str, tuple[bytes, ...] | LookupTrouble]:
    return await KeyLookup((dns.nameserver,), PATIENT).texts(names)


@both_loops
async def test_the_strings_of_a_record_are_joined_and_each_record_is_one():
    async with DnsServer() as dns:
        dns.texts = {NAME: [b"v=DKIM1; p=" + b"A" * 600], "two.example.": [b"one", b"other"]}
        found = await asked(dns, NAME, "two.example.", NAME)
        assert found[NAME] == (b"v=DKIM1; p=" + b"A" * 600,)
        assert found["two.example."] in ((b"one", b"other"), (b"other", b"one"))
        assert sorted(dns.asked) == [NAME, "two.example."]


async def test_a_name_that_is_not_there_or_has_no_text_is_an_answer(dns):
    dns.told = {"empty.example.": NO_DATA}
    assert await asked(dns, NAME, "empty.example.") == {NAME: (), "empty.example.": ()}


@pytest.mark.parametrize(
    "name", ["a..example.", f"{'x' * 64}.example.", ".".join(["abc"] * 80) + ".", "\udc80.example."]
)
async def test_what_is_no_name_is_asked_of_nobody(dns, name):
    assert await asked(dns, name) == {name: ()}
    assert dns.asked == []


@pytest.mark.parametrize("told", [SERVFAIL, REFUSED, GARBAGE, SILENT, LOOP, CUT_OFF])
async def test_a_server_without_an_answer_is_trouble_and_soon_over(dns, told):
    dns.told = {NAME: told}
    dns.texts = {"sound.example.": [b"sound"]}
    clock, lookup = LoopClock(), KeyLookup((dns.nameserver,), PATIENT)
    asking = asyncio.create_task(lookup.texts([NAME, "sound.example."]))
    async with asyncio.timeout(10 * PATIENT):
        await until(lambda: "sound.example." in lookup._kept)
        clock.move(PATIENT)
        found = await asking
    assert isinstance(found[NAME], LookupTrouble)
    assert found["sound.example."] == (b"sound",)


async def test_nobody_at_the_port_is_trouble(dns):
    nameserver = dns.nameserver
    await dns.__aexit__()
    assert isinstance((await KeyLookup((nameserver,), 0.3).texts([NAME]))[NAME], LookupTrouble)
    await dns.__aenter__()


async def test_a_record_that_does_not_fit_a_datagram_comes_by_tcp(dns):
    dns.texts = {NAME: [b"x" * 11_000]}
    assert await asked(dns, NAME) == {NAME: (b"x" * 11_000,)}
    assert dns.asked == [NAME, NAME]


async def test_an_answer_is_kept_for_its_time_to_live(dns):
    lookup = KeyLookup((dns.nameserver,), PATIENT)
    dns.texts = {NAME: [b"one"]}
    await lookup.texts([NAME])
    dns.texts = {NAME: [b"other"]}
    assert await lookup.texts([NAME]) == {NAME: (b"one",)}
    assert dns.asked == [NAME]


@pytest.mark.parametrize("first", [SERVFAIL, NO_DATA, ""])
async def test_neither_trouble_nor_absence_is_kept(dns, first):
    lookup = KeyLookup((dns.nameserver,), PATIENT)
    dns.told = {NAME: first} if first else {}
    assert (await lookup.texts([NAME]))[NAME] != (b"there now",)
    dns.told, dns.texts = {}, {NAME: [b"there now"]}
    assert await lookup.texts([NAME]) == {NAME: (b"there now",)}


async def test_an_answer_without_a_time_to_live_and_a_huge_one_are_not_kept():
    async with DnsServer(ttl=0) as dns:
        lookup = KeyLookup((dns.nameserver,), PATIENT)
        dns.texts = {NAME: [b"one"]}
        await lookup.texts([NAME])
        await lookup.texts([NAME])
        assert len(dns.asked) == 2
    async with DnsServer() as dns:
        lookup = KeyLookup((dns.nameserver,), PATIENT)
        dns.texts = {NAME: [b"x" * 9000]}
        await lookup.texts([NAME])
        await lookup.texts([NAME])
        assert len(dns.asked) == 4  # each time over UDP, then over TCP


async def test_what_is_kept_is_bounded(dns):
    lookup = KeyLookup((dns.nameserver,), PATIENT)
    names = [f"n{number}.example." for number in range(1001)]
    dns.texts = {name: [b"k"] for name in names}
    await lookup.texts(names)
    dns.asked.clear()
    await lookup.texts(names[-1000:])
    assert dns.asked == []
    await lookup.texts(names[:1])
    assert dns.asked == names[:1]


async def test_another_server_is_asked_when_the_first_fails(dns):
    async with DnsServer() as broken:
        broken.told = {NAME: SERVFAIL}
        dns.texts = {NAME: [b"key"]}
        lookup = KeyLookup((broken.nameserver, dns.nameserver), PATIENT)
        assert await lookup.texts([NAME]) == {NAME: (b"key",)}


async def test_a_question_given_up_leaves_nothing_behind(dns):
    dns.told = {NAME: SILENT}
    asking = asyncio.create_task(KeyLookup((dns.nameserver,), 60).texts([NAME]))
    await until(lambda: dns.asked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("nameserver", "parts"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:DB8::53]:5353", ("2001:db8::53", 5353)),
        ("::1", ("::1", 53)),
    ],
)
def test_a_nameserver_is_an_address_with_a_port_where_it_is_another(nameserver, parts):
    assert address_and_port(nameserver) == parts


@pytest.mark.parametrize("text", ["", "dns.example", "1.2.3:53", ":53", "192.0.2.53:0", "192.0.2.53:99999", "[::1]:+5"])
def test_what_is_no_nameserver_is_refused(text):
    with pytest.raises(ValueError, match="not a"):
        address_and_port(text)
