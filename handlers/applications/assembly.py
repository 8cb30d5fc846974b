"""Checked sections -> the application as one value, with the warnings an acceptance carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from handlers.applications.attachments import DiagramChoice, same_name
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
from handlers.applications.form_values import ANOTHER_PERSON
from handlers.applications.item_rules import chosen_items, item_warnings, read_item
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
    work: BlockCheck | None
    remarks: BlockCheck
    files: BlockCheck
    items: tuple[BlockCheck, ...]
    parsed: ParsedForm


def assemble(
    form: CheckedForm,
    *,
    diagram: DiagramChoice,
    files: tuple[MailAttachment, ...],
    base: ApplicationContents | None = None,
) -> ApplicationContents:
    """Build the contents. `files` are the attachments that belong to the application beside the diagram.

    Those of `base`, the application that is amended, stay unless one of the same name came.
    """
    application, work = form.application, form.work
    start = parse_form_date(application.valid("desired_start_date"))
    if start is None:
        raise ValueError("an application without a start date was not checked")
    contents = ApplicationContents(
        application_class=ApplicationClass(application.valid("application_class")),
        office_code=application.valid("office_code"),
        items=tuple(item.code for item in chosen_items(application, "items")),
        other_items=tuple(item.code for item in chosen_items(application, "other_items")),
        item_changes=tuple(read_item(check) for check in form.items),
        desired_start_date=start,
        reason=application.valid("reason"),
        applicant=_applicant(form.applicant),
        lines=tuple(read_line(check, start) for check in form.lines),
        diagram=_file(diagram.file) if diagram.file else _diagram_before(form, base),
        work_contact=_person(work, "contact_") if work else None,
        attendant=_attendant(work) if work else None,
        work_remarks=work.optional("remarks") if work else None,
        remarks=form.remarks.optional("remarks"),
        files=_all_files(files, base),
    )
    return contents.model_copy(update={"warnings": tuple(_warnings(form, contents, diagram, files))})


def _warnings(
    form: CheckedForm, contents: ApplicationContents, diagram: DiagramChoice, files: tuple[MailAttachment, ...]
) -> Iterator[ApplicationWarning]:
    yield from _start_warnings(form.application, contents.desired_start_date)
    yield from item_warnings(contents.chosen_items, contents.item_changes)
    for line in contents.lines:
        yield from line_warnings(line)
    yield from _move_warnings(form.application, contents)
    if diagram.file and diagram.external_links:
        yield warning("diagram_external_links", name=diagram.file.name)
    yield from _file_warnings(form, contents, files)
    yield from _stray_warnings(form.parsed)


def _all_files(files: tuple[MailAttachment, ...], base: ApplicationContents | None) -> tuple[ApplicationFile, ...]:
    earlier = base.files if base else ()
    kept = (file for file in earlier if not any(same_name(file.name, new.name) for new in files))
    return (*kept, *(_file(file) for file in files))


def _diagram_before(form: CheckedForm, base: ApplicationContents | None) -> ApplicationFile | None:
    return base.diagram if base and form.lines else None


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
    if check.valid("attendant") == ANOTHER_PERSON:
        return Attendant(same_as_contact=False, person=_person(check, "attendant_"))
    return Attendant(same_as_contact=True)


def _file(file: MailAttachment) -> ApplicationFile:
    return ApplicationFile(name=file.name, size=len(file.content))


def _start_warnings(application: BlockCheck, start: date) -> Iterator[ApplicationWarning]:
    """Today always counts as off the schedule, any other day only when a schedule was imported."""
    context = application.context
    if start == context.today or (context.schedule and start not in context.schedule):
        yield warning("off_schedule", date=mail_date(start))


def _move_warnings(application: BlockCheck, contents: ApplicationContents) -> Iterator[ApplicationWarning]:
    """Whoever moves takes the line along: asked of every office with a line, since only the office knows."""
    office = application.context.office
    has_line = bool(office and office.router_numbers)
    is_moved = "naccs_lines" in contents.items and any(line.site_option for line in contents.lines)
    if "office_names" in contents.items and has_line and not is_moved:
        yield warning("line_location")


def _file_warnings(
    form: CheckedForm, contents: ApplicationContents, files: tuple[MailAttachment, ...]
) -> Iterator[ApplicationWarning]:
    if "attached_files" in contents.items:
        yield warning("attached_files", names="、".join(file.name for file in contents.files))
    listed = item_lines(form.files.valid("file_names"))
    for file in files:
        if not any(same_name(name, file.name) for name in listed):
            yield warning("unlisted_file", name=file.name)


def _stray_warnings(form: ParsedForm) -> Iterator[ApplicationWarning]:
    for block in form.blocks:
        if block.stray:
            yield warning("stray_text", section=block.section.name, text=block.stray[:_LONGEST_STRAY])
