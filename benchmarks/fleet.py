"""The invented in-house systems of the load: offices, terminals, addresses, users, and what each one sends.

Every station has its own logical terminal, mail address and loopback IP. Requests are valid NACCS EDI messages
of 5 KB (input common items, then fixed-width items), told apart by the 26 bytes of their handover item.
"""

from __future__ import annotations

from dataclasses import dataclass

CENTER_ADDRESS = "NACCS@SMTP.CENTER.EXAMPLE"
IDENTIFICATION_NUMBER = "001"
PASSWORD = "BENCH001"  # noqa: S105 - an invented user's, known to nobody but this load
PROCEDURE = "OTA"
MESSAGE_BYTES = 5120
COMMON_ITEMS_BYTES = 400
HANDOVER_AT = 219
HANDOVER_BYTES = 26

_OFFICES = 4
_ITEM_BYTES = 60
_CRLF = b"\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Station:
    """One in-house system: a terminal with one mail address, reached at its own IP."""

    office: str
    user: str
    terminal: str
    ip: str
    mail_address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestFrame:
    """A request cut at its handover: `head + handover + tail` is what follows DATA, the final dot included."""

    head: bytes
    tail: bytes


def fleet(size: int) -> list[Station]:
    """Stations spread evenly over four offices; at most 250 in one, so that the office's /24 holds them."""
    if not 0 < size <= _OFFICES * 250:
        raise ValueError(f"a fleet has 1 to {_OFFICES * 250} stations, not {size}")
    return [_station(number) for number in range(size)]


def this_host() -> Station:
    """The station at 127.0.0.1: smtp-source cannot choose the IP it connects from."""
    return Station(
        office="BN0009",
        user="BEN09",
        terminal="60999S",
        ip="127.0.0.1",
        mail_address="3A0001@SMTP.BN0009.CENTER.EXAMPLE",
    )


def _station(number: int) -> Station:
    office, place = number % _OFFICES + 1, number // _OFFICES + 1
    code = f"BN{office:04d}"
    return Station(
        office=code,
        user=f"BEN{office:02d}",
        terminal=f"{61000 + number}S",
        ip=f"127.20.{office}.{place}",
        mail_address=f"3A{place:04d}@SMTP.{code}.CENTER.EXAMPLE",
    )


def request_body(station: Station, handover: bytes) -> bytes:
    """A whole request of MESSAGE_BYTES, common items first; the handover must fill its item exactly."""
    if len(handover) != HANDOVER_BYTES:
        raise ValueError(f"the handover item has {HANDOVER_BYTES} bytes, not {len(handover)}")
    common = b"".join(
        (
            b" " * 3,
            PROCEDURE.ljust(5).encode(),
            b" " * 21,
            f"{station.user:5.5}{IDENTIFICATION_NUMBER:3.3}{PASSWORD:8.8}".encode(),
            b" " * 174,
            handover,
            b" " * 8,
            b"1".ljust(10),
            b" " * 101,
            b"2",
            b" " * 27,
            b"%06d" % MESSAGE_BYTES,
            _CRLF,
        )
    )
    return common + _items(MESSAGE_BYTES - COMMON_ITEMS_BYTES)


def _items(size: int) -> bytes:
    line = b"BENCHMARK ITEM".ljust(_ITEM_BYTES) + _CRLF
    count, rest = divmod(size, len(line))
    return line * count + b"9" * (rest - len(_CRLF)) + _CRLF


def request_frame(station: Station) -> RequestFrame:
    """The mail as the known in-house client writes it: its headers, the body, one extra CRLF, the dot."""
    headers = (
        f"From:{station.mail_address}\r\nTo:{CENTER_ADDRESS}\r\nMime-Version:1.0\r\n"
        'Content-Type:Text/xml;charset="EUC-JP"\r\nContent-Transfer-Encoding:8bit\r\n\r\n'
    ).encode()
    body = request_body(station, b" " * HANDOVER_BYTES)
    return RequestFrame(
        head=headers + body[:HANDOVER_AT],
        tail=body[HANDOVER_AT + HANDOVER_BYTES :] + _CRLF + b".\r\n",
    )


def is_normal_result(body: bytes) -> bool:
    """Whether a received message is the result notification that reports success for our procedure."""
    return body[8:15] == b"*SOTA  " and body[400:415] == b"00000-0000-0000"


def is_request(body: bytes) -> bool:
    """Whether a received message is one of our requests, passed on whole."""
    return body[3:8] == b"OTA  " and len(body) >= MESSAGE_BYTES
