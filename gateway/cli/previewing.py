"""Mails as they would go out: the work that queues them is done and taken back, and what it queued is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import TYPE_CHECKING, TypeVar

import typer

from gateway.cli import Invocation
from gateway.cli.rehearsing import rehearse
from gateway.cli.showing import masked, printable

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


def drafts_of(store: Store, work: Callable[[Session], T]) -> tuple[T, list[Draft]]:
    """What the work answers and the mails it queues, in their order; nothing of it stays in the store."""

    def in_session(session: Session) -> tuple[T, list[Draft]]:
        value = work(session)
        session.flush()
        return value, _queued(session)

    return rehearse(store, in_session)


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


def show_draft(running: Invocation, draft: Draft) -> None:
    """Header, names of the files and text of the draft, for a person."""
    for name, value in header_of(draft).items():
        typer.echo(f"{name}: {printable(value)}")
    for name in files_of(draft):
        typer.echo(running.text(ja=f"添付: {printable(name)}", en=f"attached: {printable(name)}"))
    typer.echo()
    typer.echo(printable(text_of(draft), lines=True), nl=False)


def draft_json(draft: Draft) -> dict[str, str]:
    """The draft for machines; tokens are masked."""
    subject = header_of(draft)["Subject"]
    return {"template": draft.template, "to": draft.rcpt_to, "subject": subject, "body": masked(text_of(draft))}


def header_of(draft: Draft) -> dict[str, str]:
    """From, To, Reply-To (its token masked) and Subject of the draft."""
    from handlers.case_tokens import masked as shown

    mail = _parsed(draft)
    return {name: shown(str(mail[name])) for name in ("From", "To", "Reply-To", "Subject")}


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
