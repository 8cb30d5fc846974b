"""The wall clock everything but leases and retries goes by; demo and sandbox may move it ahead.

The offset is a row every process reads; a process that is not told the clock may move ignores it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import ClockOffset


class Clock:
    """`now` is the host's time plus the offset of the store."""

    def __init__(self, *, movable: bool = False) -> None:
        self.movable = movable
        self.offset = timedelta()

    def now(self) -> datetime:
        """The instant it is, aware, in UTC."""
        return datetime.now(UTC) + self.offset

    def refresh(self, session: Session) -> None:
        """Read the offset; without effect where the clock does not move."""
        if self.movable:
            seconds = session.scalar(select(ClockOffset.seconds).where(ClockOffset.id == 1))
            self.offset = timedelta(seconds=seconds or 0)


def move_clock(session: Session, ahead: timedelta) -> None:
    """Set the offset of the store's clock. Only demo and sandbox call this."""
    session.merge(ClockOffset(id=1, seconds=int(ahead.total_seconds())))
