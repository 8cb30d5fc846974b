"""Plain text laid out by columns: a half-width character takes one, a full-width or ambiguous one two."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

MAIL_COLUMNS = 76

# JIS X 4051 keeps these from beginning or ending a line: they stay with the character before or after them.
_CLOSING = "、。，．・：；？！）］｝」』】〉》〕ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
_OPENING = "（［｛「『【〈《〔"
_PIECE = re.compile(rf"[^\S\n]+|[{_OPENING}]*(?:[!-~]+|.)[{_CLOSING}]*", re.DOTALL)
_WIDE = frozenset("AFW")


def columns(text: str) -> int:
    """The columns a line takes."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


@cache
def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def fold(text: str, *, used: int = 0, indent: int = 0, width: int = MAIL_COLUMNS) -> str:
    """`text` in lines of at most `width` columns; the first begins at column `used`, the others at `indent`.

    Line ends of the text are kept. Words of half-width characters stay whole where a line can hold them.
    """
    lines: list[str] = []
    room = width - used
    for paragraph in text.split("\n"):
        lines.extend(_lines(paragraph, room, width - indent))
        room = width - indent
    margin = " " * indent
    return "\n".join(lines[:1] + [margin + line if line else "" for line in lines[1:]])


def _lines(paragraph: str, first: int, others: int) -> Iterator[str]:
    if columns(paragraph) <= first:
        yield paragraph.rstrip()
        return
    line, used, room = "", 0, first
    for piece in _pieces(paragraph, others):
        if used + columns(piece.rstrip()) > room and (line or room < others):
            yield line.rstrip()
            line, used, room = "", 0, others
            piece = piece.lstrip()  # noqa: PLW2901 - a space that would begin the new line is its end
        line += piece
        used += columns(piece)
    yield line.rstrip()


def _pieces(paragraph: str, widest: int) -> Iterator[str]:
    """What must not be broken, unless it is wider than a whole line."""
    for match in _PIECE.finditer(paragraph):
        if columns(match[0]) <= widest:
            yield match[0]
        else:
            yield from match[0]
