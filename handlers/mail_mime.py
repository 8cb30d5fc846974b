"""The MIME leaves of a mail as data: a fast parser first, the tolerant one of the library when it raises.

Both give the same `MailPart`s: transfer encoding undone, charset not. No bytes make this module raise; what
cannot be taken apart is told by `MimeTree.broken`.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.errors import InvalidBase64CharactersDefect, InvalidBase64LengthDefect
from email.message import Message

from fast_mail_parser import PyLazyMimePart, parse_email_tree

from handlers.mail_charsets import decode
from handlers.mail_text import header_text

# What takes quadratic time: encoded words in the fast parser, parameters in the library. Nobody writes so many.
_MOST_ENCODED_WORDS = 2000
_MOST_BOUNDARIES = 5000
_LONGEST_PARAMETER_FIELD = 4096
_PARAMETER_FIELD = re.compile(rb"^content-(?:type|disposition)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_END_OF_FIELD = re.compile(rb"\n(?![ \t])")
_NOT_IN_A_FILE_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LOSSY_DEFECTS = (InvalidBase64CharactersDefect, InvalidBase64LengthDefect)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailPart:
    """A leaf of the MIME tree. `damaged`: its transfer encoding was broken and something may be missing."""

    content_type: str
    charset: str | None
    flowed: bool
    delete_space: bool
    file_name: str
    disposition: str
    has_content_id: bool
    content: bytes
    damaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MimeTree:
    """The leaves in order. `broken`: some container could not be taken apart."""

    parts: tuple[MailPart, ...]
    broken: bool = False


def mime_tree(raw: bytes) -> MimeTree:
    """Take a mail apart."""
    if raw.count(b"\n--") > _MOST_BOUNDARIES:
        return MimeTree(parts=(), broken=True)
    for parse in (_fast_parts, _tolerant_parts):
        try:
            return parse(raw)
        except (KeyboardInterrupt, SystemExit):  # pragma: no cover
            raise
        except BaseException:  # noqa: BLE001, S112 - a panic of the Rust parser is no Exception
            continue
    return MimeTree(parts=(), broken=True)


class _UnclearError(Exception):
    """A parser that cannot, or should not, take this mail apart."""


def _fast_parts(raw: bytes) -> MimeTree:
    if raw.count(b"=?") > _MOST_ENCODED_WORDS:
        raise _UnclearError
    return MimeTree(parts=tuple(_fast_leaves(parse_email_tree(raw, mode="lazy"))))


def _fast_leaves(root: PyLazyMimePart) -> Iterator[MailPart]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.children and not node.is_message:
            waiting.extend(reversed(node.children))
            continue
        content = node.content
        if content is None:
            raise _UnclearError
        fields = {name.lower(): _field_bytes(values[0]) for name, values in node.headers.items() if values}
        yield _part(fields, node.content_type, content)


def _field_bytes(value: str) -> bytes:
    """The fast parser hands out undeclared 8-bit text as if it were Latin-1, which loses nothing."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def _refuse_long_parameter_fields(raw: bytes) -> None:
    for name in _PARAMETER_FIELD.finditer(raw):
        end = _END_OF_FIELD.search(raw, name.end())
        if (end.start() if end else len(raw)) - name.end() > _LONGEST_PARAMETER_FIELD:
            raise _UnclearError


def _tolerant_parts(raw: bytes) -> MimeTree:
    _refuse_long_parameter_fields(raw)
    broken = False
    parts: list[MailPart] = []
    waiting: list[Message] = [email.message_from_bytes(raw)]
    while waiting:
        node = waiting.pop()
        children = node.get_payload()
        if node.get_content_maintype() == "multipart":
            if isinstance(children, list):
                waiting.extend(child for child in reversed(children) if isinstance(child, Message))
            else:
                broken = True
            continue
        parts.append(_tolerant_part(node))
    return MimeTree(parts=tuple(parts), broken=broken)


def _tolerant_part(node: Message) -> MailPart:
    content = node.get_payload(decode=True)
    fields: dict[str, bytes] = {}
    for name, value in node.raw_items():
        fields.setdefault(name.lower(), str(value).encode("utf-8", "surrogateescape"))
    damaged = any(isinstance(defect, _LOSSY_DEFECTS) for defect in node.defects)
    return _part(fields, node.get_content_type(), content if isinstance(content, bytes) else b"", damaged=damaged)


def _part(fields: Mapping[str, bytes], content_type: str, content: bytes, *, damaged: bool = False) -> MailPart:
    parameters = _Parameters(fields)
    return MailPart(
        content_type=content_type.lower(),
        charset=parameters.text("content-type", "charset") or None,
        flowed=parameters.text("content-type", "format").lower() == "flowed",
        delete_space=parameters.text("content-type", "delsp").lower() == "yes",
        file_name=_safe_file_name(
            parameters.text("content-disposition", "filename") or parameters.text("content-type", "name")
        ),
        disposition=parameters.token("content-disposition"),
        has_content_id="content-id" in fields,
        content=content,
        damaged=damaged,
    )


class _Parameters:
    """Parameters of MIME fields (RFC 2045 §5.1, RFC 2231), split by the library, decoded by our charsets."""

    def __init__(self, fields: Mapping[str, bytes]) -> None:
        self._message = Message()
        for name in ("content-type", "content-disposition"):
            value = fields.get(name, b"")
            if len(value) <= _LONGEST_PARAMETER_FIELD:
                self._message[name] = re.sub(rb"[\r\n]+", b" ", value).decode("latin-1")

    def token(self, field: str) -> str:
        return str(self._message.get(field, "")).partition(";")[0].strip().lower()

    def text(self, field: str, name: str) -> str:
        value = self._message.get_param(name, "", header=field)
        if isinstance(value, tuple):  # RFC 2231: (charset, language, text)
            declared, _, encoded = value
            content = encoded.encode("latin-1", "ignore")
            return decode(content, declared) or content.decode("ascii", "replace")
        return header_text(str(value).encode("latin-1", "ignore"))


def _safe_file_name(name: str) -> str:
    """The last segment of the name, without characters that break a header, a path or the reading order."""
    return _NOT_IN_A_FILE_NAME.sub("", name).replace("\\", "/").rpartition("/")[2].strip()
