"""`application pdf`: the papers of an application (変更申込書, 変更承認通知) as files."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.opening import opened_store
from gateway.cli.options import AsJson, Receipt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.documents import DocumentRequest, Withheld


class Paper(StrEnum):
    """`handlers.documents.DocumentKind`, without what it takes to import it."""

    APPLICATION = "application"
    APPROVAL = "approval"


def register(application_app: typer.Typer) -> None:
    """Add the command to those of applications."""
    application_app.command("pdf")(write_documents)


def write_documents(
    context: typer.Context,
    receipt: Receipt,
    kind: Annotated[
        Paper | None, typer.Option(help="Which paper; without it, every one that may be had today.")
    ] = None,
    output: Annotated[Path, typer.Option(file_okay=False, help="The folder to write to.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write 変更申込書 and, from the start date on, 変更承認通知 as PDF."""
    from gateway.document_pdf import DocumentFault, DocumentWriter

    running = invocation(context)
    requests = _requests(running, receipt, kind)
    writer = DocumentWriter(running.settings().documents)
    written = []
    output.mkdir(parents=True, exist_ok=True)
    for request in requests:
        try:
            content = writer.write(request)
        except DocumentFault as fault:
            refuse(str(fault))
        path = output / request.file_name
        path.write_bytes(content)
        written.append({"kind": str(request.kind), "file": str(path), "size": len(content)})
        if not as_json:
            typer.echo(f"{path} ({len(content)} bytes)")
    if as_json:
        print_json(written)


def _requests(running: Invocation, receipt: str, kind: Paper | None) -> list[DocumentRequest]:
    from handlers.documents import Withheld

    with opened_store(running) as opened:
        now = opened.now()
        found = opened.store.read(lambda session: _found(session, receipt, kind, now))
    if found is None:
        refuse(running.text(ja=f"申込受付番号 {receipt} はありません。", en=f"there is no application {receipt}"))
    if isinstance(found, Withheld):
        refuse(_withheld(running, found))
    return found


def _found(
    session: Session, receipt: str, kind: Paper | None, now: datetime
) -> list[DocumentRequest] | Withheld | None:
    from handlers import documents
    from handlers.calendar import jst_date
    from handlers.reviews import find

    application = find(session, receipt)
    if application is None:
        return None
    today = jst_date(now)
    if kind is None:
        return list(documents.allowed(session, application, today))
    request = documents.document(session, application, documents.DocumentKind(kind), today)
    return request if isinstance(request, documents.Withheld) else [request]


def _withheld(running: Invocation, found: Withheld) -> str:
    if found.start_date is None:
        return running.text(
            ja=f"承認通知は審査終了後に発行します（現在の状態: {found.state}）。",
            en=f"there is no approval of an application that is {found.state}",
        )
    return running.text(
        ja=f"承認通知は利用開始日（{found.start_date}）から発行します（現在の状態: {found.state}）。",
        en=f"the approval is issued from the start date on, {found.start_date}; the application is {found.state}",
    )
