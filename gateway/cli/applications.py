"""`application list|show|complete`: applications (利用申込) as a reviewer works on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.opening import SudoUid, actor, opened_store

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.case_view import CaseView
    from handlers.reviews import Decided, Refusal

application_app = typer.Typer(no_args_is_help=True, help="Applications: list them, show one, complete one.")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Receipt = Annotated[str, typer.Argument(help="The receipt number (申込受付番号), in any width and case.")]

# Why a decision was refused, in Japanese and English.
REFUSALS: dict[str, tuple[str, str]] = {
    "not_found": ("申込受付番号 {detail} はありません。", "there is no application {detail}"),
    "wrong_state": (
        "この状態（{detail}）では審査を終了できません。",
        "an application that is {detail} cannot be completed",
    ),
    "start_in_the_past": (
        "利用開始日 {detail} は過ぎています。--start-date で今日以降の日を指定してください。",
        "the start date {detail} has passed; give one from today on with --start-date",
    ),
    "start_not_reached": ("利用開始日 {detail} になっていません。", "the start date {detail} has not come yet"),
    "deadline_passed": (
        "システム設定申込締切日 {detail} が過ぎています。より遅い利用開始日を --start-date で指定してください。",
        "the deadline for the system settings, {detail}, has passed; give a later --start-date",
    ),
    "exhausted": ("{detail} に空きがありません。", "nothing is free any more in {detail}"),
    "impossible": (
        "{detail} はこの事業所の回線・端末でないか、利用開始日に使われていません。",
        "{detail} is not a line or terminal of this office, or not in use on the start date",
    ),
}


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
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


@application_app.command("show")
def show_application(context: typer.Context, receipt: Receipt, as_json: AsJson = False) -> None:
    """Show one application: what was asked for, how far it is, and the IDs issued."""
    running = invocation(context)
    with opened_store(running) as opened:
        view = opened.store.read(lambda session: _view(session, receipt))
    if view is None:
        refuse(_refusal_text(running, "not_found", receipt))
    if as_json:
        print_json(_plain(view))
    else:
        _show(running, view)


def _view(session: Session, receipt: str) -> CaseView | None:
    from handlers.case_view import case_view
    from handlers.reviews import find

    application = find(session, receipt)
    return None if application is None else case_view(session, application)


def _show(running: Invocation, view: CaseView) -> None:
    def line(ja: str, en: str, value: object) -> None:
        typer.echo(f"{running.text(ja=ja, en=en)}: {'' if value is None else value}")

    line("受付番号", "receipt number", view.receipt_number)
    line("ステータス", "state", running.text(ja=view.status_ja, en=view.state))
    line("事業所コード", "office code", view.office_code)
    line("契約変更内容", "items", "、".join(view.items))
    line("申込理由", "reason", " ".join(view.reason.split("\n")))
    line("申込日", "received on", view.received_on)
    line("審査終了日", "review completed on", view.review_completed_on)
    line("利用開始希望日", "desired start date", view.desired_start_date)
    line("利用開始日", "start date", view.start_date)
    line("申込担当者", "applicant", f"{view.applicant_name} <{view.applicant_email}>")
    line("システム管理責任者", "administrator", f"<{view.administrator_email}>")
    for terminal in view.terminals:
        addresses = " ".join(terminal.mail_addresses)
        line("論理端末", "terminal", f"{terminal.name} {terminal.ip_address or '-'} {addresses}")
    for file in view.attachments:
        line("添付ファイル", "attachment", f"{file.name} ({file.size} bytes)")
    for row in view.progress:
        line("進行状況", "progress", f"{row.date} {row.item} {row.notice}")


@application_app.command("complete")
def complete_application(
    context: typer.Context,
    receipt: Receipt,
    start_date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The confirmed start date (利用開始日); else the wish."),
    ] = None,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Complete the review: issue the IDs and mail them to the applicant and the administrator.

    A start of today takes effect at once; one before today is refused.
    """
    from handlers.outcomes import TemplateFault
    from handlers.reviews import Refusal

    running = invocation(context)
    start = None if start_date is None else start_date.date()
    try:
        result, today = _complete(running, receipt, start, actor(sudo_uid))
    except TemplateFault as fault:
        refuse(running.text(ja=f"通知メールを作れません: {fault}", en=f"the notice cannot be written: {fault}"))
    if isinstance(result, Refusal):
        refuse(_refusal_text(running, result.reason, result.detail))
    if result.start_date == today:
        typer.echo(
            running.text(
                ja="警告: 利用開始日が今日のため、すぐに有効になりました。",
                en="warning: the start date is today, so it took effect at once",
            ),
            err=True,
        )
    if as_json:
        print_json(_decided_json(result))
    else:
        _show_decided(running, result)


def _complete(running: Invocation, receipt: str, start: date | None, by: str) -> tuple[Decided | Refusal, date]:
    from handlers import reviews
    from handlers.calendar import jst_date

    with opened_store(running) as opened:
        desk, now = opened.desk(), opened.now()
        today = jst_date(now)
        calendar = opened.calendar(today)
        result = opened.store.run(lambda session: reviews.complete(session, desk, receipt, start, by, now, calendar))
    return result, today


def _refusal_text(running: Invocation, reason: str, detail: str) -> str:
    ja, en = REFUSALS[reason]
    return running.text(ja=ja, en=en).format(detail=detail)


def _decided_json(result: Decided) -> dict[str, Any]:
    return {
        "receipt_number": result.receipt_number,
        "state": str(result.state),
        "start_date": None if result.start_date is None else result.start_date.isoformat(),
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


def _show_decided(running: Invocation, result: Decided) -> None:
    typer.echo(
        running.text(
            ja=f"{result.receipt_number} 審査終了。利用開始日 {result.start_date}",
            en=f"{result.receipt_number} completed, start date {result.start_date}",
        )
    )
    changes = {"added": "追加", "changed": "変更", "deleted": "削除"}
    for terminal in result.terminals:
        change = running.text(ja=changes[terminal.change], en=str(terminal.change))
        typer.echo(f"  {change} {terminal.name} {terminal.ip_address} {' '.join(terminal.mail_addresses)}")


def _plain(value: Any) -> Any:
    """The value in JSON's own types; dates in ISO 8601."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.isoformat() if isinstance(value, date) else value
