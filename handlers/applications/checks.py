"""An application mail -> an application that holds every rule, or all of its errors at once.

Pure: the office register, today and the limits come in as arguments. What cannot be read at all (charset,
MIME, no form) is one error; everything else is reported together, in the order of the form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cached_property

from handlers.applications.assembly import CheckedForm, assemble
from handlers.applications.attachments import DiagramChoice, choose_diagram, same_name
from handlers.applications.block_check import BlockCheck
from handlers.applications.contents import ApplicationContents, ApplicationWarning
from handlers.applications.field_rules import (
    ApplicationLimits,
    FieldError,
    OfficeFacts,
    RuleContext,
    broken_rule,
    field_error,
)
from handlers.applications.form import FormBlock, ParsedForm, parse_form
from handlers.applications.form_layout import form_layout
from handlers.applications.item_rules import check_items, chosen_items, needed_parts
from handlers.applications.items import item_lines
from handlers.applications.line_rules import check_line, check_lines_together, needs_diagram, terminals_of
from handlers.mail import InboundMail, MailAttachment, parse_address

OfficeLookup = Callable[[str], OfficeFacts | None]

_MAIL_TEXT = "メール本文"
_SAME_AS_CONTACT = "工事事務担当者に同じ"
_ATTENDANT_REQUIRED = ("family_name", "given_name", "family_kana", "given_kana", "phone")
_ATTENDANT_FIELDS = (*_ATTENDANT_REQUIRED, "department", "fax")


class FileRole(StrEnum):
    """What a file is to its application."""

    DIAGRAM = "diagram"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedFile:
    """An attachment that belongs to the application."""

    role: FileRole
    file: MailAttachment


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An application without a fault. `warnings` are those of the contents."""

    contents: ApplicationContents
    attachments: tuple[AcceptedFile, ...]
    warnings: tuple[ApplicationWarning, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """Everything that is wrong; at least one error. `office_code`: the registered office named, if any."""

    errors: tuple[FieldError, ...]
    office_code: str | None


def read_application(
    mail: InboundMail,
    office_lookup: OfficeLookup,
    *,
    today: date,
    limits: ApplicationLimits | None = None,
    schedule: frozenset[date] = frozenset(),
) -> Accepted | Invalid:
    """Read and check the form in a mail. `today` is the JST day of arrival; `schedule` the registration days.

    An empty schedule means that none was imported: no date is then off it, except today's.
    """
    context = RuleContext(today=today, limits=limits or ApplicationLimits(), schedule=schedule)
    if mail.text_problem:
        return _unreadable(mail.text_problem.value, context)
    form = parse_form(mail.lines, form_layout())
    if not form.blocks:
        form = parse_form(mail.quoted_lines, form_layout())
    if not form.blocks:
        return _unreadable("form_missing", context)
    return _Reading(mail, form, _with_office(form, office_lookup, context)).result()


def _unreadable(code: str, context: RuleContext) -> Invalid:
    error = field_error(code, section="", label=_MAIL_TEXT, given="", example="", context=context)
    return Invalid(errors=(error,), office_code=None)


def _with_office(form: ParsedForm, office_lookup: OfficeLookup, context: RuleContext) -> RuleContext:
    """The context with the office the form names, when it names exactly one that is registered."""
    spec = form_layout().section("application").field("office_code")
    code = next((block.value(spec.key) for block in form.of("application")), "")
    office = office_lookup(code) if code and not broken_rule(spec, code, context) else None
    return replace(context, office=office) if office and office.known else context


class _Reading:
    """The checks of one form, section by section; later ones ask earlier ones."""

    def __init__(self, mail: InboundMail, form: ParsedForm, context: RuleContext) -> None:
        self._mail = mail
        self._form = form
        self._context = context

    def result(self) -> Accepted | Invalid:
        checks = (self.application, self.applicant, *self.lines, self.diagram, self.work, self.remarks)
        checks += (self.files, *self.item_sections)
        errors = tuple(error for check in checks for error in check.errors())
        office = self._context.office
        if errors:
            return Invalid(errors=errors, office_code=office.office_code if office else None)
        return self._accepted()

    @cached_property
    def application(self) -> BlockCheck:
        check = self._check("application")
        check_items(check)
        if check.valid("office_code") and self._context.office is None:
            check.fail("office_code", "office_unknown", example="")
        return check

    @cached_property
    def applicant(self) -> BlockCheck:
        check = self._check("applicant")
        registered, confirmed = check.valid("email"), check.valid("email_confirmation")
        if registered and confirmed and parse_address(registered) != parse_address(confirmed):
            check.fail("email_confirmation", "email_differs", example=registered)
        return check

    @cached_property
    def lines(self) -> tuple[BlockCheck, ...]:
        most = self._context.limits.most_lines
        blocks = self._blocks("line")[: most + 1]
        checks = tuple(self._check_line(block, several=len(blocks) > 1) for block in blocks)
        if self._is_needed("line"):
            for check in checks:
                check_line(check)
            check_lines_together(checks)
        if len(checks) > most:
            checks[-1].replace_error("router_number", "too_many_lines")
        return checks

    @cached_property
    def diagram(self) -> BlockCheck:
        check = self._check("diagram")
        broken = self._diagram_choice.broken_rule
        if broken and (broken != "diagram_missing" or needs_diagram(self.lines)):
            names = " / ".join(file.name for file in self._mail.attachments if file.name)
            check.fail("file_name", broken, given=check.valid("file_name") or names)
        return check

    @cached_property
    def work(self) -> BlockCheck:
        check = self._check("work")
        attendant = check.valid("attendant")
        for name in _ATTENDANT_FIELDS:
            key = f"attendant_{name}"
            if attendant == _SAME_AS_CONTACT and check.is_given(key):
                check.replace_error(key, "attendant_not_wanted", example="")
            elif attendant and attendant != _SAME_AS_CONTACT and name in _ATTENDANT_REQUIRED:
                check.require(key)
        return check

    @cached_property
    def remarks(self) -> BlockCheck:
        return self._check("remarks")

    @cached_property
    def files(self) -> BlockCheck:
        check = self._check("attachments")
        names = item_lines(check.valid("file_names"))
        absent = [name for name in names if not any(same_name(name, file.name) for file in self._mail.attachments)]
        if absent:
            check.fail("file_names", "file_not_attached", given="\n".join(absent))
        return check

    @cached_property
    def item_sections(self) -> tuple[BlockCheck, ...]:
        """Sections of items without a screen: one that is filled in must belong to a chosen item."""
        chosen = {item.name for key in ("items", "other_items") for item in chosen_items(self.application, key)}
        blocks = (block for block in self._form.blocks if block.section.key.startswith("item:"))
        checks = tuple(BlockCheck(block, self._context, needed=False) for block in blocks)
        for check in checks:
            if check.block.section.name not in chosen:
                for key in check.block.values:
                    check.fail(key, "item_not_chosen", example="")
        return checks

    @cached_property
    def _diagram_choice(self) -> DiagramChoice:
        if not self._is_needed("diagram"):
            return DiagramChoice()
        named = next((block.value("file_name") for block in self._form.of("diagram")), "")
        return choose_diagram(self._mail.attachments, named=named, text=self._mail.text, limits=self._context.limits)

    def _check(self, section: str) -> BlockCheck:
        block = self._blocks(section)[0]
        return BlockCheck(block, self._context, needed=self._is_needed(section))

    def _check_line(self, block: FormBlock, *, several: bool) -> BlockCheck:
        context = replace(self._context, terminals=terminals_of(block, self._context.office))
        title = f"{block.section.name}（{block.number}）" if several else None
        return BlockCheck(block, context, needed=self._is_needed("line"), title=title)

    def _blocks(self, section: str) -> tuple[FormBlock, ...]:
        """The blocks of a section; an empty one when it is missing, so that required fields are reported."""
        return self._form.of(section) or (FormBlock(section=form_layout().section(section)),)

    def _is_needed(self, section: str) -> bool:
        """Whether the chosen items need a section; when no item can be read, whether it is filled in."""
        part = form_layout().section(section).needed_for
        if part is None:
            return True
        parts = needed_parts(self.application)
        return part in parts if parts is not None else any(block.values for block in self._form.of(section))

    def _accepted(self) -> Accepted:
        files = tuple(self._accepted_files())
        form = CheckedForm(
            application=self.application,
            applicant=self.applicant,
            lines=self.lines,
            work=self.work,
            remarks=self.remarks,
            files=self.files,
            parsed=self._form,
        )
        others = tuple(entry.file for entry in files if entry.role is FileRole.OTHER)
        contents = assemble(form, diagram=self._diagram_choice.file, files=others)
        return Accepted(contents=contents, attachments=files, warnings=contents.warnings)

    def _accepted_files(self) -> Iterator[AcceptedFile]:
        diagram = self._diagram_choice.file
        if diagram:
            yield AcceptedFile(role=FileRole.DIAGRAM, file=diagram)
        for file in self._mail.attachments:
            if file is not diagram and file.name and not file.inline:
                yield AcceptedFile(role=FileRole.OTHER, file=file)
