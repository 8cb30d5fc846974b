"""The notices that answer an application mail: received, to both persons and the reviewer, or invalid.

Only plain values go to the templates; what somebody wrote is made harmless first (`notice_templates.shown`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta

from sqlalchemy.orm import Session

from handlers import notices
from handlers.allocation import GATEWAY_SERVER, INTERACTIVE, SMTP_SERVER, TerminalKind
from handlers.applications.contents import ApplicationContents, ApplicationFile, LineChange
from handlers.applications.field_rules import FieldError
from handlers.applications.register import LineFacts, OpenCase, TerminalFacts
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_mail import NoticePart, is_message_id
from handlers.notice_templates import shown
from handlers.notices import Addressee, Notice
from storage.models import Application, Office

_OFF_SCHEDULE = "off_schedule"
_LONGEST_SUBJECT = 200
_LONGEST_FILE_NAME = 255

# The count of the form, its unit, the number to add, and the kind of terminal it counts.
_COUNTS: tuple[tuple[str, str, TerminalKind], ...] = (
    ("論理端末数（インタラクティブ）", "interactive_terminals", INTERACTIVE),
    ("GWサーバ台数（SMTP/POP3）", "gateway_servers", GATEWAY_SERVER),
    ("SMTPサーバ台数（SMTP双方向）", "smtp_servers", SMTP_SERVER),
)
_MAIL_ADDRESSES = "メールアドレス数（SMTP双方向）"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountChange:
    """A number before and after, with its unit: 0台 → 1台."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineShown:
    """A line in the copy of the application and in the reviewer's hints."""

    router_number: str
    action: str
    construction_date: date
    changes: tuple[CountChange, ...]
    target_terminal: str
    terminals_to_delete: tuple[str, ...]
    spare_router: bool
    free_addresses: int
    open_cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Everything the notices of an accepted application are made from. `open_cases` are the other ones."""

    mail: InboundMail
    application: Application
    contents: ApplicationContents
    office: Office
    lines: Mapping[str, LineFacts]
    open_cases: Sequence[OpenCase]
    email_registered: bool


def send_received(session: Session, desk: DeskSettings, acceptance: Acceptance, now: datetime) -> None:
    """Tell 申込担当者 and システム管理責任者 that the application was received, and ask the reviewer to review it."""
    copy = _copy_of_application(acceptance)
    notices.send_to_both(session, desk, acceptance.application, "applicant/application-received", copy, now)
    request = Notice(
        name="reviewer/review-requested",
        to=notices.reviewer(desk),
        application=acceptance.application,
        context={**copy, **_hints_for_reviewer(acceptance, now)},
    )
    notices.send(session, desk, request, now)


def send_invalid(
    session: Session,
    desk: DeskSettings,
    mail: InboundMail,
    to: Addressee,
    errors: Sequence[FieldError],
    now: datetime,
) -> None:
    """Answer the sender with every wrong field, in Japanese and English and for machines."""
    harmless = [_harmless(error) for error in errors]
    listed = [{"place": _place(error), **asdict(error)} for error in harmless]
    answer = Notice(
        name="applicant/application-invalid",
        to=to,
        context={
            "received": mail.received_at,
            "subject": shown(mail.subject, at_most=_LONGEST_SUBJECT),
            "errors": listed,
        },
        thread=mail.message_id if mail.message_id and is_message_id(mail.message_id) else "",
        parts=(_errors_for_machines(harmless),),
    )
    notices.send(session, desk, answer, now)


def _copy_of_application(acceptance: Acceptance) -> dict[str, object]:
    contents = acceptance.contents
    attendant = contents.attendant.person if contents.attendant else None
    return {
        "application_class": contents.application_class.value,
        "office_code": contents.office_code,
        "items": [item.name for item in contents.chosen_items],
        "reason": shown(contents.reason),
        "lines": [_line_shown(acceptance, line) for line in contents.lines],
        "files": [_file_shown(file) for file in (contents.diagram, *contents.files) if file is not None],
        "applicant": contents.applicant,
        "work_contact": contents.work_contact,
        "attendant": attendant,
        "work_remarks": shown(contents.work_remarks or ""),
        "remarks": shown(contents.remarks or ""),
        "warnings": [shown(warning.text_ja) for warning in contents.warnings],
        "open_cases": [case.receipt_number for case in acceptance.open_cases],
        "email_not_registered": not acceptance.email_registered,
    }


def _hints_for_reviewer(acceptance: Acceptance, now: datetime) -> dict[str, object]:
    mail, office = acceptance.mail, acceptance.office
    return {
        "company_name": office.company_name,
        "office_name": office.name,
        "age": _age(now - acceptance.application.arrived_at),
        "sender_verdict": f"{mail.header_from}（登録連絡先）、信頼するネットワーク（{mail.peer}）から",
        "off_schedule": any(warning.code == _OFF_SCHEDULE for warning in acceptance.contents.warnings),
    }


def _line_shown(acceptance: Acceptance, line: LineChange) -> LineShown:
    facts = acceptance.lines[line.router_number]
    cases = (case for case in acceptance.open_cases if line.router_number in case.router_numbers)
    return LineShown(
        router_number=line.router_number,
        action=line.action.value,
        construction_date=line.construction_date,
        changes=tuple(_count_changes(line, facts)),
        target_terminal=line.target_terminal or "",
        terminals_to_delete=line.terminals_to_delete,
        spare_router=facts.spare_router,
        free_addresses=facts.free_addresses,
        open_cases=tuple(case.receipt_number for case in cases),
    )


def _count_changes(line: LineChange, facts: LineFacts) -> Iterator[CountChange]:
    """The counts that the application changes, from what is in force now to what will be."""
    deleted = [terminal for terminal in facts.terminals if terminal.name in line.terminals_to_delete]
    for label, key, kind in _COUNTS:
        before = sum(_is_of(kind, terminal) for terminal in facts.terminals)
        ending = sum(_is_of(kind, terminal) for terminal in deleted)
        yield from _changed(label, "台", before, getattr(line, key) or 0, ending)
    yield from _changed(
        _MAIL_ADDRESSES,
        "個",
        sum(terminal.mail_addresses for terminal in facts.terminals),
        sum(line.addresses_of_new_servers) + line.addresses_for_target,
        sum(terminal.mail_addresses for terminal in deleted),
    )


def _changed(label: str, unit: str, before: int, added: int, ended: int) -> Iterator[CountChange]:
    if added or ended:
        yield CountChange(label=label, before=f"{before}{unit}", after=f"{before + added - ended}{unit}")


def _is_of(kind: TerminalKind, terminal: TerminalFacts) -> bool:
    return terminal.equipment == kind.equipment and kind.package in ("", terminal.package)


def _file_shown(file: ApplicationFile) -> ApplicationFile:
    return file.model_copy(update={"name": shown(file.name, at_most=_LONGEST_FILE_NAME).replace("\n", " ")})


def _age(since: timedelta) -> str:
    minutes = since // timedelta(minutes=1)
    days, minutes = divmod(minutes, 24 * 60)
    return f"{days}日{minutes // 60}時間{minutes % 60}分" if days else f"{minutes // 60}時間{minutes % 60}分"


def _harmless(error: FieldError) -> FieldError:
    return replace(error, **{field.name: shown(getattr(error, field.name)) for field in fields(error)})


def _place(error: FieldError) -> str:
    return f"【{error.section}】{error.label}" if error.section else error.label


def _errors_for_machines(errors: Sequence[FieldError]) -> NoticePart:
    """Keys are those of `FieldError`."""
    content = {"receipt_number": None, "errors": [asdict(error) for error in errors]}
    return NoticePart(
        file_name="application-errors.json",
        subtype="json",
        content=json.dumps(content, ensure_ascii=False, indent=2) + "\n",
    )
