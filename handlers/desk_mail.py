"""Mail to the support domain's own addresses: which of them exist, and what handles each.

Nothing is dropped: what no handler understands is parked with its reason, and the operator is told. What takes long is
done by `prepare`, outside the unit of work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from handlers import bounces, case_replies, case_tokens, form_requests, notice_limits, notices, unanswered_mail
from handlers.applications import reading, receipt
from handlers.automatic_mail import is_own, why_absent, why_automatic
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_templates import shown
from handlers.notices import Notice
from handlers.outcomes import Outcome, Parked
from handlers.preparation import Prepared

_TOLD_PER_HOUR = 30

Handler = Callable[[Session, InboundMail, DeskSettings, datetime, Prepared | None], Outcome]
Sign = Callable[[InboundMail, DeskSettings], str | None]
Preparation = Callable[[Session, InboundMail, DeskSettings, datetime], Prepared]


class MailFacts(Protocol):
    """What the operator is told of a mail, whoever parks it."""

    @property
    def mail_id(self) -> int: ...
    @property
    def listener(self) -> str: ...
    @property
    def mail_from(self) -> str: ...
    @property
    def rcpt_to(self) -> str: ...
    @property
    def received_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of address: whether a local part (lower-case) is of it, what handles its mail, what is done before.

    `sign`: by what a mail to it is known as automatic, and turned down before anything handles it.
    """

    matches: Callable[[str, DeskSettings], bool]
    handler: Handler
    preparation: Preparation | None = None
    sign: Sign | None = None


def knows(local_part: str, desk: DeskSettings) -> bool:
    """Whether mail to this local part of the support domain is taken; case of letters does not matter."""
    return _route(local_part, desk) is not None


def prepare(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Prepared:
    """What takes long about a mail, on a session that only reads; `handle` finds out what no longer holds of it."""
    route = _route(_local_part(mail), desk)
    if route is None or route.preparation is None or _why_unanswered(route, mail, desk) is not None:
        return Prepared(mail=mail)
    return route.preparation(session, mail, desk, now)


def handle(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, prepared: Prepared | None = None
) -> Outcome:
    """Handle a mail to the support domain; its effects are in the session. Raises TemplateFault, CaseChanged."""
    route = _route(_local_part(mail), desk)
    if route is None:
        return _park(session, mail, desk, "no handler knows this address", now)
    unanswered = _why_unanswered(route, mail, desk)
    if unanswered is not None:
        return unanswered_mail.refuse(session, mail, desk, unanswered, now)
    return route.handler(session, mail, desk, now, prepared)


def tell_operator_parked(
    session: Session, desk: DeskSettings, mail: MailFacts, reason: str, now: datetime
) -> int | None:
    """Write to the operator about a mail the caller parks; the notice's mail id, or None above the hour's limit."""
    return _tell(session, desk, mail, reason, now, kind=f"mail-parked:{mail.listener}")


def _tell(
    session: Session, desk: DeskSettings, mail: MailFacts, reason: str, now: datetime, *, kind: str
) -> int | None:
    allowance = notice_limits.take(session, kind, _TOLD_PER_HOUR, now)
    if not allowance.granted:
        return None
    notice = Notice(
        name="operator/mail-parked",
        to=notices.operator(desk),
        reply_to=desk.operator_address,
        context={
            "mail_id": mail.mail_id,
            "received": mail.received_at,
            "listener": mail.listener,
            "mail_from": shown(mail.mail_from) or "<>",
            "rcpt_to": shown(case_tokens.masked(mail.rcpt_to)),
            "reason": shown(reason),
            "last_of_hour": allowance.last,
        },
    )
    return notices.send(session, desk, notice, now)


def _route(local_part: str, desk: DeskSettings) -> Route | None:
    return next((route for route in _ROUTES if route.matches(local_part.lower(), desk)), None)


def _why_unanswered(route: Route, mail: InboundMail, desk: DeskSettings) -> str | None:
    return None if route.sign is None else route.sign(mail, desk)


def _of_machine_or_absent(mail: InboundMail, desk: DeskSettings) -> str | None:
    return why_automatic(mail, desk) or why_absent(mail)


def _local_part(mail: InboundMail) -> str:
    """The part before the at-sign; `postmaster` alone is an address too (RFC 5321 §4.5.1)."""
    return mail.rcpt_to.rpartition("@")[0] or mail.rcpt_to


def _park(session: Session, mail: InboundMail, desk: DeskSettings, reason: str, now: datetime) -> Parked:
    # A notice of ours that came back is kept, but another notice about it could come back as well.
    if not is_own(mail, desk):
        # A limit of its own: strangers who write to the postmaster do not use up the worker's.
        _tell(session, desk, mail, reason, now, kind="mail-parked:desk")
    return Parked(reason)


def _park_postmaster(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, _: Prepared | None
) -> Outcome:
    return _park(session, mail, desk, "mail to the postmaster, for a person to read", now)


def _receive(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, prepared: Prepared | None
) -> Outcome:
    meant = case_replies.meant_by_number(session, mail)
    if meant is not None:
        return case_replies.receive(session, mail, desk, now, meant, prepared)
    return receipt.receive(session, mail, desk, now, prepared.reading if prepared is not None else None)


def _prepare_application(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Prepared:
    meant = case_replies.meant_by_number(session, mail)
    if meant is not None:
        return case_replies.prepare(session, mail, desk, now, meant)
    return Prepared(mail=mail, reading=reading.read(session, mail, desk))


def _receive_reply(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, prepared: Prepared | None
) -> Outcome:
    meant = case_replies.meant_by_address(session, mail, desk)
    if meant is None:
        return _park(session, mail, desk, "no case address", now)
    return case_replies.receive(session, mail, desk, now, meant, prepared)


def _prepare_reply(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Prepared:
    meant = case_replies.meant_by_address(session, mail, desk)
    return Prepared(mail=mail) if meant is None else case_replies.prepare(session, mail, desk, now, meant)


def _record_bounce(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, _: Prepared | None
) -> Outcome:
    notice_id = case_tokens.read_bounce(desk.token_key, _local_part(mail))
    if notice_id is None or why_automatic(mail, desk) is None:
        return _park(session, mail, desk, "a person's answer to the bounce address of a notice", now)
    return bounces.record(session, mail, notice_id, desk, now)


def _send_form(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, _: Prepared | None) -> Outcome:
    return form_requests.send_form(session, mail, desk, now)


def _send_schedule(
    session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, _: Prepared | None
) -> Outcome:
    return form_requests.send_schedule(session, mail, desk, now)


# Tried in order.
_ROUTES: tuple[Route, ...] = (
    Route(lambda local, _: local == "apply", _receive, _prepare_application, why_automatic),
    Route(lambda local, _: local == "form", _send_form, sign=_of_machine_or_absent),
    Route(lambda local, _: local == "schedule", _send_schedule, sign=_of_machine_or_absent),
    Route(lambda local, _: local == "postmaster", _park_postmaster),
    Route(lambda local, _: case_tokens.read_case(local) is not None, _receive_reply, _prepare_reply, why_automatic),
    Route(lambda local, desk: case_tokens.read_bounce(desk.token_key, local) is not None, _record_bounce),
)
