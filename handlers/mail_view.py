"""Mails as an operator may see them: lists without contents, one mail with its text, and bytes without secrets.

The password of a request and the tokens of case and bounce addresses are blanked in whatever transfer encoding they
stand; every other byte stays as it came.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.mail import InboundMail, read_header
from handlers.mail_charsets import decode
from handlers.mail_text import header_text
from handlers.naccs import masking
from handlers.naccs.common_items import CRLF, WIDTH, WIDTH_WITH_LINE_END
from handlers.naccs.message import Family, body_of, family
from handlers.naccs.outputs import NO_REQUEST
from storage.mail_queue import content_of
from storage.models import Mail, Recipient
from storage.states import Direction

_TOKEN = re.compile(
    rb"((?:case|bounce)(?:\+|=2B)[0-9a-z]+(?:\.|=2E))([0-9a-z]+)(?=@|=40)",
    re.IGNORECASE,
)
_SOFT_LINE_END = re.compile(rb"=\r?\n")
_BASE64_LINES = re.compile(rb"(?:^[A-Za-z0-9+/]+={0,2}\r?\n?)+", re.MULTILINE)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRecipient:
    """A recipient in a list; `destination` is its lane."""

    rcpt_to: str
    state: str
    destination: str | None
    attempts: int
    last_reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMail:
    """A mail in a list; `unmatched`: a result of the backend that matches no request."""

    id: int
    direction: str
    listener: str
    mail_from: str
    received_at: datetime
    recipients: tuple[ListedRecipient, ...]
    unmatched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MailText:
    """What a mail says: its header fields, its text, and the names of what is attached."""

    headers: tuple[tuple[str, str], ...]
    text: str
    attachments: tuple[str, ...]


def listed(session: Session, mails: Sequence[Mail]) -> list[ListedMail]:
    """The mails with their recipients, in the order given."""
    recipients: dict[int, list[Recipient]] = {}
    query = select(Recipient).where(Recipient.mail_id.in_([mail.id for mail in mails]))
    for row in session.scalars(query.order_by(Recipient.id)):
        recipients.setdefault(row.mail_id, []).append(row)
    return [listed_mail(mail, recipients.get(mail.id, [])) for mail in mails]


def listed_mail(mail: Mail, recipients: Sequence[Recipient]) -> ListedMail:
    """One mail as a list has it."""
    return ListedMail(
        id=mail.id,
        direction=mail.direction,
        listener=mail.listener,
        mail_from=mail.mail_from,
        received_at=mail.received_at,
        recipients=tuple(
            ListedRecipient(
                rcpt_to=row.rcpt_to,
                state=row.state,
                destination=row.lane,
                attempts=row.attempts,
                last_reply=row.last_reply,
            )
            for row in recipients
        ),
        unmatched=any(is_unmatched(mail, row) for row in recipients),
    )


def is_unmatched(mail: Mail, row: Recipient) -> bool:
    """Whether it is a result of the backend that should belong to a request and belongs to none."""
    came_in = mail.listener == "backend" and row.direction == Direction.INBOUND
    return came_in and row.request_id is None and row.last_reply == NO_REQUEST


def shown_bytes(session: Session, mail: Mail) -> bytes:
    """A mail's bytes as they may be shown or written out."""
    content = content_of(session, mail.id)
    return without_tokens(masking.masked(content) if _may_hold_a_request(mail, content) else content)


def mail_text(mail: Mail, content: bytes) -> MailText:
    """Header fields and text of `shown_bytes`, decoded as far as they can be."""
    header = read_header(content)
    fields = tuple((name, header_text(value)) for name, value in header.fields)
    headers, body = body_of(content)
    of_exchange = mail.listener in {"naccs", "backend"} or _has_common_items(body)
    if of_exchange and "multipart" not in headers.content_type:
        charset = "euc-jp" if family(headers, body) is Family.NACCS_EDI else "utf-8"
        return MailText(headers=fields, text=_decoded(body, charset), attachments=())
    parsed = _parsed(mail, content)
    if parsed.text_problem is not None:
        return MailText(headers=fields, text=_decoded(body, None), attachments=())
    quoted = "".join(f"> {line.text}\n" for line in parsed.quoted_lines)
    names = tuple(part.name or part.content_type for part in parsed.attachments)
    return MailText(headers=fields, text=f"{parsed.text}\n{quoted}" if quoted else parsed.text, attachments=names)


def _decoded(body: bytes, charset: str | None) -> str:
    text = decode(body, charset)
    return body.decode("ascii", "replace") if text is None else text


def _parsed(mail: Mail, content: bytes) -> InboundMail:
    return InboundMail(
        mail_id=mail.id,
        listener=mail.listener,
        peer=mail.peer,
        helo=mail.helo_name,
        mail_from=mail.mail_from,
        rcpt_to="",
        received_at=mail.received_at,
        trusted=False,
        raw=content,
    )


def _may_hold_a_request(mail: Mail, content: bytes) -> bool:
    # Read as a request, the text of a letter would lose eight characters.
    return mail.listener in {"naccs", "backend"} or _has_common_items(body_of(content)[1])


def _has_common_items(body: bytes) -> bool:
    return body[WIDTH:WIDTH_WITH_LINE_END] == CRLF


def without_tokens(content: bytes) -> bytes:
    """A mail with the token of every case and bounce address written over, its size and all else as it was."""
    masked = bytearray(content)
    _mask_plain(content, masked)
    for lines in _BASE64_LINES.finditer(content):
        _mask_base64(lines, masked)
    return bytes(masked)


def _mask_plain(content: bytes, masked: bytearray) -> None:
    """As it stands, or with soft line ends of quoted-printable between (RFC 2045 §6.7)."""
    ends = list(_SOFT_LINE_END.finditer(content))
    # Where in the joined text each soft line end was, and how many bytes are missing from there on.
    missing, places, lengths = 0, [], []
    for end in ends:
        places.append(end.start() - missing)
        missing += len(end[0])
        lengths.append(missing)
    for token in _TOKEN.finditer(_SOFT_LINE_END.sub(b"", content)):
        for at in range(*token.span(2)):
            before = bisect_right(places, at)
            masked[at + (lengths[before - 1] if before else 0)] = ord("*")


def _mask_base64(lines: re.Match[bytes], masked: bytearray) -> None:
    characters = _NOT_BASE64.sub(b"", lines[0])
    whole = characters[: len(characters) // 4 * 4] if len(characters) % 4 == 1 else characters
    text = base64.b64decode(whole + b"=" * (-len(whole) % 4))
    hidden = _TOKEN.sub(lambda token: token[1] + b"*" * len(token[2]), text)
    if hidden == text:
        return
    places = (at for at in range(*lines.span()) if _NOT_BASE64.match(masked, at, at + 1) is None)
    # A body that was cut, or its filling, has fewer places than the encoded text has characters.
    for at, character in zip(places, base64.b64encode(hidden), strict=False):
        masked[at] = character
