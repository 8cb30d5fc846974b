"""The first TCC of a new terminal: which terminals still owe it, and what becomes of other procedures before it.

A terminal owes it that an application issued. That it was made is written in the store, not in the map: a TCC makes no
new version of it. Made once, it stays made.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage.models import LogicalTerminal

SETTING = "naccs.before_tcc"
# The procedure cannot be used at present. Not A0012, which speaks of the contract, nor U0001, which is the backend's.
REFUSAL_CODE = "A0002"
REFUSAL_NOTE = f"{REFUSAL_CODE} {SETTING} = refuse"


def awaits_check(terminal: LogicalTerminal, at: datetime) -> bool:
    """Whether a terminal that an application issued had had no normal TCC by then."""
    return terminal.application_id is not None and (terminal.checked_at is None or terminal.checked_at > at)


class FirstChecks:
    """Which terminals owe their first TCC; the store is asked about a terminal until it owes none."""

    def __init__(self) -> None:
        self._made: set[int] = set()

    def is_known_made(self, terminal_id: int) -> bool:
        """Whether this process has seen that nothing is owed any more."""
        return terminal_id in self._made

    def is_owed(self, session: Session, terminal_id: int) -> bool:
        """Whether the terminal owes its first TCC, as the store has it now."""
        terminal = session.get(LogicalTerminal, terminal_id)
        owed = terminal is not None and terminal.application_id is not None and terminal.checked_at is None
        if not owed:
            self._made.add(terminal_id)
        return owed
