"""`address list|add|end|history`: SMTP mail addresses of logical terminals, effective-dated in JST days."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from gateway.cli import invocation, print_json, refuse
from gateway.cli.contract_apps import (
    OfOffice,
    Options,
    address_app,
    carry_out,
    no_office,
    show_history,
)
from gateway.cli.map_views import span, terminals
from gateway.cli.opening import opened_store
from gateway.cli.options import AsJson, with_lists


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(address_app, name="address")


@address_app.command("list")
def list_addresses(context: typer.Context, office: OfOffice = None, as_json: AsJson = False) -> None:
    """List SMTP mail addresses with the terminal behind each, ended ones too."""
    running = invocation(context)
    with opened_store(running) as opened:
        found = opened.store.read(lambda session: terminals(session, office, 0))
    if found is None:
        no_office(running, str(office))
    addresses = [
        {**address, "terminal": terminal["name"], "office_code": terminal["office_code"]}
        for terminal in found
        for address in terminal["mail_addresses"]
    ]
    if as_json:
        print_json(addresses)
        return
    for address in addresses:
        typer.echo(f"{address['address']}  {address['terminal']}  {span(address)}")


@address_app.command("add")
@with_lists
def add(
    context: typer.Context,
    terminal: Annotated[str, typer.Argument(help="The logical terminal (論理端末名) that gets it.")],
    address: Annotated[str | None, typer.Argument(help="The address; else the next free one of the office.")] = None,
    *,
    options: Options,
) -> None:
    """Add a mail address to a terminal."""
    from handlers.terminal_changes import add_address

    carry_out(context, options, partial(add_address, terminal_name=terminal.upper(), address=address))


@address_app.command("end")
@with_lists
def end(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The mail address.")],
    *,
    options: Options,
) -> None:
    """End a mail address. What waits for it is not sent any more, and it rests before it is issued again."""
    from handlers.terminal_changes import end_address

    carry_out(context, options, partial(end_address, address=address))


@address_app.command("history")
def history(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The mail address.")],
    as_json: AsJson = False,
) -> None:
    """Show who changed a mail address, when, from the audit trail; also of terminals that had it before."""
    from handlers.contract_history import of_address

    if not show_history(context, lambda session: of_address(session, address), as_json=as_json):
        text = invocation(context).text(
            ja=f"メールアドレス {address} はありません。", en=f"there is no mail address {address}"
        )
        refuse(text)
