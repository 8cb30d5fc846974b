"""The copy of an application that goes into its mails: every part of the form, with what it was before.

What somebody wrote is made harmless for a template (`notice_templates.shown`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.applications.contents import (
    ApplicationContents,
    ApplicationFile,
    ApplicationWarning,
    LineAction,
    LineChange,
)
from handlers.applications.items import all_items
from handlers.applications.register import LineFacts, OpenCase
from handlers.applications.value_changes import ValueChange, column_changes, count_changes
from handlers.mail import InboundMail
from handlers.notice_templates import one_line, shown
from storage.models import Application, Line, Office

_LONGEST_FILE_NAME = 255


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
    cancels = line.action is LineAction.CANCEL
    cases = (case for case in acceptance.open_cases if line.router_number and line.router_number in case.router_numbers)
    return LineShown(
        router_number=line.router_number,
        action=line.action.value,
        construction_date=line.construction_date,
        changes=(*column_changes(line, row), *count_changes(line, facts.terminals)),
        target_terminal=line.target_terminal or "",
        terminals_to_delete=line.terminals_to_delete,
        terminals_ending=tuple(terminal.name for terminal in facts.terminals) if cancels else (),
        spare_router=facts.spare_router,
        free_addresses=facts.free_addresses,
        open_cases=tuple(case.receipt_number for case in cases),
    )


# What the register knows of a line that is to be added.
_NEW_LINE = LineFacts(router_number="", spare_router=False, terminals=(), free_addresses=0)


def _warning_shown(warning: ApplicationWarning) -> ApplicationWarning:
    update = {"text_ja": one_line(warning.text_ja), "text_en": one_line(warning.text_en)}
    return warning.model_copy(update=update)


def _file_shown(file: ApplicationFile) -> ApplicationFile:
    return file.model_copy(update={"name": one_line(file.name, at_most=_LONGEST_FILE_NAME)})
