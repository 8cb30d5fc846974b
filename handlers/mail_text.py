"""Text of a mail as its writer meant it: header words, soft line ends, quotes, HTML made plain.

Lines keep whether the writer or the mailer ended them (RFC 3676), because a form counts line ends and a
label begins a line. Every function is total and linear in its input.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from handlers.mail_charsets import decode

_ENCODED_WORD = re.compile(rb"=\?([!->@-~]{1,64})\?([bBqQ])\?([^?\r\n]*)\?=")
_FOLDING = re.compile(rb"\r?\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_QUOTE_MARK = re.compile(r">[ ]?")
_ORIGINAL_MESSAGE = re.compile(r"-{2,}\s*(?:Original Message|元のメッセージ|転送メッセージ)\s*-{2,}\s*", re.IGNORECASE)
_QUOTED_HEADER = re.compile(r"\**(差出人|From|送信日時|Sent|日時|Date|宛先|To|件名|Subject)\**\s*[:：]", re.IGNORECASE)
_QUOTED_HEADER_LINES = 3
_BLOCK = frozenset(
    {
        "address",
        "blockquote",
        "center",
        "div",
        "dl",
        "dt",
        "dd",
        "form",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "table",
        "tr",
    }
    | {"h1", "h2", "h3", "h4", "h5", "h6", "ul"}
)
_HIDDEN = frozenset(("head", "script", "style", "title"))
_TAG = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
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
            quoted.append(_without_mark(line))
        else:
            new.append(line)
    quoted.extend(lines[end:])
    return tuple(new), tuple(line for line in quoted if not line.text.startswith(">"))


def _without_mark(line: TextLine) -> TextLine:
    return TextLine(_QUOTE_MARK.sub("", line.text, count=1), wrapped=line.wrapped)


def _starts_quoted_mail(lines: tuple[TextLine, ...], number: int) -> bool:
    if _ORIGINAL_MESSAGE.fullmatch(lines[number].text.strip()):
        return True
    block = lines[number : number + _QUOTED_HEADER_LINES]
    names = {name.group(1).lower() for line in block if (name := _QUOTED_HEADER.match(line.text.strip()))}
    return len(names) == _QUOTED_HEADER_LINES


def plain_text(source: str) -> str:
    """The visible text of an HTML part: block elements begin and end lines, all other tags are nothing."""
    text: list[str] = []
    position = 0
    while (opening := source.find("<", position)) >= 0:
        _append_run(text, source[position:opening])
        position = _after_markup(source, opening, text)
    _append_run(text, source[position:])
    return "\n".join(line.strip(" ") for line in "".join(text).split("\n"))


def _append_run(text: list[str], run: str) -> None:
    """Between two tags the source's own line ends are spaces, or nothing between two wide characters."""
    joined = re.sub(r"(?<=[^\x00-\x7f])[ \t]*[\r\n]+[ \t]*(?=[^\x00-\x7f])", "", run)
    visible = html.unescape(re.sub(r"[ \t\r\n]+", " ", joined)).replace("\xa0", " ")
    if visible and (visible.strip(" ") or not _at_line_start(text)):
        text.append(visible)


def _at_line_start(text: list[str]) -> bool:
    return not text or text[-1].endswith("\n")


def _after_markup(source: str, opening: int, text: list[str]) -> int:
    """Read one tag, comment or declaration, and return where the text goes on."""
    if source.startswith("<!--", opening):
        return _after(source, "-->", opening)
    tag = _TAG.match(source, opening + 1)
    if tag is None:
        if source.startswith(("<!", "<?"), opening):
            return _after(source, ">", opening)
        text.append("<")
        return opening + 1
    name = tag.group(1).lower()
    if name in _HIDDEN and tag.group()[0] != "/":
        closing = re.compile(f"</{name}[^>]*>?", re.IGNORECASE).search(source, opening)
        return closing.end() if closing else len(source)
    if name == "br" or (name in _BLOCK and not _at_line_start(text)):
        text.append("\n")
    elif name in ("td", "th") and not _at_line_start(text) and not text[-1].endswith(" "):
        text.append(" ")
    return _after(source, ">", opening)


def _after(source: str, mark: str, start: int) -> int:
    """The position behind the next `mark`, or the end of the source: unclosed markup hides what follows."""
    position = source.find(mark, start)
    return len(source) if position < 0 else position + len(mark)
