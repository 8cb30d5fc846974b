from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from benchmarks import load_client
from benchmarks.fleet import HANDOVER_AT, fleet, is_request
from benchmarks.load_client import LoadClient, LoadFailed, Target
from benchmarks.processes import free_port
from benchmarks.sink import Sink
from tests.benchmarks.relay import Relay


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for is announced by nobody
            await asyncio.sleep(0.01)


class Bench:
    """A sink with its port, and clients of relays in front of it."""

    def __init__(self, sink: Sink, port: int) -> None:
        self.sink = sink
        self.port = port
        self._clients: list[LoadClient] = []
        self._relays: list[Relay] = []

    async def client(self, relay: Relay, *, stations: int = 5, keeps: bool = False, waits: bool = True) -> LoadClient:
        self._relays.append(relay)
        is_expected = is_request if waits else None
        target = Target(host="127.0.0.1", port=await relay.serve(), keeps_connections=keeps, is_expected=is_expected)
        self._clients.append(LoadClient(self.sink, fleet(stations), target, run_name="TEST"))
        return self._clients[-1]

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        for relay in self._relays:
            await relay.close()
        self.sink.close()
        await eventually(lambda: not self.sink.transports)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    sink, port = Sink(), free_port()
    await sink.listen(["127.0.0.1"], port)
    bench = Bench(sink, port)
    yield bench
    await bench.close()


async def test_every_request_is_delivered_once_with_a_connection_for_each(bench: Bench) -> None:
    relay = Relay(bench.port)
    client = await bench.client(relay)
    result = await client.phase(23)
    assert (result.delivered, bench.sink.received, bench.sink.unexpected) == (23, 23, 0)
    assert len(relay.peers) == 23
    assert 0 < result.median_latency <= result.p99_latency <= result.seconds
    assert result.rate == pytest.approx(23 / result.seconds)


async def test_stations_connect_from_their_own_ip_and_keep_their_connection(bench: Bench) -> None:
    relay = Relay(bench.port)
    client = await bench.client(relay, keeps=True)
    await client.phase(5)
    await client.phase(15)
    client.close()
    assert sorted(relay.peers) == sorted(station.ip for station in fleet(5))
    assert len(relay.mail_commands) == 20


async def test_a_station_names_its_own_address_without_brackets(bench: Bench) -> None:
    relay = Relay(bench.port)
    client = await bench.client(relay, stations=1)
    await client.phase(1)
    assert relay.mail_commands == [b"MAIL FROM:3A0001@SMTP.BN0001.CENTER.EXAMPLE\r\n"]


async def test_a_station_waits_for_its_message_before_the_next_request(bench: Bench) -> None:
    held: list[bytes] = []

    def hold(content: bytes) -> None:
        held.append(content)

    relay = Relay(bench.port, hold)
    client = await bench.client(relay, stations=1)
    phase = asyncio.ensure_future(client.phase(2))
    for handed_over in (1, 2):
        await eventually(lambda: bool(held))
        await asyncio.sleep(0.1)
        assert len(held) == 1, handed_over
        bench.sink.deliver(held.pop())
    assert (await phase).delivered == 2


async def test_a_refusal_fails_the_phase_with_the_reply(bench: Bench) -> None:
    relay = Relay(bench.port)
    relay.replies[b"RCPT"] = b"550 5.7.1 not yours\r\n"
    client = await bench.client(relay, stations=20)
    with pytest.raises(LoadFailed, match=r"step 3, 250 expected: 550 5\.7\.1 not yours"):
        await client.phase(20)


async def test_another_message_than_the_expected_one_fails_the_phase(bench: Bench) -> None:
    relay = Relay(bench.port, lambda content: content.replace(b"OTA  ", b"ZZZ  "))
    client = await bench.client(relay)
    with pytest.raises(LoadFailed, match="unexpected message"):
        await client.phase(30)


async def test_a_lost_message_ends_the_phase_with_a_report(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await bench.client(Relay(bench.port, lambda content: None), stations=2)
    phase = asyncio.ensure_future(client.phase(2))
    await eventually(lambda: all(requester.waits_for_message for requester in client._requesters))
    monkeypatch.setattr(load_client, "STALL_SECONDS", 0.5)
    with pytest.raises(LoadFailed, match="0 of 2 delivered, 2 stations wait for a message"):
        await phase


async def test_nobody_listening_fails_the_phase(bench: Bench) -> None:
    target = Target(host="127.0.0.1", port=free_port(), keeps_connections=False, is_expected=is_request)
    with pytest.raises(LoadFailed, match="connect"):
        await LoadClient(bench.sink, fleet(20), target, run_name="TEST").phase(20)


async def test_accepting_alone_waits_for_no_message(bench: Bench) -> None:
    client = await bench.client(Relay(bench.port, lambda content: None), stations=3, keeps=True, waits=False)
    assert (await client.phase(9)).delivered == 9
    assert bench.sink.received == 0


async def test_the_sink_answers_pipelined_commands_in_one_packet(bench: Bench) -> None:
    body = b" " * HANDOVER_AT + b"PIPELINED".ljust(26) + b"\r\n"
    arrived: list[bytes] = []
    bench.sink.expect(b"PIPELINED".ljust(26), arrived.append)
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    assert await reader.readline() == b"220 sink.bench.example ready\r\n"
    writer.write(b"EHLO postfix.example\r\n")
    assert b"PIPELINING" in await reader.readuntil(b"250 8BITMIME\r\n")
    writer.write(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    assert await reader.readexactly(30) == b"250 ok\r\n250 ok\r\n354 go ahead\r\n"
    writer.write(b"To: c@d.example\r\n\r\n" + body[:100])
    await asyncio.sleep(0.05)
    writer.write(body[100:] + b".\r\nQUIT\r\n")
    assert await reader.read() == b"250 ok\r\n221 bye\r\n"
    writer.close()
    assert arrived == [body]


async def test_the_sink_refuses_what_it_does_not_know(bench: Bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    await reader.readline()
    writer.write(b"VRFY x\r\n")
    assert await reader.readline() == b"500 unknown command\r\n"
    writer.close()


async def test_a_message_nobody_waits_for_is_counted(bench: Bench) -> None:
    bench.sink.expect(b"LATE".ljust(26), lambda body: None)
    bench.sink.forget(b"LATE".ljust(26))
    bench.sink.deliver(b"\r\n\r\n" + b" " * HANDOVER_AT + b"LATE".ljust(26))
    assert (bench.sink.received, bench.sink.unexpected) == (1, 1)
