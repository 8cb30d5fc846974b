"""`application list|queue|show|history`: applications (利用申込) as a reviewer reads them, and the whole group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import (
    Invocation,
    application_decisions,
    application_secrets,
    application_work,
    documents,
    held,
    invocation,
    print_json,
    refuse,
)
from gateway.cli.application_refusals import REFUSALS
from gateway.cli.application_views import show_sheet, show_view
from gateway.cli.opening import opened_store
from gateway.cli.options import AsJson, Receipt
from gateway.cli.showing import plain, printable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.case_view import CaseView
    from handlers.review_queue import ReviewSheet

application_app = typer.Typer(
    no_args_is_help=True, help="Applications (利用申込): what waits, what one says, and what a reviewer decides."
)


def register(root: typer.Typer) -> None:
    """Add the commands of this module, and of the others that decide on applications."""
    for module in (application_decisions, application_work, application_secrets, held, documents):
        module.register(application_app)
    root.add_typer(application_app, name="application")


@application_app.command("list")
def list_applications(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only applications in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """List applications in the order of their arrival."""
    from handlers.workflow import State

    if state is not None and state not in set(State):
        raise typer.BadParameter(f"states are {', '.join(State)}", param_hint="--state")
    running = invocation(context)
    with opened_store(running) as opened:
        applications = opened.store.read(lambda session: _applications(session, state))
    if as_json:
        print_json(applications)
        return
    for row in applications:
        shown = running.text(ja=row["status_ja"], en=row["state"])
        start = row["start_date"] or f"({row['desired_start_date']})"
        typer.echo(f"{row['receipt_number']}  {shown}  {row['office_code']}  {start}  {row['applicant_name']}")


@application_app.command("queue")
def show_queue(
    context: typer.Context,
    after: Annotated[int, typer.Option(min=0, help="Leave out that many from the front.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what waits for a decision, oldest first, with everything that bears on it; fifty at a time."""
    from handlers.calendar import jst_date
    from handlers.review_queue import queue

    running = invocation(context)
    with opened_store(running) as opened:
        today = jst_date(opened.now())
        calendar = opened.calendar(today)
        sheets = opened.store.read(lambda session: queue(session, calendar, today, after=after))
    if as_json:
        print_json(plain(sheets))
        return
    for sheet in sheets:
        taken = sheet.taken_by or running.text(ja="担当なし", en="nobody's")
        waited = running.text(ja=f"{sheet.age}営業日", en=f"{sheet.age} business days")
        shown = running.text(ja=sheet.status_ja, en=sheet.state)
        typer.echo(
            f"{sheet.receipt_number}  {shown}  {waited}  {taken}  {sheet.office_code} "
            f"{printable(sheet.company_name)} {printable(sheet.office_name)}"
        )
        show_sheet(running, sheet, indent="    ")


@application_app.command("show")
def show_application(context: typer.Context, receipt: Receipt, as_json: AsJson = False) -> None:
    """Show one application: what was asked for, how far it is, and the IDs issued; what the review has to look at."""
    from handlers.calendar import jst_date

    running = invocation(context)
    with opened_store(running) as opened:
        today = jst_date(opened.now())
        calendar = opened.calendar(today)
        found = opened.store.read(lambda session: _view(session, receipt, calendar, today))
    if found is None:
        refuse(_not_found(running, receipt))
    view, sheet = found
    if as_json:
        print_json({**plain(view), "review": None if sheet is None else plain(sheet)})
        return
    show_view(running, view)
    if sheet is not None:
        typer.echo()
        show_sheet(running, sheet)


@application_app.command("history")
def show_history(context: typer.Context, receipt: Receipt, as_json: AsJson = False) -> None:
    """Show what was said and done about an application, oldest first."""
    running = invocation(context)
    with opened_store(running) as opened:
        entries = opened.store.read(lambda session: _history(session, receipt))
    if entries is None:
        refuse(_not_found(running, receipt))
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        kind = running.text(ja=KINDS[entry["kind"]], en=entry["kind"])
        mail = f"  mail {entry['mail_id']}" if entry["mail_id"] else ""
        typer.echo(f"{entry['occurred_at']}  {kind}  {printable(entry['actor'])}{mail}")
        for text in (entry["words"], *_facts(entry["detail"])):
            for line in printable(text, lines=True).splitlines():
                typer.echo(f"    {line}")


KINDS: dict[str, str] = {
    "received": "受付",
    "released": "止めていたメールの受付",
    "taken": "審査の担当",
    "address_accepted": "通知先アドレスの承認",
    "inquiry": "確認事項",
    "answer": "回答",
    "amendment": "修正",
    "question": "照会",
    "settings": "システム設定申込",
    "work": "回線工事",
    "rescheduled": "日程の変更",
    "proposed": "審査終了の提案",
    "completed": "審査終了",
    "in_use": "利用開始",
    "checked": "通信確認",
    "secrets_viewed": "パスワードの参照",
    "secrets_reissued": "パスワードの再発行",
    "reviewer_note": "審査担当者のメモ",
    "bounced": "お知らせの不達",
    "withdrawal": "取下げ",
    "rejected": "不承認",
    "void": "無効",
}


def _applications(session: Session, state: str | None) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from handlers.workflow import STATUS_JA, State
    from storage.models import Application, Office

    query = select(Application, Office.code).join(Office, Office.id == Application.office_id)
    if state is not None:
        query = query.where(Application.state == state)
    return [
        {
            "receipt_number": row.receipt_number,
            "state": row.state,
            "status_ja": STATUS_JA[State(row.state)],
            "office_code": code,
            "received_on": row.received_on.isoformat(),
            "desired_start_date": row.desired_start_date.isoformat(),
            "start_date": None if row.start_date is None else row.start_date.isoformat(),
            "applicant_name": row.applicant_name,
            "applicant_email": row.applicant_email,
        }
        for row, code in session.execute(query.order_by(Application.id))
    ]


def _view(session: Session, receipt: str, calendar: Any, today: Any) -> tuple[CaseView, ReviewSheet | None] | None:
    from handlers.case_view import case_view
    from handlers.review_queue import WAITING, review_sheet
    from handlers.reviews import find

    application = find(session, receipt)
    if application is None:
        return None
    waits = application.state in WAITING
    return (
        case_view(session, application),
        review_sheet(session, application, calendar, today) if waits else None,
    )


def _history(session: Session, receipt: str) -> list[dict[str, Any]] | None:
    from handlers import case_history
    from handlers.reviews import find

    application = find(session, receipt)
    if application is None:
        return None
    return [
        {
            "occurred_at": plain(entry.occurred_at),
            "kind": entry.kind,
            "actor": entry.actor,
            "mail_id": None if entry.mail_id is None else str(entry.mail_id),
            "words": entry.words,
            "detail": case_history.parts(entry),
        }
        for entry in case_history.history(session, application)
    ]


def _facts(detail: dict[str, Any]) -> Iterator[str]:
    """The parts of an entry, changes line by line; the whole application before and after is for machines."""
    for change in detail.get("changes", ()):
        yield f"【{change['section']}】{change['label']}: {change['before']} → {change['after']}"
    for key, value in detail.items():
        if key not in ("changes", "before", "after") or isinstance(value, str):
            yield f"{key}: {value}"


def _not_found(running: Invocation, receipt: str) -> str:
    ja, en = REFUSALS["not_found"]
    return running.text(ja=ja, en=en).format(detail=receipt)
