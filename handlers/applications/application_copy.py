"""The copy of an application that goes into its mails: every part of the form, with what it was before.

What somebody wrote is made harmless for a template (`notice_templates.shown`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.allocation_order import GATEWAY_SERVER, INTERACTIVE, SMTP_SERVER, TerminalKind
from handlers.applications.contents import (
    ApplicationContents,
    ApplicationFile,
    ApplicationWarning,
    LineAction,
    LineChange,
)
from handlers.applications.items import all_items
from handlers.applications.register import LineFacts, OpenCase, TerminalFacts
from handlers.mail import InboundMail
from handlers.notice_templates import one_line, shown
from storage.models import Application, Line, Office

_LONGEST_FILE_NAME = 255

# A column of the line: its label in both languages, and its key in the application and in the register.
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("区分", "Class", "line_class"),
    ("接続方式", "Connection", "connection"),
    ("EDIFACTの要否", "EDIFACT", "edifact"),
    ("接続種別", "Line type", "line_type"),
    ("アクセス速度", "Access speed", "access_speed"),
    ("屋内配線工事", "Indoor wiring", "wiring"),
    ("保守時間帯", "Maintenance hours", "maintenance_hours"),
    ("設置場所オプション", "Place of installation", "site_option"),
    ("他事業所と共用", "Shared with other offices", "shared_with_other_offices"),
)
# How the form writes the columns that the register keeps as yes or no.
_WORDS: Mapping[str, Mapping[bool, str]] = {
    "edifact": {True: "要", False: "否"},
    "shared_with_other_offices": {True: "あり", False: "なし"},
}
# The count of the form in both languages, the number to add, and the kind of terminal it counts.
_COUNTS: tuple[tuple[str, str, str, TerminalKind], ...] = (
    ("論理端末数（インタラクティブ）", "Logical terminals (interactive)", "interactive_terminals", INTERACTIVE),
    ("GWサーバ台数（SMTP/POP3）", "GW servers (SMTP/POP3)", "gateway_servers", GATEWAY_SERVER),
    ("SMTPサーバ台数（SMTP双方向）", "SMTP servers (two-way)", "smtp_servers", SMTP_SERVER),
)
_MAIL_ADDRESSES = ("メールアドレス数（SMTP双方向）", "Mail addresses (SMTP two-way)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """A value of a line before and after, with its unit: 0台 → 1台. Nothing before: a value of a new line."""

    label: str
    english_label: str
    before: str
    after: str
    unit: str = ""

    @property
    def shown(self) -> str:
        after = f"{self.after}{self.unit}"
        return f"{self.before}{self.unit} → {after}" if self.before else after

    @property
    def shown_in_english(self) -> str:
        return f"{self.before} → {self.after}" if self.before else self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class PairShown:
    """An item without a screen of its own, before and after."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineShown:
    """A line in the copy of the application and in the reviewer's hints; `terminals_ending` end with the line."""

    router_number: str
    action: str
    construction_date: date
    changes: tuple[ValueChange, ...]
    target_terminal: str
    terminals_to_delete: tuple[str, ...]
    terminals_ending: tuple[str, ...]
    spare_router: bool
    free_addresses: int
    open_cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Everything the notices of an accepted application are made from.

    `lines` are those of the register, by router number; `open_cases` are the other ones of the office.
    """

    mail: InboundMail
    application: Application
    contents: ApplicationContents
    office: Office
    lines: Mapping[str, LineFacts]
    open_cases: Sequence[OpenCase]
    email_registered: bool


def copy_of_application(session: Session, acceptance: Acceptance) -> dict[str, object]:
    """What the templates of the copy ask for."""
    contents = acceptance.contents
    attendant = contents.attendant.person if contents.attendant else None
    rows = _rows_of_lines(session, acceptance)
    return {
        "application_class": contents.application_class.value,
        "office_code": contents.office_code,
        "items": [item.name for item in contents.chosen_items if not item.other],
        "other_items": [item.name for item in contents.chosen_items if item.other],
        "item_changes": [
            PairShown(name=all_items()[pair.code].name, before=shown(pair.before), after=shown(pair.after))
            for pair in contents.item_changes
        ],
        "reason": shown(contents.reason),
        "lines": [_line_shown(acceptance, line, rows.get(line.router_number)) for line in contents.lines],
        "files": [_file_shown(file) for file in (contents.diagram, *contents.files) if file is not None],
        "applicant": contents.applicant,
        "work_contact": contents.work_contact,
        "attendant": attendant,
        "work_remarks": shown(contents.work_remarks or ""),
        "remarks": shown(contents.remarks or ""),
        "warnings": [_warning_shown(warning) for warning in contents.warnings],
        "open_cases": [case.receipt_number for case in acceptance.open_cases],
    }


def _rows_of_lines(session: Session, acceptance: Acceptance) -> dict[str, Line]:
    numbers = [line.router_number for line in acceptance.contents.lines]
    query = select(Line).where(Line.office_id == acceptance.office.id, Line.router_number.in_(numbers))
    return {line.router_number: line for line in session.scalars(query)}


def _line_shown(acceptance: Acceptance, line: LineChange, row: Line | None) -> LineShown:
    facts = acceptance.lines.get(line.router_number, _NEW_LINE)
    cases = (case for case in acceptance.open_cases if line.router_number and line.router_number in case.router_numbers)
    return LineShown(
        router_number=line.router_number,
        action=line.action.value,
        construction_date=line.construction_date,
        changes=(*_column_changes(line, row), *_count_changes(line, facts)),
        target_terminal=line.target_terminal or "",
        terminals_to_delete=line.terminals_to_delete,
        terminals_ending=tuple(terminal.name for terminal in facts.terminals) if _ends(line) else (),
        spare_router=facts.spare_router,
        free_addresses=facts.free_addresses,
        open_cases=tuple(case.receipt_number for case in cases),
    )


# What the register knows of a line that is to be added.
_NEW_LINE = LineFacts(router_number="", spare_router=False, terminals=(), free_addresses=0)


def _ends(line: LineChange) -> bool:
    return line.action is LineAction.CANCEL


def _column_changes(line: LineChange, row: Line | None) -> Iterator[ValueChange]:
    for label, english_label, key in _COLUMNS:
        if key in line.columns:
            before = "" if row is None else _column_of(row, key)
            yield ValueChange(
                label=label, english_label=english_label, before=before, after=one_line(line.columns[key])
            )


def _column_of(row: Line, key: str) -> str:
    value = getattr(row, key)
    return one_line(_WORDS[key][value] if key in _WORDS else value) or "（記載なし）"


def _count_changes(line: LineChange, facts: LineFacts) -> Iterator[ValueChange]:
    """The counts that the application changes, from what is in force now to what will be."""
    ends = _ends(line)
    deleted = [terminal for terminal in facts.terminals if ends or terminal.name in line.terminals_to_delete]
    for label, english_label, key, kind in _COUNTS:
        before = sum(_is_of(kind, terminal) for terminal in facts.terminals)
        ending = sum(_is_of(kind, terminal) for terminal in deleted)
        yield from _changed((label, english_label), "台", before, getattr(line, key) or 0, ending)
    yield from _changed(
        _MAIL_ADDRESSES,
        "個",
        sum(terminal.mail_addresses for terminal in facts.terminals),
        sum(line.addresses_of_new_servers) + line.addresses_for_target,
        sum(terminal.mail_addresses for terminal in deleted),
    )


def _changed(labels: tuple[str, str], unit: str, before: int, added: int, ended: int) -> Iterator[ValueChange]:
    if added or ended:
        yield ValueChange(
            label=labels[0],
            english_label=labels[1],
            before=str(before),
            after=str(before + added - ended),
            unit=unit,
        )


def _is_of(kind: TerminalKind, terminal: TerminalFacts) -> bool:
    return terminal.equipment == kind.equipment and kind.package in ("", terminal.package)


def _warning_shown(warning: ApplicationWarning) -> ApplicationWarning:
    update = {"text_ja": one_line(warning.text_ja), "text_en": one_line(warning.text_en)}
    return warning.model_copy(update=update)


def _file_shown(file: ApplicationFile) -> ApplicationFile:
    return file.model_copy(update={"name": one_line(file.name, at_most=_LONGEST_FILE_NAME)})
