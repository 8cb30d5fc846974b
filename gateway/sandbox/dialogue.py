"""What was said in one SMTP session, kept as data so that a person, a test or JSON can read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FINAL_DOT = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One thing said and the reply to it: `said` is empty for the greeting, `reply` where none came."""

    said: str
    reply: str

    @property
    def code(self) -> str:
        return self.reply[:3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """One SMTP session in order."""

    exchanges: tuple[Exchange, ...]

    @property
    def accepted(self) -> bool:
        """Whether every message whose final dot was sent got 250, and at least one was sent."""
        dots = [exchange.code for exchange in self.exchanges if exchange.said == FINAL_DOT]
        return bool(dots) and all(code == "250" for code in dots)

    def reply_to(self, verb: str) -> str:
        """The last reply to a command that begins with `verb`; empty when it was not said."""
        replies = [exchange.reply for exchange in self.exchanges if exchange.said.startswith(verb)]
        return replies[-1] if replies else ""


Listener = Callable[[Exchange], None]


def nobody_listens(exchange: Exchange) -> None:
    """For sessions that nobody watches while they run."""
