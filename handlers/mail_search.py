"""Finding mails by what an operator knows of them, the newest first, a page at a time.

A page looks at so many mails at most and reads no contents, so that no reader keeps a snapshot for long; it says where
the next one begins. All conditions must hold, those of a recipient for the same recipient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, or_, select
from sqlalchemy.orm import Session, aliased

from handlers.naccs.outputs import NO_REQUEST
from handlers.reviews import find
from storage.keys import first_key
from storage.models import LogicalTerminal, Mail, MailAddress, Recipient, Request
from storage.states import Direction, State

MAILS_LOOKED_AT = 5_000  # in one page
MOST_REQUESTS = 200  # of one handover value, the newest

# A key is made within moments of `received_at`, never long before; a crash may have moved the keys ahead.
_KEYS_BEHIND = timedelta(minutes=1)
_KEYS_AHEAD = timedelta(days=1)
# States with an index of their own: what is in them is found without looking through the mails.
_INDEXED = frozenset({State.RECEIVED, State.QUEUED, State.UNDELIVERED})

Condition = ColumnElement[bool]


class NoSuchName(LookupError):
    """What a filter names is not in the store: `kind` is terminal or receipt."""

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(f"{kind} {value}")
        self.kind = kind
        self.value = value


@dataclass(frozen=True, slots=True, kw_only=True)
class MailFilter:
    """What is asked for; what is not given does not matter."""

    mail_ids: tuple[int, ...] = ()
    terminal: str | None = None  # logical terminal
    address: str | None = None  # as sender or recipient, in any case of letters
    receipt: str | None = None  # 申込受付番号
    handover: str | None = None  # 電文引継情報
    message_id: str | None = None
    states: frozenset[State] = frozenset()
    direction: Direction | None = None
    since: datetime | None = None
    until: datetime | None = None  # not included
    unmatched: bool = False  # results of the backend that match no request
    keys_tell_time: bool = True  # False where the clock moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A filter whose names were looked up once, for as many pages as it takes."""

    of_mail: tuple[Condition, ...]
    of_recipient: tuple[Condition, ...]
    narrow: bool  # the conditions name their mails: one page looks at no others
    from_key: int  # no mail that is meant has a lower id
    below_key: int | None  # nor one as high as this

    def recipients(self, session: Session, mail_ids: Iterable[int]) -> Sequence[Recipient]:
        """The recipients of these mails that the filter means, the oldest first."""
        query = select(Recipient).where(Recipient.mail_id.in_(list(mail_ids)), *self.of_recipient)
        return session.scalars(query.order_by(Recipient.id)).all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The mails of a page; the next one is asked for `before` that id, None when there is none."""

    mails: tuple[Mail, ...]
    before: int | None


def in_state(state: State) -> Condition:
    """That a recipient is in a state, written out: only then do both databases use the state's partial index."""
    return Recipient.state == literal(state.value, literal_execute=True)


def search(session: Session, wanted: MailFilter) -> Search:
    """Look up what a filter names. NoSuchName for a terminal or receipt number that nothing has."""
    mails, narrow = _of_mail(session, wanted)
    recipients = _of_recipient(session, wanted)
    if wanted.states and wanted.states <= _INDEXED:
        narrow = True
        mails.append(Mail.id.in_(select(Recipient.mail_id).where(or_(*map(in_state, wanted.states)))))
    if recipients:
        mails.append(select(Recipient.id).where(Recipient.mail_id == Mail.id, *recipients).exists())
    timed = wanted.keys_tell_time
    return Search(
        of_mail=tuple(mails),
        of_recipient=tuple(recipients),
        narrow=narrow,
        from_key=first_key(wanted.since - _KEYS_BEHIND) if wanted.since and timed else 0,
        below_key=first_key(wanted.until + _KEYS_AHEAD) if wanted.until and timed else None,
    )


def page(session: Session, wanted: Search, before: int | None, limit: int) -> Page:
    """The next mails of a search, at most `limit` of them, below the id `before`."""
    bounds: list[Condition] = [Mail.id >= wanted.from_key]
    bounds += [Mail.id < key for key in (before, wanted.below_key) if key is not None]
    floor = None
    if not wanted.narrow:
        reach = select(Mail.id).where(*bounds).order_by(Mail.id.desc()).offset(MAILS_LOOKED_AT - 1).limit(1)
        floor = session.scalar(reach)
        if floor is not None:
            bounds.append(Mail.id >= floor)
    conditions = (*bounds, *wanted.of_mail)
    mails = session.scalars(select(Mail).where(*conditions).order_by(Mail.id.desc()).limit(limit)).all()
    return Page(mails=tuple(mails), before=mails[-1].id if len(mails) == limit else floor)


def _of_mail(session: Session, wanted: MailFilter) -> tuple[list[Condition], bool]:
    found: list[Condition] = []
    narrow = False
    if wanted.mail_ids:
        found.append(Mail.id.in_(wanted.mail_ids))
        narrow = True
    if wanted.receipt is not None:
        application = find(session, wanted.receipt)
        if application is None:
            raise NoSuchName("receipt", wanted.receipt)
        found.append(or_(Mail.application_id == application.id, Mail.id == application.mail_id))
        narrow = True
    if wanted.handover is not None:
        found.append(Mail.id.in_(mails_of_requests(session, requests_of_handover(session, wanted.handover))))
        narrow = True
    if wanted.message_id is not None:
        found.append(_named(wanted.message_id))
    if wanted.unmatched:
        found.append(Mail.listener == "backend")
    if wanted.since is not None:
        found.append(Mail.received_at >= wanted.since)
    if wanted.until is not None:
        found.append(Mail.received_at < wanted.until)
    return found, narrow


def _named(message_id: str) -> Condition:
    """By the Message-ID a mail came with, or by the one we gave it, which begins with our own id."""
    bare = message_id.strip().strip("<>")
    own, _, _ = bare.partition("@")
    names: Condition = Mail.message_id.in_((bare, f"<{bare}>"))
    if own.isascii() and own.isdigit() and len(own) < 19:
        return or_(names, Mail.id == int(own))
    return names


def requests_of_handover(session: Session, handover: str) -> Sequence[Request]:
    """The requests with a handover value, the newest first, no more than MOST_REQUESTS."""
    query = select(Request).where(Request.handover == handover.strip()).order_by(Request.id.desc())
    return session.scalars(query.limit(MOST_REQUESTS)).all()


def mails_of_requests(session: Session, requests: Sequence[Request]) -> set[int]:
    """The mails of requests: they themselves, their answers, and what the backend sent for them."""
    ids = [request.id for request in requests]
    results = and_(Recipient.direction == Direction.INBOUND, Recipient.request_id.in_(ids))
    found = set(session.scalars(select(Recipient.mail_id).where(or_(Recipient.id.in_(ids), results))))
    return found | {request.result_mail_id for request in requests if request.result_mail_id is not None}


def _of_recipient(session: Session, wanted: MailFilter) -> list[Condition]:
    found: list[Condition] = []
    if wanted.states:
        found.append(Recipient.state.in_(wanted.states))
    if wanted.direction is not None:
        found.append(Recipient.direction == wanted.direction)
    if wanted.terminal is not None:
        found.append(_of_terminal(session, wanted.terminal))
    if wanted.address is not None:
        found.append(_of_address(wanted.address))
    if wanted.unmatched:
        found += [Recipient.direction == Direction.INBOUND, Recipient.request_id.is_(None)]
        found.append(Recipient.last_reply == NO_REQUEST)
    return found


def _of_terminal(session: Session, name: str) -> Condition:
    terminal = session.scalars(select(LogicalTerminal).where(LogicalTerminal.name == name.strip().upper())).first()
    if terminal is None:
        raise NoSuchName("terminal", name)
    rows = select(MailAddress.id).where(MailAddress.terminal_id == terminal.id)
    return or_(Recipient.lane == f"terminal:{terminal.name}", Recipient.address_id.in_(rows))


def _of_address(address: str) -> Condition:
    key = address.strip().strip("<>").lower()
    rows = select(MailAddress.id).where(MailAddress.address_key == key)
    own: Any = aliased(Mail)
    sent = select(own.id).where(own.id == Recipient.mail_id, func.lower(own.mail_from) == key)
    return or_(
        func.lower(Recipient.rcpt_to) == key,
        func.lower(Recipient.sender) == key,
        Recipient.address_id.in_(rows),
        sent.exists(),
    )
