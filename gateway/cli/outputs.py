"""`output list|add|end|import`: registered output destinations (宛先管理, EXC), effective-dated in JST days."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.faults import show_faults
from gateway.cli.opening import SudoUid, actor, opened_store
from gateway.cli.showing import day, plain

if TYPE_CHECKING:
    from handlers.output_destination_file import WantedDestination
    from handlers.output_destinations import OutputReport, RegisteredOutput

output_app = typer.Typer(
    no_args_is_help=True, help="Third parties that get outputs by output information code (宛先管理)."
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(output_app, name="output")


@output_app.command("list")
def list_outputs(
    context: typer.Context,
    code: Annotated[str | None, typer.Option(help="Only those of this output information code.")] = None,
    address: Annotated[str | None, typer.Option(help="Only those to this mail address.")] = None,
    on: Annotated[str | None, typer.Option(help="Only those that apply on this day (JST).")] = None,
    as_json: AsJson = False,
) -> None:
    """List registered output destinations, ended ones too."""
    from handlers.output_destinations import registered

    wanted = partial(registered, output_code=code, address=address, on=day(on, "--on"))
    with opened_store(invocation(context)) as opened:
        rows = opened.store.read(wanted)
    _show(rows, as_json=as_json)


@output_app.command("add")
def add_output(
    context: typer.Context,
    code: Annotated[str, typer.Argument(help="The output information code (出力情報コード), such as SAD4011.")],
    address: Annotated[str, typer.Argument(help="The mail address that gets it.")],
    user: Annotated[str, typer.Option(help="Only outputs of requests of this user code (利用者コード).")] = "",
    begins: Annotated[str | None, typer.Option("--from", help="The first day (JST); else today.")] = None,
    until: Annotated[str | None, typer.Option(help="The day from which it no longer applies (JST).")] = None,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Register a mail address for the outputs of a code."""
    from handlers.calendar import jst_date
    from handlers.contract_faults import ContractsRefused
    from handlers.output_destination_file import WantedDestination
    from handlers.output_destinations import register_destinations, registered

    running, by = invocation(context), actor(sudo_uid)
    first, last = day(begins, "--from"), day(until, "--until")
    with opened_store(running) as opened:
        now = opened.now()
        wanted = WantedDestination(
            place=code,
            output_code=code.upper(),
            address=address,
            user_code=user.upper(),
            effective_from=first or jst_date(now),
            effective_until=last,
        )
        try:
            report = opened.store.run(partial(register_destinations, wanted=[wanted], actor=by, now=now))
        except ContractsRefused as refused:
            show_faults(running, refused.faults, as_json=as_json)
            raise typer.Exit(1) from None
        rows = opened.store.read(partial(registered, output_code=wanted.output_code, address=address))
    _show_changed(running, report, rows, as_json=as_json)


@output_app.command("end")
def end_output(
    context: typer.Context,
    row_id: Annotated[str, typer.Argument(help="The id of the row, as `output list` shows it.")],
    on: Annotated[str | None, typer.Option(help="The day from which it no longer applies (JST); else today.")] = None,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """End a registered output destination."""
    from handlers.calendar import jst_date
    from handlers.contract_faults import ContractsRefused
    from handlers.output_destinations import end_destination, registered

    if not (row_id.isascii() and row_id.isdigit() and len(row_id) < 19):
        raise typer.BadParameter("an id is a number", param_hint="ROW_ID")
    running, by = invocation(context), actor(sudo_uid)
    last = day(on, "--on")
    with opened_store(running) as opened:
        now = opened.now()
        end = partial(end_destination, row_id=int(row_id), on=last or jst_date(now), actor=by, now=now)
        try:
            report = opened.store.run(end)
        except ContractsRefused as refused:
            show_faults(running, refused.faults, as_json=as_json)
            raise typer.Exit(1) from None
        if report is None:
            refuse(running.text(ja=f"宛先 {row_id} はありません", en=f"there is no output destination {row_id}"))
        rows = opened.store.read(partial(registered, row_id=int(row_id)))
    _show_changed(running, report, rows, as_json=as_json)


@output_app.command("import")
def import_outputs(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A TOML or CSV file.")],
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Register what a file names, all of it or nothing: tables [[output]], or CSV by the name's ending.

    Keys or columns: code, address, and where wanted user, from, until. Importing a file again changes nothing.
    """
    from handlers.contract_faults import ContractsRefused
    from handlers.output_destinations import register_destinations

    running, by = invocation(context), actor(sudo_uid)
    try:
        wanted = _read(file)
        with opened_store(running) as opened:
            now = opened.now()
            report = opened.store.run(partial(register_destinations, wanted=wanted, actor=by, now=now))
    except ContractsRefused as refused:
        show_faults(running, refused.faults, as_json=as_json)
        raise typer.Exit(1) from None
    _show_changed(running, report, [], as_json=as_json)


def _read(file: Path) -> tuple[WantedDestination, ...]:
    from handlers.contract_faults import ContractsRefused, Fault
    from handlers.output_destination_file import read_destinations

    as_csv = file.suffix.lower() == ".csv"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        fault = Fault(place=str(file), rule="csv" if as_csv else "toml", value=str(error))
        raise ContractsRefused((fault,)) from None
    return read_destinations(text, as_csv=as_csv)


def _show_changed(running: Invocation, report: OutputReport, rows: list[RegisteredOutput], *, as_json: bool) -> None:
    if as_json:
        print_json(plain(report) | {"outputs": plain(rows)})
        return
    if report.map_version is None:
        typer.echo(running.text(ja="変更はありません。", en="nothing to change"))
    else:
        counted = running.text(
            ja=f"追加 {report.added}、更新 {report.updated}", en=f"added {report.added}, updated {report.updated}"
        )
        typer.echo(counted)
    for ended in report.ended:
        typer.echo(
            running.text(
                ja=f"{ended} は終了済みのため、そのままにしました。", en=f"{ended} was ended since and stays so"
            ),
            err=True,
        )
    _show(rows, as_json=False)


def _show(rows: list[RegisteredOutput], *, as_json: bool) -> None:
    if as_json:
        print_json(plain(rows))
        return
    for row in rows:
        span = f"{row.effective_from} - {row.effective_until or ''}".rstrip()
        typer.echo(f"{row.id}  {row.output_code:7} {row.user_code or '*':5} {row.address}  {row.terminal}  {span}")
