"""What a reviewer decides on an application, one command an event: `application take`, `complete`, `void` …"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import invocation
from gateway.cli.deciding import Deciding, Receipt, Recording, Words, carry_out, decision
from gateway.cli.options import with_lists

if TYPE_CHECKING:
    from handlers.review_case import NewLine

_DATE_FORMATS = ["%Y-%m-%d"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Simple:
    """A command that is nothing but its event: its help, and what is said when it happened."""

    event: str
    summary: str
    done: tuple[str, str]


def _recorded(simple: _Simple) -> Callable[..., None]:
    @with_lists
    def command(context: typer.Context, receipt: Receipt, options: Recording) -> None:
        carry_out(decision(context, receipt, simple.event, options, simple.done))

    return command


def _told(simple: _Simple) -> Callable[..., None]:
    @with_lists
    def command(context: typer.Context, receipt: Receipt, options: Deciding) -> None:
        carry_out(decision(context, receipt, simple.event, options, simple.done))

    return command


def _told_in_words(simple: _Simple) -> Callable[..., None]:
    @with_lists
    def command(context: typer.Context, receipt: Receipt, words: Words, options: Deciding) -> None:
        from handlers.review_case import Details

        told = Details(words=words.text(invocation(context)))
        carry_out(decision(context, receipt, simple.event, options, simple.done), told)

    return command


# In the order of the help; None: a function of this module.
_COMMANDS: dict[str, tuple[Callable[[_Simple], Callable[..., None]], _Simple] | None] = {
    "take": (
        _recorded,
        _Simple(
            event="take",
            summary="Begin the review, or take it over from another reviewer.",
            done=("{receipt} の審査を担当します。", "{receipt} is yours to review"),
        ),
    ),
    "inquire": (
        _told_in_words,
        _Simple(
            event="inquire",
            summary=(
                "Ask the applicant something (確認事項); the answer comes by mail. A proposed completion is dropped."
            ),
            done=("{receipt} 確認事項を申込者に送りました。", "{receipt} the applicant was asked"),
        ),
    ),
    "reject": (
        _told_in_words,
        _Simple(
            event="reject",
            summary="Do not approve the application (不承認), and tell the applicant why.",
            done=("{receipt} 不承認。", "{receipt} rejected"),
        ),
    ),
    "complete": None,
    "reschedule": None,
    "void": (
        _told_in_words,
        _Simple(
            event="void",
            summary=(
                "Make an application void (無効) before its start: its IDs are taken back, the applicant is told why."
            ),
            done=("{receipt} 無効にしました。", "{receipt} is void"),
        ),
    ),
    "settings-received": (
        _told,
        _Simple(
            event="receive_settings",
            summary="Record that the application for system settings (システム設定申込) came, by whatever way.",
            done=("{receipt} システム設定申込を受け付けました。", "{receipt} the system settings were applied for"),
        ),
    ),
    "accept-address": (
        _recorded,
        _Simple(
            event="accept_address",
            summary="Let replies from the application's notice address act, though the register does not have it.",
            done=(
                "{receipt} 通知先アドレスからの返信を受け付けます。",
                "{receipt} replies from its notice address act now",
            ),
        ),
    ),
}


def register(application_app: typer.Typer) -> None:
    """Add the commands of this module to `application`."""
    own = {"complete": complete, "reschedule": reschedule}
    for name, row in _COMMANDS.items():
        if row is None:
            application_app.command(name)(own[name])
        else:
            shape, simple = row
            application_app.command(name, help=simple.summary)(shape(simple))


@with_lists
def complete(
    context: typer.Context,
    receipt: Receipt,
    start_date: Annotated[
        datetime | None,
        typer.Option(formats=_DATE_FORMATS, help="The confirmed start date (利用開始日); else the wish."),
    ] = None,
    inquiry_made: Annotated[
        bool, typer.Option("--inquiry-made", help="The prior inquiry that the items ask for was made.")
    ] = False,
    new_line: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROUTER=SUBNET",
            help="Router number and LAN of a line that is added; one for each, in the order of the application.",
        ),
    ] = None,
    accept_address: Annotated[
        bool, typer.Option("--accept-address", help="Replies from the notice address act from now on.")
    ] = False,
    *,
    options: Deciding,
) -> None:
    """Complete the review: issue the IDs and mail them to the applicant and the administrator.

    A start of today takes effect at once; one before today is refused. Where two persons are needed (desk.two_person),
    the first one's command proposes, another one's decides.
    """
    from handlers.review_case import Details

    details = Details(
        start_date=_day(start_date),
        inquiry_made=inquiry_made,
        accept_address=accept_address,
        new_lines=tuple(_new_line(text) for text in new_line or ()),
    )
    done = ("{receipt} 審査終了。利用開始日 {start}", "{receipt} completed, start date {start}")
    carry_out(decision(context, receipt, "complete", options, done), details)


@with_lists
def reschedule(
    context: typer.Context,
    receipt: Receipt,
    start: Annotated[datetime | None, typer.Argument(formats=_DATE_FORMATS, help="The new start date.")] = None,
    start_date: Annotated[datetime | None, typer.Option(formats=_DATE_FORMATS, help="The same, as an option.")] = None,
    words: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    *,
    options: Deciding,
) -> None:
    """Move the start: before the completion the wish, afterwards the start with everything that hangs on it."""
    from handlers.review_case import Details

    if (start is None) == (start_date is None):
        raise typer.BadParameter("give the new start date, once", param_hint="--start-date")
    done = ("{receipt} 日程を変更しました。", "{receipt} rescheduled")
    details = Details(start_date=_day(start or start_date), words=words)
    carry_out(decision(context, receipt, "reschedule", options, done), details)


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _new_line(text: str) -> NewLine:
    from handlers.review_case import NewLine

    router_number, _, lan_subnet = text.partition("=")
    try:
        return NewLine(router_number=router_number.strip(), lan_subnet=lan_subnet.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"ROUTER=SUBNET, such as 09150=10.20.30.0/24: {error}", param_hint="--new-line"
        ) from None
