"""A listener policy that does as a test tells it, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.smtp_data import ContentReport
from gateway.smtp_paths import Path
from gateway.smtp_replies import Reply, queued
from gateway.smtp_session import Envelope, Session


@dataclass(frozen=True, slots=True)
class After:
    """Wait for the event, then do what `then` says."""

    event: asyncio.Event
    then: Any = None


@dataclass(frozen=True, slots=True)
class TakenMail:
    """What the data hook was given."""

    mail_from: str
    recipients: list[str]
    content: bytes
    report: ContentReport
    envelope: Envelope


@dataclass
class ScriptedPolicy:
    """Accepts everything, unless told otherwise per verb.

    An instruction is None (accept), a Reply, an exception to raise, `After`, or anything else to return as it is.
    """

    name: str = "public"
    tolerant_paths: bool = False
    max_message_bytes: int = 1024 * 1024
    refuse_bare_line_ends: bool = True
    at_connect: Any = None
    at_mail: Any = None
    at_rcpt: Any = None
    at_data: Any = "accept"
    at_end: Any = None
    asked: list[str] = field(default_factory=list)
    taken: list[TakenMail] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    ends: list[tuple[Session, bool]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    @classmethod
    def told(cls, **instructions: Any) -> ScriptedPolicy:
        """With instructions whose names are parameters of a test."""
        return cls(**instructions)

    @classmethod
    def naccs(cls, **changes: Any) -> ScriptedPolicy:
        """The traits of the NACCS plane."""
        traits: dict[str, Any] = {"name": "naccs", "tolerant_paths": True, "refuse_bare_line_ends": False}
        return cls(**(traits | changes))

    def connected(self, session: Session) -> Reply | None:
        self.sessions.append(session)
        return cast("Reply | None", self._now(self.at_connect))

    async def mail_from(self, session: Session, path: Path) -> Reply | None:
        self.asked.append(f"MAIL {path.address}")
        return cast("Reply | None", await self._obey("MAIL", self.at_mail))

    async def rcpt_to(self, session: Session, envelope: Envelope, path: Path) -> Reply | None:
        self.asked.append(f"RCPT {path.address}")
        return cast("Reply | None", await self._obey("RCPT", self.at_rcpt))

    async def data(self, session: Session, envelope: Envelope, content: bytes, report: ContentReport) -> Reply:
        self.asked.append("DATA")
        verdict = await self._obey("DATA", self.at_data)
        if verdict == "accept":
            assert envelope.mail_from is not None
            recipients = [path.address for path in envelope.recipients]
            self.taken.append(TakenMail(envelope.mail_from.address, recipients, content, report, envelope))
            session.last_mail_id = len(self.taken)
            return queued(len(self.taken))
        return cast("Reply", verdict)

    def ended(self, session: Session, unclean: bool) -> None:
        self.ends.append((session, unclean))
        self._now(self.at_end)

    async def _obey(self, verb: str, instruction: Any) -> Any:
        if isinstance(instruction, After):
            try:
                await instruction.event.wait()
            except asyncio.CancelledError:
                self.cancelled.append(verb)
                raise
            instruction = instruction.then
        return self._now(instruction)

    @staticmethod
    def _now(instruction: Any) -> Any:
        if isinstance(instruction, BaseException):
            raise instruction
        return instruction
