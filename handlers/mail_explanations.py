"""Why a mail is where it is: each recipient with its tries, what it waits for, and the request it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import false, or_, select
from sqlalchemy.orm import Session

from handlers.mail_view import is_unmatched
from handlers.naccs import first_check
from handlers.naccs.message import body_of
from handlers.naccs.procedures import HEARD
from handlers.naccs.result_codes import describe
from handlers.naccs.results import codes_of
from handlers.recipient_explanations import RecipientState, deliveries, recipient_states
from storage.mail_queue import content_of
from storage.models import LogicalTerminal, Mail, MailAddress, Recipient, Request
from storage.states import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeText:
    """A result code with what it means and what its receiver does about it."""

    code: str
    cause_ja: str
    cause_en: str
    action_ja: str
    action_en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestState:
    """A request as it stands; `state` is waiting, handed_over, in_doubt, answered or given_up.

    `before_check`: it came from a new terminal that had had no normal TCC. `refused_by`: the setting that refused it
    for that, empty where none did.
    """

    request_id: int
    mail_id: int
    address: str
    procedure: str
    handover: str
    input_number: str
    state: str
    received_at: datetime
    claimed_at: datetime | None
    outstanding_until: datetime | None
    in_doubt: bool
    late_at: datetime | None
    overdue_at: datetime | None
    answered_at: datetime | None
    result_mail_id: int | None
    before_check: bool
    refused_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultMail:
    """A result of a request, the gateway's own answers included: what its codes say, and to whom it went."""

    mail_id: int
    received_at: datetime
    codes: tuple[CodeText, ...]
    deliveries: tuple[RecipientState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailExplanation:
    """A mail with its recipients, the request it is or answers, and what its result codes say.

    `results`: of the request that it is, the gateway's own answer or those of the backend.
    """

    kind: str = "mail"
    id: int
    direction: str
    listener: str
    mail_from: str
    received_at: datetime
    peer: str
    size: int
    message_id: str
    damage: str
    template: str
    map_version: int | None
    unmatched: bool
    recipients: tuple[RecipientState, ...]
    requests: tuple[RequestState, ...]
    codes: tuple[CodeText, ...]
    results: tuple[ResultMail, ...]


def explain_mail(session: Session, mail: Mail, now: datetime) -> MailExplanation:
    """All that is known of one mail."""
    rows = session.scalars(select(Recipient).where(Recipient.mail_id == mail.id).order_by(Recipient.id)).all()
    ids = {row.id for row in rows} | {row.request_id for row in rows if row.request_id is not None}
    asked = select(Request).where(or_(Request.id.in_(ids), Request.result_mail_id == mail.id) if ids else false())
    requests = request_states(session, session.scalars(asked.order_by(Request.id.desc())).all(), now)
    return MailExplanation(
        id=mail.id,
        direction=mail.direction,
        listener=mail.listener,
        mail_from=mail.mail_from,
        received_at=mail.received_at,
        peer=mail.peer,
        size=mail.size,
        message_id=mail.message_id,
        damage=mail.damage,
        template=mail.template,
        map_version=mail.map_version,
        unmatched=any(is_unmatched(mail, row) for row in rows),
        recipients=recipient_states(session, rows, now),
        requests=requests,
        codes=result_codes(session, mail.id),
        results=tuple(
            result for own in requests if own.mail_id == mail.id for result in results_of_request(session, own, now)
        ),
    )


def results_of_request(session: Session, state: RequestState, now: datetime) -> tuple[ResultMail, ...]:
    """What came back for a request, the oldest first."""
    came_in = (Recipient.direction == Direction.INBOUND, Recipient.request_id == state.request_id)
    results = set(session.scalars(select(Recipient.mail_id).where(*came_in)))
    if state.result_mail_id is not None:
        results.add(state.result_mail_id)
    mails = session.scalars(select(Mail).where(Mail.id.in_(results)).order_by(Mail.id)).all()
    outbound = deliveries(session, results)
    return tuple(
        ResultMail(
            mail_id=mail.id,
            received_at=mail.received_at,
            codes=result_codes(session, mail.id),
            deliveries=recipient_states(session, outbound.get(mail.id, []), now),
        )
        for mail in mails
    )


def result_codes(session: Session, mail_id: int) -> tuple[CodeText, ...]:
    """The result codes that a mail carries, with their texts; empty where it is no result."""
    codes = codes_of(body_of(content_of(session, mail_id))[1])
    return tuple(_code_text(code) for code in codes)


def _code_text(code: str) -> CodeText:
    japanese, english = describe(code, "ja"), describe(code, "en")
    return CodeText(
        code=code,
        cause_ja=japanese.cause,
        cause_en=english.cause,
        action_ja=japanese.action,
        action_en=english.action,
    )


def request_states(session: Session, requests: Sequence[Request], now: datetime) -> tuple[RequestState, ...]:
    """The requests in the order given."""
    own = select(Recipient).where(Recipient.id.in_([request.id for request in requests]))
    rows = {row.id: row for row in session.scalars(own)}
    senders = {
        address.id: (address, terminal)
        for address, terminal in session.execute(
            select(MailAddress, LogicalTerminal)
            .join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
            .where(MailAddress.id.in_({request.address_id for request in requests}))
        )
    }
    return tuple(
        RequestState(
            request_id=request.id,
            mail_id=rows[request.id].mail_id,
            address=senders[request.address_id][0].address if request.address_id in senders else "",
            procedure=request.procedure,
            handover=request.handover,
            input_number=request.input_number,
            state=_request_state(request, now),
            received_at=request.received_at,
            claimed_at=request.claimed_at,
            outstanding_until=request.outstanding_until,
            in_doubt=request.in_doubt,
            late_at=request.late_at,
            overdue_at=request.overdue_at,
            answered_at=request.answered_at,
            result_mail_id=request.result_mail_id,
            before_check=request.address_id in senders and _is_before_check(request, senders[request.address_id][1]),
            refused_by=first_check.SETTING if rows[request.id].last_reply == first_check.REFUSAL_NOTE else "",
        )
        for request in requests
    )


def _is_before_check(request: Request, terminal: LogicalTerminal) -> bool:
    return request.procedure not in HEARD and first_check.awaits_check(terminal, request.received_at)


def _request_state(request: Request, now: datetime) -> str:
    if request.answered_at is not None:
        return "answered"
    if request.in_doubt:
        return "in_doubt"
    if request.claimed_at is None:
        return "waiting"
    over = request.outstanding_until is not None and request.outstanding_until <= now
    return "given_up" if over else "handed_over"
