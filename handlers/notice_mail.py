"""A rendered notice -> the bytes that are stored and sent.

The mail is built by the standard library from header values and a body, never templated as a whole; every
line is 7-bit and ends in CRLF. Its header is read back by our own parser and must say what was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from handlers.calendar import JST
from handlers.mail import parse_address, read_header
from handlers.mail_text import header_text
from handlers.notice_templates import refuse_control_characters
from handlers.outcomes import TemplateFault

SENDER_NAME = "NACCSサポートシステム"

# RFC 5322 §3.6.4, within what the store keeps of it.
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]{1,120}@[!-;=?A-~]{1,76}>")


def _fields_of_message_ids() -> HeaderRegistry:
    """Taken for plain text, a long Message-ID would be written as an encoded word and the thread be lost."""
    registry = HeaderRegistry()
    for name in ("in-reply-to", "references"):
        registry.map_to_type(name, MessageIDHeader)  # type: ignore[arg-type]  # a mixin, as the registry wants
    return registry


_POLICY = SMTP.clone(header_factory=_fields_of_message_ids())


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticePart:
    """A file beside the text, of type `<main_type>/<subtype>`; text is written in UTF-8."""

    file_name: str
    subtype: str
    content: str | bytes
    main_type: str = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeHeader:
    """The header values of a notice; `thread` is the Message-ID it is filed under, in brackets, or empty."""

    from_address: str
    to: str
    reply_to: str
    subject: str
    message_id: str
    thread: str
    auto_submitted: str


def is_message_id(text: str) -> bool:
    """Whether the text is one Message-ID that a thread can be built on."""
    return _MESSAGE_ID.fullmatch(text) is not None


def build(header: NoticeHeader, body: str, parts: Sequence[NoticePart], now: datetime) -> bytes:
    """The mail, in CRLF. Raises TemplateFault for a value no header field can hold."""
    fields = _fields(header, now)
    mail = EmailMessage(policy=_POLICY)
    try:
        for name, value in fields.items():
            refuse_control_characters(name, str(value))
            mail[name] = value
        mail.set_content(body, charset="utf-8", cte="base64")
        for part in parts:
            _attach(mail, part, header.message_id)
        raw = mail.as_bytes()
    except (ValueError, LookupError) as error:
        raise TemplateFault(f"the mail could not be built: {error}") from error
    _read_back(raw, fields)
    return raw


def _fields(header: NoticeHeader, now: datetime) -> dict[str, str | Address]:
    fields: dict[str, str | Address] = {
        "From": Address(SENDER_NAME, addr_spec=mailbox(header.from_address)),
        "To": Address(addr_spec=mailbox(header.to)),
        "Reply-To": Address(addr_spec=mailbox(header.reply_to)),
        "Subject": header.subject,
        "Date": format_datetime(now.astimezone(JST)),
        "Message-ID": header.message_id,
    }
    if header.thread:
        fields |= {"In-Reply-To": header.thread, "References": header.thread}
    return fields | {"Auto-Submitted": header.auto_submitted}


def mailbox(address: str) -> str:
    """The address as it is, if it is a plain internet address; TemplateFault otherwise."""
    if parse_address(address) is None:
        raise TemplateFault(f"{address!r} is not an address a mail can be sent to")
    return address


def _attach(mail: EmailMessage, part: NoticePart, message_id: str) -> None:
    refuse_control_characters("attachment", part.file_name)
    content = part.content.encode() if isinstance(part.content, str) else part.content
    mail.add_attachment(
        content,
        maintype=part.main_type,
        subtype=part.subtype,
        filename=part.file_name,
        params={"charset": "utf-8"} if part.main_type == "text" else None,
    )
    # The standard library would draw a random one; the same notice has the same bytes.
    mail.set_boundary(f"=_{message_id.strip('<>').partition('@')[0]}_=")


def _read_back(raw: bytes, fields: dict[str, str | Address]) -> None:
    """Hold the header against what was meant: generators have let values become header fields before."""
    read = read_header(raw)
    said = {name: header_text(value) for name, value in read.fields}
    meant = {name.lower(): str(value) for name, value in fields.items()}
    content = {"mime-version", "content-type", "content-transfer-encoding"}
    extra = said.keys() - meant.keys() - content
    differs = [name for name, value in meant.items() if said.get(name) != value]
    if read.malformed or extra or differs or len(read.fields) != len(said):
        raise TemplateFault(f"the mail reads otherwise than it was written: {sorted(extra)} {differs}")
