"""Where an application stands in a mail: in its text, in a quoted mail, in application.json, or nowhere.

What is wrong with the mail as a whole is told in one list of errors, and a form that can be read all the same is
checked beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from handlers.applications.attachments import is_encrypted_mail, is_rich_text, same_name
from handlers.applications.field_rules import FieldError, RuleContext, field_error
from handlers.applications.form import FormBlock, ParsedForm, parse_form
from handlers.applications.form_layout import form_layout
from handlers.applications.json_form import FILE_NAME, LONGEST_FILE, differences, read_json_form
from handlers.mail import InboundMail, MailAttachment, TextProblem
from handlers.mail_text import quoted_mails

MAIL_TEXT = "メール本文"

_EXAMPLE_JSON = '{"application": {"office_code": "CT0001"}}'
_PGP = re.compile(r"^-----BEGIN PGP MESSAGE-----", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormSource:
    """The form of a mail. Without a form there is at least one error.

    `differing`: section and its number -> field -> what the text and application.json say, where they disagree.
    """

    form: ParsedForm | None
    errors: tuple[FieldError, ...]
    differing: Mapping[tuple[str, int], Mapping[str, tuple[str, str]]] = field(default_factory=dict)


def find_form(mail: InboundMail, context: RuleContext, *, amending: bool) -> FormSource:
    """The form a mail holds. An amendment stands in the new text alone: what is quoted is an older mail."""
    if mail.text_problem not in (None, TextProblem.NO_TEXT):
        return FormSource(form=None, errors=(_of_mail(mail.text_problem.value, context),))
    written = _written_form(mail, amending=amending)
    attached, errors = _attached_form(mail, context)
    if is_rich_text(mail.attachments):
        errors = (_of_mail("winmail", context), *errors)
    if attached is None:
        form = written
    elif not written.is_filled_in:
        form = attached
    else:
        differing = differences(written, attached)
        return FormSource(form=_with_places(written, differing), errors=errors, differing=differing)
    replaces_a_file = amending and any(file.name and not file.inline for file in mail.attachments)
    if form.blocks or form.unplaced or replaces_a_file:
        return FormSource(form=form, errors=errors)
    return FormSource(form=None, errors=errors or (_of_mail(_why_none(mail, amending=amending), context),))


def is_form_file(file: MailAttachment) -> bool:
    """Whether an attached file is the form for machines, and no file of the application."""
    return same_name(file.name.casefold(), FILE_NAME)


def _written_form(mail: InboundMail, *, amending: bool) -> ParsedForm:
    form = parse_form(mail.lines, form_layout(), loose=amending)
    if form.blocks or amending:
        return form
    quoted = [parse_form(lines, form_layout()) for lines in quoted_mails(mail.quoted_lines)]
    return next((one for one in quoted if one.is_filled_in), next((one for one in quoted if one.blocks), form))


def _attached_form(mail: InboundMail, context: RuleContext) -> tuple[ParsedForm | None, tuple[FieldError, ...]]:
    found = [file for file in mail.attachments if is_form_file(file)]
    if len(found) > 1:
        return None, (_of_file("json_several", "", context),)
    if not found:
        return None, ()
    form = read_json_form(found[0].content)
    if isinstance(form, ParsedForm):
        return form, ()
    return None, tuple(_of_file(fault.code, fault.place, context) for fault in form)


def _with_places(form: ParsedForm, differing: Mapping[tuple[str, int], object]) -> ParsedForm:
    """The form with a block wherever only the file has one, so that every difference is told in its place."""
    known = {(block.section.key, block.number) for block in form.blocks}
    return replace(form, blocks=(*form.blocks, *_empty_blocks(place for place in differing if place not in known)))


def _empty_blocks(places: Iterator[tuple[str, int]]) -> Iterator[FormBlock]:
    for key, number in places:
        yield FormBlock(section=form_layout().section(key), number=number)


def _why_none(mail: InboundMail, *, amending: bool) -> str:
    if is_encrypted_mail(mail.attachments) or _PGP.search(mail.text):
        return "mail_encrypted"
    if mail.text_problem:
        return mail.text_problem.value
    return "amendment_empty" if amending else "form_missing"


def _of_mail(code: str, context: RuleContext) -> FieldError:
    return field_error(code, section="", label=MAIL_TEXT, given="", example="", context=context)


def _of_file(code: str, place: str, context: RuleContext) -> FieldError:
    return field_error(
        code,
        section="",
        label=FILE_NAME,
        given=place,
        example=_EXAMPLE_JSON,
        context=context,
        longest_json=LONGEST_FILE // 1024,
    )
