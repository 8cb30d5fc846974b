"""`line list|show|add|change|end|history`: leased lines (回線), effective-dated in JST days."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json
from gateway.cli.contract_apps import (
    OfOffice,
    Options,
    carry_out,
    line_app,
    no_line,
    no_office,
    show_history,
)
from gateway.cli.map_views import lines, show_line, show_terminal
from gateway.cli.opening import opened_store
from gateway.cli.options import AsJson, with_lists

RouterNumber = Annotated[str, typer.Argument(help="The router number (ルータ番号); a leading zero counts.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineValues:
    """The values of a line, those that were given."""

    lan: Annotated[
        str | None, typer.Option("--lan", help="The LAN subnet behind the router, such as 10.20.13.0/24.")
    ] = None
    line_class: Annotated[str | None, typer.Option("--class", help="区分, such as 共用.")] = None
    connection: Annotated[str | None, typer.Option(help="接続方式.")] = None
    edifact: Annotated[bool | None, typer.Option("--edifact/--no-edifact", help="EDIFACTの要否.")] = None
    line_type: Annotated[str | None, typer.Option(help="接続種別.")] = None
    access_speed: Annotated[str | None, typer.Option(help="アクセス速度.")] = None
    wiring: Annotated[str | None, typer.Option(help="屋内配線工事.")] = None
    maintenance_hours: Annotated[str | None, typer.Option(help="保守時間帯.")] = None
    site_option: Annotated[str | None, typer.Option(help="設置場所オプション.")] = None
    shared: Annotated[
        bool | None,
        typer.Option("--shared/--not-shared", help="他事業所と共用. Only lines that share may have one LAN."),
    ] = None
    shared_with: Annotated[
        list[str] | None, typer.Option(help="Code of an office that shares the line; may be repeated. '' for none.")
    ] = None
    spare_router: Annotated[bool | None, typer.Option("--spare-router/--no-spare-router", help="予備ルータ.")] = None

    def given(self) -> dict[str, Any]:
        """Under the keys of the office file."""
        named = {_KEYS.get(part.name, part.name): getattr(self, part.name) for part in fields(self)}
        found = {key: value for key, value in named.items() if value is not None}
        if "shared_with" in found:
            found["shared_with"] = [code for code in found["shared_with"] if code]
        return found


_KEYS = {"lan": "lan_subnet", "line_class": "class", "shared": "shared_with_other_offices"}

# What a new line is when nothing else is said.
_DEFAULTS: dict[str, Any] = {
    "class": "",
    "connection": "",
    "edifact": False,
    "line_type": "",
    "access_speed": "",
    "wiring": "",
    "maintenance_hours": "",
    "shared_with_other_offices": False,
    "spare_router": False,
}


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(line_app, name="line")


@line_app.command("list")
def list_lines(context: typer.Context, office: OfOffice = None, as_json: AsJson = False) -> None:
    """List lines with their LAN and how many terminals they have, ended ones too."""
    running = invocation(context)
    found = _lines(running, office)
    if found is None:
        no_office(running, str(office))
    if as_json:
        print_json(found)
        return
    for line in found:
        show_line({**line, "terminals": [one for one in line["terminals"] if not _was_taken_back(one)]})


def _was_taken_back(dated: dict[str, Any]) -> bool:
    """Whether something as it is shown ended before it began, so that it was never there."""
    until = dated["effective_until"]
    return until is not None and until <= (dated["effective_from"] or "")


@line_app.command("show")
def show(context: typer.Context, router_number: RouterNumber, as_json: AsJson = False) -> None:
    """Show one line with the terminals on it, ended ones too."""
    running = invocation(context)
    found = next((line for line in _lines(running, None) or () if line["router_number"] == router_number), None)
    if found is None:
        no_line(running, router_number)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        if key != "terminals":
            typer.echo(
                f"{key}: {' '.join(value) if isinstance(value, list) else '' if value is None else value}".rstrip()
            )
    for terminal in found["terminals"]:
        show_terminal(terminal, indent="  ")


def _lines(running: Invocation, office: str | None) -> list[dict[str, Any]] | None:
    with opened_store(running) as opened:
        port = opened.settings.naccs.terminal_port
        return opened.store.read(lambda session: lines(session, office, port))


@line_app.command("add")
@with_lists
def add(
    context: typer.Context,
    office: Annotated[str, typer.Argument(help="The code of the office (事業所コード).")],
    router_number: RouterNumber,
    line: LineValues,
    options: Options,
) -> None:
    """Add a line to an office. Its router number must be nobody's, its LAN no other line's that is not shared."""
    from handlers.line_changes import add_line

    values = _DEFAULTS | line.given() | {"router_number": router_number}
    carry_out(context, options, partial(add_line, office_code=office, values=values))


@line_app.command("change")
@with_lists
def change(context: typer.Context, router_number: RouterNumber, line: LineValues, options: Options) -> None:
    """Change values of a line, at once: they have no dates of their own, so no other day than today is taken."""
    from handlers.line_changes import change_line

    values = line.given()
    if not values:
        raise typer.BadParameter("at least one value to change", param_hint="--lan, --class, …")
    carry_out(context, options, partial(change_line, router_number=router_number, values=values))


@line_app.command("end")
@with_lists
def end(
    context: typer.Context,
    router_number: RouterNumber,
    *,
    options: Options,
) -> None:
    """End a line with every terminal and mail address on it. IP and mail addresses rest afterwards."""
    from handlers.line_changes import end_line

    carry_out(context, options, partial(end_line, router_number=router_number))


@line_app.command("history")
def history(context: typer.Context, router_number: RouterNumber, as_json: AsJson = False) -> None:
    """Show who changed a line and the terminals on it, when, from the audit trail."""
    from handlers.contract_history import of_line

    if not show_history(context, lambda session: of_line(session, router_number), as_json=as_json):
        no_line(invocation(context), router_number)
