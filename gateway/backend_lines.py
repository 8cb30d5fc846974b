"""The requests of one address in the hands of this process, and what the address waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from gateway.backend_parts import Held
from gateway.lanes import Waiting


@dataclass(slots=True, eq=False)
class Line:
    """The requests of one address, in order."""

    key: int | str
    held: deque[Held] = field(default_factory=deque)
    working: bool = False
    offered: bool = False  # stands among those that may go on
    outstanding: bool = False  # waits for the result of an earlier request
    pause: asyncio.TimerHandle | None = None
    answers: int = 0  # that were heard of

    @property
    def may_be_offered(self) -> bool:
        """Whether its first request may be handed over as soon as there is room."""
        if self.working or self.offered or self.outstanding or self.pause is not None:
            return False
        return bool(self.held) and not self.held[0].leaving


def address_of(item: Waiting) -> int | str:
    """What its requests are kept in order by: the mail-address row."""
    outbound = item.outbound
    return outbound.sender if outbound.address_id is None else outbound.address_id


def end_pause(line: Line) -> None:
    """The address waits for no instant any more."""
    if line.pause is not None:
        line.pause.cancel()
        line.pause = None
