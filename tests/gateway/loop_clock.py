"""The clock of the running event loop, moved on by a test: what would take seconds is due at once.

Time limits can so be generous, and no pause of the machine that runs the test is long enough to meet one.
"""

from __future__ import annotations

import asyncio


class LoopClock:
    """Made on the loop whose time it moves. uvloop's own timers stay as they are; what it is told by `time` moves."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        real = loop.time
        self._ahead = 0.0
        loop.time = lambda: real() + self._ahead  # type: ignore[method-assign]

    def move(self, seconds: float) -> None:
        """Let so much time pass."""
        self._ahead += seconds
