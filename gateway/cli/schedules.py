"""`schedule import|list` and `calendar list|add|remove`: registration days, and days on which the center is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.asking import ask
from gateway.cli.faults import show_faults
from gateway.cli.opening import OpenedStore, SudoUid, actor, opened_store
from gateway.cli.options import AsJson, DryRun, Yes, with_lists
from gateway.cli.replanned import dates_moved, plan_again, show_moves
from gateway.cli.showing import plain, printable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.calendar import BusinessCalendar
    from handlers.replanning import DateMoved
    from handlers.schedule_file import PlannedDay
    from storage.models import ScheduleDay

schedule_app = typer.Typer(
    no_args_is_help=True, help="Registration days (システム登録日) and the last days to apply for them (申込締切日)."
)
calendar_app = typer.Typer(no_args_is_help=True, help="Days on which the center does not work.")


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
    that is in the store and not in the file stays. Open applications are planned again.
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
        plan_again(running, opened)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    dry_run: DryRun = False
    as_json: AsJson = False
    sudo_uid: SudoUid = None


@calendar_app.command("add")
@with_lists
def add_day(
    context: typer.Context,
    on: _Day,
    name: Annotated[str, typer.Option(help="What it is called.")] = "臨時休業",
    *,
    options: _Options,
) -> None:
    """Add a day on which the center does not work (臨時休業), and say which dates of open applications move.

    Reminders move at once. Dates that were told already stay. A day that is off by law gets its name back.
    """
    from handlers.days_off import add_day_off, day_off, name_by_law

    running, day = invocation(context), on.date()
    by_law = name_by_law(day)
    name = by_law or name
    with opened_store(running) as opened:
        now, before = opened.now(), _calendar(opened)
        if opened.store.read(lambda session: day_off(session, day)) is not None:
            refuse(running.text(ja=f"{day} はすでに休業日です。", en=f"{day} is a day off already"))
        moved = _moved(opened, before, before.holidays | {day})
        jobs = 0
        if not options.dry_run:
            by = actor(options.sudo_uid)
            opened.store.run(lambda session: add_day_off(session, day, name, by, now))
            jobs = plan_again(running, opened)
    what = _what(running, day, name, by_law=by_law is not None)
    done = running.text(ja=f"{what} を追加しました。", en=f"{what} added")
    would = running.text(ja=f"{what} を追加します（予行）。", en=f"{what} would be added")
    shown = {"day": day.isoformat(), "name": name, "by_law": by_law is not None}
    _show(running, options, shown, would if options.dry_run else done, moved, jobs)


@calendar_app.command("remove")
@with_lists
def remove_day(context: typer.Context, on: _Day, yes: Yes = False, *, options: _Options) -> None:
    """Let a day off be a working day again, and say which dates of open applications move.

    Asks first where the day is off by law: a national holiday, or between 12/29 and 1/3.
    """
    from handlers.days_off import day_off, off_by_law, remove_day_off

    running, day = invocation(context), on.date()
    with opened_store(running) as opened:
        now, before = opened.now(), _calendar(opened)
        found = opened.store.read(lambda session: day_off(session, day))
        if found is None:
            refuse(running.text(ja=f"{day} は休業日ではありません。", en=f"{day} is no day off"))
        moved, by_law = _moved(opened, before, before.holidays - {day}), off_by_law(day)
        name, jobs = printable(found.name), 0
        if by_law and not yes and not options.dry_run:
            _ask_about(running, f"{day} {name}", moved)
        if not options.dry_run:
            by = actor(options.sudo_uid)
            opened.store.run(lambda session: remove_day_off(session, day, by, now))
            jobs = plan_again(running, opened)
    what = _what(running, day, name, by_law=by_law)
    done = running.text(ja=f"{what} を営業日に戻しました。", en=f"{what} is a working day again")
    would = running.text(ja=f"{what} を営業日に戻します（予行）。", en=f"{what} would be a working day")
    shown = {"day": day.isoformat(), "name": found.name, "by_law": by_law}
    _show(running, options, shown, would if options.dry_run else done, moved, jobs)


def _what(running: Invocation, day: date, name: str, *, by_law: bool) -> str:
    law = running.text(ja="（法令による休日）", en=" (off by law)") if by_law else ""
    return f"{day} {name}{law}"


def _ask_about(running: Invocation, what: str, moved: Sequence[DateMoved]) -> None:
    typer.echo(
        running.text(
            ja=f"{what} は法令による休日です。営業日にすると動く日付: {len(moved)} 件",
            en=f"{what} is a day off by law; dates that move with it: {len(moved)}",
        ),
        err=True,
    )
    show_moves(running, moved, err=True)
    ask(running, running.text(ja="営業日にしますか", en="make it a working day?"))


def _calendar(opened: OpenedStore) -> BusinessCalendar:
    from handlers.calendar import jst_date

    return opened.calendar(jst_date(opened.now()))


def _moved(opened: OpenedStore, before: BusinessCalendar, holidays: frozenset[date]) -> tuple[DateMoved, ...]:
    from handlers.calendar import BusinessCalendar, jst_date
    from handlers.replanning import Edit

    after = BusinessCalendar(holidays=holidays)
    return dates_moved(opened, Edit(before=before, after=after, today=jst_date(opened.now())))


def _show(
    running: Invocation,
    options: _Options,
    shown: dict[str, Any],
    said: str,
    moved: Sequence[DateMoved],
    jobs: int,
) -> None:
    if options.as_json:
        print_json({**shown, "dry_run": options.dry_run, "moved": plain(tuple(moved)), "jobs_changed": jobs})
        return
    typer.echo(said)
    show_moves(running, moved)
    if jobs:
        typer.echo(running.text(ja=f"予定を組み直した作業 {jobs} 件", en=f"planned again: {jobs} jobs"))


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
