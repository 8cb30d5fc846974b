"""`explain`: what anything an operator can name would do or did, by what the store knows of it.

A name may be a mail id, a mail address, a handover value, a receipt number, a terminal or another destination; all it
matches is told. Everything is read from one snapshot. Nothing here holds a password.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handlers.address_explanations import (
    AddressExplanation,
    Circumstances,
    DestinationExplanation,
    TerminalExplanation,
    by_address,
    by_destination,
)
from handlers.case_view import IssuedTerminal, case_view
from handlers.mail_explanations import (
    MailExplanation,
    RequestState,
    ResultMail,
    explain_mail,
    request_states,
    results_of_request,
)
from handlers.mail_search import requests_of_handover
from handlers.mail_view import ListedMail, listed
from handlers.recipient_explanations import RecipientState, deliveries, recipient_states
from handlers.reviews import find
from storage.models import Application, Mail, Recipient

LONGEST_HANDOVER = 26
_MOST_MAILS = 200
_MOST_REQUESTS = 50

_NUMBER = re.compile(r"[0-9]{1,18}")
_RECEIPT = re.compile(r"[0-9]{6,12}A")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestExplanation:
    """A request, its hand-over to the backend, and what came back."""

    request: RequestState
    hand_overs: tuple[RecipientState, ...]
    results: tuple[ResultMail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverExplanation:
    """Every request with a handover value (電文引継情報), the newest first: the value is not unique."""

    kind: str = "handover"
    handover: str
    requests: tuple[RequestExplanation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptExplanation:
    """An application with its mails, the newest first, and the terminals it issued."""

    kind: str = "receipt"
    receipt_number: str
    state: str
    status_ja: str
    office_code: str
    start_date: date | None
    terminals: tuple[IssuedTerminal, ...]
    mails: tuple[ListedMail, ...]


Explanation = (
    MailExplanation
    | AddressExplanation
    | TerminalExplanation
    | DestinationExplanation
    | HandoverExplanation
    | ReceiptExplanation
)


def explain(session: Session, what: str, circumstances: Circumstances) -> list[Explanation]:
    """Everything that a name means; empty when nothing is called so. The session is a reader's, of one snapshot."""
    name = what.strip().strip("<>")
    local_part, _, domain = name.partition("@")
    if domain.lower() == circumstances.terminals_domain.lower():
        name = local_part
    readers = (_by_number, by_address, _by_receipt, by_destination, _by_handover)
    return [found for read in readers for found in read(session, name, circumstances)]


def _by_number(session: Session, name: str, circumstances: Circumstances) -> list[Explanation]:
    """A mail by its id, or by the id of one of its recipients or its request."""
    if _NUMBER.fullmatch(name) is None:
        return []
    mail = session.get(Mail, int(name))
    if mail is None:
        recipient = session.get(Recipient, int(name))
        mail = None if recipient is None else session.get(Mail, recipient.mail_id)
    return [] if mail is None else [explain_mail(session, mail, circumstances.now)]


def _by_receipt(session: Session, name: str, circumstances: Circumstances) -> list[Explanation]:
    number = unicodedata.normalize("NFKC", name).strip(" 【】[]").upper()
    application = find(session, number) if _RECEIPT.fullmatch(number) else None
    if application is None:
        return []
    view = case_view(session, application)
    return [
        ReceiptExplanation(
            receipt_number=view.receipt_number,
            state=view.state,
            status_ja=view.status_ja,
            office_code=view.office_code,
            start_date=view.start_date,
            terminals=view.terminals,
            mails=tuple(listed(session, _mails_of(session, application))),
        )
    ]


def _mails_of(session: Session, application: Application) -> Sequence[Mail]:
    which = or_(Mail.application_id == application.id, Mail.id == application.mail_id)
    return session.scalars(select(Mail).where(which).order_by(Mail.id.desc()).limit(_MOST_MAILS)).all()


def _by_handover(session: Session, name: str, circumstances: Circumstances) -> list[Explanation]:
    requests = requests_of_handover(session, name)[:_MOST_REQUESTS] if 0 < len(name) <= LONGEST_HANDOVER else []
    if not requests:
        return []
    states = request_states(session, requests, circumstances.now)
    explained = tuple(_request(session, state, circumstances.now) for state in states)
    return [HandoverExplanation(handover=requests[0].handover, requests=explained)]


def _request(session: Session, state: RequestState, now: datetime) -> RequestExplanation:
    outbound = deliveries(session, [state.mail_id])
    return RequestExplanation(
        request=state,
        hand_overs=recipient_states(session, outbound.get(state.mail_id, []), now),
        results=results_of_request(session, state, now),
    )
