"""Mail to the support domain's own addresses: which of them exist, and what handles each.

Nothing is dropped: what no handler understands is parked with its reason, and the operator is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from handlers import case_tokens, notice_limits, notices
from handlers.applications.receipt import receive
from handlers.automatic_mail import is_own, why_automatic
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_templates import shown
from handlers.notices import Notice
from handlers.outcomes import Handled, Outcome, Parked
from storage.models import Application, AuditEvent, Mail
from storage.store import new_key

_TOLD_PER_HOUR = 30
_LONGEST_REPORT = 300
_REPORT_TYPE = "message/delivery-status"
_REPORT_FIELD = re.compile(r"^(Action|Status|Diagnostic-Code):[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)

Handler = Callable[[Session, InboundMail, DeskSettings, datetime], Outcome]


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
    """One kind of address: whether a local part (lower-case) is of it, and what handles its mail."""

    matches: Callable[[str, DeskSettings], bool]
    handler: Handler


def knows(local_part: str, desk: DeskSettings) -> bool:
    """Whether mail to this local part of the support domain is taken; case of letters does not matter."""
    return _route(local_part, desk) is not None


def handle(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Outcome:
    """Handle a mail to the support domain; its effects are in the session. Raises TemplateFault."""
    route = _route(_local_part(mail), desk)
    if route is None:
        return _park(session, mail, desk, "no handler knows this address", now)
    return route.handler(session, mail, desk, now)


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


def _local_part(mail: InboundMail) -> str:
    """The part before the at-sign; `postmaster` alone is an address too (RFC 5321 §4.5.1)."""
    return mail.rcpt_to.rpartition("@")[0] or mail.rcpt_to


def _park(session: Session, mail: InboundMail, desk: DeskSettings, reason: str, now: datetime) -> Parked:
    # A notice of ours that came back is kept, but another notice about it could come back as well.
    if not is_own(mail, desk):
        # A limit of its own: strangers who write to the postmaster do not use up the worker's.
        _tell(session, desk, mail, reason, now, kind="mail-parked:desk")
    return Parked(reason)


def _park_postmaster(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Outcome:
    return _park(session, mail, desk, "mail to the postmaster, for a person to read", now)


def _park_case_reply(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Outcome:
    case = case_tokens.read_case(_local_part(mail))
    number = case.receipt_number if case is not None else "unknown"
    return _park(session, mail, desk, f"reply about case {number}, for a person to read", now)


def _record_bounce(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Outcome:
    """A notice could not be delivered: noted on the notice and on the application it is about."""
    notice_id = case_tokens.read_bounce(desk.token_key, _local_part(mail))
    if why_automatic(mail, desk) is None:
        return _park(session, mail, desk, "a person's answer to the bounce address of a notice", now)
    notice = session.get(Mail, notice_id)
    application = session.get(Application, notice.application_id) if notice and notice.application_id else None
    subjects = [f"mail:{notice_id}"]
    if application is not None:
        subjects.append(f"application:{application.receipt_number}")
    detail = f"mail {mail.mail_id}: {_report(mail)}"
    session.add_all(
        AuditEvent(
            id=new_key(session),
            occurred_at=now,
            actor="gateway",
            event="notice_bounced",
            subject=subject,
            detail=detail,
        )
        for subject in subjects
    )
    return Handled(f"delivery report about notice {notice_id}")


def _report(mail: InboundMail) -> str:
    """What a delivery report (RFC 3464) says in its own words, or the subject of any other mail."""
    for part in mail.attachments:
        if part.content_type == _REPORT_TYPE:
            found = _REPORT_FIELD.findall(part.content.decode("ascii", "replace"))
            if found:
                words = "; ".join(f"{name}: {value.strip()}" for name, value in found)
                return shown(words, at_most=_LONGEST_REPORT)
    return shown(mail.subject, at_most=_LONGEST_REPORT)


# Tried in order. form@ and schedule@ are not taken yet.
_ROUTES: tuple[Route, ...] = (
    Route(lambda local, _: local == "apply", receive),
    Route(lambda local, _: local == "postmaster", _park_postmaster),
    Route(lambda local, _: case_tokens.read_case(local) is not None, _park_case_reply),
    Route(lambda local, desk: case_tokens.read_bounce(desk.token_key, local) is not None, _record_bounce),
)
