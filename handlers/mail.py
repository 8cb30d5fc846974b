"""A received mail as handlers see it: envelope, the header fields that decide something, text, attachments.

The bytes stay as received; everything else is read from them on first use. No bytes raise: a mail that
cannot be read says why in `text_problem`. Whom to believe rests on `header_from`, which is strict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from handlers.mail_charsets import decode
from handlers.mail_html import plain_text
from handlers.mail_mime import MailPart, MimeTree, mime_tree
from handlers.mail_text import TextLine, header_text, join_lines, split_quotes, text_lines

_LINE_END = re.compile(rb"\r?\n")
_HEADER_END = re.compile(rb"(?:\A|\r?\n)\r?\n")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_NOT_IN_A_FIELD = re.compile(rb"[\x00\r]")

_DOT_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDR_SPEC = re.compile(rf"(?P<local>{_DOT_ATOM})@(?P<domain>{_LABEL}(?:\.{_LABEL})+)")
_DISPLAY_NAME = re.compile(
    r"(?:\"(?:[^\"\\\x00-\x1f\x7f]|\\[ -~\x80-\xff])*\"|[^\"\\<>()@,:;\[\]\x00-\x08\x0a-\x1f\x7f])*"
)
_LONGEST_LOCAL_PART = 64
_LONGEST_HEADER = 1 << 20
_LONGEST_TEXT = 500_000
_MOST_TAGS = 50_000
_LONGEST_ADDRESS = 254


class TextProblem(StrEnum):
    """Why a mail has no text that could be read."""

    UNREADABLE_CHARSET = "unreadable_charset"
    BROKEN_MIME = "broken_mime"
    NO_TEXT = "no_text"
    TOO_LONG = "text_too_long"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailAttachment:
    """A file that came with a mail. `inline`: shown inside the text (a logo), not handed over as a file."""

    name: str
    content: bytes
    content_type: str
    inline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MailHeader:
    """The header fields in order, names in lower case. `malformed`: some line is not a header field."""

    fields: tuple[tuple[str, bytes], ...]
    malformed: bool

    def values(self, name: str) -> tuple[bytes, ...]:
        return tuple(value for field_name, value in self.fields if field_name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _MailText:
    lines: tuple[TextLine, ...] = ()
    problem: TextProblem | None = None


@dataclass(frozen=True, kw_only=True)  # no slots: what is read from `raw` is kept beside it
class InboundMail:
    """A mail as it was accepted. `raw` is the content as received, without any trace field of ours.

    `trusted`: the peer stood in a trusted network. It is void for a mail with a Received field, which came
    through a relay, or with a header that may hide one, whatever the caller says.
    """

    mail_id: int
    listener: str
    peer: str
    helo: str
    mail_from: str
    rcpt_to: str
    received_at: datetime
    trusted: bool
    raw: bytes = field(repr=False)
    signed_by: tuple[str, ...] = ()  # domains whose DKIM signature held at receipt and is aligned to From

    def __post_init__(self) -> None:
        if self.trusted and (self.header.values("received") or self.header.malformed):
            object.__setattr__(self, "trusted", False)

    @cached_property
    def header(self) -> MailHeader:
        return read_header(self.raw)

    @cached_property
    def header_from(self) -> str | None:
        """The author's address, domain in lower case; None unless one From field holds one plain mailbox."""
        values = self.header.values("from")
        if len(values) != 1 or self.header.malformed:
            return None
        return parse_mailbox(values[0])

    @property
    def signed_author(self) -> str | None:
        """`header_from` where its own domain signed the mail."""
        author = self.header_from
        signed = {domain.lower() for domain in self.signed_by}
        return author if author is not None and author.rpartition("@")[2] in signed else None

    @cached_property
    def subject(self) -> str:
        """The first Subject, decoded; empty when there is none."""
        return self.header_value("subject") or ""

    @cached_property
    def message_id(self) -> str | None:
        """The first Message-ID with its angle brackets, or None."""
        return self.header_value("message-id") or None

    @cached_property
    def auto_submitted(self) -> str | None:
        """The keyword of Auto-Submitted (RFC 3834 §5) in lower case, or None; `no` stands for a person."""
        value = self.header_value("auto-submitted")
        return value.partition(";")[0].strip().lower() or None if value else None

    def header_value(self, name: str) -> str | None:
        """The first field called `name` (lower case), decoded to one line, or None."""
        values = self.header.values(name)
        return header_text(values[0]) if values else None

    @cached_property
    def lines(self) -> tuple[TextLine, ...]:
        """What the writer added: the text without quoted mails; empty when `text_problem` is set."""
        return self._split[0]

    @cached_property
    def quoted_lines(self) -> tuple[TextLine, ...]:
        """What is quoted below or between, one level of marks taken off."""
        return self._split[1]

    @cached_property
    def text(self) -> str:
        """The new text of the mail, decoded, with soft line ends joined."""
        return join_lines(self.lines)

    @property
    def text_problem(self) -> TextProblem | None:
        return self._text.problem

    @cached_property
    def attachments(self) -> tuple[MailAttachment, ...]:
        """Every part that is not the text of the mail, in order."""
        return tuple(
            MailAttachment(
                name=part.file_name,
                content=part.content,
                content_type=part.content_type,
                inline=part.disposition != "attachment" and part.has_content_id,
            )
            for part in self._tree.parts
            if not _is_text(part)
        )

    @cached_property
    def _tree(self) -> MimeTree:
        return mime_tree(self.raw)

    @cached_property
    def _text(self) -> _MailText:
        return _read_text(self._tree)

    @cached_property
    def _split(self) -> tuple[tuple[TextLine, ...], tuple[TextLine, ...]]:
        return split_quotes(self._text.lines)


def read_header(raw: bytes) -> MailHeader:
    """Split the header block; a line that is neither a field nor a continuation is left out and reported."""
    end = _HEADER_END.search(raw)
    fields: list[tuple[str, list[bytes]]] = []
    block = raw[: end.start()] if end else raw
    malformed = len(block) > _LONGEST_HEADER
    for line in _LINE_END.split(block[:_LONGEST_HEADER]):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1][1].append(line)
        elif (found := _FIELD.fullmatch(line)) and not _NOT_IN_A_FIELD.search(line):
            fields.append((found.group(1).decode("ascii").lower(), [found.group(2)]))
        elif line:
            malformed = True
    return MailHeader(fields=tuple((name, b"".join(lines)) for name, lines in fields), malformed=malformed)


def parse_mailbox(value: bytes) -> str | None:
    """The address of a field that holds exactly one mailbox (RFC 5322 §3.4), or None.

    Stricter than the grammar where parsers are known to disagree: no group, list, comment, route, quoted
    local part, domain literal, encoded word in the address or control character.
    """
    text = value.decode("latin-1").strip(" \t")
    if text.endswith(">"):
        display_name, opening, text = text[:-1].rpartition("<")
        if not opening or not _DISPLAY_NAME.fullmatch(display_name):
            return None
    return parse_address(text)


def parse_address(text: str) -> str | None:
    """`text`, its domain in lower case, if it is a plain internet address (254 octets at most), else None."""
    address = _ADDR_SPEC.fullmatch(text)
    if address is None or "=?" in text or len(text) > _LONGEST_ADDRESS:
        return None
    if len(address["local"]) > _LONGEST_LOCAL_PART:
        return None
    return f"{address['local']}@{address['domain'].lower()}"


def _is_text(part: MailPart) -> bool:
    shown = part.disposition != "attachment" and not part.file_name
    return shown and part.content_type in ("text/plain", "text/html", "text")


def _read_text(tree: MimeTree) -> _MailText:
    """The plain text parts in order, else the HTML parts made plain."""
    shown = [part for part in tree.parts if _is_text(part) and part.content.strip()]
    plain = [part for part in shown if part.content_type != "text/html"]
    chosen = plain or shown
    if any(part.damaged for part in chosen) or (tree.broken and not chosen):
        return _MailText(problem=TextProblem.BROKEN_MIME)
    lines: list[TextLine] = []
    for part in chosen:
        text = decode(part.content, part.charset)
        if text is None:
            return _MailText(problem=TextProblem.UNREADABLE_CHARSET)
        if len(text) > _LONGEST_TEXT or (part.content_type == "text/html" and text.count("<") > _MOST_TAGS):
            return _MailText(problem=TextProblem.TOO_LONG)
        if part.content_type == "text/html":
            text = plain_text(text)
        lines.extend(text_lines(text, flowed=part.flowed, delete_space=part.delete_space))
    if not any(line.text.strip() for line in lines):
        return _MailText(problem=TextProblem.NO_TEXT)
    return _MailText(lines=tuple(lines))
