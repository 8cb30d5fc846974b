"""`application schedule-work [--done]`: work on a line (回線工事) that an application needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.deciding import AsJson, Preview, Receipt, Wanted, carry_out
from gateway.cli.opening import SudoUid

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


def schedule_work(
    context: typer.Context,
    receipt: Receipt,
    begins: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="When it begins (JST).")] = None,
    ends: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="When it ends (JST).")] = None,
    mode: Annotated[Mode, typer.Option(help="Remote, or on site: a line with a spare router.")] = Mode.REMOTE,
    router: Annotated[
        str | None, typer.Option(help="The line's router number; else the one line of the application.")
    ] = None,
    router_installed_on: Annotated[
        datetime | None, typer.Option(formats=_DAYS, help="The day a new line gets its router.")
    ] = None,
    contact: Annotated[str, typer.Option(help="Who is to be asked for.")] = "",
    phone: Annotated[str, typer.Option(help="Their phone number.")] = "",
    fee: Annotated[str, typer.Option(help="What it costs, as the mail says it.")] = "",
    note: Annotated[str, typer.Option(help="What else the mail says.")] = "",
    done: Annotated[bool, typer.Option("--done", help="Record that the work is done.")] = False,
    work: Annotated[int | None, typer.Option(help="Which work is done, where there are several: its id.")] = None,
    preview: Preview = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Arrange work on a line and tell everybody it concerns, or record it as done.

    While its window is open, mail to the terminals of the line waits.
    """
    from handlers.review_case import Details

    if done:
        said = ("{receipt} 工事の終了を記録しました。", "{receipt} the work is done")
        details = Details(work_id=work)
    else:
        said = ("{receipt} 工事の日程を送りました。", "{receipt} the work is arranged")
        words = {"contact": contact, "phone": phone, "fee": fee, "note": note}
        details = Details(work=_order(router, mode, begins, ends, router_installed_on, words))
    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="finish_work" if done else "schedule_work",
        sudo_uid=sudo_uid,
        preview=preview,
        as_json=as_json,
        done=said,
    )
    carry_out(wanted, details)


def _order(
    router: str | None,
    mode: Mode,
    begins: datetime | None,
    ends: datetime | None,
    router_installed_on: datetime | None,
    words: Mapping[str, str],
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
