"""EUC-JP with the vendors' characters as two Python codecs, known by name once this module is imported.

`cp51932`: JIS X 0208 with NEC row 13 and the NEC-selected IBM rows 89-92, and half-width kana. `eucjp_ms`: JIS X
0208 with NEC row 13, half-width kana, JIS X 0212 and the IBM extension in rows 83-84 of code set 3. Both are made of
Python's cp932 and euc_jp when first used. A character with two places is written to the first in the order of this
list. User-defined rows are no characters.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

VENDOR_CODECS = ("cp51932", "eucjp_ms")

_ASCII_BYTES = re.compile(rb"[\x00-\x7f]+")
_ASCII_TEXT = re.compile("[\x00-\x7f]+")
_CELLS = 94
_SINGLE_SHIFT_TWO = 0x8E
_SINGLE_SHIFT_THREE = 0x8F
_LEADS = (*range(0x81, 0xA0), *range(0xE0, 0xF0))  # cp932: rows 1-94, two rows each
_LEADS_OF_IBM = range(0xFA, 0xFD)
_TRAILS = (*range(0x40, 0x7F), *range(0x80, 0xFD))
_STANDARD_ROWS = 84  # from row 85 on eucJP-ms has user-defined characters
_ROW_OF_IBM, _CELL_OF_IBM = 83, 83  # where the IBM extension begins in code set 3

# JIS X 0212 as the vendors read it: not the tilde of ASCII, and the full-width broken bar.
_SUPPLEMENTARY_AS_VENDORS = {"~": "\uff5e", "\xa6": "\uffe4"}
# The IBM extension is what the standards lack, but for these: NUMERO SIGN stands in both, the two others elsewhere.
_IBM_TOO = "\u2116"
_IBM_NOT = "\uffe2\uffe4"


@dataclass(frozen=True, slots=True)
class _Table:
    characters: Mapping[bytes, str]
    places: Mapping[str, bytes]


def _cp932(leads: tuple[int, ...] | range) -> Iterator[str | None]:
    """The characters of these lead bytes in order, 188 to a lead; None where there is none."""
    for lead in leads:
        for trail in _TRAILS:
            try:
                yield bytes((lead, trail)).decode("cp932")
            except UnicodeDecodeError:
                yield None


def _double_byte(rows: int) -> Iterator[tuple[bytes, str]]:
    """Code set 1, with the vendors' rows among the first so many."""
    for at, character in enumerate(_cp932(_LEADS)):
        row, cell = divmod(at, _CELLS)
        if character is not None and row < rows:
            yield bytes((0xA1 + row, 0xA1 + cell)), character


def _kana() -> Iterator[tuple[bytes, str]]:
    """Code set 2, half-width kana."""
    for byte in range(0xA1, 0xE0):
        yield bytes((_SINGLE_SHIFT_TWO, byte)), bytes((byte,)).decode("cp932")


def _supplementary() -> Iterator[tuple[bytes, str]]:
    """Code set 3, JIS X 0212."""
    for at in range(_CELLS * _CELLS):
        row, cell = divmod(at, _CELLS)
        place = bytes((_SINGLE_SHIFT_THREE, 0xA1 + row, 0xA1 + cell))
        try:
            character = place.decode("euc_jp")
        except UnicodeDecodeError:
            continue
        yield place, _SUPPLEMENTARY_AS_VENDORS.get(character, character)


def _ibm_extension() -> Iterator[tuple[bytes, str]]:
    """Code set 3 from row 83 cell 83 on: the IBM characters that the standards lack, in IBM's order."""
    at = (_ROW_OF_IBM - 1) * _CELLS + _CELL_OF_IBM - 1
    for character in _cp932(_LEADS_OF_IBM):
        if character is None or not (character == _IBM_TOO or _is_ibm_alone(character)):
            continue
        row, cell = divmod(at, _CELLS)
        yield bytes((_SINGLE_SHIFT_THREE, 0xA1 + row, 0xA1 + cell)), character
        at += 1


def _is_ibm_alone(character: str) -> bool:
    try:
        character.encode("euc_jp")
    except UnicodeEncodeError:
        return character not in _IBM_NOT
    return False


@cache
def _table(name: str) -> _Table:
    if name == "cp51932":
        pairs = [*_double_byte(_CELLS), *_kana()]
    else:
        pairs = [*_double_byte(_STANDARD_ROWS), *_kana(), *_supplementary(), *_ibm_extension()]
    places: dict[str, bytes] = {}
    for place, character in pairs:
        places.setdefault(character, place)
    return _Table(dict(pairs), places)


def _decode(name: str, data: bytes, errors: str = "strict") -> tuple[str, int]:
    wire = bytes(data)
    characters = _table(name).characters
    text: list[str] = []
    at = 0
    while at < len(wire):
        if found := _ASCII_BYTES.match(wire, at):
            text.append(found.group().decode("ascii"))
            at = found.end()
            continue
        size = 3 if wire[at] == _SINGLE_SHIFT_THREE else 2
        character = characters.get(wire[at : at + size])
        if character is None:
            fault = UnicodeDecodeError(name, wire, at, at + 1, "no character begins here")
            replacement, at = codecs.lookup_error(errors)(fault)
            text.append(str(replacement))
        else:
            text.append(character)
            at += size
    return "".join(text), len(wire)


def _encode(name: str, text: str, errors: str = "strict") -> tuple[bytes, int]:
    places = _table(name).places
    wire: list[bytes] = []
    at = 0
    while at < len(text):
        if found := _ASCII_TEXT.match(text, at):
            wire.append(found.group().encode("ascii"))
            at = found.end()
            continue
        place = places.get(text[at])
        if place is None:
            fault = UnicodeEncodeError(name, text, at, at + 1, "no such character in this code system")
            replacement, at = codecs.lookup_error(errors)(fault)
            wire.append(replacement if isinstance(replacement, bytes) else _encode(name, replacement)[0])
        else:
            wire.append(place)
            at += 1
    return b"".join(wire), len(text)


def _search(name: str) -> codecs.CodecInfo | None:
    if name not in VENDOR_CODECS:
        return None
    return codecs.CodecInfo(encode=partial(_encode, name), decode=partial(_decode, name), name=name)


codecs.register(_search)
