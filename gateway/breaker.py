"""The circuit breaker of one lane: what failed up to MAIL, how often in a row, and what the store is told of it.

It opens at the first such failure and closes when the destination answers. The changes it gives back are committed
with the outcome they belong to, under the lane's lease; while it is closed it has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.failures import Failure
from storage.columns import to_micros
from storage.effects import LANE_BREAKER, Change
from storage.lane_leases import LaneLease

_MOST_WORDS = 500


@dataclass(slots=True)
class Breaker:
    """`failures` in a row decide the back-off; `down_since` is None while the breaker is closed."""

    lane: str
    token: int  # of the lease it is written under
    failures: int = 0
    down_since: datetime | None = None
    last_failure: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the destination did not answer the last time."""
        return self.down_since is not None

    def restore(self, lease: LaneLease) -> None:
        """Go on where the holder before left off."""
        self.failures = lease.failures
        self.down_since = lease.down_since
        self.last_failure = lease.last_failure

    def failed(self, failure: Failure, now: datetime, wait: float) -> Change:
        """The destination failed; it is tried again after `wait` seconds. `failures` counts it already."""
        self.down_since = now if self.down_since is None else self.down_since
        self.last_failure = words_of(failure)
        return self._change(now + timedelta(seconds=wait))

    def answered(self) -> tuple[Change, ...]:
        """The destination answered: what closes the breaker, nothing when it was not open."""
        self.failures = 0
        if self.down_since is None:
            return ()
        self.down_since = None
        self.last_failure = ""
        return (self._change(None),)

    def _change(self, next_try_at: datetime | None) -> Change:
        down_since = None if self.down_since is None else to_micros(self.down_since)
        next_try = None if next_try_at is None else to_micros(next_try_at)
        return Change(
            LANE_BREAKER, (self.lane, self.token, down_since, self.failures, self.last_failure[:_MOST_WORDS], next_try)
        )


def words_of(failure: Failure) -> str:
    """Where it failed and in which words, for an operator."""
    return f"{failure.stage}: {failure.reply}"
