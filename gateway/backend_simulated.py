"""The way to a backend inside this process: claim, outcome and result enter the store in one unit.

It leaves nothing outside that unit, so a hand-over that was not committed did not happen and none is in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.backend_parts import AT_ONCE, LEFT, Held, Next
from gateway.backend_reads import EndpointRow
from gateway.failures import FailureClass, Stage, peer_words
from gateway.lane_holder import Attempt, HandOver, log
from storage.effects import Unit

if TYPE_CHECKING:
    import asyncio

    from gateway.backend_lane import BackendLane


class SimulatedRoute:
    """Hands requests to `hand_over`."""

    def __init__(self, lane: BackendLane, hand_over: HandOver) -> None:
        self._lane = lane
        self._hand_over = hand_over
        self._at_once = lane.shared.settings.hand_overs
        self._mail_tries = lane.shared.settings.mail_tries

    def room(self, under_way: int) -> bool:
        """Whether one more may be begun beside those under way."""
        return under_way < self._at_once

    async def hand_over(self, held: Held, content: bytes) -> Next:
        """Hand a request over, and write what came of it."""
        if not await self._lane.still_waits(held):
            return LEFT
        outbound = held.item.outbound
        try:
            inserts, notes = await self._hand_over(outbound, content)
        except ValueError as poison:
            return await self._lane.refused(held, str(poison), Stage.HAND_OVER)
        except Exception as error:  # noqa: BLE001 - three of them park the request, and the log has each
            log.warning("recipient %s was not handed over", outbound.recipient_id, exc_info=True)
            return await self._failed(held, f"{type(error).__name__}: {error}")
        if self._lane.is_over(held):
            return AT_ONCE  # what was worked out is thrown away, and the next look answers
        return await self._lane.handed_over(held, "", Unit(inserts=inserts, notes=notes, size=len(content)))

    async def _failed(self, held: Held, reason: str) -> Next:
        if held.item.tries + 1 >= self._mail_tries:
            return await self._lane.refused(held, reason, Stage.HAND_OVER, FailureClass.TEMPORARY)
        return await self._lane.failed(held, Attempt(FailureClass.TEMPORARY, Stage.HAND_OVER, peer_words(reason)))

    async def begin(self, row: EndpointRow) -> None:
        """The lane is ours now."""

    def asked(self) -> None:
        """An operator wants something else."""

    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs beside the hand-overs."""
        return []

    def stop(self) -> None:
        """Begin nothing new."""

    def abort(self) -> None:
        """Wait for nobody any longer."""

    async def leave(self) -> None:
        """Take leave of the backend."""
