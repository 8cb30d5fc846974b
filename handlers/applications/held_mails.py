"""Held mail: what waits for a reviewer, how much it is, and its end when nobody releases it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import LargeBinary, Select, func, select
from sqlalchemy.orm import Session

from handlers import case_tokens, notices
from handlers.applications.receipt_holds import HoldReason
from handlers.desk import DeskSettings
from handlers.mail import parse_mailbox, read_header
from handlers.mail_search import in_state
from handlers.mail_text import header_text
from handlers.notice_templates import shown
from handlers.notices import Notice
from storage.models import AuditEvent, Mail, MailContent, Recipient
from storage.states import Direction, State
from storage.store import new_key

_MOST_LISTED = 200
_MOST_AT_ONCE = 50
_MOST_TOLD = 20
_LONGEST_HEADER = 64 * 1024
_LONGEST_SUBJECT = 200
_LONGEST_REASON = 512
_UNREADABLE_AUTHOR = "（一人の差出人として読み取れません）"
_IN_JAPANESE = {reason.in_english: reason.in_japanese for reason in HoldReason}
_HELD = (in_state(State.HELD), Recipient.direction == Direction.INBOUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldMail:
    """A mail that waits for a reviewer. `author` is None where From does not name one."""

    mail_id: int
    received_at: datetime
    held_at: datetime
    rcpt_to: str
    mail_from: str
    author: str | None
    subject: str
    size: int
    reason: str


def held(session: Session, at_most: int = _MOST_LISTED) -> list[HeldMail]:
    """What is held, the oldest first."""
    return _mails(session, select(Recipient.id).where(*_HELD).order_by(Recipient.id).limit(at_most))


def held_bytes(session: Session) -> int:
    """How many bytes of mail are held."""
    holding = select(Recipient.mail_id).where(*_HELD)
    return int(session.scalar(select(func.coalesce(func.sum(Mail.size), 0)).where(Mail.id.in_(holding))) or 0)


def expire(session: Session, desk: DeskSettings, now: datetime) -> int:
    """End the wait of mail held longer than `desk.held_for` and tell the reviewer; how many, at most fifty a call."""
    rows = session.scalars(
        select(Recipient)
        .where(*_HELD, Recipient.finished_at <= now - desk.held_for)
        .order_by(Recipient.id)
        .limit(_MOST_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    if not rows:
        return 0
    told = _mails(session, select(Recipient.id).where(Recipient.id.in_([row.id for row in rows[:_MOST_TOLD]])))
    for row in rows:
        _record(session, row, now)
        row.state, row.finished_at = State.EXPIRED, now
        row.last_reply = f"nobody released it: {row.last_reply}"[:_LONGEST_REASON]
    session.flush()
    notices.send(session, desk, _notice(desk, told, len(rows)), now)
    return len(rows)


def _mails(session: Session, recipients: Select[int]) -> list[HeldMail]:
    """The mails of these recipients, without reading more of them than a header takes."""
    beginning = func.substr(MailContent.content, 1, _LONGEST_HEADER, type_=LargeBinary)
    rows = session.execute(
        select(Recipient, Mail, beginning)
        .join(Mail, Mail.id == Recipient.mail_id)
        .join(MailContent, MailContent.mail_id == Mail.id)
        .where(Recipient.id.in_(recipients))
        .order_by(Recipient.id)
    )
    return [_held_mail(row, mail, bytes(content)) for row, mail, content in rows]


def _held_mail(row: Recipient, mail: Mail, beginning: bytes) -> HeldMail:
    header = read_header(beginning)
    authors, subjects = header.values("from"), header.values("subject")
    return HeldMail(
        mail_id=mail.id,
        received_at=mail.received_at,
        held_at=row.finished_at or row.created_at,
        rcpt_to=case_tokens.masked(row.rcpt_to),
        mail_from=mail.mail_from,
        author=parse_mailbox(authors[0]) if len(authors) == 1 and not header.malformed else None,
        subject=shown(case_tokens.masked_text(header_text(subjects[0])), at_most=_LONGEST_SUBJECT) if subjects else "",
        size=mail.size,
        reason=row.last_reply,
    )


def _notice(desk: DeskSettings, told: list[HeldMail], total: int) -> Notice:
    rows = [
        {
            "mail_id": mail.mail_id,
            "received": mail.received_at,
            "header_from": mail.author or _UNREADABLE_AUTHOR,
            "subject": mail.subject,
            "reason": _IN_JAPANESE.get(mail.reason, mail.reason),
        }
        for mail in told
    ]
    return Notice(
        name="reviewer/held-expired",
        to=notices.reviewer(desk),
        reply_to=desk.reviewer_address,
        context={"rows": rows, "total": total, "held_days": desk.held_for.days},
    )


def _record(session: Session, row: Recipient, now: datetime) -> None:
    event = AuditEvent(
        id=new_key(session),
        occurred_at=now,
        actor="gateway",
        event="held_mail_expired",
        subject=f"mail:{row.mail_id}",
        detail=row.last_reply,
    )
    session.add(event)
