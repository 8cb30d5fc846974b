"""What an edit of the calendar or the schedule does to open cases: shown before, done after, fifty cases at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import typer

from gateway.cli import Invocation
from gateway.cli.opening import OpenedStore

if TYPE_CHECKING:
    from handlers.replanning import DateMoved, Edit

# The days of a case, in Japanese and English; by their names in handlers.replanning.
DAYS: dict[str, tuple[str, str]] = {
    "settings_deadline": ("システム設定申込締切日", "deadline for the system settings"),
    "passwords_until": ("パスワード参照期間の最終日", "last day of the password window"),
    "review_reminder": ("審査の催促", "reminder of the review"),
    "work_alert": ("回線工事の警告", "alert about work on the line"),
    "work_open": ("回線工事の開始", "begin of work on the line"),
    "work_close": ("回線工事の終了", "end of work on the line"),
    "begin_use": ("利用開始", "begin of use"),
    "confirm": ("通信確認", "communication check"),
    "tcc_reminder": ("通信確認の催促", "reminder of the communication check"),
    "passwords_closing": ("パスワード参照期間終了のお知らせ", "mail that the password window closes"),
    "destroy_secrets": ("パスワードの破棄", "end of the passwords"),
}


def dates_moved(opened: OpenedStore, edit: Edit) -> tuple[DateMoved, ...]:
    """Every date of an open case that the edit moves."""
    from handlers import replanning

    desk, last = opened.desk(), 0
    found: list[DateMoved] = []
    while True:
        page = opened.store.read(partial(replanning.dates_moved, desk=desk, edit=edit, after_id=last))
        found += page.moved
        if page.last_id is None:
            return tuple(found)
        last = page.last_id


def plan_again(running: Invocation, opened: OpenedStore) -> int:
    """Plan the jobs of every open case by the calendar as it now stands; how many changed."""
    from handlers import replanning
    from handlers.calendar import jst_date

    desk, now = opened.desk(), opened.now()
    calendar = opened.calendar(jst_date(now))
    total = opened.store.read(replanning.open_cases)
    changed = planned = last = 0
    while True:
        work = partial(replanning.plan_again, desk=desk, calendar=calendar, now=now, after_id=last)
        page = opened.store.run(work)
        changed, planned = changed + page.jobs, planned + page.cases
        if page.last_id is None:
            return changed
        last = page.last_id
        typer.echo(running.text(ja=f"申込 {planned}/{total}", en=f"applications {planned}/{total}"), err=True)


def show_moves(running: Invocation, moved: Sequence[DateMoved], *, err: bool = False) -> None:
    """One line for each date, those that stay as they were told marked."""
    for one in moved:
        ja, en = DAYS[one.what]
        line = f"  {one.receipt_number}  {running.text(ja=ja, en=en)}  {one.before or '-'} -> {one.after or '-'}"
        if one.told:
            line += running.text(
                ja="（通知済みのため変わりません）",
                en=" (was told, so it stays)",
            )
        typer.echo(line, err=err)
