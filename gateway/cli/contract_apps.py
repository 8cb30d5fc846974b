"""The groups of commands that read and change the map, and what their commands share.

A change is made and shown by `carry_out`: with --dry-run the same is done and taken back, so that what it says is
what would happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.faults import exit_status, show_faults
from gateway.cli.opening import SudoUid, actor, opened_store
from gateway.cli.options import AsJson
from gateway.cli.rehearsing import rehearse
from gateway.cli.showing import day, instant, plain, printable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.contract_affected import Affected
    from handlers.map_changes import Change, Changed
    from storage.models import AuditEvent

    Work = Callable[[Session, Change], Changed]

office_app = typer.Typer(no_args_is_help=True, help="Contracting offices: import, export, list and show them.")
line_app = typer.Typer(no_args_is_help=True, help="Leased lines (回線): list, show, add, change and end them.")
terminal_app = typer.Typer(no_args_is_help=True, help="Logical terminals.")
address_app = typer.Typer(no_args_is_help=True, help="SMTP mail addresses.")

OfOffice = Annotated[str | None, typer.Option("--office", help="Only those of the office with this code.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What every command that changes the map is told beside what to change."""

    effective: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD", help="From this day on (JST, 00:00); else from now on. Not a day that has passed."
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change and which mail it affects; change nothing.")
    ] = False
    as_json: AsJson = False
    sudo_uid: SudoUid = None


def carry_out(context: typer.Context, options: Options, work: Work) -> None:
    """Make a change in one transaction and show it; what is in the way ends the command with status 1."""
    from handlers.contract_faults import ContractsRefused
    from handlers.map_changes import Change

    running = invocation(context)
    effective = day(options.effective, "--effective")
    with opened_store(running) as opened:
        change = Change(desk=opened.desk(), actor=actor(options.sudo_uid), now=opened.now(), effective=effective)

        def make(session: Session) -> Changed:
            return work(session, change)

        try:
            changed = rehearse(opened.store, make) if options.dry_run else opened.store.run(make)
        except ContractsRefused as refused:
            show_faults(running, refused.faults, as_json=options.as_json)
            raise typer.Exit(exit_status(refused.faults)) from None
    if options.as_json:
        print_json({"dry_run": options.dry_run, **_as_json(changed)})
    else:
        _show(running, changed, dry_run=options.dry_run)


def _as_json(changed: Changed) -> dict[str, Any]:
    found: dict[str, Any] = plain(changed)
    found["affected"]["mails"] = [{**mail, "mail_id": str(mail["mail_id"])} for mail in found["affected"]["mails"]]
    return found


_EVENTS_JA = {
    "line_added": "回線を追加",
    "line_changed": "回線を変更",
    "line_ended": "回線を廃止",
    "terminal_added": "論理端末を追加",
    "terminal_moved": "論理端末を移動",
    "terminal_ended": "論理端末を廃止",
    "address_added": "メールアドレスを追加",
    "address_ended": "メールアドレスを廃止",
}


def _show(running: Invocation, changed: Changed, *, dry_run: bool) -> None:
    if dry_run:
        typer.echo(running.text(ja="予行（何も変えていません）:", en="rehearsed, nothing was changed:"))
    for step in changed.steps:
        done = running.text(ja=_EVENTS_JA[step.event], en=step.event.replace("_", " "))
        name = step.subject.partition(":")[2]
        typer.echo(f"{done}: {name}  {printable(step.detail)}".rstrip())
    typer.echo(running.text(ja=f"適用日 {changed.effective}", en=f"effective {changed.effective}"))
    _show_affected(running, changed.affected)


def _show_affected(running: Invocation, affected: Affected) -> None:
    if affected.count == 0:
        return
    typer.echo(
        running.text(
            ja=f"影響を受けるメール {affected.count} 件（送信待ち・未送信）:",
            en=f"mail affected, queued or undelivered: {affected.count}",
        )
    )
    for mail in affected.mails:
        code = printable(mail.output_code) or "-"
        typer.echo(f"    {mail.mail_id}  {mail.address}  {mail.terminal}  {mail.state}  {code}  {instant(mail.since)}")
    if affected.count > len(affected.mails):
        more = affected.count - len(affected.mails)
        typer.echo(running.text(ja=f"    ほかに {more} 件", en=f"    {more} more"))


def show_history(context: typer.Context, read: Callable[[Session], list[AuditEvent] | None], *, as_json: bool) -> bool:
    """Show what happened to something, oldest first; False when it never was."""
    with opened_store(invocation(context)) as opened:
        events = opened.store.read(read)
    if events is None:
        return False
    told = [
        {
            "occurred_at": instant(event.occurred_at),
            "actor": event.actor,
            "event": event.event,
            "subject": event.subject,
            "detail": event.detail,
        }
        for event in events
    ]
    if as_json:
        print_json(told)
        return True
    for event in told:
        line = f"{event['occurred_at']}  {event['actor']}  {event['event']}  {event['subject']}  {event['detail']}"
        typer.echo(printable(line.rstrip()))
    return True


def no_office(running: Invocation, code: str) -> NoReturn:
    """End the command: there is no such office."""
    refuse(running.text(ja=f"事業所 {code} はありません。", en=f"there is no office {code}"))


def no_line(running: Invocation, router_number: str) -> NoReturn:
    """End the command: there is no such line."""
    refuse(running.text(ja=f"ルータ番号 {router_number} の回線はありません。", en=f"there is no line {router_number}"))
