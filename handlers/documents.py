"""The papers of an application: 変更申込書 (what was applied for) and 変更承認通知 (what was approved), as data.

What a paper says is read from the store here; how it looks is the writer's (`gateway.document_pdf`). The approval
exists from the JST day of the start on, the application as soon as it was received.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.applications.contents import ApplicationContents, LineAction, LineChange
from handlers.applications.items import all_items
from handlers.applications.register import TerminalFacts
from handlers.applications.value_changes import ValueChange, column_changes, count_changes, ending
from handlers.calendar import document_date
from handlers.workflow import State
from storage.models import Application, Line, LogicalTerminal, MailAddress, Office

_CENTER = "輸出入・港湾関連情報処理センター株式会社"
_APPROVED = frozenset({State.IDS_ISSUED, State.IN_USE, State.CHECKED})
_BEGUN = frozenset({State.IN_USE, State.CHECKED})
_LINE_ITEMS = frozenset({"naccs_lines", "naccs_terminals"})


class DocumentKind(StrEnum):
    """Which paper."""

    APPLICATION = "application"
    APPROVAL = "approval"


TITLES = {
    DocumentKind.APPLICATION: "システムサービス利用契約変更申込書",
    DocumentKind.APPROVAL: "システムサービス利用契約変更承認通知",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """One item: ticked (■) or not (□), what it was and what it will be."""

    heading: str
    ticked: bool = False
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRequest:
    """Everything a paper prints. Dates are written as papers write them: 2026年04月01日."""

    kind: DocumentKind
    receipt_number: str
    title: str
    file_name: str
    issued_on: str
    addressee: str
    company_name: str
    office_code: str
    office_name: str
    start_label: str
    start_date: str
    rows: tuple[DocumentRow, ...]


@dataclass(frozen=True, slots=True)
class Withheld:
    """The paper cannot be had: the state the application is in, and the start date that is waited for, if any."""

    state: str
    start_date: date | None


def allowed(session: Session, application: Application, today: date) -> tuple[DocumentRequest, ...]:
    """The papers that may be handed out on the JST day `today`."""
    found = (document(session, application, kind, today) for kind in DocumentKind)
    return tuple(request for request in found if isinstance(request, DocumentRequest))


def document(session: Session, application: Application, kind: DocumentKind, today: date) -> DocumentRequest | Withheld:
    """One paper, issued on the JST day `today`."""
    start = application.start_date
    approved = application.state in _APPROVED and start is not None and start <= today
    if kind is DocumentKind.APPROVAL and not approved:
        return Withheld(application.state, start)
    office = session.get_one(Office, application.office_id)
    contents = ApplicationContents.from_json(application.contents)
    own = f"{office.company_name} {office.name}"
    return DocumentRequest(
        kind=kind,
        receipt_number=application.receipt_number,
        title=TITLES[kind],
        file_name=f"{TITLES[kind]}_{application.receipt_number}.pdf",
        issued_on=document_date(today),
        addressee=f"{own} 御中" if kind is DocumentKind.APPROVAL else f"{_CENTER} 御中",
        company_name=office.company_name,
        office_code=office.code,
        office_name=office.name,
        start_label="変更利用開始日" if start is not None else "変更利用開始希望日",
        start_date=document_date(start or application.desired_start_date),
        rows=tuple(_rows(session, application, contents, today)),
    )


def _rows(
    session: Session, application: Application, contents: ApplicationContents, today: date
) -> Iterator[DocumentRow]:
    chosen = {item.code for item in contents.chosen_items}
    pairs = {change.code: change for change in contents.item_changes}
    before_day = min(today, application.start_date) if application.start_date else today
    for code, item in all_items().items():
        if item.other and code not in chosen:
            continue  # the seven others stand on the paper only where one of them was applied for
        pair = pairs.get(code)
        yield DocumentRow(
            heading=item.name,
            ticked=code in chosen,
            before=pair.before if pair else "",
            after=pair.after if pair else "",
        )
        if code in chosen & _LINE_ITEMS and code == max(chosen & _LINE_ITEMS):
            for line in contents.lines:
                yield from _line_rows(session, application, line, before_day)


def _line_rows(
    session: Session, application: Application, change: LineChange, before_day: date
) -> Iterator[DocumentRow]:
    place = f"　回線 {change.router_number or '新しい回線'}（{change.action.value}）"
    line = _line_of(session, application, change)
    terminals = () if line is None else tuple(_going_on(session, application, line, before_day))
    for value in (*_columns(application, change, line), *count_changes(change, terminals)):
        yield DocumentRow(heading=f"{place} {value.label}", before=value.before_with_unit, after=value.after_with_unit)
    if change.target_terminal:
        yield DocumentRow(heading=f"{place} 対象の論理端末名", after=change.target_terminal)
    last = ending(change, terminals)
    if last:
        yield DocumentRow(
            heading=f"{place} 削除する論理端末名", before=" ".join(terminal.name for terminal in last), after="削除"
        )


def _line_of(session: Session, application: Application, change: LineChange) -> Line | None:
    """The office's line that changes; None for one that is added."""
    if change.action is LineAction.ADD:
        return None
    query = select(Line).where(Line.router_number == change.router_number, Line.office_id == application.office_id)
    return session.scalars(query).first()


def _columns(application: Application, change: LineChange, line: Line | None) -> Iterator[ValueChange]:
    """The columns that change. From the start on the register has the new ones, and what was before is not known."""
    for value in column_changes(change, line):
        yield replace(value, before="") if application.state in _BEGUN else value


def _going_on(session: Session, application: Application, line: Line, day: date) -> Iterator[TerminalFacts]:
    """The terminals of a line and their addresses as they are without this application."""
    terminals = session.scalars(
        select(LogicalTerminal).where(LogicalTerminal.line_id == line.id).order_by(LogicalTerminal.name)
    )
    for row in terminals:
        if _goes_on(row, application, day):
            addresses = sum(_goes_on(address, application, day) for address in row.mail_addresses)
            yield TerminalFacts(name=row.name, equipment=row.equipment, package=row.package, mail_addresses=addresses)


def _goes_on(row: LogicalTerminal | MailAddress, application: Application, day: date) -> bool:
    """Whether it is in use on the day, and would be if there were no such application."""
    if row.application_id == application.id or row.effective_from > day:
        return False
    ended = row.effective_until is not None and row.effective_until <= day
    return not ended or row.ended_by == application.id
