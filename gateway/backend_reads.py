"""What the lane towards the backend asks the store: how a request stands, and whom an outstanding one keeps waiting.

Memory is never asked for what may be handed over: these reads explain why the store refused a change.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from storage.effects import CLOCKS_DIFFER_BY
from storage.mail_queue import Outbound
from storage.models import Lane, Recipient, Request
from storage.states import State

_MOST_AT_ONCE = 500
_CLOCKS_DIFFER_BY = timedelta(microseconds=CLOCKS_DIFFER_BY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a request stands in the store. `outstanding_until` is that of another request of its address."""

    ours: bool  # the lane is this process's
    queued: bool
    known: bool = False  # there is such a request
    claimed: bool = False
    answered: bool = False
    has_result: bool = False
    outstanding_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRow:
    """What the lane's row says of the backend's endpoints."""

    endpoint: str = "primary"
    since: datetime | None = None
    down_since: datetime | None = None


def look(session: Session, outbound: Outbound, token: int, now: datetime) -> Seen:
    """How the request stands now."""
    holder = session.scalar(select(Lane.lease_token).where(Lane.lane == outbound.lane))
    state = session.scalar(select(Recipient.state).where(Recipient.id == outbound.recipient_id))
    seen = Seen(ours=holder == token, queued=state == State.QUEUED)
    request = None if outbound.request_id is None else session.get(Request, outbound.request_id)
    if request is None:
        return seen
    until = None
    if request.outstanding_until is not None:
        others = (
            *_outstanding(now),
            Request.received_at <= now + _CLOCKS_DIFFER_BY,  # as the claim has it
            Request.address_id == request.address_id,
            Request.id != request.id,
        )
        until = session.scalar(select(func.max(Request.outstanding_until)).where(*others))
    return Seen(
        ours=seen.ours,
        queued=seen.queued,
        known=True,
        claimed=request.claimed_at is not None,
        answered=request.answered_at is not None,
        has_result=request.result_mail_id is not None,
        outstanding_until=until,
    )


def claimed_in_lane(session: Session, lane: str) -> frozenset[int]:
    """The queued recipients of the lane whose hand-over had begun: they may have arrived."""
    found = session.scalars(
        select(Recipient.id)
        .join(Request, Request.id == Recipient.request_id)
        .where(Recipient.lane == lane, Recipient.state == State.QUEUED, Request.claimed_at.is_not(None))
    )
    return frozenset(found)


def outstanding_addresses(session: Session, address_ids: Collection[int], now: datetime) -> frozenset[int]:
    """Those of the address rows that still wait for a result."""
    found: set[int] = set()
    left = iter(address_ids)
    while some := list(islice(left, _MOST_AT_ONCE)):
        found.update(
            session.scalars(select(Request.address_id).where(*_outstanding(now), Request.address_id.in_(some)))
        )
    return frozenset(found)


def endpoint_row(session: Session, lane: str) -> EndpointRow:
    """Which endpoint is in use, as the store knows it."""
    row = session.execute(select(Lane.endpoint, Lane.endpoint_since, Lane.down_since).where(Lane.lane == lane)).first()
    if row is None:
        return EndpointRow()
    return EndpointRow(endpoint=row.endpoint, since=row.endpoint_since, down_since=row.down_since)


def _outstanding(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (Request.answered_at.is_(None), Request.claimed_at.is_not(None), Request.outstanding_until > now)
