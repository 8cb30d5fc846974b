"""What a mail about a case says of itself: the mark on its first line, its words, and the receipt numbers it names.

Only new text counts, never what is quoted. A mark is compared after width folding and without spaces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from handlers.applications.form_layout import fold_label
from handlers.case_tokens import masked_text
from handlers.mail import InboundMail
from handlers.mail_text import SIGNATURE_MARK, TextLine, join_lines
from handlers.notice_templates import shown

_LONGEST_WORDS = 4000
_MOST_NUMBERS = 20
_LONGEST_SEARCHED = 20_000
_END_OF_FORM = "以上"
_INVISIBLE = "\ufeff\u200b\u2060 \t\u3000\xa0"
_MARK = re.compile(r"【([^【】]{1,40})】(.*)", re.DOTALL)
# As receipt numbers are written, once width and case are folded: two digits of the year, four or more, and A.
_RECEIPT_NUMBER = re.compile(r"(?<![0-9A-Z])[0-9]{6,12}A(?![0-9A-Z])")


class Mark(StrEnum):
    """What the writer wants."""

    ANSWER = "回答"
    AMENDMENT = "修正"
    WITHDRAWAL = "取下げ"
    QUESTION = "照会"
    SETTINGS = "システム設定申込"


# Every spelling that is taken, folded.
_SPELLINGS: dict[str, Mark] = {
    **{fold_label(mark.value): mark for mark in Mark},
    "取り下げ": Mark.WITHDRAWAL,
    "取下": Mark.WITHDRAWAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The mark of a mail, other marks that stand on lines of their own, and what is said beside the mark."""

    mark: Mark | None
    others: tuple[Mark, ...]
    words: str


def read_marks(mail: InboundMail) -> Said:
    """Read the new text up to a signature or the end of a form. `words` are shortened to what people read."""
    lines = list(_own_lines(mail.lines))
    while lines and not lines[0].text.strip(_INVISIBLE):
        lines.pop(0)
    found = _mark_of(lines[0].text) if lines else None
    if found is None:
        return Said(mark=None, others=(), words=_words(lines))
    mark, rest = found
    own_lines = (_mark_of(line.text) for line in lines[1:])
    others = {other: None for other, behind in filter(None, own_lines) if not behind and other is not mark}
    return Said(mark=mark, others=tuple(others), words=_words([TextLine(rest), *lines[1:]]))


def receipt_numbers(mail: InboundMail) -> tuple[str, ...]:
    """The receipt numbers (申込受付番号) in subject and new text, each once, in any width and case."""
    text = unicodedata.normalize("NFKC", f"{mail.subject}\n{mail.text[:_LONGEST_SEARCHED]}").upper()
    found = dict.fromkeys(match.group() for match in _RECEIPT_NUMBER.finditer(text))
    return tuple(found)[:_MOST_NUMBERS]


def _own_lines(lines: tuple[TextLine, ...]) -> Iterator[TextLine]:
    for line in lines:
        if line.text == SIGNATURE_MARK:
            return
        yield line


def _mark_of(line: str) -> tuple[Mark, str] | None:
    match = _MARK.match(line.strip(_INVISIBLE))
    mark = _SPELLINGS.get(fold_label(match[1])) if match else None
    return None if match is None or mark is None else (mark, match[2].strip(_INVISIBLE))


def _words(lines: list[TextLine]) -> str:
    text = join_lines(lines).strip().removesuffix(f"【{_END_OF_FORM}】").rstrip()
    return shown(masked_text(text), at_most=_LONGEST_WORDS)
