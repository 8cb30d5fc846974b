"""Mails as they would go out: the work that queues them is done and taken back, and what it queued is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A mail that was queued and taken back; `template` is audience/name@version."""

    template: str
    rcpt_to: str
    content: bytes

    @property
    def name(self) -> str:
        return self.template.partition("@")[0]


class _TakenBack(Exception):
    def __init__(self, value: object, drafts: list[Draft]) -> None:
        super().__init__("taken back")
        self.value = value
        self.drafts = drafts


def drafts_of(store: Store, work: Callable[[Session], T]) -> tuple[T, list[Draft]]:
    """What the work answers and the mails it queues, in their order; nothing of it stays in the store."""

    def in_session(session: Session) -> None:
        value = work(session)
        session.flush()
        raise _TakenBack(value, _queued(session))

    try:
        store.run(in_session)
    except _TakenBack as taken_back:
        value: Any = taken_back.value
        return value, taken_back.drafts
    raise RuntimeError("the work was kept")


def _queued(session: Session) -> list[Draft]:
    from storage.models import Mail

    return [
        Draft(
            template=session.get_one(Mail, queued.recipient.mail_id).template,
            rcpt_to=queued.recipient.rcpt_to,
            content=queued.content,
        )
        for queued, _ in session.info["queued"]
    ]


def header_of(draft: Draft) -> dict[str, str]:
    """From, To, Reply-To (its token masked) and Subject of the draft."""
    from handlers.case_tokens import masked

    mail = _parsed(draft)
    return {name: masked(str(mail[name])) for name in ("From", "To", "Reply-To", "Subject")}


def text_of(draft: Draft) -> str:
    """The text a person reads."""
    body = _parsed(draft).get_body(preferencelist=("plain",))
    text: str = body.get_content() if body is not None else ""
    return text.replace("\r\n", "\n")


def files_of(draft: Draft) -> list[str]:
    """The names of the files that go with it."""
    return [part.get_filename() or "" for part in _parsed(draft).iter_attachments()]


def _parsed(draft: Draft) -> EmailMessage:
    return BytesParser(EmailMessage, policy=default).parsebytes(draft.content)
