"""Checked sections -> the application as one value, with the warnings an acceptance carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from handlers.applications.attachments import same_name
from handlers.applications.block_check import BlockCheck
from handlers.applications.contents import (
    Applicant,
    ApplicationClass,
    ApplicationContents,
    ApplicationFile,
    ApplicationWarning,
    Attendant,
    Person,
    warning,
)
from handlers.applications.form import ParsedForm
from handlers.applications.item_rules import chosen_items
from handlers.applications.items import item_lines
from handlers.applications.line_rules import line_warnings, read_line
from handlers.calendar import mail_date, parse_form_date
from handlers.mail import MailAttachment

_LONGEST_STRAY = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedForm:
    """The sections of a form in which no error was found."""

    application: BlockCheck
    applicant: BlockCheck
    lines: tuple[BlockCheck, ...]
    work: BlockCheck
    remarks: BlockCheck
    files: BlockCheck
    parsed: ParsedForm


def assemble(
    form: CheckedForm, *, diagram: MailAttachment | None, files: tuple[MailAttachment, ...]
) -> ApplicationContents:
    """Build the contents. `files` are the attachments that belong to the application beside the diagram."""
    application, applicant, work = form.application, form.applicant, form.work
    start = parse_form_date(application.valid("desired_start_date"))
    if start is None:
        raise ValueError("an application without a start date was not checked")
    changes = tuple(read_line(check, start) for check in form.lines)
    warnings = (
        *_start_warnings(application, start),
        *(entry for change in changes for entry in line_warnings(change)),
        *_file_warnings(files, item_lines(form.files.valid("file_names"))),
        *_stray_warnings(form.parsed),
    )
    return ApplicationContents(
        application_class=ApplicationClass(application.valid("application_class")),
        office_code=application.valid("office_code"),
        items=tuple(item.code for item in chosen_items(application, "items")),
        desired_start_date=start,
        reason=application.valid("reason"),
        applicant=_applicant(applicant),
        lines=changes,
        diagram=_file(diagram) if diagram else None,
        work_contact=_person(work, "contact_"),
        attendant=_attendant(work),
        work_remarks=work.optional("remarks"),
        remarks=form.remarks.optional("remarks"),
        files=tuple(_file(file) for file in files),
        warnings=warnings,
    )


def _person(check: BlockCheck, prefix: str) -> Person:
    return Person(
        family_name=check.valid(f"{prefix}family_name"),
        given_name=check.valid(f"{prefix}given_name"),
        family_kana=check.valid(f"{prefix}family_kana"),
        given_kana=check.valid(f"{prefix}given_kana"),
        department=check.optional(f"{prefix}department"),
        phone=check.valid(f"{prefix}phone"),
        fax=check.optional(f"{prefix}fax"),
    )


def _applicant(check: BlockCheck) -> Applicant:
    person = _person(check, "")
    return Applicant(**person.model_dump(), title=check.optional("title"), email=check.valid("email"))


def _attendant(check: BlockCheck) -> Attendant:
    if check.valid("attendant") == "その他":
        return Attendant(same_as_contact=False, person=_person(check, "attendant_"))
    return Attendant(same_as_contact=True)


def _file(file: MailAttachment) -> ApplicationFile:
    return ApplicationFile(name=file.name, size=len(file.content))


def _start_warnings(application: BlockCheck, start: date) -> Iterator[ApplicationWarning]:
    """Today always counts as off the schedule, any other day only when a schedule was imported."""
    context = application.context
    if start == context.today or (context.schedule and start not in context.schedule):
        yield warning("off_schedule", date=mail_date(start))


def _file_warnings(files: tuple[MailAttachment, ...], listed: tuple[str, ...]) -> Iterator[ApplicationWarning]:
    for file in files:
        if not any(same_name(name, file.name) for name in listed):
            yield warning("unlisted_file", name=file.name)


def _stray_warnings(form: ParsedForm) -> Iterator[ApplicationWarning]:
    for block in form.blocks:
        if block.stray:
            yield warning("stray_text", section=block.section.name, text=block.stray[:_LONGEST_STRAY])
