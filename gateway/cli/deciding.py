"""How a command decides on an application: once, or as a preview of the mails it would send."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, invocation, misuse, print_json, refuse
from gateway.cli.application_refusals import REFUSALS, refusal_text
from gateway.cli.application_views import work_texts
from gateway.cli.opening import SudoUid, actor, opened_store
from gateway.cli.options import AsJson, Preview, Receipt, WordsFile
from gateway.cli.showing import plain, printable

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.orm import Session

    from gateway.cli.previewing import Draft
    from handlers.review_case import Decided, Details, Refusal

__all__ = ["AsJson", "Deciding", "Preview", "Receipt", "Recording", "Wanted", "Words", "carry_out", "decision"]

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
# What was wanted is so already: nothing is done, and that is no fault.
_NOTHING_TO_DO = frozenset({"work_unchanged"})
_CHANGES = {"added": "追加", "changed": "変更", "deleted": "削除"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The options of a decision that sends no mail."""

    as_json: AsJson = False
    sudo_uid: SudoUid = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """The options of a decision that sends mail."""

    preview: Preview = False
    as_json: AsJson = False
    sudo_uid: SudoUid = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the applicant is told, as an argument or in a file."""

    words: Annotated[str | None, typer.Argument(help="What the applicant is told.", show_default=False)] = None
    file: WordsFile = None

    def text(self, running: Invocation) -> str:
        """The words; without any the command was called wrongly."""
        found = (self.words or "").strip() if self.file is None else self._read()
        if not found:
            ja, en = REFUSALS["words_needed"]
            misuse(running.text(ja=ja, en=en))
        return found

    def _read(self) -> str:
        if self.words is not None:
            raise typer.BadParameter("give the words or a file, not both", param_hint="--file")
        file = self.file
        try:
            if file is None or str(file) == "-":
                return typer.get_text_stream("stdin").read().strip()
            return file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(str(error), param_hint="--file") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came of a decision, and the last day on which its passwords can be seen."""

    result: Decided | Refusal
    passwords_until: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One call of a command: what is to happen, and how it is shown.

    `done` is what is said of it afterwards, in Japanese and English, with `receipt`, `start` and `until` (the end of
    the password window) as blanks.
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
        outcome, drafts = _decide(running, wanted, details)
    except TemplateFault as fault:
        refuse(running.text(ja=f"通知メールを作れません: {fault}", en=f"the notice cannot be written: {fault}"))
    result = outcome.result
    if isinstance(result, Refusal):
        if result.reason not in _NOTHING_TO_DO:
            refuse(refusal_text(running, result))
        _show_unchanged(running, wanted, result)
        return
    for caution in result.cautions:
        if not wanted.preview:
            ja, en = CAUTIONS[caution]
            typer.echo(running.text(ja=ja, en=en), err=True)
    for warning in result.work_warnings:
        typer.echo(running.text(ja=f"警告: {warning.text_ja}", en=f"warning: {warning.text_en}"), err=True)
    if wanted.as_json:
        print_json(_as_json(result, outcome.passwords_until, drafts, preview=wanted.preview))
    elif wanted.preview:
        _show_drafts(running, drafts)
    else:
        _show(running, wanted, result, outcome.passwords_until)


def decision(
    context: typer.Context, receipt: str, event: str, options: Deciding | Recording, done: tuple[str, str]
) -> Wanted:
    """The call of a command by its list of options."""
    return Wanted(
        context=context,
        receipt=receipt,
        event=event,
        sudo_uid=options.sudo_uid,
        preview=options.preview if isinstance(options, Deciding) else False,
        as_json=options.as_json,
        done=done,
    )


def _decide(running: Invocation, wanted: Wanted, details: Details | None) -> tuple[_Outcome, list[Draft]]:
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

        def decide(session: Session, by: str) -> _Outcome:
            result = reviews.decide(session, desk, wanted.receipt, event, by, now, calendar, given)
            application = reviews.find(session, wanted.receipt)
            return _Outcome(result=result, passwords_until=None if application is None else application.passwords_until)

        def preview(session: Session) -> _Outcome:
            first = decide(session, "preview:first")
            proposed = isinstance(first.result, Decided) and first.result.proposed
            return decide(session, "preview:second") if proposed else first

        preload()  # nobody waits for the map while templates are compiled
        if not wanted.preview:
            return opened.store.run(lambda session: decide(session, actor(wanted.sudo_uid))), []
        if desk.data_keys is not None:
            desk = replace(desk, data_keys=_KeysNotKept())
        return drafts_of(opened.store, preview)


def _as_json(
    result: Decided, passwords_until: date | None, drafts: Sequence[Draft], *, preview: bool
) -> dict[str, Any]:
    from gateway.cli.previewing import draft_json

    found: dict[str, Any] = {
        "receipt_number": result.receipt_number,
        "state": str(result.state),
        "start_date": None if result.start_date is None else result.start_date.isoformat(),
        "passwords_until": None if passwords_until is None else passwords_until.isoformat(),
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
    if result.work is not None:
        found["work"] = plain(result.work)
    if preview:
        found["preview"] = True
        found["mails"] = [draft_json(draft) for draft in drafts]
    return found


def _show_unchanged(running: Invocation, wanted: Wanted, refusal: Refusal) -> None:
    if not wanted.as_json:
        typer.echo(refusal_text(running, refusal))
        return
    found: dict[str, Any] = {"receipt_number": wanted.receipt, "unchanged": str(refusal.reason)}
    if wanted.preview:
        found |= {"preview": True, "mails": []}
    print_json(found)


def _show_drafts(running: Invocation, drafts: Sequence[Draft]) -> None:
    from gateway.cli.previewing import show_draft

    for draft in drafts:
        show_draft(running, draft)
        typer.echo()
        typer.echo("-" * 76)
    count = len(drafts)
    typer.echo(
        running.text(
            ja=f"{count} 通。何も送らず、何も変えていません。", en=f"{count} mails; nothing was sent or changed"
        )
    )


def _show(running: Invocation, wanted: Wanted, result: Decided, passwords_until: date | None) -> None:
    ja, en = wanted.done
    if result.proposed:
        ja = "{receipt} 審査終了を提案しました。別の審査担当者の application complete で決定します。"
        en = "{receipt} proposed; another reviewer decides with application complete"
    words = running.text(ja=ja, en=en)
    typer.echo(words.format(receipt=result.receipt_number, start=result.start_date, until=passwords_until))
    for terminal in result.terminals:
        change = running.text(ja=_CHANGES[terminal.change], en=str(terminal.change))
        typer.echo(f"  {change} {terminal.name} {terminal.ip_address} {' '.join(terminal.mail_addresses)}")
    if result.work is not None:
        ja, en = work_texts(result.work)
        typer.echo(f"  {printable(running.text(ja=ja, en=en))}")
