"""The case view (申込内容参照): what anybody who may see an application is shown of it, read from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, selectinload

from handlers.applications.contents import ApplicationContents, LineAction
from handlers.calendar import jst_date
from handlers.workflow import STATUS_JA, State
from storage.models import Application, LogicalTerminal, Office


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedTerminal:
    """A terminal that the application issued or gave addresses to; only the addresses issued with it."""

    name: str
    ip_address: str | None
    mail_addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """追加, 変更 and 削除 of one kind of thing; None is shown as 「-」."""

    added: int = 0
    changed: int | None = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that came with the application; `size` in bytes."""

    kind: str
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A row of 進行状況: 作業項目, 作業日 (JST) and 通知内容."""

    item: str
    date: date
    notice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """An application as its case view shows it."""

    receipt_number: str
    state: str
    status_ja: str
    office_code: str
    items: tuple[str, ...]
    reason: str
    received_on: date
    desired_start_date: date
    start_date: date | None
    review_completed_on: date | None
    applicant_name: str
    applicant_email: str
    administrator_email: str
    terminals: tuple[IssuedTerminal, ...]
    counts: Mapping[str, Count]
    attachments: tuple[Attachment, ...]
    progress: tuple[Progress, ...]


def case_view(session: Session, application: Application) -> CaseView:
    """Everything the store knows of an application that its people may see."""
    contents = ApplicationContents.from_json(application.contents)
    office = session.get_one(Office, application.office_id)
    completed = application.completed_at
    return CaseView(
        receipt_number=application.receipt_number,
        state=application.state,
        status_ja=STATUS_JA[State(application.state)],
        office_code=office.code,
        items=tuple(item.name for item in contents.chosen_items),
        reason=contents.reason,
        received_on=application.received_on,
        desired_start_date=application.desired_start_date,
        start_date=application.start_date,
        review_completed_on=None if completed is None else jst_date(completed),
        applicant_name=application.applicant_name,
        applicant_email=application.applicant_email,
        administrator_email=office.administrator_email,
        terminals=_issued(session, application, contents),
        counts=_counts(contents),
        attachments=tuple(
            Attachment(kind=file.kind, name=file.name, size=file.size)
            for file in sorted(application.attachments, key=lambda file: file.id)
        ),
        progress=_progress(application),
    )


def _issued(session: Session, application: Application, contents: ApplicationContents) -> tuple[IssuedTerminal, ...]:
    if application.start_date is None:
        return ()
    targets = [line.target_terminal for line in contents.lines if line.addresses_for_target]
    rows = session.scalars(
        select(LogicalTerminal)
        .where(
            or_(
                LogicalTerminal.application_id == application.id,
                LogicalTerminal.name.in_(targets),
            )
        )
        .options(selectinload(LogicalTerminal.mail_addresses))
        .order_by(LogicalTerminal.id)
    )
    return tuple(
        IssuedTerminal(
            name=row.name,
            ip_address=row.ip_address,
            mail_addresses=tuple(
                address.address
                for address in sorted(row.mail_addresses, key=lambda address: address.id)
                if row.application_id == application.id or address.effective_from == application.start_date
            ),
        )
        for row in rows
    )


def _counts(contents: ApplicationContents) -> dict[str, Count]:
    lines = contents.lines
    new = sum(
        (line.smtp_servers or 0) + (line.gateway_servers or 0) + (line.interactive_terminals or 0) for line in lines
    )
    return {
        "user_codes": Count(),
        "identification_numbers": Count(),
        "lines": Count(
            added=sum(line.action is LineAction.ADD for line in lines),
            deleted=sum(line.action is LineAction.CANCEL for line in lines),
        ),
        "terminals": Count(
            added=new,
            changed=sum(line.addresses_for_target > 0 for line in lines),
            deleted=sum(len(line.terminals_to_delete) for line in lines),
        ),
        "mailboxes": Count(changed=None),
    }


def _progress(application: Application) -> tuple[Progress, ...]:
    rows = [Progress(item="利用申込", date=application.received_on, notice="利用申込受付完了のお知らせ")]
    if application.completed_at is not None:
        day = jst_date(application.completed_at)
        rows.append(Progress(item="利用申込回答(審査終了)", date=day, notice="利用申込確認完了のお知らせ"))
        rows.append(Progress(item="ID通知", date=day, notice="ID通知のお知らせ"))
    if application.state in (State.IN_USE, State.CHECKED) and application.start_date is not None:
        rows.append(Progress(item="利用開始", date=application.start_date, notice=""))
    return tuple(rows)
