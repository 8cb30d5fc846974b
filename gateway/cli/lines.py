"""`line list|show|add|change|end|history`: leased lines (回線), effective-dated in JST days."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json
from gateway.cli.contract_apps import (
    AsJson,
    DryRun,
    Effective,
    OfOffice,
    Options,
    carry_out,
    line_app,
    no_line,
    no_office,
    show_history,
)
from gateway.cli.map_views import lines, show_line, show_terminal
from gateway.cli.opening import SudoUid, opened_store

RouterNumber = Annotated[str, typer.Argument(help="The router number (ルータ番号); a leading zero counts.")]
Lan = Annotated[str | None, typer.Option("--lan", help="The LAN subnet behind the router, such as 10.20.13.0/24.")]
LineClass = Annotated[str | None, typer.Option("--class", help="区分, such as 共用.")]
Connection = Annotated[str | None, typer.Option(help="接続方式.")]
Edifact = Annotated[bool | None, typer.Option("--edifact/--no-edifact", help="EDIFACTの要否.")]
LineType = Annotated[str | None, typer.Option(help="接続種別.")]
AccessSpeed = Annotated[str | None, typer.Option(help="アクセス速度.")]
Wiring = Annotated[str | None, typer.Option(help="屋内配線工事.")]
MaintenanceHours = Annotated[str | None, typer.Option(help="保守時間帯.")]
SiteOption = Annotated[str | None, typer.Option(help="設置場所オプション.")]
Shared = Annotated[bool | None, typer.Option("--shared/--not-shared", help="他事業所と共用.")]
SharedWith = Annotated[
    list[str] | None, typer.Option(help="Code of an office that shares the line; may be repeated. '' for none.")
]
SpareRouter = Annotated[bool | None, typer.Option("--spare-router/--no-spare-router", help="予備ルータ.")]

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
        show_line(line)


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
def add(
    context: typer.Context,
    office: Annotated[str, typer.Argument(help="The code of the office (事業所コード).")],
    router_number: RouterNumber,
    lan: Lan = None,
    line_class: LineClass = None,
    connection: Connection = None,
    edifact: Edifact = None,
    line_type: LineType = None,
    access_speed: AccessSpeed = None,
    wiring: Wiring = None,
    maintenance_hours: MaintenanceHours = None,
    site_option: SiteOption = None,
    shared: Shared = None,
    shared_with: SharedWith = None,
    spare_router: SpareRouter = None,
    effective: Effective = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Add a line to an office. Router number and LAN must be nobody's."""
    from handlers.line_changes import add_line

    given = _given(locals())
    values = _DEFAULTS | given | {"router_number": router_number}
    options = Options(effective=effective, dry_run=dry_run, as_json=as_json, sudo_uid=sudo_uid)
    carry_out(context, options, partial(add_line, office_code=office, values=values))


@line_app.command("change")
def change(
    context: typer.Context,
    router_number: RouterNumber,
    lan: Lan = None,
    line_class: LineClass = None,
    connection: Connection = None,
    edifact: Edifact = None,
    line_type: LineType = None,
    access_speed: AccessSpeed = None,
    wiring: Wiring = None,
    maintenance_hours: MaintenanceHours = None,
    site_option: SiteOption = None,
    shared: Shared = None,
    shared_with: SharedWith = None,
    spare_router: SpareRouter = None,
    effective: Effective = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Change values of a line, at once: they have no dates of their own, so no other day than today is taken."""
    from handlers.line_changes import change_line

    values = _given(locals())
    if not values:
        raise typer.BadParameter("at least one value to change", param_hint="--lan, --class, …")
    options = Options(effective=effective, dry_run=dry_run, as_json=as_json, sudo_uid=sudo_uid)
    carry_out(context, options, partial(change_line, router_number=router_number, values=values))


_KEYS = {
    "lan": "lan_subnet",
    "line_class": "class",
    "shared": "shared_with_other_offices",
    **{
        name: name
        for name in (
            "connection", "edifact", "line_type", "access_speed", "wiring", "maintenance_hours", "site_option",
            "spare_router",
        )
    },
}  # fmt: skip


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, under the keys of the office file."""
    found = {key: options[name] for name, key in _KEYS.items() if options[name] is not None}
    if options["shared_with"] is not None:
        found["shared_with"] = [code for code in options["shared_with"] if code]
    return found


@line_app.command("end")
def end(
    context: typer.Context,
    router_number: RouterNumber,
    effective: Effective = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """End a line with every terminal and mail address on it. IP and mail addresses rest afterwards."""
    from handlers.line_changes import end_line

    options = Options(effective=effective, dry_run=dry_run, as_json=as_json, sudo_uid=sudo_uid)
    carry_out(context, options, partial(end_line, router_number=router_number))


@line_app.command("history")
def history(context: typer.Context, router_number: RouterNumber, as_json: AsJson = False) -> None:
    """Show who changed a line and the terminals on it, when, from the audit trail."""
    from handlers.contract_history import of_line

    if not show_history(context, lambda session: of_line(session, router_number), as_json=as_json):
        no_line(invocation(context), router_number)
