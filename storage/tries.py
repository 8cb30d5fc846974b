"""How often a transaction is tried: again while the store is busy or away, for two seconds, then it is trouble."""

from __future__ import annotations

import time

from sqlalchemy.exc import DBAPIError

from storage.failures import Failure, raise_trouble

BUSY_FOR_AT_MOST = 2.0  # seconds
_PAUSE = 0.02
_MOST_ABSENT = 3


class Tries:
    """Those of one batch or unit of work, for so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._give_up_at = time.monotonic() + seconds
        self._absent = 0

    def found_absent(self) -> None:
        """A commit that was lost was looked for and is not there: there is time to do it again, a few times."""
        self._absent += 1
        if self._absent <= _MOST_ABSENT:
            self._give_up_at = time.monotonic() + self._seconds

    def again_or_raise(self, failure: Failure, error: DBAPIError) -> None:
        """Return when it is worth another try now, else raise the StoreTrouble, or the error that is none."""
        if failure in (Failure.BUSY, Failure.CONNECTION_LOST) and time.monotonic() < self._give_up_at:
            time.sleep(_PAUSE)
            return
        raise_trouble(failure, error)
        raise error
