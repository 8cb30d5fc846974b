"""What all lanes of a process have in common: the store, the map, clocks and settings, and how leases are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from gateway.clock_guard import ClockGuard
from gateway.lane_control import LaneControl
from gateway.lane_signing import NoticeSigning
from gateway.lanes import ContentMemory, DeliverySettings
from gateway.smtp_out import Target
from gateway.verdicts import doubled
from storage.batch import take_sequences
from storage.clock import Clock
from storage.database import Database
from storage.lane_leases import LaneLease, lease_lane
from storage.mail_queue import Outbound, queued_in_lane

FIRST_PAGE = 50  # rows read with a lane's lease
_LEASES_AT_ONCE = 20  # a unit of work has 250 ms


@dataclass(frozen=True, slots=True)
class Gone:
    """The binding of a mail is no longer effective: it becomes undelivered, with this reason."""

    reason: str


Where = Callable[[str, Outbound], Awaitable[Target | Gone]]
"""The server that a lane's mail goes to as of now; Gone when its terminal has none any more."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A lane this process holds now, and its first queued rows."""

    lease: LaneLease
    rows: list[Outbound]


class Shared:
    """What all lanes of this process have in common."""

    def __init__(
        self,
        database: Database,
        where: Where,
        clock: Clock,
        settings: DeliverySettings,
        jitter: Callable[[], float],
        control: LaneControl,
        guard: ClockGuard,
        signing: NoticeSigning,
    ) -> None:
        self.database = database
        self.where = where
        self.clock = clock
        self.settings = settings
        self.control = control
        self.guard = guard
        self.signing = signing
        self.memory = ContentMemory(settings.memory_bytes)
        self.token = database.store.lease_token
        self.generation = 0  # rises with every commit of another process
        self.stopping = False
        self._jitter = jitter
        self._asked: list[tuple[str, asyncio.Future[Taken | None]]] = []
        self._leasing: asyncio.Task[None] | None = None

    def wait(self, failures: int, settings: DeliverySettings | None = None) -> float:
        """The back-off after so many failures, never quite the same twice; `settings` of the lane, where it has own."""
        of_lane = self.settings if settings is None else settings
        return doubled(of_lane.retry_first, of_lane.retry_max, failures) * (0.8 + 0.4 * self._jitter())

    async def lease(self, lane: str) -> Taken | None:
        """Take a lane for this process; lanes asked for together are taken in one unit of work."""
        future: asyncio.Future[Taken | None] = asyncio.get_running_loop().create_future()
        self._asked.append((lane, future))
        if self._leasing is None or self._leasing.done():
            self._leasing = asyncio.create_task(self._lease_asked())
        return await future

    async def _lease_asked(self) -> None:
        store = self.database.store
        # The file lock of `serve` keeps every other holder of a SQLite store's lanes away.
        alone = store.engines.on_sqlite
        while self._asked:
            asked, self._asked = self._asked[:_LEASES_AT_ONCE], self._asked[_LEASES_AT_ONCE:]
            lanes = sorted({lane for lane, _ in asked})
            work = partial(_lease_lanes, lanes=lanes, node=store.claim.node, token=self.token, alone=alone)
            try:
                taken = await self.database.run(work)
            except Exception as error:  # noqa: BLE001 - every lane hears of it and asks again
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                continue
            for lane, future in asked:
                if not future.done():
                    future.set_result(taken[lane])


def _lease_lanes(
    session: Session, *, lanes: Sequence[str], node: int, token: int, alone: bool
) -> dict[str, Taken | None]:
    taken: dict[str, Taken | None] = {}
    # All of them before the node of any holder, whose own transactions lock lanes first and that row last.
    take_sequences(session.connection(), dict.fromkeys(lanes, 0))
    for lane in lanes:
        lease = lease_lane(session, lane, node, token, alone=alone)
        rows = [] if lease is None else queued_in_lane(session, lane, 0, FIRST_PAGE)
        taken[lane] = None if lease is None else Taken(lease, rows)
    return taken
