"""What an import of contracts did or would do, as `office import` shows it; passwords never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from gateway.cli import Invocation
from gateway.cli.showing import plain, printable

if TYPE_CHECKING:
    from handlers.contract_differences import ColumnChange, RowChange
    from handlers.contracts import ImportReport

_SHOWN = 50  # rows; a file may have thousands


def report_json(report: ImportReport) -> dict[str, Any]:
    """The whole of it, for scripts."""
    return {
        "added": dict(report.added),
        "updated": dict(report.updated),
        "ended": list(report.ended),
        "ended_lines": list(report.ended_lines),
        "map_version": None if report.map_version is None else str(report.map_version),
        "changes": plain(report.changes),
    }


# What one row of a table is.
_KINDS: dict[str, tuple[str, str]] = {
    "offices": ("事業所", "office"),
    "contacts": ("担当者", "contact"),
    "lines": ("回線", "line"),
    "logical_terminals": ("論理端末", "logical terminal"),
    "mail_addresses": ("メールアドレス", "mail address"),
    "office_users": ("利用者", "office user"),
}


def show_report(running: Invocation, report: ImportReport, *, each: bool) -> None:
    """How much was done and what stays as it was; with `each`, what is done to every row, the first fifty."""
    if report.map_version is None:
        typer.echo(running.text(ja="変更はありません。", en="nothing to change"))
    for done, ja, en in ((report.added, "追加", "added"), (report.updated, "更新", "updated")):
        for kind, number in done.items():
            typer.echo(
                running.text(ja=f"{ja} {_KINDS[kind][0]} {number}", en=f"{en}: {kind.replace('_', ' ')} {number}")
            )
    if each:
        _show_changes(running, report.changes)
    for router_number in report.ended_lines:
        typer.echo(
            running.text(
                ja=f"ルータ番号 {router_number} の回線は廃止済みのため、そのままにしました。",
                en=f"line {router_number} was ended since and stays so",
            ),
            err=True,
        )
    for name in report.ended:
        typer.echo(
            running.text(
                ja=f"論理端末 {name} は削除済みのため、そのままにしました。",
                en=f"terminal {name} was deleted since and stays so",
            ),
            err=True,
        )


def _show_changes(running: Invocation, changes: Sequence[RowChange]) -> None:
    for change in changes[:_SHOWN]:
        ja, en = _KINDS[change.kind]
        kind = running.text(ja=ja, en=en)
        new = running.text(ja="新しい", en="new ") if change.is_new else ""
        typer.echo(f"  {new}{kind} {printable(change.name)}")
        for column in change.columns:
            typer.echo(f"    {_column(running, column)}")
    more = len(changes) - _SHOWN
    if more > 0:
        typer.echo(running.text(ja=f"  ほかに {more} 件", en=f"  {more} more"))


def _column(running: Invocation, column: ColumnChange) -> str:
    if column.after is None:
        return running.text(ja=f"{column.column} が変わります", en=f"{column.column} changes")
    return f"{column.column}: {printable(column.before or '') or '-'} -> {printable(column.after) or '-'}"
