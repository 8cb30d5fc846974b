"""The demo's timeline: who said what to whom, and whether each step held."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import typer


@dataclass(slots=True)
class Timeline:
    """Prints each event as it happens and remembers the steps that did not hold."""

    started: float = field(default_factory=time.monotonic)
    failures: list[str] = field(default_factory=list)
    steps: int = 0

    def chapter(self, title: str) -> None:
        """A new part of the story."""
        typer.echo(f"\n== {title}")

    def event(self, who: str, to: str, what: str, reply: str = "") -> None:
        """Something was sent, with the SMTP reply it got."""
        seconds = time.monotonic() - self.started
        typer.echo(f"{seconds:6.2f}s  {who} -> {to}: {what}" + (f"  [{reply}]" if reply else ""))

    def check(self, what: str, holds: object, otherwise: object = "") -> None:
        """A step of the story: it must hold, or the demo ends with status 1."""
        self.steps += 1
        if holds:
            typer.echo(f"         ok    {what}")
            return
        self.failures.append(what)
        typer.echo(f"         FAILS {what}" + (f": {otherwise}" if otherwise != "" else ""))

    def quote(self, title: str, text: str) -> None:
        """A mail, indented."""
        typer.echo(f"\n--- {title}")
        for line in text.splitlines():
            typer.echo(f"    {line}")

    def end(self) -> bool:
        """The last line; True when every step held."""
        if self.failures:
            typer.echo(f"\n{len(self.failures)} of {self.steps} steps do not hold: {'; '.join(self.failures)}")
        else:
            typer.echo(f"\nAll {self.steps} steps hold ({time.monotonic() - self.started:.1f} s).")
        return not self.failures
