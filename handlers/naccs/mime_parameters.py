"""File names in MIME fields as the bytes they stand for: RFC 2045 §5.1, RFC 2231 §3-4, and what mailers write instead.

Instead means encoded words in a parameter (RFC 2047 forbids it) and raw 8-bit or ISO-2022-JP text. No bytes make this
module raise, and the time is linear in them.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from handlers.mail_charsets import decode
from handlers.mail_text import header_text

_FOLDING = re.compile(rb"\r?\n(?=[ \t])")
# Inside ISO-2022-JP and as the second byte of Shift_JIS, quote, semicolon and backslash are parts of characters.
_ISO_2022_JP = rb"\x1b\$[@B][^\x1b]*+(?=\x1b)"
_SHIFT_JIS = rb"[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]"
_ESCAPED = rb"\\(.)"
_NAME = rb';[ \t\r\n]*+([^\s;="]{1,64}+)[ \t\r\n]*+=[ \t\r\n]*+'


def _parameter_pattern(characters: bytes) -> re.Pattern[bytes]:
    quoted = rb'"((?:' + characters + rb"|" + _ESCAPED.replace(b"(.)", b".") + rb'|[^"\\])*+)'
    return re.compile(_NAME + rb"(?:" + quoted + rb"|((?:" + characters + rb"|[^;])*+))", re.DOTALL)


_PARAMETER = _parameter_pattern(_ISO_2022_JP)
_PARAMETER_IN_SHIFT_JIS = _parameter_pattern(_ISO_2022_JP + rb"|" + _SHIFT_JIS)
_PIECE = re.compile(_ISO_2022_JP + rb"|" + _ESCAPED, re.DOTALL)
_PIECE_IN_SHIFT_JIS = re.compile(_ISO_2022_JP + rb"|" + _SHIFT_JIS + rb"|" + _ESCAPED, re.DOTALL)
_SECTION = re.compile(rb"([^*]+)(?:\*([0-9]{1,6}))?(\*)?")
_ENCODED_WORD = re.compile(rb"=\?[!->@-~]{1,64}\?([bBqQ])\?([^?\r\n]*+)\?=")
_BETWEEN_WORDS = re.compile(rb"\?=[ \t\r\n]++(?==\?)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileName:
    """A name as the bytes it stands for, transport encoding undone, in the charset its writer used."""

    octets: bytes
    written: bytes
    charset: str | None = None  # None: not said in the parameter

    @property
    def text(self) -> str:
        """The name for people; bytes that no charset fits are shown as replacement characters."""
        if self.charset is None:
            return header_text(self.written)
        text = decode(self.octets, self.charset)
        return _CONTROL.sub("", self.octets.decode("ascii", "replace") if text is None else text)


def parameters(value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names in lower case and values of the parameters of one field, quotes and escapes undone."""
    unfolded = _FOLDING.sub(b"", value)
    shift_jis = not any(_reads(unfolded, codec) for codec in ("utf-8", "euc_jp"))
    pattern, piece = (_PARAMETER_IN_SHIFT_JIS, _PIECE_IN_SHIFT_JIS) if shift_jis else (_PARAMETER, _PIECE)
    for name, quoted, bare in pattern.findall(unfolded):
        yield name.lower(), piece.sub(_unescaped, quoted) if quoted else bare.strip()


def file_names(value: bytes, parameter: bytes) -> Iterator[FileName]:
    """Every name that one field gives in this parameter: plain, extended (`*`), and continued (`*0`, `*1`, ...)."""
    sections: dict[int, tuple[bytes, bool]] = {}
    for name, written in parameters(value):
        found = _SECTION.fullmatch(name)
        if found is None or found[1] != parameter:
            continue
        if found[2] is not None:
            sections.setdefault(int(found[2]), (written, found[3] is not None))
        elif found[3] is not None:
            charset, octets = _extended(written)
            yield FileName(octets=octets, written=written, charset=charset)
        else:
            yield FileName(octets=_without_encoded_words(written), written=written)
    if 0 in sections:
        yield _continued(sections)


def _continued(sections: dict[int, tuple[bytes, bool]]) -> FileName:
    """The name of RFC 2231 §3: sections in the order of their numbers, up to the first that is missing."""
    first, extended = sections[0]
    charset, octets = _extended(first) if extended else ("us-ascii", first)
    gathered = [octets]
    number = 1
    while number in sections:
        written, encoded = sections[number]
        gathered.append(unquote_to_bytes(written) if encoded else written)
        number += 1
    joined = b"".join(gathered)
    return FileName(octets=joined, written=joined, charset=charset)


def _extended(written: bytes) -> tuple[str, bytes]:
    """Charset and octets of charset'language'text (RFC 2231 §4); without the quotes it is all text."""
    parts = written.split(b"'", 2)
    if len(parts) < 3:
        return "us-ascii", unquote_to_bytes(written)
    return parts[0].decode("ascii", "replace"), unquote_to_bytes(parts[2])


def _without_encoded_words(written: bytes) -> bytes:
    return _ENCODED_WORD.sub(_octets_of_word, _BETWEEN_WORDS.sub(b"?=", written))


def _octets_of_word(word: re.Match[bytes]) -> bytes:
    encoding, encoded = word.groups()
    if encoding in b"qQ":
        return binascii.a2b_qp(encoded, header=True)
    try:
        return binascii.a2b_base64(encoded + b"==")
    except binascii.Error:
        return word.group()


def _unescaped(piece: re.Match[bytes]) -> bytes:
    found: bytes = piece.group() if piece[1] is None else piece[1]
    return found


def _reads(value: bytes, codec: str) -> bool:
    try:
        value.decode(codec)
    except UnicodeDecodeError:
        return False
    return True
