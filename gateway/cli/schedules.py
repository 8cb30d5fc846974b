"""`schedule import|list` and `calendar list|add|remove`: registration days, and days on which the center is closed."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import invocation, print_json, refuse
from gateway.cli.faults import show_faults
from gateway.cli.opening import SudoUid, actor, opened_store
from gateway.cli.showing import plain, printable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.schedule_file import PlannedDay
    from storage.models import ScheduleDay

schedule_app = typer.Typer(
    no_args_is_help=True, help="Registration days (システム登録日) and the last days to apply for them (申込締切日)."
)
calendar_app = typer.Typer(no_args_is_help=True, help="Days on which the center does not work.")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(schedule_app, name="schedule")
    root.add_typer(calendar_app, name="calendar")


@schedule_app.command("import")
def import_schedule(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A TOML or CSV file.")],
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Take the registration days of a file, all of them or none: tables [[schedule]], or CSV by the name's ending.

    Columns or keys: 申込締切日 (apply_by), システム登録日 (start_on). Importing a file again changes nothing; a day
    that is in the store and not in the file stays.
    """
    from handlers import schedule
    from handlers.contract_faults import ContractsRefused

    running, by = invocation(context), actor(sudo_uid)
    try:
        days = _read(file)
    except ContractsRefused as refused:
        show_faults(running, refused.faults, as_json=as_json)
        raise typer.Exit(1) from None
    with opened_store(running) as opened:
        now = opened.now()
        report = opened.store.run(partial(schedule.import_schedule, days=days, actor=by, now=now))
    if as_json:
        print_json(plain(report))
        return
    added, changed, unchanged = len(report.added), len(report.changed), report.unchanged
    typer.echo(
        running.text(
            ja=f"追加 {added}、変更 {changed}、変更なし {unchanged}",
            en=f"added {added}, changed {changed}, unchanged {unchanged}",
        )
    )


@schedule_app.command("list")
def list_schedule(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also days that can no longer be applied for.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the registration days that can still be applied for."""
    running = invocation(context)
    with opened_store(running) as opened:
        now = opened.now()
        days = opened.store.read(lambda session: _days(session, now, every=every))
    if as_json:
        print_json([{"apply_by": row.apply_by.isoformat(), "start_on": row.start_on.isoformat()} for row in days])
        return
    for row in days:
        typer.echo(
            running.text(
                ja=f"申込締切日 {row.apply_by}  システム登録日 {row.start_on}",
                en=f"apply by {row.apply_by}  registered on {row.start_on}",
            )
        )
    if not days:
        typer.echo(running.text(ja="スケジュール表はありません。", en="there is no schedule"))


@calendar_app.command("list")
def list_days_off(
    context: typer.Context,
    year: Annotated[int | None, typer.Option(min=1, max=9998, help="Only this year; else from today on.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the days on which the center does not work, weekends apart."""
    from datetime import date

    from handlers.calendar import jst_date
    from handlers.days_off import days_off

    running = invocation(context)
    with opened_store(running) as opened:
        today = jst_date(opened.now())
        opened.calendar(today)
        first, last = (today, date.max) if year is None else (date(year, 1, 1), date(year, 12, 31))
        rows = opened.store.read(lambda session: days_off(session, first, last))
    if as_json:
        print_json(plain(rows))
        return
    for row in rows:
        typer.echo(f"{row.day}  {printable(row.name)}")


_Day = Annotated[
    datetime, typer.Argument(metavar="DAY", formats=["%Y-%m-%d"], help="The day (JST), such as 2026-08-14.")
]


@calendar_app.command("add")
def add_day(
    context: typer.Context,
    on: _Day,
    name: Annotated[str, typer.Option(help="What it is called.")] = "臨時休業",
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Add a day on which the center does not work (臨時休業). Dates that were told already stay."""
    from handlers.days_off import add_day_off

    running = invocation(context)
    with opened_store(running) as opened:
        now, by = opened.now(), actor(sudo_uid)
        added = opened.store.run(lambda session: add_day_off(session, on.date(), name, by, now))
    if not added:
        refuse(running.text(ja=f"{on.date()} はすでに休業日です。", en=f"{on.date()} is a day off already"))
    if as_json:
        print_json({"day": on.date().isoformat(), "name": name})
        return
    typer.echo(running.text(ja=f"{on.date()} {name} を追加しました。", en=f"{on.date()} {name} added"))


@calendar_app.command("remove")
def remove_day(context: typer.Context, on: _Day, as_json: AsJson = False, sudo_uid: SudoUid = None) -> None:
    """Let a day off be a working day again."""
    from handlers.days_off import remove_day_off

    running = invocation(context)
    with opened_store(running) as opened:
        now, by = opened.now(), actor(sudo_uid)
        removed = opened.store.run(lambda session: remove_day_off(session, on.date(), by, now))
    if not removed:
        refuse(running.text(ja=f"{on.date()} は休業日ではありません。", en=f"{on.date()} is no day off"))
    if as_json:
        print_json({"day": on.date().isoformat()})
        return
    typer.echo(running.text(ja=f"{on.date()} を営業日に戻しました。", en=f"{on.date()} is a working day again"))


def _days(session: Session, now: datetime, *, every: bool) -> list[ScheduleDay]:
    from handlers import schedule
    from handlers.calendar import jst_date

    return schedule.all_days(session) if every else schedule.coming(session, jst_date(now), None)


def _read(file: Path) -> tuple[PlannedDay, ...]:
    """The days of a file in UTF-8 or, as spreadsheets write it in Japan, in cp932."""
    from handlers.contract_faults import ContractsRefused, Fault
    from handlers.schedule_file import read_schedule

    as_csv = file.suffix.lower() == ".csv"
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = content.decode("cp932")
        except UnicodeDecodeError as error:
            fault = Fault(place=str(file), rule="csv" if as_csv else "toml", value=str(error))
            raise ContractsRefused((fault,)) from None
    return read_schedule(text, as_csv=as_csv)
