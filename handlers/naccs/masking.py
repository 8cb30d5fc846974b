"""Keeps EDI passwords out of displays, exports and the store: bytes 37-44 of the common items are blanked.

The mail keeps its size and every other byte, in whatever transfer encoding it came, so that what was
blanked can be put back exactly where it stood.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import islice

from handlers.naccs.common_items import INPUT_PLACES
from handlers.naccs.message import Family, body_of, family

_PASSWORD = INPUT_PLACES["password"]
_BASE64_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_HEX = frozenset(b"0123456789ABCDEFabcdef")
_ESCAPE = ord("=")

# Three bytes are four characters: the twelve that hold the byte before the password and the password itself.
_BASE64_CHARACTERS = slice((_PASSWORD.start - 1) // 3 * 4, _PASSWORD.stop // 3 * 4)


def split_password(content: bytes) -> tuple[bytes, int, bytes] | None:
    """The mail with the password blanked, the offset of what was blanked, and the bytes that stood there.

    None where there is nothing to blank: another family than NACCS EDI, or a body that ends before the
    password.
    """
    headers, body = body_of(content)
    if family(headers, body) is not Family.NACCS_EDI:
        return None
    wire = content[headers.body_offset :]
    place = slice(_PASSWORD.start, min(_PASSWORD.stop, len(wire)))
    blank = b" " * (place.stop - place.start)
    if wire and not body:
        # It claims an encoding that it does not have, so the password may stand anywhere in it.
        place, blank = slice(0, len(wire)), b" " * len(wire)
    elif not body[_PASSWORD]:
        return None
    elif headers.transfer_encoding == "base64":
        place, blank = _blanked_base64(wire)
    elif headers.transfer_encoding == "quoted-printable":
        place, blank = _blanked_quoted_printable(wire)
    offset = headers.body_offset + place.start
    return restore(content, offset, blank), offset, wire[place]


def restore(content: bytes, offset: int, original: bytes) -> bytes:
    """The mail with these bytes back at their offset: the inverse of split_password."""
    return content[:offset] + original + content[offset + len(original) :]


def masked(content: bytes) -> bytes:
    """A mail as it may be shown: with the password blanked where there is one."""
    parts = split_password(content)
    return parts[0] if parts else content


def _blanked_base64(wire: bytes) -> tuple[slice, bytes]:
    """Where the characters of the password stand, line breaks included, and what to write there."""
    characters = (at for at, character in enumerate(wire) if character in _BASE64_ALPHABET)
    places = list(islice(characters, _BASE64_CHARACTERS.start, _BASE64_CHARACTERS.stop))
    byte_before = base64.b64decode(bytes(wire[at] for at in places[:2]) + b"AA")[:1]
    spaces = base64.b64encode(byte_before + b" " * (_PASSWORD.stop - _PASSWORD.start))
    whole = slice(places[0], places[-1] + 1)
    blank = bytearray(wire[whole])
    # A body that was cut has fewer places than the password needs.
    for at, character in zip(places, spaces, strict=False):
        blank[at - whole.start] = character
    return whole, bytes(blank)


def _blanked_quoted_printable(wire: bytes) -> tuple[slice, bytes]:
    """Where the bytes of the password stand, soft line breaks included, and what to write there."""
    places = list(islice(quoted_printable_places(wire), _PASSWORD.start, _PASSWORD.stop))
    whole = slice(places[0].start, places[-1].stop)
    blank = bytearray(wire[whole])
    for place in places:
        size = place.stop - place.start
        begin = place.start - whole.start
        blank[begin : begin + size] = b"=20" if size == 3 else b" " * size
    return whole, bytes(blank)


def quoted_printable_places(wire: bytes) -> Iterator[slice]:
    """Where on the wire each decoded byte stands (RFC 2045 §6.7), as tolerant as the decoder in use."""
    at = 0
    while at < len(wire):
        following = wire[at + 1 : at + 3]
        if wire[at] != _ESCAPE:
            size = 1
        elif following[:1] in {b"\r", b"\n"}:
            line_end = wire.find(b"\n", at + 1)
            at = line_end + 1 if line_end >= 0 else len(wire)
            continue
        elif not following:
            return
        elif following[:1] == b"=":
            size = 2
        else:
            size = 3 if len(following) == 2 and _HEX.issuperset(following) else 1
        yield slice(at, at + size)
        at += size
