"""Mails of the exchange taken apart: header, body, family, and the request inside or the damage it has.

Nothing here raises over what a sender wrote: `examine` gives a Request or a Damage, and a Damage carries
whatever of the common items can be echoed, so an answer is always possible. Which damage has which code:
docs/damage.md.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from handlers.naccs.common_items import (
    CRLF,
    INPUT_ITEMS,
    MAX_MESSAGE_BYTES,
    WIDTH,
    WIDTH_WITH_LINE_END,
    InputCommonItems,
)
from handlers.naccs.fields import AN_LINE, AN_LINE_CODES, SN_CODES

# Family letter of a result by システム識別 (NACCS EDI 5.1, appendix 6).
SYSTEM_LETTERS = {"1": "A", "2": "S"}

# A known client adds one CRLF to its message; a body longer than that holds something else than one message.
MAX_BODY_BYTES = MAX_MESSAGE_BYTES + len(CRLF)

_BLANK_LINE = re.compile(rb"\n\r?\n")
_FIRST_FIELD = re.compile(rb"[A-Za-z][A-Za-z0-9-]*[ \t]*:")
# The header fields that are looked at, folded or not: name and value.
HEADER_FIELDS = re.compile(
    rb"^(from|content-(?:type|transfer-encoding|disposition))[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE | re.IGNORECASE
)
_ADDRESS = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+"
_MAILBOX = re.compile(
    rb'(?:(?:"(?:[^"\\]|\\.)*"\s*|[^"<>,;:@()\\]*)<\s*(?P<bracketed>' + _ADDRESS + rb")\s*>"
    rb"|(?P<bare>" + _ADDRESS + rb"))"
)
_MAX_FROM_BYTES = 998  # RFC 5322 §2.1.1
_BASE64_TEXT = re.compile(rb"([A-Za-z0-9+/\r\n]*)[=\r\n]*")
_LINE_MARKS_REMOVED = bytes(sorted(set(range(256)) - set(b"\r\n\0")))

# Common items of class AN, joined before their characters are checked: one look instead of seven.
_AN_PLACES = tuple(item.place for item in INPUT_ITEMS if item.kind is AN_LINE)
_SYSTEM_IDENTIFICATION = next(item.offset for item in INPUT_ITEMS if item.name == "system_identification")
_SYSTEMS = frozenset(letter.encode("ascii")[0] for letter in SYSTEM_LETTERS)
_MESSAGE_LENGTH = next(item.place for item in INPUT_ITEMS if item.name == "message_length")


class Family(StrEnum):
    """The three forms a message of the exchange may have (NACCS EDI 3.1)."""

    NACCS_EDI = "naccs_edi"
    EDIFACT = "edifact"
    XML = "xml"


@dataclass(frozen=True, kw_only=True, slots=True)
class MailHeaders:
    """What the exchange needs of a mail header."""

    header_from: str | None  # as written; None unless there is exactly one From with exactly one address
    content_type: str  # lower-case, "" if absent
    transfer_encoding: str  # lower-case, "" if absent
    body_offset: int  # where the body begins in the content
    sound_line_ends: bool  # of the header and of an encoded body: no bare CR, bare LF or NUL


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A processing request message (処理要求電文) whose length, line ends and common items are sound."""

    items: InputCommonItems
    message: bytes = field(repr=False)  # all of it up to the message length; it holds the password

    @property
    def data(self) -> bytes:
        """The procedure-specific items (業務個別項目)."""
        return self.message[WIDTH_WITH_LINE_END:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A body that is no request: the code to answer with, and the items the answer can echo."""

    code: str
    items: InputCommonItems


def body_of(content: bytes) -> tuple[MailHeaders, bytes]:
    """Header and decoded body of a mail as it was received.

    Takes what known clients write: no Date, no Message-ID, no brackets, no space after the colon; also no
    header at all. A body that is not what its transfer encoding says is empty; one cut short is decoded
    as far as it goes.
    """
    offset = _body_offset(content)
    senders: list[bytes] = []
    content_type = transfer_encoding = ""
    for name, value in HEADER_FIELDS.findall(content[:offset]) if offset else ():
        match name.lower():
            case b"from":
                senders.append(value)
            case b"content-type":
                content_type = content_type or _plain(value)
            case b"content-transfer-encoding":
                transfer_encoding = transfer_encoding or _plain(value)
    decode = _DECODERS.get(transfer_encoding)
    headers = MailHeaders(
        header_from=_only_address(senders),
        content_type=content_type,
        transfer_encoding=transfer_encoding,
        body_offset=offset,
        sound_line_ends=line_ends_are_sound(content if decode else content[:offset]),
    )
    body = content[offset:]
    return headers, decode(body) if decode else body


def family(headers: MailHeaders, body: bytes) -> Family:
    """The form of a message, by its first bytes and the content type. What is nothing else is NACCS EDI."""
    if body.startswith((b"<", b"\xef\xbb\xbf<")):
        return Family.XML
    if headers.content_type.startswith(("multipart/", "application/edifact")) or body.startswith((b"UNA", b"UNB")):
        return Family.EDIFACT
    return Family.NACCS_EDI


def examine(headers: MailHeaders, body: bytes) -> Request | Damage:
    """The request in a body of family NACCS EDI, or its damage: the first failing check of docs/damage.md."""
    length = message_length(body)
    if length is None:
        return Damage(code="A0008", items=InputCommonItems.readable_part(body))
    fault = _fault(headers, body)
    if fault is not None:
        return Damage(code=fault, items=InputCommonItems.readable_part(body))
    return Request(items=InputCommonItems(raw=body[:WIDTH]), message=body[:length])


def message_length(body: bytes) -> int | None:
    """The message length (電文長, NACCS EDI 5.1) of a body that holds all of the message; None if wrong."""
    digits = body[_MESSAGE_LENGTH]
    if not WIDTH_WITH_LINE_END <= len(body) <= MAX_BODY_BYTES or not digits.isdigit():
        return None
    length = int(digits)
    if not WIDTH_WITH_LINE_END <= length <= min(len(body), MAX_MESSAGE_BYTES):
        return None
    # Each item ends in CRLF. Without items the form of the common items is looked at later.
    if length > WIDTH_WITH_LINE_END and body[length - 2 : length] != CRLF:
        return None
    return length


def line_ends_are_sound(data: bytes) -> bool:
    """Whether there is no bare CR, no bare LF and no NUL: every such byte belongs to a CRLF."""
    return len(data.translate(None, _LINE_MARKS_REMOVED)) == 2 * data.count(CRLF)


def _fault(headers: MailHeaders, body: bytes) -> str | None:
    """The code of the first fault after the length, in the order of docs/damage.md."""
    raw = body[:WIDTH]
    if not headers.sound_line_ends or not line_ends_are_sound(body):
        return "A0009"
    if body[WIDTH:WIDTH_WITH_LINE_END] != CRLF or b"\r" in raw:
        return "A0016"
    if raw.translate(None, SN_CODES) or b"".join([raw[place] for place in _AN_PLACES]).translate(None, AN_LINE_CODES):
        return "A0009"
    if raw[_SYSTEM_IDENTIFICATION] not in _SYSTEMS:
        return "A0016"
    return None


def _body_offset(content: bytes) -> int:
    if content.startswith(b"\r\n"):
        return 2
    if not _FIRST_FIELD.match(content):
        return 0
    end = _BLANK_LINE.search(content)
    return end.end() if end else len(content)


def _plain(value: bytes) -> str:
    return value.decode("latin-1").strip().lower()


def _only_address(senders: list[bytes]) -> str | None:
    """The address of the one mailbox of the one From field (RFC 5322 §3.6.2)."""
    if len(senders) != 1 or len(senders[0]) > _MAX_FROM_BYTES:
        return None
    found = _MAILBOX.fullmatch(senders[0].strip())
    return (found["bare"] or found["bracketed"]).decode("ascii") if found else None


def _decode_base64(wire: bytes) -> bytes:
    """The bytes of base64 text, as many as are whole; none where it is not base64 throughout.

    Padding counts at the end only: what decoders make of it elsewhere differs between versions of Python.
    """
    found = _BASE64_TEXT.fullmatch(wire)
    if found is None:
        return b""
    text = found[1].translate(None, CRLF)
    whole = text[:-1] if len(text) % 4 == 1 else text
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": _decode_base64,
    "quoted-printable": binascii.a2b_qp,
}
