"""What the public listener asks of a mail's author at the dot, before anything is committed (semantics §9).

A mail is verified by the same rule the desk goes by: a trusted network, no relay between, or a DKIM signature of the
author's domain. Trouble with looking up a key is told as 451. What is only given to verified authors is refused to
others with 550; of mail that would be held for a reviewer no more is taken than there is room for. A mail to several
kinds of addresses is taken for all of them: the one reply at the dot must not lose an application, and the desk answers
none but verified authors itself. Automatic mail (null sender) is nobody's to answer and passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session as StoreSession

from gateway import smtp_replies
from gateway.dkim_rules import LONGEST_HEADER
from gateway.peer_networks import Networks, in_networks
from gateway.smtp_replies import Reply
from gateway.smtp_session import Envelope, Session
from handlers import case_tokens
from handlers.applications.authenticity import verified_by
from handlers.mail import InboundMail
from storage.database import Database

if TYPE_CHECKING:  # whoever only reads the rules of listeners need not wait for cryptography
    from gateway.sender_auth import SenderAuth

_ASK_EVERY = 5.0  # seconds


class _Asked(StrEnum):
    """What an address of the desk is for."""

    APPLICATION = "application"  # held, unless its author is verified
    INFORMATION = "information"  # sent to verified authors only
    OTHER = "other"  # for whoever writes


_LOCAL_PARTS = {"apply": _Asked.APPLICATION, "form": _Asked.INFORMATION, "schedule": _Asked.INFORMATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The mail may be committed. `signed_by`: as it is kept with the mail; `why`: of the verdict, if one was given."""

    signed_by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    verified: bool = False
    temporary: bool = False
    signed_by: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRoom:
    """The octets that held mail may take in the store, and how many it takes."""

    most: int
    taken: Callable[[StoreSession], int]


class SenderGate:
    """Asked once for each mail. Without `auth` no signature counts, without `room` held mail has no limit."""

    def __init__(
        self,
        database: Database,
        auth: SenderAuth | None = None,
        trusted_networks: Networks = (),
        room: HeldRoom | None = None,
    ) -> None:
        self._database = database
        self._auth = auth
        self._trusted_networks = trusted_networks
        self._room = room
        self._held = 0
        self._ask_again_at = 0.0

    async def admit(self, session: Session, envelope: Envelope, content: bytes) -> Admission | Reply:
        """Whether the mail may be committed, or the reply that refuses it."""
        asked = {_kind(path.local) for path in envelope.recipients}
        if envelope.mail_from is None or not envelope.mail_from.key or asked == {_Asked.OTHER}:
            return Admission()
        verdict = await self._verdict(session, content)
        if verdict.temporary:
            return smtp_replies.KEY_NOT_FOUND_NOW
        if not verdict.verified and asked == {_Asked.INFORMATION}:
            return smtp_replies.NOT_PERMITTED
        if not verdict.verified and _Asked.APPLICATION in asked and not await self._has_room(len(content)):
            return smtp_replies.NO_ROOM
        return Admission(signed_by=" ".join(verdict.signed_by), why=verdict.why)

    async def _verdict(self, session: Session, content: bytes) -> _Verdict:
        if content.find(b"\r\n\r\n", 0, LONGEST_HEADER) < 0:
            return _Verdict()  # not worth the time that reading such a header takes
        now = datetime.now(UTC)  # the host's clock, as signers have it
        mail = self._mail(session, content, now)
        if self._auth is None or mail.trusted:
            return _Verdict(verified=bool(verified_by(mail)))
        judged = await self._auth.judge(content, now)
        return _Verdict(
            verified=bool(verified_by(replace(mail, signed_by=judged.signed_by))),
            temporary=judged.temporary,
            signed_by=judged.signed_by,
            why=judged.why,
        )

    def _mail(self, session: Session, content: bytes, now: datetime) -> InboundMail:
        return InboundMail(
            mail_id=0,
            listener="public",
            peer=session.peer_ip,
            helo=session.helo,
            mail_from="",
            rcpt_to="",
            received_at=now,
            trusted=in_networks(session.peer_ip, self._trusted_networks),
            raw=content,
        )

    async def _has_room(self, size: int) -> bool:
        """Whether one more held mail fits; the store is asked now and then, and what came since is counted here."""
        if self._room is None:
            return True
        if monotonic() >= self._ask_again_at:
            self._held = await self._database.read(self._room.taken)
            self._ask_again_at = monotonic() + _ASK_EVERY
        if self._held + size > self._room.most:
            return False
        self._held += size
        return True


def _kind(local_part: str) -> _Asked:
    if case_tokens.read_case(local_part) is not None:
        return _Asked.APPLICATION
    return _LOCAL_PARTS.get(local_part.lower(), _Asked.OTHER)
