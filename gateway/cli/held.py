"""`application held|release`: mail that waits because its author could not be believed, and letting it act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.opening import SudoUid, actor, opened_store
from gateway.cli.options import AsJson, Preview
from gateway.cli.showing import instant, plain, printable

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from gateway.cli.previewing import Draft
    from handlers.applications.held_mails import HeldMail
    from handlers.applications.held_release import NotReleased, Released

# Why nothing was released, in Japanese and English.
REFUSALS: dict[str, tuple[str, str]] = {
    "not_found": ("メール {detail} はありません。", "there is no mail {detail}"),
    "not_held": ("止めているメールではありません（{detail}）。", "the mail is not held, it is {detail}"),
    "no_case": (
        "どの申込のことか決められません（{detail}）。メールは止めたままです。",
        "which application it is about cannot be told ({detail}); it stays held",
    ),
    "invalid": (
        "申込書に誤りがあり、知らせる登録担当者もいません。メールは止めたままです。",
        "its form has errors and nobody registered could be told; it stays held",
    ),
}


def register(application_app: typer.Typer) -> None:
    """Add the commands of this module to `application`."""
    application_app.command("held")(list_held)
    application_app.command("release")(release_held)


def list_held(context: typer.Context, as_json: AsJson = False) -> None:
    """List the mail that waits for a reviewer, the oldest first."""
    from handlers.applications.held_release import held

    running = invocation(context)
    with opened_store(running) as opened:
        mails = opened.store.read(held)
        held_for = opened.desk().held_for
    if as_json:
        print_json([{**plain(mail), "expires_at": plain(mail.held_at + held_for)} for mail in mails])
        return
    for mail in mails:
        _show(running, mail, mail.held_at + held_for)


def release_held(
    context: typer.Context,
    mail_id: Annotated[int, typer.Argument(help="The mail's id (照会番号).")],
    as_json: AsJson = False,
    preview: Preview = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Release a held mail: it acts as if its author had been believed, dated by its arrival.

    The rules are those of the register as it is today. A form with errors is answered to the registered person who
    wrote it or whom it names; where there is none, the errors are shown and the mail stays held.
    """
    from gateway.cli.previewing import draft_json, show_draft
    from handlers.applications.held_release import Released
    from handlers.outcomes import TemplateFault

    running = invocation(context)
    try:
        result, drafts = _release(running, mail_id, actor(sudo_uid), preview=preview)
    except TemplateFault as fault:
        refuse(running.text(ja=f"通知メールを作れません: {fault}", en=f"the notice cannot be written: {fault}"))
    if not isinstance(result, Released):
        _show_errors(running, result, as_json=as_json)
        ja, en = REFUSALS[result.reason]
        refuse(running.text(ja=ja, en=en).format(detail=printable(result.detail)))
    if as_json:
        shown = {"preview": True, "mails": [draft_json(draft) for draft in drafts]} if preview else {}
        print_json({**plain(result), **shown})
        return
    for draft in drafts:
        show_draft(running, draft)
    if preview:
        typer.echo(running.text(ja="何も送らず、何も変えていません。", en="nothing was sent or changed"))
    typer.echo(printable(f"{result.mail_id}  {result.receipt_number or '-'}  {result.said}"))


def _release(
    running: Invocation, mail_id: int, by: str, *, preview: bool
) -> tuple[Released | NotReleased, list[Draft]]:
    from gateway.cli.previewing import drafts_of
    from handlers.applications.held_release import release
    from handlers.calendar import jst_date

    with opened_store(running) as opened:
        desk, now = opened.desk(), opened.now()
        calendar = opened.calendar(jst_date(now))

        def work(session: Session) -> Released | NotReleased:
            return release(session, desk, mail_id, by, now, calendar)

        return drafts_of(opened.store, work) if preview else (opened.store.run(work), [])


def _show(running: Invocation, mail: HeldMail, expires_at: datetime) -> None:
    author = mail.author or running.text(ja="（差出人を一人に読み取れません）", en="(no single author)")
    typer.echo(printable(f"{mail.mail_id}  {instant(mail.received_at)}  {author}  {mail.subject}"))
    until = running.text(ja=f"期限 {instant(expires_at)}", en=f"expires {instant(expires_at)}")
    typer.echo(printable(f"  {mail.rcpt_to}  {mail.size} bytes  {mail.reason}  {until}"))


def _show_errors(running: Invocation, result: NotReleased, *, as_json: bool) -> None:
    if as_json:
        print_json({"reason": str(result.reason), "errors": [plain(error) for error in result.errors]})
    for error in result.errors:
        place = f"【{error.section}】{error.label}" if error.section else error.label
        rule = running.text(ja=error.rule_ja, en=error.rule_en)
        typer.echo(printable(f"{place}: {rule}"), err=True)
