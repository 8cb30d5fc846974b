"""Requests whose result does not come: late, then overdue, each an audit event, and the operator is told.

Everything counts from receipt. What may have been executed and is not tried again (in doubt) is overdue at once. A
flood is one mail, which lists some and counts the others; what a mail does not list is in the events. An instant
at which something was marked decides alone whether it was told, so a restart tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from handlers import notice_rates, notices
from handlers.calendar import JST
from handlers.desk import DeskSettings
from handlers.notice_templates import shown
from handlers.notices import Notice
from storage.models import AuditEvent, LogicalTerminal, MailAddress, Recipient, Request
from storage.store import new_key

MOST_ROWS = 100  # marked in one unit of work
MOST_LISTED = 20  # in one mail
_KIND = "request-overdue"
_LONGEST_MEMORY = timedelta(days=1)  # what went overdue before that is no news
_TO_BE_ANSWERED = timedelta(seconds=10)
_TICK = timedelta(microseconds=1)

# Stated as the index `ix_requests_awaited` has it.
_AWAITED = (Request.answered_at.is_(None), Request.overdue_at.is_(None), Request.outstanding_until.is_not(None))
_IN_DOUBT = Request.in_doubt.is_(True)

_Found = tuple[Request, int]  # with the mail it came in


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueRequest:
    """A request as the mail shows it; instants in Japan, to the second. Not handed over: `handed_over` is empty."""

    address: str
    terminal: str
    procedure: str
    handover: str
    input_number: str
    mail_id: int
    received: str
    handed_over: str
    in_doubt: bool


def is_due(
    session: Session, now: datetime, *, late_after: timedelta, overdue_after: timedelta, aged: bool = True
) -> bool:
    """Whether `watch` would do something. It only reads, and little: asked every second."""
    # One after another: joined by OR they would not be found by the index.
    conditions: list[ColumnElement[bool]] = [_IN_DOUBT]
    if aged:
        conditions += [_late(now, late_after), _too_old(now, overdue_after)]
    if any(session.scalar(select(Request.id).where(*_AWAITED, each).limit(1)) is not None for each in conditions):
        return True
    return notice_rates.waits(session, _KIND) and notice_rates.may_tell(session, _KIND, now)


def watch(
    session: Session,
    desk: DeskSettings,
    now: datetime,
    *,
    late_after: timedelta,
    overdue_after: timedelta,
    aged: bool = True,
) -> int:
    """Mark at most 100 requests and tell the operator; how many were marked, 0 when nothing is left to do.

    With `aged` False the wall clock is not to be trusted: only what is in doubt is marked. Raises TemplateFault.
    """
    late = _mark_late(session, now, late_after) if aged else 0
    room = MOST_ROWS - late
    if room == 0:
        return late
    due = or_(_IN_DOUBT, _too_old(now, overdue_after)) if aged else _IN_DOUBT
    found = _take(session, due, room + 1)
    overdue = _mark(session, found[:room], "overdue_at", "request-overdue", now)
    if len(found) > room:
        # The unit of work that finds no more tells of all of them.
        notice_rates.put_off(session, _KIND, now)
    elif overdue or notice_rates.waits(session, _KIND):
        _tell(session, desk, now, overdue_after)
    return late + overdue


def _late(now: datetime, late_after: timedelta) -> ColumnElement[bool]:
    old = Request.received_at <= now - late_after
    # What was never handed over is about to be answered A0011: it is late only if that does not happen.
    unanswered = or_(Request.claimed_at.is_not(None), Request.received_at <= now - late_after - _TO_BE_ANSWERED)
    return and_(Request.outstanding_until <= now, old, unanswered, Request.late_at.is_(None))


def _too_old(now: datetime, overdue_after: timedelta) -> ColumnElement[bool]:
    return and_(Request.outstanding_until <= now, Request.received_at <= now - overdue_after)


def _mark_late(session: Session, now: datetime, late_after: timedelta) -> int:
    return _mark(session, _take(session, _late(now, late_after), MOST_ROWS), "late_at", "request-late", now)


def _take(session: Session, due: ColumnElement[bool], most: int) -> list[_Found]:
    """The oldest requests that are due, each with its mail; locked, so that two who watch do not mark one twice."""
    rows = session.execute(
        select(Request, Recipient.mail_id)
        .join(Recipient, Recipient.id == Request.id)
        .where(*_AWAITED, due)
        .order_by(Request.outstanding_until, Request.id)
        .limit(most)
        .with_for_update(of=Request)
    )
    return [(request, mail_id) for request, mail_id in rows]


def _mark(session: Session, found: Sequence[_Found], column: str, event: str, now: datetime) -> int:
    """Write the instant and an event for each that nobody marked or answered meanwhile."""
    if not found:
        return 0
    marked = set(
        session.scalars(
            update(Request)
            .where(
                Request.id.in_([request.id for request, _ in found]),
                getattr(Request, column).is_(None),
                Request.answered_at.is_(None),
            )
            .values({column: now})
            .returning(Request.id),
            execution_options={"synchronize_session": False},
        )
    )
    session.add_all(
        AuditEvent(
            id=new_key(session),
            occurred_at=now,
            actor="gateway",
            event=event,
            subject=f"mail:{mail_id}",
            detail=_detail(request, now),
        )
        for request, mail_id in found
        if request.id in marked
    )
    session.flush()
    return len(marked)


def _detail(request: Request, now: datetime) -> str:
    waited = (now - request.received_at).total_seconds()
    happened = "never handed over"
    if request.claimed_at is not None:
        words = "handed over, in doubt," if request.in_doubt else "handed over"
        happened = f"{words} at {_to_the_second(request.claimed_at)}"
    return f"{request.procedure} {shown(request.handover)}: no result after {waited:.0f} s; {happened}"


def _tell(session: Session, desk: DeskSettings, now: datetime, overdue_after: timedelta) -> None:
    """Write of all that went overdue since the last mail and has no result yet, or put it off."""
    if not notice_rates.may_tell(session, _KIND, now):
        notice_rates.put_off(session, _KIND, now)
        return
    # A clock that was put back must not hide what was marked just now.
    since = min(notice_rates.last_told(session, _KIND) or now - _LONGEST_MEMORY, now - _TICK)
    untold = (Request.answered_at.is_(None), Request.overdue_at > max(since, now - _LONGEST_MEMORY))
    total = session.scalar(select(func.count()).select_from(Request).where(*untold)) or 0
    notice_rates.told(session, _KIND, now)
    if total == 0:
        return
    notice = Notice(
        name="operator/request-overdue",
        to=notices.operator(desk),
        reply_to=desk.operator_address,
        context={
            "requests": _listed(session, untold),
            "total": total,
            "overdue_seconds": int(overdue_after.total_seconds()),
        },
    )
    notices.send(session, desk, notice, now)


def _listed(session: Session, untold: tuple[ColumnElement[bool], ...]) -> list[OverdueRequest]:
    """Those in doubt first: they are the ones that must not simply be sent again."""
    rows = session.execute(
        select(Request, Recipient.mail_id, MailAddress.address, LogicalTerminal.name)
        .join(Recipient, Recipient.id == Request.id)
        .outerjoin(MailAddress, MailAddress.id == Request.address_id)
        .outerjoin(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
        .where(*untold)
        .order_by(Request.in_doubt.desc(), Request.id)
        .limit(MOST_LISTED)
    )
    return [
        OverdueRequest(
            address=address or "",
            terminal=terminal or "",
            procedure=shown(request.procedure),
            handover=shown(request.handover),
            input_number=shown(request.input_number),
            mail_id=mail_id,
            received=_to_the_second(request.received_at),
            handed_over="" if request.claimed_at is None else _to_the_second(request.claimed_at),
            in_doubt=request.in_doubt,
        )
        for request, mail_id, address, terminal in rows
    ]


def _to_the_second(instant: datetime) -> str:
    return f"{instant.astimezone(JST):%Y-%m-%d %H:%M:%S}"
