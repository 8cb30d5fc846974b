"""The worker's way into the application desk: a committed mail in, its state and effects in one unit of work.

What takes long is done before it: `prepare` reads the mail on a session that only reads, `render` writes documents
without any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from sqlalchemy import update
from sqlalchemy.orm import Session

from gateway.peer_networks import in_networks
from handlers import desk_mail
from handlers.desk import DeskSettings
from handlers.documents import DocumentRequest
from handlers.mail import InboundMail
from handlers.notice_mail import NoticePart
from handlers.preparation import Prepared
from storage.mail_queue import Arrival, Outbound
from storage.models import Recipient
from storage.states import State

Render = Callable[[Sequence[DocumentRequest]], Sequence[NoticePart]]


def _no_documents(_: Sequence[DocumentRequest]) -> Sequence[NoticePart]:
    return ()


class DeskWork:
    """Prepares, handles and parks mails; what writes does so within the caller's transaction."""

    def __init__(
        self,
        desk: DeskSettings,
        trusted_networks: Sequence[IPv4Network | IPv6Network],
        render: Render = _no_documents,
    ) -> None:
        self._desk = desk
        self._trusted_networks = trusted_networks
        self._render = render

    def prepare(self, session: Session, arrival: Arrival, now: datetime) -> Prepared:
        """Work out on a session that only reads what takes long about a mail. Writes nothing."""
        mail = self._mail(arrival)
        # The mail is taken apart before the store is asked: no snapshot is kept open for it.
        _ = mail.text_problem, mail.attachments
        return desk_mail.prepare(session, mail, self._desk, now)

    def render(self, prepared: Prepared) -> Prepared:
        """Write the documents that a mail asks for; needs no store and may run on any thread."""
        return replace(prepared, parts=tuple(self._render(prepared.documents))) if prepared.documents else prepared

    def handle(self, session: Session, arrival: Arrival, now: datetime, prepared: Prepared | None = None) -> str:
        """Let the desk handle a mail of the public listener, mark it with what came of it, and say that.

        Raises CaseChanged when it has to be prepared again.
        """
        if not self._mark(session, arrival, State.HANDLED, "", now):
            return "handled elsewhere"
        mail = self._mail(arrival) if prepared is None else prepared.mail
        outcome = desk_mail.handle(session, mail, self._desk, now, prepared)
        self._remark(session, arrival, outcome.state, outcome.reason)
        return outcome.state

    def park(self, session: Session, arrival: Arrival, reason: str, now: datetime) -> None:
        """Set a mail aside and tell the operator."""
        if self._mark(session, arrival, State.PARKED, reason, now):
            desk_mail.tell_operator_parked(session, self._desk, self._mail(arrival), reason, now)

    def _mail(self, arrival: Arrival) -> InboundMail:
        return InboundMail(
            mail_id=arrival.mail_id,
            listener=arrival.listener,
            peer=arrival.peer,
            helo=arrival.helo_name,
            mail_from=arrival.mail_from,
            rcpt_to=arrival.rcpt_to,
            received_at=arrival.received_at,
            trusted=in_networks(arrival.peer, self._trusted_networks) if arrival.peer else False,
            raw=arrival.content,
            signed_by=tuple(arrival.signed_by.split()),
        )

    @staticmethod
    def _mark(session: Session, arrival: Arrival, state: State, reason: str, now: datetime) -> bool:
        """Move the recipient out of `received`; False when another process already did."""
        found = session.execute(
            update(Recipient)
            .where(Recipient.id == arrival.recipient_id, Recipient.state == State.RECEIVED)
            .values(state=state, finished_at=now, last_reply=reason[:512])
            .returning(Recipient.id)
        )
        return found.first() is not None

    @staticmethod
    def _remark(session: Session, arrival: Arrival, state: State, reason: str) -> None:
        session.execute(
            update(Recipient).where(Recipient.id == arrival.recipient_id).values(state=state, last_reply=reason[:512])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ParkedRequest:
    """What the operator is told of a request that the backend refused for good."""

    mail_id: int
    mail_from: str
    rcpt_to: str
    received_at: datetime
    listener: str = "naccs"


def tell_parked(session: Session, desk: DeskSettings, outbound: Outbound, reason: str, now: datetime) -> None:
    """Tell the operator of a request that was parked on its way to the backend."""
    facts = _ParkedRequest(
        mail_id=outbound.mail_id,
        mail_from=outbound.sender,
        rcpt_to=outbound.rcpt_to,
        received_at=outbound.waiting_since,
    )
    desk_mail.tell_operator_parked(session, desk, facts, reason, now)
