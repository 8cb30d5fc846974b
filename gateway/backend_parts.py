"""What the lane towards the backend is made of: its settings, what it is lent, and what its parts tell one another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gateway.backend_reads import EndpointRow
from gateway.lane_holder import HandOver
from gateway.lanes import Waiting
from gateway.smtp_out import Target, TimeLimits
from storage.effects import Unit
from storage.mail_queue import Outbound

Refuse = Callable[[Outbound, bytes, str, datetime], Unit | None]
"""(request, its bytes, result code, now) -> the gateway's own answer to it; None when it has nobody to go to.

The unit fails as stale when the hand-over has begun or the request is answered.
"""

Write = Callable[[Outbound, bytes], bytes]
"""The mail that hands a request over: the same bytes whenever it is asked."""

Park = Callable[[Outbound, str], Awaitable[None]]
"""Tells the operator that a request was parked, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLaneSettings:
    """How requests are handed over. Seconds, where nothing else is said."""

    request_life: float = 120.0  # from receipt; not begun by then, a request is answered A0011 and never handed over
    discards_repeats: bool = False  # what may have arrived may be sent again
    primary: Target | None = None
    backup: Target | None = None
    connections: int = 8  # to the endpoint in use
    limits: TimeLimits = field(default_factory=lambda: TimeLimits(connect=10, command=60, block=60, dot=60))
    idle_close: float = 30.0
    probe_every: float = 5.0
    switch_after: float = 15.0  # of failure, while the other endpoint answers; 0: never by itself
    switch_back_after: float = 60.0  # of the primary's answering; 0: by hand only


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendParts:
    """All that the lane needs beyond what lanes share.

    With a `simulator` there is no SMTP; without, `write` and `settings.primary` must be there (else ValueError).
    """

    settings: BackendLaneSettings
    refuse: Refuse
    refresh_map: Callable[[], Awaitable[object]]
    park: Park
    simulator: HandOver | None = None
    write: Write | None = None


@dataclass(slots=True, eq=False)
class Held:
    """A request in the hands of this process."""

    item: Waiting
    over_at: float  # on the loop's clock: its life is over then, whatever becomes of the wall clock
    claimed: bool = False  # its hand-over has begun: it may have arrived
    counted: bool = False  # that it may have arrived is written down
    leaving: bool = False  # its life is over and that is being written
    awaited: bool | None = None  # whether its result is awaited; None: not looked at yet


@dataclass(frozen=True, slots=True)
class Next:
    """What an address does after a try with its first request: the next one, or the same again, and when."""

    left: bool = False  # the request has left the lane
    wait: float = 0.0
    outstanding_until: datetime | None = None  # another request of the address awaits its result until then


LEFT = Next(left=True)
AT_ONCE = Next()


class Route(Protocol):
    """The way to the backend."""

    def room(self, under_way: int) -> bool:
        """Whether one more may be begun beside those under way."""
        ...

    async def hand_over(self, held: Held, content: bytes) -> Next:
        """Hand a request over and write what came of it."""
        ...

    async def begin(self, row: EndpointRow) -> None:
        """The lane is ours now, and this is what its row says."""
        ...

    def asked(self) -> None:
        """An operator wants something else."""
        ...

    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs beside the hand-overs."""
        ...

    def stop(self) -> None:
        """Begin nothing new; what is under way may end."""
        ...

    def abort(self) -> None:
        """Wait for nobody any longer."""
        ...

    async def leave(self) -> None:
        """Take leave of the backend."""
        ...
