"""`output list|add|end|import`: registered output destinations (宛先管理, EXC), effective-dated in JST days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.faults import exit_status, show_faults
from gateway.cli.opening import OpenedStore, SudoUid, actor, opened_store
from gateway.cli.options import AsJson, DryRun
from gateway.cli.previewing import drafts_of
from gateway.cli.showing import day, plain

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from handlers.output_destination_file import WantedDestination
    from handlers.output_destinations import OutputReport, RegisteredOutput

output_app = typer.Typer(
    no_args_is_help=True, help="Third parties that get outputs by output information code (宛先管理)."
)


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
    from handlers.output_destination_file import is_output_code
    from handlers.output_destinations import is_mail_address, registered

    if code is not None and not is_output_code(code.strip().upper()):
        raise typer.BadParameter("up to 7 capitals and digits, the first may be *", param_hint="--code")
    wanted = partial(registered, output_code=code, address=address, on=day(on, "--on"))
    running = invocation(context)
    with opened_store(running) as opened:
        if address is not None and not opened.store.read(partial(is_mail_address, address=address)):
            refuse(running.text(ja=f"メールアドレス {address} はありません", en=f"there is no mail address {address}"))
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
    dry_run: DryRun = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Register a mail address for the outputs of a code."""
    from handlers.calendar import jst_date
    from handlers.contract_faults import ContractsRefused
    from handlers.output_destination_file import WantedDestination
    from handlers.output_destinations import registered

    running, by = invocation(context), actor(sudo_uid)
    first, last = day(begins, "--from"), day(until, "--until")
    if first is not None and last is not None and last <= first:
        raise typer.BadParameter("must be after --from", param_hint="--until")
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
        look = partial(registered, output_code=wanted.output_code, address=address)
        try:
            report, rows = _register(opened, [wanted], by, now, look, dry_run=dry_run)
        except ContractsRefused as refused:
            show_faults(running, refused.faults, as_json=as_json)
            raise typer.Exit(exit_status(refused.faults)) from None
    _show_changed(running, report, rows, as_json=as_json, dry_run=dry_run)


def _register(
    opened: OpenedStore,
    wanted: Sequence[WantedDestination],
    by: str,
    now: datetime,
    look: Callable[[Session], list[RegisteredOutput]],
    *,
    dry_run: bool,
) -> tuple[OutputReport, list[RegisteredOutput]]:
    """Do the change, or do it and take it back; what it did, and the rows as they are then."""
    from handlers.output_destinations import register_destinations

    def work(session: Session) -> tuple[OutputReport, list[RegisteredOutput]]:
        return register_destinations(session, wanted, actor=by, now=now), look(session)

    return drafts_of(opened.store, work)[0] if dry_run else opened.store.run(work)


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
    dry_run: DryRun = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Register what a file names, all of it or nothing: tables [[output]], or CSV by the name's ending.

    Keys or columns: code, address, and where wanted user, from, until. Importing a file again changes nothing.
    """
    from handlers.contract_faults import ContractsRefused

    running, by = invocation(context), actor(sudo_uid)
    try:
        wanted = _read(file)
        with opened_store(running) as opened:
            report, _ = _register(opened, wanted, by, opened.now(), lambda _session: [], dry_run=dry_run)
    except ContractsRefused as refused:
        show_faults(running, refused.faults, as_json=as_json)
        raise typer.Exit(1) from None
    _show_changed(running, report, [], as_json=as_json, dry_run=dry_run)


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


def _show_changed(
    running: Invocation, report: OutputReport, rows: list[RegisteredOutput], *, as_json: bool, dry_run: bool = False
) -> None:
    if as_json:
        print_json({"dry_run": dry_run, **plain(report), "outputs": plain(rows)})
        return
    if report.map_version is None:
        typer.echo(running.text(ja="変更はありません。", en="nothing to change"))
    else:
        counted = running.text(
            ja=f"追加 {report.added}、更新 {report.updated}", en=f"added {report.added}, updated {report.updated}"
        )
        undone = running.text(ja="（実行すると。変更していません）", en=" (would be; nothing was changed)")
        typer.echo(f"{counted}{undone if dry_run else ''}")
    for code in report.unknown_users:
        typer.echo(
            running.text(
                ja=f"注意: 利用者コード {code} は登録されていません。",
                en=f"caution: the register has no user with the code {code}",
            ),
            err=True,
        )
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
