"""The rows of the ledger: what clients, backend, in-house servers and store say, each about one thing.

Times are of the wall clock; a digest is of the bytes as they went over the wire.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as its sender knows it; `accepted` is the time of its 250."""

    handover: str
    address: str
    terminal: str
    number: int
    digest: str
    mail_digest: str
    accepted: float | None
    doubts: int = 0
    awaits_result: bool = True  # a SYG that fetches has none of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A line of the backend's journal; `order` is its place in it."""

    request_id: str
    handover: str
    address: str
    digest: str
    mail_digest: str
    at: float
    order: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A result the backend mailed; `sent`: the gateway's 250 was seen; `doubts`: tries without any reply."""

    serial: str
    handover: str
    kind: str
    rcpt_to: str
    digest: str
    sent: bool
    doubts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A mail at an in-house server; `order` counts over all of them."""

    terminal: str
    order: int
    mail_id: int
    rcpt_to: str
    handover: str
    kind: str
    code: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """An outbound recipient of a terminal's lane, as the store ends with it."""

    mail_id: int
    rcpt_to: str
    lane: str
    sequence: int
    state: str
    in_doubt: int
    own: bool  # the gateway's own answer
    request_id: str = ""  # that it answers
    fetched: bool = False  # queued again, so that its first place is not known any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A row of the requests table. Times are of the wall clock."""

    request_id: str
    handover: str
    received: float
    claimed: float | None = None  # the last hand-over began
    in_doubt: bool = False
    overdue: bool = False
    answered: bool = False
