"""Tells whether the wall clock can be trusted to end the life of a mail.

A step of it against the monotonic clock suspends giving up and expiring for ten minutes, so that a clock set wrong
costs no mail. A machine that slept looks the same and is treated alike. Only the host's own clock is watched: the
movable clock of demo and sandbox is moved on purpose.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("gateway.clock")

STEP = 60.0  # seconds; less is a clock that is being corrected slowly
SUSPENDED_FOR = 600.0


class ClockGuard:
    """Looks at both clocks whenever it is asked, so a step is noticed before anything is decided by it.

    `steps` counts them and `last_step` is the latest one in seconds, positive when the clock went ahead.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._apart = wall() - monotonic()
        self._until = float("-inf")
        self.steps = 0
        self.last_step = 0.0

    def suspended(self) -> bool:
        """Whether nothing may be given up or expired now."""
        return self.remaining() > 0.0

    def remaining(self) -> float:
        """Seconds until mail may be given up again, 0 when it may."""
        now = self._monotonic()
        apart = self._wall() - now
        step = apart - self._apart
        # Each look starts anew from what it saw: years of slow correction add up to no step.
        self._apart = apart
        if abs(step) > STEP:
            self.steps += 1
            self.last_step = step
            self._until = now + SUSPENDED_FOR
            log.error("the clock stepped by %+.0f s; no mail is given up for %.0f s", step, SUSPENDED_FOR)
        return max(0.0, self._until - now)
