"""An application mail -> an application that holds every rule, or all of its errors at once.

Pure: the office register, today and the limits come in as arguments. What cannot be read at all (charset,
MIME, no form) is one error; everything else is reported together, in the order of the form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from handlers.applications.amended_form import amended
from handlers.applications.contents import ApplicationContents, ApplicationWarning
from handlers.applications.field_rules import (
    ApplicationLimits,
    FieldError,
    OfficeFacts,
    RuleContext,
    broken_rule,
    field_error,
)
from handlers.applications.form import ParsedForm
from handlers.applications.form_layout import form_layout
from handlers.applications.form_sources import MAIL_TEXT, find_form
from handlers.applications.section_checks import SectionChecks
from handlers.mail import InboundMail, MailAttachment

OfficeLookup = Callable[[str], OfficeFacts | None]


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
    """An application without a fault. `warnings` are those of the contents; `attachments` are those of this mail."""

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
    base: ApplicationContents | None = None,
) -> Accepted | Invalid:
    """Read and check the form in a mail. `today` is the JST day of arrival; `schedule` the registration days.

    An empty schedule means that none was imported: no date is then off it, except today's. With `base` the mail amends
    that application: what it writes replaces, everything else comes from `base`, whose diagram counts as attached.
    """
    context = RuleContext(today=today, limits=limits or ApplicationLimits(), schedule=schedule)
    source = find_form(mail, context, amending=base is not None)
    if source.form is None:
        return Invalid(errors=source.errors, office_code=base.office_code if base else None)
    errors = (*source.errors, *_unplaced(source.form, context))
    form = source.form if base is None else amended(source.form, base)
    context = _with_office(form, office_lookup, context)
    checks = SectionChecks(mail, form, context, differing=source.differing, base=base)
    errors += checks.errors()
    if not errors:
        contents, files = checks.contents(), _accepted_files(checks)
        if base is None or files or _without_warnings(contents) != _without_warnings(base):
            return Accepted(contents=contents, attachments=files, warnings=contents.warnings)
        errors = (_of_mail("amendment_no_change", context),)
    return Invalid(errors=errors, office_code=context.office.office_code if context.office else None)


def _accepted_files(checks: SectionChecks) -> tuple[AcceptedFile, ...]:
    others = tuple(AcceptedFile(role=FileRole.OTHER, file=file) for file in checks.other_files)
    diagram = checks.diagram_choice.file
    return (AcceptedFile(role=FileRole.DIAGRAM, file=diagram), *others) if diagram else others


def _unplaced(form: ParsedForm, context: RuleContext) -> tuple[FieldError, ...]:
    """Labels of an amendment that several sections have, written above every heading."""
    return tuple(
        field_error("amendment_place", section="", label=label, given=given, example="", context=context)
        for label, given in form.unplaced
    )


def _of_mail(code: str, context: RuleContext) -> FieldError:
    return field_error(code, section="", label=MAIL_TEXT, given="", example="", context=context)


def _without_warnings(contents: ApplicationContents) -> ApplicationContents:
    return contents.model_copy(update={"warnings": ()})


def _with_office(form: ParsedForm, office_lookup: OfficeLookup, context: RuleContext) -> RuleContext:
    """The context with the office the form names, when it names exactly one that is registered."""
    spec = form_layout().section("application").field("office_code")
    code = next((block.value(spec.key) for block in form.of("application")), "")
    office = office_lookup(code) if code and not broken_rule(spec, code, context) else None
    return replace(context, office=office) if office and office.known else context
