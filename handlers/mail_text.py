"""Text of a mail as its writer meant it: header words, soft line ends, quotes.

Lines keep whether the writer or the mailer ended them (RFC 3676), because a form counts line ends and a
label begins a line. Every function is total and linear in its input.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from handlers.mail_charsets import decode

_ENCODED_WORD = re.compile(rb"=\?([!->@-~]{1,64})\?([bBqQ])\?([^?\r\n]*)\?=")
_FOLDING = re.compile(rb"\r?\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_QUOTE_MARK = re.compile(r">[ ]?")
# What Outlook, Thunderbird, Gmail, Apple Mail and Notes write above a mail they quote without marks.
_ORIGINAL_MESSAGE = re.compile(
    r"(?:[-_=]{2,}\s*(?:Original (?:Message|Appointment)|Forwarded Message|Forwarded by .{1,200}|Fwd|FW|元のメッセージ"
    r"|元のメール|オリジナル ?メッセージ|転送メッセージ|転送されたメッセージ|転送元のメッセージ)\s*[-_=]{2,}"
    r"|(?:Begin forwarded message|転送されたメッセージ|以下は?転送(?:された)?メッセージ(?:です)?)\s*[:：])",
    re.IGNORECASE,
)
_QUOTED_HEADER = re.compile(
    r"\**(差出人|送信者|From|送信日時|送信済み|送信|Sent|日時|日付|Date|宛先|To|CC|件名|Subject)\**\s*[:：]",
    re.IGNORECASE,
)
_QUOTED_AUTHOR = frozenset(("差出人", "送信者", "from"))
_RULED_LINE = re.compile(r"_{10,}")  # Outlook on the web, above the header lines
# What mailers write above a quote with marks, which they may have folded: who wrote it, and before that when.
_ATTRIBUTION = re.compile(r".*(?:wrote|writes|書きました|のメール|<[^<>@\s]+@[^<>\s]+>)\s*[:：]", re.IGNORECASE)
_ATTRIBUTION_DATE = re.compile(r"(?:On |[0-9]{4}[年/-])")
_ATTRIBUTION_LINES = 3
_LONGEST_ATTRIBUTION = 500
_QUOTED_HEADER_NAMES = 3
_QUOTED_HEADER_LINES = 8
_LONGEST_HEADER_VALUE = 8192
SIGNATURE_MARK = "-- "


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line; `wrapped` when the mailer ended it, so that the next one continues it without a line end."""

    text: str
    wrapped: bool = False


def header_text(raw: bytes) -> str:
    """A header value as one line of text: unfolded, encoded words and 8-bit text decoded, controls removed.

    RFC 2047 §6.2: space between two encoded words is not shown. Mailers cut a character between two words, so
    words of one charset that touch are decoded as one. What lies beyond 8 KiB is left out.
    """
    unfolded = _FOLDING.sub(b"", raw[:_LONGEST_HEADER_VALUE])
    pieces: list[tuple[str | None, bytes]] = []
    position = 0
    for word in _ENCODED_WORD.finditer(unfolded):
        between = unfolded[position : word.start()]
        if between.strip() or not pieces or pieces[-1][0] is None:
            pieces.append((None, between))
        pieces.append(_word_content(word))
        position = word.end()
    pieces.append((None, unfolded[position:]))
    return _CONTROL.sub("", "".join(_decode_pieces(pieces)).replace("\t", " ")).strip()


def _word_content(word: re.Match[bytes]) -> tuple[str | None, bytes]:
    charset, encoding, encoded = word.groups()
    name = charset.decode("ascii").partition("*")[0].lower()  # RFC 2231 §5: a language may follow
    if encoding in b"qQ":
        return name, binascii.a2b_qp(encoded, header=True)
    try:
        return name, binascii.a2b_base64(encoded + b"==")
    except binascii.Error:
        return None, word.group()


def _decode_pieces(pieces: Iterable[tuple[str | None, bytes]]) -> Iterator[str]:
    charset: str | None = None
    gathered = b""
    for name, content in pieces:
        if name != charset:
            yield _decoded_or_marked(gathered, charset)
            charset, gathered = name, b""
        gathered += content
    yield _decoded_or_marked(gathered, charset)


def _decoded_or_marked(content: bytes, charset: str | None) -> str:
    text = decode(content, charset)
    return content.decode("ascii", "replace") if text is None else text


def text_lines(text: str, *, flowed: bool, delete_space: bool) -> tuple[TextLine, ...]:
    """The lines of a text part. `flowed` and `delete_space`: its format and DelSp (RFC 3676 §4)."""
    lines = _LINE_END.split(text)
    if lines and not lines[-1]:
        lines.pop()
    if not flowed:
        return tuple(TextLine(line) for line in lines)
    return tuple(_flowed_line(line, delete_space=delete_space) for line in lines)


def _flowed_line(line: str, *, delete_space: bool) -> TextLine:
    unstuffed = line.removeprefix(" ")
    if not unstuffed.endswith(" ") or unstuffed == SIGNATURE_MARK:
        return TextLine(unstuffed)
    return TextLine(unstuffed[:-1] if delete_space else unstuffed, wrapped=True)


def join_lines(lines: Iterable[TextLine]) -> str:
    """The text with soft line ends removed and every other one a single line feed."""
    return "".join(line.text if line.wrapped else f"{line.text}\n" for line in lines).removesuffix("\n")


def split_quotes(lines: tuple[TextLine, ...]) -> tuple[tuple[TextLine, ...], tuple[TextLine, ...]]:
    """What the writer added, and what is quoted, one level of `>` taken off; deeper quotes are in neither.

    Outlook quotes without marks: everything from its separator or its block of header lines is a quote.
    """
    end = next((number for number in range(len(lines)) if _starts_quoted_mail(lines, number)), len(lines))
    new: list[TextLine] = []
    quoted: list[TextLine] = []
    for line in lines[:end]:
        if line.text.startswith(">"):
            _take_attribution(new, quoted)
            quoted.append(_without_mark(line))
        else:
            new.append(line)
    quoted.extend(lines[end:])
    return tuple(new), tuple(line for line in quoted if not line.text.startswith(">"))


def _take_attribution(new: list[TextLine], quoted: list[TextLine]) -> None:
    """Move the lines that introduce a quote out of the new text."""
    near = range(len(new) - 1, max(len(new) - 1 - _ATTRIBUTION_LINES, -1), -1)
    place = next((number for number in near if new[number].text.strip()), None)
    if place is None or not _ATTRIBUTION.fullmatch(new[place].text[:_LONGEST_ATTRIBUTION].strip()):
        return
    is_folded = place > 0 and not _ATTRIBUTION_DATE.match(new[place].text)
    if is_folded and _ATTRIBUTION_DATE.match(new[place - 1].text):
        place -= 1
    quoted.extend(new[place:])
    del new[place:]


def _without_mark(line: TextLine) -> TextLine:
    return TextLine(_QUOTE_MARK.sub("", line.text, count=1), wrapped=line.wrapped)


def _starts_quoted_mail(lines: tuple[TextLine, ...], number: int) -> bool:
    text = lines[number].text.strip()
    if _ORIGINAL_MESSAGE.fullmatch(text):
        return True
    if _RULED_LINE.fullmatch(text):
        return number + 1 < len(lines) and _starts_header_block(lines, number + 1)
    return _starts_header_block(lines, number)


def _starts_header_block(lines: tuple[TextLine, ...], number: int) -> bool:
    first = _QUOTED_HEADER.match(lines[number].text.strip())
    if first is None or first.group(1).lower() not in _QUOTED_AUTHOR:
        return False
    # Long lists of recipients run on below their line, and mails made of HTML have empty lines between.
    block = lines[number : number + _QUOTED_HEADER_LINES]
    names = {name.group(1).lower() for line in block if (name := _QUOTED_HEADER.match(line.text.strip()))}
    return len(names) >= _QUOTED_HEADER_NAMES


def quoted_mails(quoted: tuple[TextLine, ...]) -> tuple[tuple[TextLine, ...], ...]:
    """The mails that a quote is made of, newest first: a forwarded mail may itself quote one."""
    starts = [number for number in range(len(quoted)) if _starts_quoted_mail(quoted, number)]
    bounds = [0, *starts, len(quoted)]  # a ruled line and the block below it make two; the first holds nothing
    return tuple(quoted[start:end] for start, end in pairwise(bounds) if start < end)
