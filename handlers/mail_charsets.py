"""Bytes of a mail -> text, for every charset Japanese mailers use, under the name they give it or under none.

Python's own codecs lack the vendor characters that Windows mailers put into ISO-2022-JP and EUC-JP (NEC row
13, NEC and IBM extension rows, half-width kana). All three encodings are therefore brought to one table,
cp932, by arithmetic on row and cell. No function here raises for any bytes: what cannot be read is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

_SCORED_CHARACTERS = 20_000

_ESCAPE = re.compile(rb"\x1b(?:\([BJI]|\$[@B]|\$\([@BD]|&@)|[\x0e\x0f]|\r?\n|\r")
_EUC = re.compile(rb"[\x00-\x7f]+|(?:[\xa1-\xfe][\xa1-\xfe])+|\x8e[\xa1-\xdf]|(?:\x8f[\xa1-\xfe]{2})+")
_NOT_IN_CP932 = re.compile("[\x80\xa0\uf8f0-\uf8f3]")
_UNREADABLE_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def _double_byte_text(pairs: bytes) -> str:
    """Row-and-cell pairs (7-bit JIS X 0208 with the vendors' rows) through the cp932 table."""
    if len(pairs) % 2 or not all(0x21 <= byte <= 0x7E for byte in pairs):
        raise UnicodeDecodeError("iso-2022-jp", pairs, 0, len(pairs), "not a sequence of row and cell")
    shifted = bytearray()
    for row, cell in zip(pairs[::2], pairs[1::2], strict=True):
        lead = (row - 0x21) // 2 + 0x81
        shifted.append(lead + 0x40 if lead > 0x9F else lead)
        if row % 2 == 0:
            shifted.append(cell + 0x7E)
        else:
            shifted.append(cell + (0x20 if cell >= 0x60 else 0x1F))
    return _decode_cp932(bytes(shifted))


def _supplementary_text(pairs: bytes) -> str:
    """JIS X 0212, which cp932 does not have."""
    if len(pairs) % 2:
        raise UnicodeDecodeError("iso-2022-jp", pairs, 0, len(pairs), "half a character")
    euc = b"".join(bytes((0x8F, row | 0x80, cell | 0x80)) for row, cell in zip(pairs[::2], pairs[1::2], strict=True))
    return euc.decode("euc_jp")


def _kana_text(single: bytes) -> str:
    if not all(0x20 <= byte <= 0x5F for byte in single):
        raise UnicodeDecodeError("iso-2022-jp", single, 0, len(single), "not half-width kana")
    return _decode_cp932(bytes(byte | 0x80 if byte > 0x20 else byte for byte in single))


def _ascii_text(single: bytes) -> str:
    return single.decode("ascii")


_SHIFTS: dict[bytes, Callable[[bytes], str]] = {
    b"\x1b(B": _ascii_text,
    b"\x1b(J": _ascii_text,  # JIS X 0201 Roman: its yen sign stands for the backslash it replaced
    b"\x1b(I": _kana_text,
    b"\x0e": _kana_text,
    b"\x0f": _ascii_text,
    b"\x1b$@": _double_byte_text,
    b"\x1b$B": _double_byte_text,
    b"\x1b$(@": _double_byte_text,
    b"\x1b$(B": _double_byte_text,
    b"\x1b$(D": _supplementary_text,
}


def _decode_cp932(raw: bytes) -> str:
    """cp932 without the five single bytes that Python maps to characters nobody writes."""
    text = raw.decode("cp932")
    if _NOT_IN_CP932.search(text):
        raise UnicodeDecodeError("cp932", raw, 0, len(raw), "a byte without a character")
    return text


def _decode_iso_2022_jp(raw: bytes) -> str:
    text: list[str] = []
    decode_run: Callable[[bytes], str] = _ascii_text
    position = 0
    for escape in _ESCAPE.finditer(raw):
        text.append(decode_run(raw[position : escape.start()]))
        position = escape.end()
        if escape.group() in _SHIFTS:
            decode_run = _SHIFTS[escape.group()]
        elif escape.group() != b"\x1b&@":  # the 1990 revision announces itself before ESC $ B
            text.append(escape.group().decode("ascii"))
            decode_run = _ascii_text  # RFC 1468: a line begins in ASCII
    text.append(decode_run(raw[position:]))
    return "".join(text)


def _decode_euc_jp(raw: bytes) -> str:
    text: list[str] = []
    position = 0
    while position < len(raw):
        run = _EUC.match(raw, position)
        if run is None:
            raise UnicodeDecodeError("euc-jp", raw, position, position + 1, "no character begins so")
        text.append(_euc_run(run.group()))
        position = run.end()
    return "".join(text)


def _euc_run(run: bytes) -> str:
    if run[0] < 0x80:
        return run.decode("ascii")
    if run[0] == 0x8E:
        return _decode_cp932(run[1:])
    if run[0] == 0x8F:
        return run.decode("euc_jp")
    return _double_byte_text(bytes(byte & 0x7F for byte in run))


_DECLARED_AS = {
    "utf-8": "utf8 utf8mb4 unicode11utf8",
    "iso-2022-jp": "iso2022jp iso2022jp1 iso2022jpms iso2022jpext csiso2022jp cp50220 cp50221 cp50222 jis",
    "cp932": (
        "shiftjis sjis xsjis xshiftjis csshiftjis sjiswin mskanji cp932 xcp932 ms932 mscp932 xmscp932"
        " windows31j cswindows31j windows932"
    ),
    "euc-jp": "eucjp xeucjp eucjpms eucjpwin cp51932 ujis cseucpkdfmtjapanese",
    # Written by mailers that do not know what they send: Japanese text is looked for first.
    "": "usascii ascii ansix341968 iso88591 iso885915 latin1 windows1252",
}
_NAMES = {name: codec for codec, names in _DECLARED_AS.items() for name in names.split()}
_OTHER_CODECS = re.compile(
    r"(?:utf-?(?:16|32)(?:-?[lb]e)?|gb(?:k|18030|2312)|big5|euc-kr|iso-8859-\d+|windows-125\d|koi8-r)"
)
_DECODERS: dict[str, Callable[[bytes], str]] = {
    "utf-8": lambda raw: raw.decode("utf-8-sig"),
    "iso-2022-jp": _decode_iso_2022_jp,
    "cp932": _decode_cp932,
    "euc-jp": _decode_euc_jp,
}
_LATIN = frozenset({"iso885915", "iso88591", "latin1", "windows1252"})


def decode(raw: bytes, declared: str | None) -> str | None:
    """The text of `raw`, or None when neither the declared charset nor any expected one fits every byte.

    Order: the declared charset under any of its names; UTF-8; ISO-2022-JP when escapes are seen; of cp932 and
    EUC-JP the one that reads more like Japanese.
    """
    key = re.sub(r"[^a-z0-9]", "", (declared or "").lower())
    text = _decode_declared(raw, key, (declared or "").lower().strip())
    if text is not None and "\x1b$" not in text:
        return text
    guessed = _guess(raw)
    if guessed is None and key in _LATIN:
        return raw.decode("cp1252", "ignore") if key == "windows1252" else raw.decode("latin-1")
    return guessed


def _decode_declared(raw: bytes, key: str, written: str) -> str | None:
    name = _NAMES.get(key)
    if name:
        return _attempt(_DECODERS[name], raw)
    if name is None and _OTHER_CODECS.fullmatch(written):
        return _attempt(lambda content: content.decode(written), raw)
    return None


def _attempt(decoder: Callable[[bytes], str], raw: bytes) -> str | None:
    try:
        return decoder(raw)
    except (UnicodeError, LookupError):
        return None


def _guess(raw: bytes) -> str | None:
    order = ("iso-2022-jp", "utf-8") if b"\x1b" in raw else ("utf-8",)
    for name in order:
        text = _attempt(_DECODERS[name], raw)
        if text is not None and _is_readable(text):
            return text
    candidates = [_attempt(_DECODERS[name], raw) for name in ("cp932", "euc-jp")]
    readable = [text for text in candidates if text is not None and _is_readable(text)]
    return max(readable, key=_likeness_to_japanese, default=None)


def _is_readable(text: str) -> bool:
    return _UNREADABLE_CONTROL.search(text) is None and "\x1b$" not in text


def _likeness_to_japanese(text: str) -> int:
    """EUC-JP read as cp932 is a row of half-width kana and private characters; what people write is not."""
    score = 0
    for character in islice(text, _SCORED_CHARACTERS):
        code = ord(character)
        if 0x3040 <= code <= 0x30FF:
            score += 2
        elif 0x3000 <= code <= 0x303F or 0x4E00 <= code <= 0x9FFF or 0xFF00 <= code <= 0xFF60:
            score += 1
        elif 0xFF61 <= code <= 0xFF9F:
            score -= 2
        elif 0xE000 <= code <= 0xF8FF:
            score -= 10
    return score
