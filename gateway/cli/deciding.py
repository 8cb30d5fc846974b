"""How a command decides on an application: once, or as a preview of the mails it would send."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.application_refusals import refusal_text
from gateway.cli.opening import actor, opened_store
from gateway.cli.showing import printable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateway.cli.previewing import Draft
    from handlers.review_case import Decided, Details, Refusal

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="Show the mails that would be sent; nothing is sent and nothing is changed.")
]
Receipt = Annotated[str, typer.Argument(help="The receipt number (申込受付番号), in any width and case.")]
WordsFile = Annotated[
    Path | None, typer.Option("--file", help="A UTF-8 file with the words; - for standard input.", allow_dash=True)
]

CAUTIONS: dict[str, tuple[str, str]] = {
    "starts_today": (
        "警告: 利用開始日が今日のため、すぐに有効になりました。",
        "warning: the start date is today, so it took effect at once",
    ),
    "off_schedule": (
        "警告: この利用開始日はスケジュール表のシステム登録日ではありません。",
        "warning: this start date is no registration day of the schedule",
    ),
}
_CHANGES = {"added": "追加", "changed": "変更", "deleted": "削除"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One call of a command: what is to happen, and how it is shown.

    `done` is what is said of it afterwards, in Japanese and English, with `receipt` and `start` as blanks.
    """

    context: typer.Context
    receipt: str
    event: str
    sudo_uid: int | None
    preview: bool
    as_json: bool
    done: tuple[str, str]


class _KeysNotKept:
    """Data keys for a preview: nothing reaches the file."""

    def make(self, names: Sequence[str]) -> Mapping[str, bytes]:
        return {name: secrets.token_bytes(32) for name in names}

    def get(self, name: str) -> bytes | None:
        return None

    def destroy(self, names: Sequence[str]) -> None:
        return


def carry_out(wanted: Wanted, details: Details | None = None) -> None:
    """Decide, and show what came of it; a refusal ends the command with status 1 and says what to do."""
    from handlers.outcomes import TemplateFault
    from handlers.review_case import Refusal

    running = invocation(wanted.context)
    try:
        result, drafts = _decide(running, wanted, details)
    except TemplateFault as fault:
        refuse(running.text(ja=f"通知メールを作れません: {fault}", en=f"the notice cannot be written: {fault}"))
    if isinstance(result, Refusal):
        refuse(refusal_text(running, result))
    for caution in result.cautions:
        if not wanted.preview:
            ja, en = CAUTIONS[caution]
            typer.echo(running.text(ja=ja, en=en), err=True)
    for warning in result.work_warnings:
        typer.echo(running.text(ja=f"警告: {warning.text_ja}", en=f"warning: {warning.text_en}"), err=True)
    if wanted.as_json:
        print_json(_as_json(result, drafts, preview=wanted.preview))
    elif wanted.preview:
        _show_drafts(running, drafts)
    else:
        _show(running, wanted, result)


def words_of(words: str | None, file: Path | None) -> str:
    """What the applicant is told: the argument, or what stands in the file."""
    if words is not None and file is not None:
        raise typer.BadParameter("give the words or a file, not both", param_hint="--file")
    if file is None:
        return words or ""
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(str(error), param_hint="--file") from None
    return text.strip()


def _decide(running: Invocation, wanted: Wanted, details: Details | None) -> tuple[Decided | Refusal, list[Draft]]:
    from gateway.cli.previewing import drafts_of
    from handlers import reviews
    from handlers.calendar import jst_date
    from handlers.notice_templates import preload
    from handlers.review_case import Decided, Details
    from handlers.workflow import Event

    with opened_store(running) as opened:
        desk, now = opened.desk(), opened.now()
        calendar = opened.calendar(jst_date(now))
        event, given = Event(wanted.event), details or Details()

        def decide(session: Session, by: str) -> Decided | Refusal:
            return reviews.decide(session, desk, wanted.receipt, event, by, now, calendar, given)

        def preview(session: Session) -> Decided | Refusal:
            proposed = decide(session, "preview:first")
            return (
                decide(session, "preview:second") if isinstance(proposed, Decided) and proposed.proposed else proposed
            )

        preload()  # nobody waits for the map while templates are compiled
        if not wanted.preview:
            return opened.store.run(lambda session: decide(session, actor(wanted.sudo_uid))), []
        if desk.data_keys is not None:
            desk = replace(desk, data_keys=_KeysNotKept())
        return drafts_of(opened.store, preview)


def _as_json(result: Decided, drafts: Sequence[Draft], *, preview: bool) -> dict[str, Any]:
    from gateway.cli.previewing import header_of, text_of

    found: dict[str, Any] = {
        "receipt_number": result.receipt_number,
        "state": str(result.state),
        "start_date": None if result.start_date is None else result.start_date.isoformat(),
        "proposed": result.proposed,
        "cautions": [str(caution) for caution in result.cautions],
        "work_warnings": [warning.code for warning in result.work_warnings],
        "terminals": [
            {
                "change": str(terminal.change),
                "name": terminal.name,
                "ip_address": terminal.ip_address,
                "mail_addresses": list(terminal.mail_addresses),
            }
            for terminal in result.terminals
        ],
    }
    if preview:
        found["preview"] = True
        found["mails"] = [
            {
                "template": draft.template,
                "to": draft.rcpt_to,
                "subject": header_of(draft)["Subject"],
                "body": text_of(draft),
            }
            for draft in drafts
        ]
    return found


def _show_drafts(running: Invocation, drafts: Sequence[Draft]) -> None:
    from gateway.cli.previewing import files_of, header_of, text_of

    for draft in drafts:
        for name, value in header_of(draft).items():
            typer.echo(f"{name}: {printable(value)}")
        for name in files_of(draft):
            typer.echo(running.text(ja=f"添付: {name}", en=f"attached: {name}"))
        typer.echo()
        typer.echo(text_of(draft))
        typer.echo("-" * 76)
    count = len(drafts)
    typer.echo(
        running.text(
            ja=f"{count} 通。何も送らず、何も変えていません。", en=f"{count} mails; nothing was sent or changed"
        )
    )


def _show(running: Invocation, wanted: Wanted, result: Decided) -> None:
    ja, en = wanted.done
    if result.proposed:
        ja = "{receipt} 審査終了を提案しました。別の審査担当者の application complete で決定します。"
        en = "{receipt} proposed; another reviewer decides with application complete"
    typer.echo(running.text(ja=ja, en=en).format(receipt=result.receipt_number, start=result.start_date))
    for terminal in result.terminals:
        change = running.text(ja=_CHANGES[terminal.change], en=str(terminal.change))
        typer.echo(f"  {change} {terminal.name} {terminal.ip_address} {' '.join(terminal.mail_addresses)}")
