"""The same application mail again: recognised for 60 days by sender, Message-ID and content.

The sender of a mail that its author's domain signed is that author: whoever got hold of one may send it once more
under an envelope and with unsigned fields of their own.
The store decides: whoever writes the fingerprint first has the mail, also when two processes read it at once.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from handlers.mail import InboundMail
from storage.models import MailFingerprint

REMEMBERED_FOR = timedelta(days=60)

# What relays write on a mail on its way (RFC 5321 §4.4, RFC 8601, RFC 7208 §9.1, RFC 8617) is no content.
_TRACE_FIELDS = frozenset(
    {
        "arc-authentication-results",
        "arc-message-signature",
        "arc-seal",
        "authentication-results",
        "delivered-to",
        "received",
        "received-spf",
        "return-path",
        "x-original-to",
        "x-received",
    }
)
_HEADER_END = re.compile(rb"(?:\A|\r?\n)\r?\n")


class Meeting(StrEnum):
    """How a mail stands to those that came before it."""

    NEW = "new"
    REPEAT = "repeat"
    OTHER_CONTENT = "other_content"  # the Message-ID of an earlier mail, but not its content


@dataclass(frozen=True, slots=True)
class Recognition:
    """The meeting, and the id of the earlier mail where there is one."""

    meeting: Meeting
    earlier_mail_id: int | None = None


def recognise(session: Session, mail: InboundMail, *, about: str = "") -> Recognition:
    """Remember the mail, or say which one it repeats. Without a Message-ID it is known by its content alone.

    `about` names the case a mail is about: one that goes to a case and to another address has an effect on each.
    """
    content = content_hash(mail)
    by_content = _fingerprint(f"content{about}", mail, content)
    identity = _identity(mail)
    if identity is None:
        return _repeat_of(_claim(session, by_content, content, mail))
    earlier = _claim(session, _fingerprint(f"id{about}", mail, identity), content, mail)
    if earlier is None or earlier.content_hash == content:
        return _repeat_of(earlier)
    same_content = _claim(session, by_content, content, mail)
    if same_content is not None:
        return _repeat_of(same_content)
    return Recognition(Meeting.OTHER_CONTENT, earlier.mail_id)


def first_within(session: Session, mail: InboundMail, what: str, whom: str, period: timedelta) -> bool:
    """Whether `what` was asked for `whom` for the first time within `period`; of two at once one is the first."""
    fingerprint = hashlib.sha256(f"asked\0{what}\0{whom.lower()}".encode()).digest()
    return _claim(session, fingerprint, content_hash(mail), mail, period) is None


def content_hash(mail: InboundMail) -> bytes:
    """SHA-256 of the header fields in order, without trace fields and folding, and of the body."""
    digest = hashlib.sha256()
    for name, value in mail.header.fields:
        if name not in _TRACE_FIELDS:
            digest.update(name.encode() + b":" + value.strip() + b"\r\n")
    end = _HEADER_END.search(mail.raw)
    digest.update(b"\r\n" + (mail.raw[end.end() :] if end else b""))
    return digest.digest()


def _identity(mail: InboundMail) -> bytes | None:
    """The Message-ID; of a signed mail without one its Date, which is signed."""
    if mail.message_id is not None:
        return mail.message_id.encode()
    dates = mail.header.values("date") if mail.signed_author else ()
    return b"date " + b" ".join(dates[0].split()) if dates else None


def _fingerprint(kind: str, mail: InboundMail, value: bytes) -> bytes:
    # A name of its own for each: nobody who only writes a sender into an envelope meets what the sender signed.
    sender = (f"signed {mail.signed_author.lower()}" if mail.signed_author else mail.mail_from.lower()).encode()
    return hashlib.sha256(b"\0".join((kind.encode(), sender, value))).digest()


def _repeat_of(earlier: MailFingerprint | None) -> Recognition:
    if earlier is None:
        return Recognition(Meeting.NEW)
    return Recognition(Meeting.REPEAT, earlier.mail_id)


def _claim(
    session: Session, fingerprint: bytes, content: bytes, mail: InboundMail, period: timedelta = REMEMBERED_FOR
) -> MailFingerprint | None:
    """Write the fingerprint; None when it is ours now, else the row that has it and is not yet forgotten."""
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    values = {"content_hash": content, "mail_id": mail.mail_id, "received_at": mail.received_at}
    statement = (
        (postgresql.insert if on_postgresql else sqlite.insert)(MailFingerprint)
        .values(fingerprint=fingerprint, **values)
        .on_conflict_do_update(
            index_elements=["fingerprint"],
            set_=values,
            where=MailFingerprint.received_at < mail.received_at - period,
        )
        .returning(MailFingerprint.fingerprint)
    )
    if session.execute(statement).first() is not None:
        return None
    return session.scalars(select(MailFingerprint).where(MailFingerprint.fingerprint == fingerprint)).one()
