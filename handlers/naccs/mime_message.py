"""The families that are passed on whole, EDIFACT and attachments (MIME) and XML: what is looked at before.

Their size, line ends, MIME structure and the names of attachments, in the order of docs/damage.md. Nothing here
raises over what a sender wrote, and hostile nesting ends at a limit. A Damage of these families has no items to echo.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from handlers.naccs.common_items import CRLF, MAX_MESSAGE_BYTES, InputCommonItems
from handlers.naccs.message import HEADER_FIELDS, Damage, Family, MailHeaders, family, line_ends_are_sound
from handlers.naccs.mime_parameters import FileName, file_names, parameters

MAX_FILE_NAME_BYTES = 190  # NACCS EDI 4.6.2.5, in every processing mode
MOST_DEPTH = 20  # levels of containers; people's mailers nest three or four
MOST_PARTS = 1000

_LONGEST_BOUNDARY = 70  # RFC 2046 §5.1.1
_HEADER_END = CRLF + CRLF
# RFC 2045 §6.4: a container is never encoded itself.
_NEVER_OF_A_CONTAINER = frozenset({b"base64", b"quoted-printable"})
_NAMES = {b"content-disposition": b"filename", b"content-type": b"name"}


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherRequest:
    """A request of family EDIFACT or XML, fit to be passed on; `file_names` are those of its attachments."""

    family: Family
    file_names: tuple[str, ...]


class _Part(NamedTuple):
    header: bytes
    body: bytes
    depth: int


def examine_other(headers: MailHeaders, content: bytes, body: bytes) -> OtherRequest | Damage:
    """The request in a mail of family EDIFACT or XML, or its damage: the first failing check of docs/damage.md.

    `content` is the mail as received, `headers` and `body` what `body_of` made of it. A mail with a bare CR, bare LF
    or NUL anywhere is a Damage (A0009), so that none is ever passed on.
    """
    if not body.strip() or len(body.removesuffix(CRLF)) > MAX_MESSAGE_BYTES:
        return _damage("A0008")
    if not line_ends_are_sound(content):
        return _damage("A0009")
    part_headers = _part_headers(content[: headers.body_offset], body)
    if part_headers is None:
        return _damage("A0016")
    names = [list(_file_names(header)) for header in part_headers]
    if any(len(name.octets) > MAX_FILE_NAME_BYTES for of_part in names for name in of_part):
        return _damage("A0016")
    return OtherRequest(
        family=family(headers, body),
        # A name that says its charset is better than the stopgap that some mailers write before it.
        file_names=tuple(max(of_part, key=lambda name: name.charset is not None).text for of_part in names if of_part),
    )


def _damage(code: str) -> Damage:
    return Damage(code=code, items=InputCommonItems.readable_part(b""))


def _part_headers(header: bytes, body: bytes) -> list[bytes] | None:
    """The header of the mail and of each of its parts; None where the structure is broken or beyond the limits."""
    found: list[bytes] = []
    waiting = [_Part(header, body, 0)]
    while waiting:
        part = waiting.pop()
        found.append(part.header)
        fields = _fields(part.header)
        content_type = fields.get(b"content-type", b"").strip()
        if not content_type.lower().startswith(b"multipart/"):
            continue
        inside = _inside(content_type, part.body)
        encoding = fields.get(b"content-transfer-encoding", b"").strip().lower()
        if inside is None or encoding in _NEVER_OF_A_CONTAINER or part.depth >= MOST_DEPTH:
            return None
        if len(found) + len(waiting) + len(inside) > MOST_PARTS:
            return None
        waiting.extend(_part(wire, part.depth + 1) for wire in reversed(inside))
    return found


def _inside(content_type: bytes, body: bytes) -> list[bytes] | None:
    """The parts between the delimiter lines of a container (RFC 2046 §5.1.1); None where they do not fit."""
    boundary = next((value for name, value in parameters(content_type) if name == b"boundary"), b"")
    if not 1 <= len(boundary) <= _LONGEST_BOUNDARY:
        return None
    delimiter = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(--)?[ \t]*+(?=\r\n|\Z)")
    parts: list[bytes] = []
    begin: int | None = None
    for found in delimiter.finditer(body):
        if begin is not None:
            parts.append(body[begin : found.start()])
            if len(parts) > MOST_PARTS:
                return None
        if found[1]:
            return parts or None
        begin = found.end() + len(CRLF)
    return None


def _part(wire: bytes, depth: int) -> _Part:
    if wire.startswith(CRLF):
        return _Part(b"", wire[len(CRLF) :], depth)
    header, _, body = wire.partition(_HEADER_END)
    return _Part(header + CRLF, body, depth)


def _fields(header: bytes) -> dict[bytes, bytes]:
    """The fields that are looked at; of several with one name the first."""
    fields: dict[bytes, bytes] = {}
    for name, value in HEADER_FIELDS.findall(header):
        fields.setdefault(name.lower(), value)
    return fields


def _file_names(header: bytes) -> Iterator[FileName]:
    """Every name the header of one part gives its attachment, in whichever of several fields."""
    for field, value in HEADER_FIELDS.findall(header):
        parameter = _NAMES.get(field.lower())
        if parameter is not None:
            yield from file_names(value, parameter)
