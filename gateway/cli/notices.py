"""`notice list|preview`: the mails the gateway sends, and one of them as it would be sent now."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.languages import Language
from gateway.cli.opening import opened_store
from gateway.cli.options import AsJson

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateway.cli.previewing import Draft
    from handlers.desk import DeskSettings
    from storage.models import Application

notice_app = typer.Typer(no_args_is_help=True, help="The mails that are sent: list them, preview one.")


class Reader(StrEnum):
    """Whose copy of a mail is shown."""

    APPLICANT = "applicant"
    ADMINISTRATOR = "administrator"


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(notice_app, name="notice")


@notice_app.command("list")
def list_notices(context: typer.Context, as_json: AsJson = False) -> None:
    """List every notice with its version and subject."""
    from handlers.notice_templates import catalogue

    running = invocation(context)
    kinds = catalogue()
    if as_json:
        print_json(
            [
                {
                    "name": kind.name,
                    "version": kind.version,
                    "subject": kind.subject,
                    "english_subject": kind.english_subject or None,
                }
                for kind in kinds
            ]
        )
        return
    width = max(len(kind.name) for kind in kinds)
    for kind in kinds:
        subject = running.text(ja=kind.subject, en=kind.english_subject or kind.subject)
        typer.echo(f"{kind.name:{width}}  {kind.version}  {subject}")


@notice_app.command("preview")
def preview_notice(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The notice, with its audience or without: review-complete.")],
    receipt: Annotated[str, typer.Option(help="The receipt number (申込受付番号) it is about.")],
    to: Annotated[Reader | None, typer.Option(help="Whose copy; else the applicant's.")] = None,
    lang: Annotated[
        Language | None, typer.Option(help="en: with the English text; ja: without; else as the office has it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a notice as it would be sent now; nothing is queued and nothing is changed."""
    from gateway.cli.previewing import show_draft

    running = invocation(context)
    known = _named(running, name)
    draft = _draft(running, known, receipt, to, lang)
    if as_json:
        print_json(_as_json(draft))
    else:
        show_draft(running, draft)


def _named(running: Invocation, name: str) -> str:
    """The full name of a notice."""
    from handlers.notice_templates import template_names

    found = [known for known in template_names() if name in (known, known.partition("/")[2])]
    if len(found) != 1:
        refuse(running.text(ja=f"{name} というお知らせはありません。", en=f"there is no notice {name}"))
    return found[0]


def _draft(running: Invocation, name: str, receipt: str, to: Reader | None, lang: Language | None) -> Draft:
    from gateway.cli.previewing import drafts_of
    from handlers.calendar import jst_date
    from handlers.notice_previews import NotPreviewed, preview
    from handlers.outcomes import TemplateFault
    from handlers.reviews import find

    with opened_store(running) as opened:
        desk, now = opened.desk(), opened.now()
        calendar = opened.calendar(jst_date(now))

        def work(session: Session) -> str | None:
            application = find(session, receipt)
            if application is None:
                return None
            address = _address(session, desk, application, name, to)
            _choose_language(session, application, lang)
            preview(session, desk, application, name, calendar, now)
            return address

        try:
            address, drafts = drafts_of(opened.store, work)
        except NotPreviewed as reason:
            refuse(running.text(ja=f"{reason.japanese}。", en=reason.english))
        except TemplateFault as fault:
            refuse(running.text(ja=f"通知メールを作れません: {fault}", en=f"the notice cannot be written: {fault}"))
    if address is None:
        refuse(running.text(ja=f"申込受付番号 {receipt} はありません。", en=f"there is no application {receipt}"))
    return _one_of(running, drafts, name, address)


def _address(session: Session, desk: DeskSettings, application: Application, name: str, to: Reader | None) -> str:
    """Whose copy is asked for."""
    from storage.models import Office

    if name.startswith("reviewer/"):
        return desk.reviewer_address
    if to is Reader.ADMINISTRATOR:
        return session.get_one(Office, application.office_id).administrator_email
    return application.applicant_email


def _choose_language(session: Session, application: Application, lang: Language | None) -> None:
    from storage.models import Office

    if lang is not None:
        session.get_one(Office, application.office_id).bilingual = lang is Language.EN


def _one_of(running: Invocation, drafts: list[Draft], name: str, address: str) -> Draft:
    found = next((draft for draft in drafts if draft.name == name and draft.rcpt_to.lower() == address.lower()), None)
    if found is None:
        refuse(
            running.text(
                ja="この宛先へは送られません（管理責任者の登録がないか、申込担当者と同じ人です）。",
                en="it is not sent to this person: no administrator is registered, or it is the applicant",
            )
        )
    return found


def _as_json(draft: Draft) -> dict[str, Any]:
    from gateway.cli.previewing import files_of, header_of, text_of

    header = header_of(draft)
    name, _, version = draft.template.partition("@")
    return {
        "name": name,
        "version": version,
        "from": header["From"],
        "to": header["To"],
        "reply_to": header["Reply-To"],
        "subject": header["Subject"],
        "text": text_of(draft),
        "attachments": files_of(draft),
    }
