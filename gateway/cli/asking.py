"""A question before something that is not easily undone."""

from __future__ import annotations

import sys

import typer

from gateway.cli import Invocation, misuse


def ask(running: Invocation, question: str) -> None:
    """Go on when the answer is yes; no ends the command with status 1, nobody to answer with status 2."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise  # whoever was asked broke it off
        typer.echo(err=True)
        misuse(
            running.text(
                ja="確認の返事がないため、何もしていません。確認なしに実行するには --yes を付けてください。",
                en="nobody answered, so nothing was done; add --yes to go on without being asked",
            )
        )
    if not agreed:
        raise typer.Exit(1)
