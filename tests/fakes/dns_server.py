"""A DNS server on loopback, UDP and TCP on one port, that has the TXT records it is given and misbehaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.TXT import TXT

SILENT = "silent"
"""Instead of an answer: nothing, for ever."""
SERVFAIL = "servfail"
REFUSED = "refused"
GARBAGE = "garbage"
"""Octets that are no DNS message."""
LOOP = "loop"
"""A CNAME that leads to itself over another name."""
NO_DATA = "no data"
"""The name is there, but without a TXT record."""
CUT_OFF = "cut off"
"""Truncated over UDP; over TCP the connection ends in the middle of the answer."""

_UDP_OCTETS = 1232
_RCODES = {SERVFAIL: dns.rcode.SERVFAIL, REFUSED: dns.rcode.REFUSED}


class DnsServer:
    """`async with` it. What is in neither `texts` nor `told` is NXDOMAIN; names in lower case, with the last dot."""

    def __init__(self, ttl: int = 60) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.ttl = ttl
        self.texts: dict[str, list[bytes]] = {}
        self.told: dict[str, str] = {}
        self.asked: list[str] = []  # over UDP or TCP, in order
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._waiting: set[asyncio.StreamWriter] = set()

    @property
    def nameserver(self) -> str:
        """As the settings name it."""
        return f"{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for _ in range(20):  # the port that is free for TCP may be taken for UDP
            self._tcp = await asyncio.start_server(self._serve, self.host, 0)
            self.port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self.answer), local_addr=(self.host, self.port)
                )
            except OSError:
                self._tcp.close()
            else:
                return self
        raise OSError("no port is free for both UDP and TCP")

    async def __aexit__(self, *_: object) -> None:
        assert self._tcp is not None
        assert self._udp is not None
        self._udp.close()
        self._tcp.close()
        for writer in self._waiting:
            writer.transport.abort()
        await self._tcp.wait_closed()

    def answer(self, wire: bytes, *, over_tcp: bool = False) -> bytes | None:
        """The answer to a question, None for silence."""
        question = dns.message.from_wire(wire)
        name = question.question[0].name
        told = self.told.get(name.to_text().lower(), "")
        self.asked.append(name.to_text().lower())
        if told == SILENT:
            return None
        if told == GARBAGE:
            return wire[:2] + b"\xff" * 20
        response = dns.message.make_response(question)
        if told in _RCODES:
            response.set_rcode(_RCODES[told])
        elif told == LOOP:
            response.answer = self._loop(name)
        elif told not in (NO_DATA, CUT_OFF) and not self._put_texts(response, name):
            response.set_rcode(dns.rcode.NXDOMAIN)
        whole = response.to_wire(max_size=65535)
        if not over_tcp and (told == CUT_OFF or len(whole) > _UDP_OCTETS):
            response.answer = []
            response.flags |= dns.flags.TC
            return response.to_wire()
        return whole[:-1] if told == CUT_OFF else whole

    def _put_texts(self, response: dns.message.Message, name: dns.name.Name) -> bool:
        texts = self.texts.get(name.to_text().lower(), [])
        records = [TXT(dns.rdataclass.IN, dns.rdatatype.TXT, _strings(text)) for text in texts]
        if records:
            response.answer = [dns.rrset.from_rdata_list(name, self.ttl, records)]
        return bool(records)

    def _loop(self, name: dns.name.Name) -> list[dns.rrset.RRset]:
        other = dns.name.from_text("other", name)

        def alias(one: dns.name.Name, target: dns.name.Name) -> dns.rrset.RRset:
            return dns.rrset.from_rdata(one, self.ttl, CNAME(dns.rdataclass.IN, dns.rdatatype.CNAME, target))

        return [alias(name, other), alias(other, name)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting.add(writer)
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                answer = self.answer(await reader.readexactly(length), over_tcp=True)
                if answer is None:
                    await asyncio.sleep(3600)
                    continue
                cut_off = self.told.get(self.asked[-1]) == CUT_OFF
                writer.write((len(answer) + cut_off).to_bytes(2, "big") + answer)
                if cut_off:
                    writer.close()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._waiting.discard(writer)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = self._answer(data)
        if answer is not None:
            self._transport.sendto(answer, address)


def _strings(text: bytes) -> list[bytes]:
    return [text[start : start + 255] for start in range(0, len(text), 255)] or [b""]
