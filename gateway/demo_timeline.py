"""The demo's timeline: who said what to whom, and whether each step held."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timeline:
    """Says each event as it happens and remembers the steps that did not hold."""

    say: Callable[[str], None]
    started: float = field(default_factory=time.monotonic)
    failures: list[str] = field(default_factory=list)
    steps: int = 0

    def chapter(self, title: str) -> None:
        """A new part of the story."""
        self.say(f"\n== {title}")

    def event(self, who: str, to: str, what: str, reply: str = "") -> None:
        """Something was sent, with the SMTP reply it got."""
        seconds = time.monotonic() - self.started
        self.say(f"{seconds:6.2f}s  {who} -> {to}: {what}" + (f"  [{reply}]" if reply else ""))

    def check(self, what: str, holds: object, otherwise: object = "") -> None:
        """A step of the story: it must hold, or the demo ends with status 1."""
        self.steps += 1
        if holds:
            self.say(f"         ok    {what}")
            return
        self.failures.append(what)
        self.say(f"         FAILS {what}" + (f": {otherwise}" if otherwise != "" else ""))

    def quote(self, title: str, text: str) -> None:
        """A mail, indented."""
        self.say(f"\n--- {title}")
        for line in text.splitlines():
            self.say(f"    {line}")

    def end(self) -> bool:
        """The last line; True when every step held."""
        if self.failures:
            self.say(f"\n{len(self.failures)} of {self.steps} steps do not hold: {'; '.join(self.failures)}")
        else:
            self.say(f"\nAll {self.steps} steps hold ({time.monotonic() - self.started:.1f} s).")
        return not self.failures
