"""The papers of an application: 変更申込書 (what was applied for) and 変更承認通知 (what was approved), as data.

What a paper says is read from the store here; how it looks is the writer's (`gateway.document_pdf`). The approval
exists from the JST day of the start on, the application as soon as it was received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.allocation import GATEWAY_SERVER, INTERACTIVE, SMTP_SERVER, TerminalKind
from handlers.applications.contents import ApplicationContents, LineAction, LineChange
from handlers.applications.items import all_items
from handlers.calendar import document_date
from handlers.workflow import State
from storage.models import Application, Line, LogicalTerminal, Office

_CENTER = "輸出入・港湾関連情報処理センター株式会社"
_APPROVED = frozenset({State.IDS_ISSUED, State.IN_USE, State.CHECKED})
_LINE_ITEMS = frozenset({"naccs_lines", "naccs_terminals"})

# The count of the form, the field that holds the number to add, and the kind of terminal it counts.
_COUNTS: tuple[tuple[str, str, TerminalKind], ...] = (
    ("論理端末数（インタラクティブ）", "interactive_terminals", INTERACTIVE),
    ("GWサーバ台数（SMTP/POP3）", "gateway_servers", GATEWAY_SERVER),
    ("SMTPサーバ台数（SMTP双方向）", "smtp_servers", SMTP_SERVER),
)

# 回線の列, as the line of the register and as the change of the application have them.
_COLUMNS: tuple[tuple[str, str], ...] = (
    ("区分", "line_class"),
    ("接続方式", "connection"),
    ("接続種別", "line_type"),
    ("アクセス速度", "access_speed"),
    ("屋内配線工事", "wiring"),
    ("保守時間帯", "maintenance_hours"),
    ("設置場所オプション", "site_option"),
)


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
    name = change.router_number or "新しい回線"
    place = f"　回線 {name}（{change.action.value}）"
    line = session.scalars(select(Line).where(Line.router_number == change.router_number)).first()
    yield from _column_rows(place, line, change)
    running = [] if line is None else _running(session, application, line, before_day)
    ending = [row for row in running if row.name in change.terminals_to_delete or change.action is LineAction.CANCEL]
    for label, field, kind in _COUNTS:
        added, ended = getattr(change, field) or 0, _number_of(kind, ending)
        if added or ended:
            before = _number_of(kind, running)
            yield DocumentRow(heading=f"{place} {label}", before=f"{before}台", after=f"{before + added - ended}台")
    added = sum(change.addresses_of_new_servers) + change.addresses_for_target
    if added:
        yield DocumentRow(heading=f"{place} メールアドレス数（SMTP双方向）", after=f"{added}個を追加")
    if ending:
        yield DocumentRow(
            heading=f"{place} 削除する論理端末", before=" ".join(row.name for row in ending), after="削除"
        )


def _column_rows(place: str, line: Line | None, change: LineChange) -> Iterator[DocumentRow]:
    for label, field in _COLUMNS:
        wanted = getattr(change, field)
        if wanted:
            before = "" if line is None or change.action is LineAction.ADD else str(getattr(line, field))
            yield DocumentRow(heading=f"{place} {label}", before=before, after=wanted)


def _running(session: Session, application: Application, line: Line, day: date) -> list[LogicalTerminal]:
    """The terminals of a line as they are without this application: what it issued is not among them."""
    rows = session.scalars(
        select(LogicalTerminal).where(LogicalTerminal.line_id == line.id).order_by(LogicalTerminal.name)
    )
    return [row for row in rows if row.application_id != application.id and _runs(row, application, day)]


def _runs(terminal: LogicalTerminal, application: Application, day: date) -> bool:
    if terminal.effective_from > day:
        return False
    ended = terminal.effective_until is not None and terminal.effective_until <= day
    return not ended or terminal.ended_by == application.id


def _number_of(kind: TerminalKind, terminals: Iterable[LogicalTerminal]) -> int:
    return sum(row.equipment == kind.equipment and kind.package in ("", row.package) for row in terminals)
