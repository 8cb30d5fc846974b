"""`terminal list|add|move|end|history`: logical terminals (論理端末) as the contracts have them."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from gateway.cli import invocation, print_json, refuse
from gateway.cli.contract_apps import (
    OfOffice,
    Options,
    carry_out,
    no_office,
    show_history,
    terminal_app,
)
from gateway.cli.map_views import show_terminal, terminals
from gateway.cli.opening import opened_store
from gateway.cli.options import AsJson, with_lists

Name = Annotated[str, typer.Argument(help="The logical terminal (論理端末名).")]


class Kind(StrEnum):
    """Kinds of terminals, each with a pool of names."""

    SMTP = "smtp"
    GATEWAY = "gw"
    INTERACTIVE = "interactive"


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(terminal_app, name="terminal")


@terminal_app.command("list")
def list_terminals(context: typer.Context, office: OfOffice = None, as_json: AsJson = False) -> None:
    """List logical terminals with their mail addresses, ended ones too."""
    running = invocation(context)
    with opened_store(running) as opened:
        port = opened.settings.naccs.terminal_port
        found = opened.store.read(lambda session: terminals(session, office, port))
    if found is None:
        no_office(running, str(office))
    if as_json:
        print_json(found)
        return
    for terminal in found:
        show_terminal(terminal)


@terminal_app.command("add")
@with_lists
def add(
    context: typer.Context,
    router_number: Annotated[str, typer.Argument(help="The line it stands on, by router number (ルータ番号).")],
    kind: Annotated[Kind, typer.Option(help="What it is; the name comes from the pool of the kind.")],
    name: Annotated[str | None, typer.Option(help="A name of its own, never used before.")] = None,
    ip: Annotated[str | None, typer.Option("--ip", help="Its LAN-side IP address; else the next free one.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Else naccs.terminal_port.")] = None,
    terminal_class: Annotated[str | None, typer.Option("--class", help="区分; else the line's.")] = None,
    addresses: Annotated[int, typer.Option(min=0, max=99, help="How many mail addresses it gets.")] = 0,
    *,
    options: Options,
) -> None:
    """Add a terminal to a line."""
    from handlers.allocation_order import GATEWAY_SERVER, INTERACTIVE, SMTP_SERVER
    from handlers.terminal_changes import add_terminal

    kinds = {Kind.SMTP: SMTP_SERVER, Kind.GATEWAY: GATEWAY_SERVER, Kind.INTERACTIVE: INTERACTIVE}
    stated = {"name": name and name.upper(), "ip_address": ip, "port": port, "class": terminal_class}
    values: dict[str, Any] = {key: value for key, value in stated.items() if value is not None}
    if addresses and kind is not Kind.SMTP:
        raise typer.BadParameter("only an SMTP server has mail addresses", param_hint="--addresses")
    work = partial(add_terminal, router_number=router_number, kind=kinds[kind], values=values, addresses=addresses)
    carry_out(context, options, work)


@terminal_app.command("move")
@with_lists
def move(
    context: typer.Context,
    name: Name,
    line: Annotated[str | None, typer.Option(help="The line it moves to, by router number.")] = None,
    ip: Annotated[str | None, typer.Option("--ip", help="Its new IP address; else the next free one.")] = None,
    *,
    options: Options,
) -> None:
    """Move a terminal to another line of its office or to another IP address. It keeps its name and its mail.

    A move happens at once: a terminal has one row and no dates for its place, so no other day than today is taken.
    """
    from handlers.terminal_changes import move_terminal

    if line is None and ip is None:
        raise typer.BadParameter("a line, an IP address or both", param_hint="--line, --ip")
    work = partial(move_terminal, name=name.upper(), router_number=line, ip_address=ip)
    carry_out(context, options, work)


@terminal_app.command("end")
@with_lists
def end(
    context: typer.Context,
    name: Name,
    *,
    options: Options,
) -> None:
    """End a terminal with its mail addresses. Its name is never issued again, its addresses rest."""
    from handlers.terminal_changes import end_terminal

    carry_out(context, options, partial(end_terminal, name=name.upper()))


@terminal_app.command("history")
def history(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show who changed a terminal and its mail addresses, when, from the audit trail."""
    from handlers.contract_history import of_terminal

    if not show_history(context, lambda session: of_terminal(session, name.upper()), as_json=as_json):
        text = invocation(context).text(ja=f"論理端末 {name} はありません。", en=f"there is no terminal {name}")
        refuse(text)
