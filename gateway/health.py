"""Whether the listeners may take mail, and the reply that says why not.

A client of the NACCS listener looks at the greeting and at MAIL, never at the dot: our own trouble is told there.
"""

from __future__ import annotations

from gateway.smtp_replies import NO_ROOM, NOT_READY, UNAVAILABLE, Reply
from storage.database import Database

MOST_SECONDS_BEHIND = 1.0


class Health:
    """The state of the store as listeners see it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at_connect(self) -> Reply | None:
        """A 421 while the store is broken or more than a second behind."""
        if self._database.broken.done() or self._database.behind() > MOST_SECONDS_BEHIND:
            return NOT_READY
        return None

    def at_mail(self) -> Reply | None:
        """452 while the store is full, 451 while it is broken or more than a second behind."""
        if self._database.full:
            return NO_ROOM
        return UNAVAILABLE if self.at_connect() is not None else None
