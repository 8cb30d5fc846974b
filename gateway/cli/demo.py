"""`demo`: the whole story on one machine."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer


def register(root: typer.Typer) -> None:
    """Add the command of this module."""
    root.command("demo")(demo)


def demo(
    pause: Annotated[
        float, typer.Option(min=0, max=10, help="Seconds the in-house client is silent before its final dot.")
    ] = 3.0,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the gateway's log as well.")] = False,
) -> None:
    """Play the whole story: application, review, ID notice, start date, first NACCS message and its result.

    It runs a gateway on an empty temporary store with real sockets on this machine and ends by itself; status 1 when a
    step does not hold.
    """
    import uvloop

    from gateway import maillog
    from gateway.demo import demo_settings, play
    from gateway.demo_timeline import Timeline

    writer = maillog.start("info" if verbose else "error")
    timeline = Timeline(typer.echo)
    with demo_settings() as settings, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play(settings, timeline, pause=pause))
    maillog.stop(writer)
    if not timeline.end():
        raise typer.Exit(1)
