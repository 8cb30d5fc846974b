"""`serve` and `migrate`."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import invocation, refuse

if TYPE_CHECKING:
    from gateway.service import Service
    from gateway.settings import Settings


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.command("serve")(serve)
    root.command("migrate")(migrate)


def serve(
    context: typer.Context,
    roles: Annotated[
        str, typer.Option(help="What this process does: any of listener,worker,delivery.")
    ] = "listener,worker,delivery",
    stdlib_loop: Annotated[
        bool, typer.Option("--stdlib-loop", help="Run on the standard library's event loop instead of uvloop.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    One line beginning `ready` on standard output names every bound address; the log goes to standard error.
    """
    from gateway import maillog
    from gateway.key_file import KeyFileRefused
    from gateway.service import Role, Service
    from storage.failures import StoreBroken, StoreBusy, StoreFull, StoreRefused

    settings = invocation(context).settings()
    try:
        chosen = frozenset(Role(name.strip()) for name in roles.split(",") if name.strip())
    except ValueError:
        chosen = frozenset()
    if not chosen:
        raise typer.BadParameter(f"roles are {', '.join(Role)}", param_hint="--roles")
    _raise_descriptor_limit()
    writer = maillog.start(settings.log.level, settings.log.format)
    try:
        _run(settings, Service(settings, chosen), stdlib_loop=stdlib_loop)
    except (StoreRefused, StoreBusy, StoreFull, KeyFileRefused, OSError) as error:
        refuse(str(error))
    except StoreBroken as error:
        refuse(f"the store cannot be written to, so the service ends: {error}")
    finally:
        maillog.stop(writer)


def _raise_descriptor_limit() -> None:
    """Every connection and every kept lane is a descriptor; the soft limit of a shell is often 1024."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run(settings: Settings, service: Service, *, stdlib_loop: bool) -> None:
    import uvloop

    factory = None if stdlib_loop else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(service))


async def _serve(service: Service) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await service.start()
    typer.echo(service.ready_line)
    broken = service.database.broken
    broken.add_done_callback(lambda _: ended.set())
    try:
        await ended.wait()
    finally:
        await service.stop()
    if broken.done():
        raise broken.result()


def migrate(context: typer.Context) -> None:
    """Bring the store to this program's schema version. Stop the service and back the store up first."""
    from storage.engines import open_engines
    from storage.failures import StoreRefused
    from storage.schema import migrate as bring_up

    settings = invocation(context).settings()
    try:
        engines = open_engines(settings.store.url)
    except StoreRefused as error:
        refuse(str(error))
    try:
        typer.echo(f"schema version {bring_up(engines)}")
    finally:
        engines.dispose()
