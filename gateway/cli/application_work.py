"""`application schedule-work [--done]`: work on a line (回線工事) that an application needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.deciding import Deciding, Receipt, carry_out, decision
from gateway.cli.options import with_lists

if TYPE_CHECKING:
    from handlers.works import WorkOrder

_MOMENTS = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
_DAYS = ["%Y-%m-%d"]


class Mode(StrEnum):
    """How the work is done."""

    REMOTE = "remote"
    ON_SITE = "on_site"


def register(application_app: typer.Typer) -> None:
    """Add the command of this module to `application`."""
    application_app.command("schedule-work")(schedule_work)


@with_lists
def schedule_work(
    context: typer.Context,
    receipt: Receipt,
    begins: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="When it begins (JST).")] = None,
    ends: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="When it ends (JST).")] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="Remote (where nothing is said), or on site: a line with a spare router.")
    ] = None,
    router: Annotated[
        str | None, typer.Option(help="The line's router number; else the one line of the application.")
    ] = None,
    router_installed_on: Annotated[
        datetime | None, typer.Option(formats=_DAYS, help="The day a new line gets its router.")
    ] = None,
    contact: Annotated[str | None, typer.Option(help="Who is to be asked for.")] = None,
    phone: Annotated[str | None, typer.Option(help="Their phone number.")] = None,
    fee: Annotated[str | None, typer.Option(help="What it costs, as the mail says it.")] = None,
    note: Annotated[str | None, typer.Option(help="What else the mail says.")] = None,
    done: Annotated[bool, typer.Option("--done", help="Record that the work is done.")] = False,
    work: Annotated[int | None, typer.Option(help="Which work is done, where there are several: its id.")] = None,
    *,
    options: Deciding,
) -> None:
    """Arrange work on a line and tell everybody it concerns, or record it as done.

    While its window is open, mail to the terminals of the line waits.

    Of one line the later arrangement REPLACES the earlier one that is not done: that one is called off, and the mail
    says which date it was. What you leave out of --mode, --router-installed-on, --contact, --phone, --fee and --note
    is then taken over from it; an empty value ('') clears one. --preview shows the mails before anything is sent.
    """
    from handlers.review_case import Details

    if done and (begins is not None or ends is not None):
        raise typer.BadParameter("record work as done, or arrange it: not both", param_hint="--done")
    if work is not None and not done:
        hint = "it names the work that is --done; to move work, arrange its line again"
        raise typer.BadParameter(hint, param_hint="--work")
    if done:
        said = ("{receipt} 工事の終了を記録しました。", "{receipt} the work is done")
        details = Details(work_id=work)
    else:
        said = ("{receipt} 工事の日程を送りました。", "{receipt} the work is arranged")
        words = {"contact": contact, "phone": phone, "fee": fee, "note": note}
        details = Details(work=_order(router, mode, begins, ends, router_installed_on, words))
    event = "finish_work" if done else "schedule_work"
    carry_out(decision(context, receipt, event, options, said), details)


def _order(
    router: str | None,
    mode: Mode | None,
    begins: datetime | None,
    ends: datetime | None,
    router_installed_on: datetime | None,
    words: Mapping[str, str | None],
) -> WorkOrder:
    from handlers.works import WorkOrder

    if begins is None or ends is None:
        raise typer.BadParameter("say when the work begins and ends, or --done", param_hint="--begins, --ends")
    try:
        return WorkOrder(
            router_number=router,
            mode=mode,
            begins_at=_in_japan(begins),
            ends_at=_in_japan(ends),
            router_installed_on=None if router_installed_on is None else router_installed_on.date(),
            **words,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="schedule-work") from None


def _in_japan(moment: datetime) -> datetime:
    from handlers.calendar import JST

    return moment.replace(tzinfo=JST).astimezone(UTC)
