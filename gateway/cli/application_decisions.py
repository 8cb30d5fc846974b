"""What a reviewer decides on an application, one command an event: `application take`, `complete`, `void` …"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.deciding import AsJson, Preview, Receipt, Wanted, WordsFile, carry_out, words_of
from gateway.cli.opening import SudoUid

if TYPE_CHECKING:
    from handlers.review_case import NewLine

_DATE_FORMATS = ["%Y-%m-%d"]
_Words = Annotated[str | None, typer.Argument(help="What the applicant is told.", show_default=False)]


def register(application_app: typer.Typer) -> None:
    """Add the commands of this module to `application`."""
    application_app.command("take")(take)
    application_app.command("inquire")(inquire)
    application_app.command("reject")(reject)
    application_app.command("complete")(complete)
    application_app.command("reschedule")(reschedule)
    application_app.command("void")(void)
    application_app.command("settings-received")(settings_received)
    application_app.command("accept-address")(accept_address)


def take(context: typer.Context, receipt: Receipt, as_json: AsJson = False, sudo_uid: SudoUid = None) -> None:
    """Begin the review, or take it over from another reviewer."""
    carry_out(
        Wanted(
            context=context,
            receipt=receipt,
            event="take",
            sudo_uid=sudo_uid,
            preview=False,
            as_json=as_json,
            done=("{receipt} の審査を担当します。", "{receipt} is yours to review"),
        )
    )


def inquire(
    context: typer.Context,
    receipt: Receipt,
    words: _Words = None,
    file: WordsFile = None,
    preview: Preview = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Ask the applicant something (確認事項); the answer comes by mail. A proposed completion is dropped."""
    from handlers.review_case import Details

    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="inquire",
        sudo_uid=sudo_uid,
        preview=preview,
        as_json=as_json,
        done=("{receipt} 確認事項を申込者に送りました。", "{receipt} the applicant was asked"),
    )
    carry_out(wanted, Details(words=words_of(words, file)))


def reject(
    context: typer.Context,
    receipt: Receipt,
    words: _Words = None,
    file: WordsFile = None,
    preview: Preview = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Do not approve the application (不承認), and tell the applicant why."""
    from handlers.review_case import Details

    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="reject",
        sudo_uid=sudo_uid,
        preview=preview,
        as_json=as_json,
        done=("{receipt} 不承認。", "{receipt} rejected"),
    )
    carry_out(wanted, Details(words=words_of(words, file)))


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
    preview: Preview = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Complete the review: issue the IDs and mail them to the applicant and the administrator.

    A start of today takes effect at once; one before today is refused. Where two persons are needed (desk.two_person),
    the first one's command proposes, another one's decides.
    """
    from handlers.review_case import Details

    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="complete",
        sudo_uid=sudo_uid,
        preview=preview,
        as_json=as_json,
        done=("{receipt} 審査終了。利用開始日 {start}", "{receipt} completed, start date {start}"),
    )
    details = Details(
        start_date=_day(start_date),
        inquiry_made=inquiry_made,
        accept_address=accept_address,
        new_lines=tuple(_new_line(text) for text in new_line or ()),
    )
    carry_out(wanted, details)


def reschedule(
    context: typer.Context,
    receipt: Receipt,
    start: Annotated[datetime | None, typer.Argument(formats=_DATE_FORMATS, help="The new start date.")] = None,
    start_date: Annotated[datetime | None, typer.Option(formats=_DATE_FORMATS, help="The same, as an option.")] = None,
    words: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    preview: Preview = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Move the start: before the completion the wish, afterwards the start with everything that hangs on it."""
    from handlers.review_case import Details

    if (start is None) == (start_date is None):
        raise typer.BadParameter("give the new start date, once", param_hint="--start-date")
    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="reschedule",
        sudo_uid=sudo_uid,
        preview=preview,
        as_json=as_json,
        done=("{receipt} 日程を変更しました。", "{receipt} rescheduled"),
    )
    carry_out(wanted, Details(start_date=_day(start or start_date), words=words))


def void(
    context: typer.Context,
    receipt: Receipt,
    words: _Words = None,
    file: WordsFile = None,
    preview: Preview = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Make an application void (無効) before its start: its IDs are taken back, and the applicant is told why."""
    from handlers.review_case import Details

    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="void",
        sudo_uid=sudo_uid,
        preview=preview,
        as_json=as_json,
        done=("{receipt} 無効にしました。", "{receipt} is void"),
    )
    carry_out(wanted, Details(words=words_of(words, file)))


def settings_received(
    context: typer.Context,
    receipt: Receipt,
    preview: Preview = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Record that the application for system settings (システム設定申込) came, by whatever way."""
    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="receive_settings",
        sudo_uid=sudo_uid,
        preview=preview,
        as_json=as_json,
        done=("{receipt} システム設定申込を受け付けました。", "{receipt} the system settings were applied for"),
    )
    carry_out(wanted)


def accept_address(context: typer.Context, receipt: Receipt, as_json: AsJson = False, sudo_uid: SudoUid = None) -> None:
    """Let replies from the application's notice address act, though the register does not have it."""
    wanted = Wanted(
        context=context,
        receipt=receipt,
        event="accept_address",
        sudo_uid=sudo_uid,
        preview=False,
        as_json=as_json,
        done=(
            "{receipt} 通知先アドレスからの返信を受け付けます。",
            "{receipt} replies from its notice address act now",
        ),
    )
    carry_out(wanted)


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
