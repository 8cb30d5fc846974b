"""Amendments (修正): changed lines of the form on top of the application as it stands, kept with before and after.

A new workbook replaces the system diagram; the bytes of the old one stay in the mail that brought it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import case_history
from handlers.applications import reading
from handlers.applications.amended_form import LineToDrop, lines_to_drop
from handlers.applications.application_rows import kept_name, new_attachment, write_contents
from handlers.applications.checks import AcceptedFile, FileRole, Invalid
from handlers.applications.contents import ApplicationContents
from handlers.applications.field_rules import ApplicationLimits, FieldError, RuleContext, field_error
from handlers.applications.form_layout import form_layout
from handlers.applications.form_sources import MAIL_TEXT, find_form
from handlers.applications.form_values import filled
from handlers.applications.reading import Reading
from handlers.calendar import jst_date
from handlers.case_history import EntryKind
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_templates import kilobytes
from handlers.notices import same_address
from storage.models import Application, ApplicationAttachment

_NO_CHANGE, _NOTHING_ASKED = "amendment_no_change", "nothing_asked"  # of data/rules.toml


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A value of the form before and after; empty where it is not given."""

    section: str
    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """What an application says once it is amended, each change of it, and the files that came with the mail."""

    contents: ApplicationContents
    changes: tuple[FieldChange, ...]
    attachments: tuple[AcceptedFile, ...]
    mail_id: int | None = None
    words: str = ""


def read_amendment(
    session: Session,
    desk: DeskSettings,
    application: Application,
    mail: InboundMail,
    prepared: Reading | None = None,
    *,
    words: str = "",
) -> Amendment | Invalid:
    """Read the changed lines in a mail on top of the application; every error of them, or that nothing changes."""
    read = reading.renewed(session, mail, desk, prepared, base=application.contents).result
    if isinstance(read, Invalid):
        return _with_lines_to_drop(read, application, mail)
    before = ApplicationContents.from_json(application.contents)
    files = tuple(_file_changes(session, application, read.attachments))
    places = {(change.section, change.label) for change in files}
    fields = [change for change in form_changes(before, read.contents) if (change.section, change.label) not in places]
    if not fields and not files:
        return Invalid(errors=(_no_change(mail),), office_code=before.office_code)
    return Amendment(
        contents=read.contents,
        changes=(*fields, *files),
        attachments=read.attachments,
        mail_id=mail.mail_id,
        words=words,
    )


def apply(session: Session, application: Application, amendment: Amendment, actor: str, now: datetime) -> None:
    """Let the application say what the amendment says, and keep both with each change in its history."""
    before, contents = application.contents, amendment.contents
    if not same_address(application.applicant_email, contents.applicant.email):
        application.address_accepted = False
    write_contents(application, contents)
    for file in amendment.attachments:
        _keep_file(session, application, file)
    case_history.record(
        session,
        application,
        EntryKind.AMENDMENT,
        actor,
        now,
        mail_id=amendment.mail_id,
        words=amendment.words,
        detail=json.dumps(
            {
                "changes": [asdict(change) for change in amendment.changes],
                "before": json.loads(before),
                "after": json.loads(application.contents),
            },
            ensure_ascii=False,
        ),
    )
    session.flush()


def form_changes(before: ApplicationContents, after: ApplicationContents) -> Iterator[FieldChange]:
    """The fields of the form in which two applications differ, in its order and its words."""
    old, new = filled(before), filled(after)
    for place in dict.fromkeys((*old, *new)):
        section, number = place
        several = sum(other == section for other, _ in {**old, **new}) > 1
        then, now = old.get(place, {}), new.get(place, {})
        for label in dict.fromkeys((*then, *now)):
            if then.get(label, "") != now.get(label, ""):
                yield FieldChange(
                    section=f"{section}（{number}）" if several else section,
                    label=label,
                    before=then.get(label, ""),
                    after=now.get(label, ""),
                )


def _with_lines_to_drop(read: Invalid, application: Application, mail: InboundMail) -> Invalid:
    """The errors, where those of a line that the amendment seems to take out are told as what they come from."""
    form = find_form(mail, _context(mail), amending=True).form
    base = ApplicationContents.from_json(application.contents)
    asks_nothing = {error.section for error in read.errors if error.code == _NOTHING_ASKED}
    lines = [
        line
        for line in (lines_to_drop(form, base) if form is not None else ())
        if line.outright or line.judged_as in asks_nothing
    ]
    if not lines:
        return read
    told = {line.judged_as for line in lines}
    others = [error for error in read.errors if error.section not in told and error.code != _NO_CHANGE]
    return replace(read, errors=(*(_line_stays(line) for line in lines), *others))


def _line_stays(line: LineToDrop) -> FieldError:
    return FieldError(
        section=line.section,
        label=form_layout().section("line").field("action").label,
        code="line_stays",
        rule_ja="申込に入れた回線を、【修正】で申込から外すことはできません。",
        rule_en="An amendment (【修正】) cannot take a line out of the application.",
        given=line.given,
        example=line.action,
        action_ja=(
            "この回線を取りやめるには、【取下げ】で申込全体を取り下げ、残りの内容で申し込み直すか、"
            "下記のお問い合わせ先へご相談ください。取りやめない場合は、この回線の内容を記入して"
            "【修正】のメールを送り直してください。"
        ),
        action_en=(
            "To give the line up, withdraw the whole application with 【取下げ】 and apply again for the rest, or ask"
            " the desks below. To keep it, write what it is to be and send the amendment again."
        ),
    )


def _no_change(mail: InboundMail) -> FieldError:
    """The files that came are those that were there already, and nothing else is new."""
    return field_error(_NO_CHANGE, section="", label=MAIL_TEXT, given="", example="", context=_context(mail))


def _context(mail: InboundMail) -> RuleContext:
    return RuleContext(today=jst_date(mail.received_at), limits=ApplicationLimits())


def _file_changes(session: Session, application: Application, files: Sequence[AcceptedFile]) -> Iterator[FieldChange]:
    for file in files:
        name, content = kept_name(file), file.file.content
        old = _earlier(session, application, file)
        if old is not None and (old.name, old.content) == (name, content):
            continue
        section, field = ("diagram", "file_name") if file.role is FileRole.DIAGRAM else ("attachments", "file_names")
        layout = form_layout().section(section)
        yield FieldChange(
            section=layout.name,
            label=layout.field(field).label,
            before=f"{old.name}（{kilobytes(old.size)}）" if old is not None else "",
            after=f"{name}（{kilobytes(len(content))}）",
        )


def _earlier(session: Session, application: Application, file: AcceptedFile) -> ApplicationAttachment | None:
    """The file that a new one takes the place of: the diagram, or another file of the same name."""
    query = select(ApplicationAttachment).where(
        ApplicationAttachment.application_id == application.id, ApplicationAttachment.kind == file.role.value
    )
    if file.role is not FileRole.DIAGRAM:
        query = query.where(ApplicationAttachment.name == kept_name(file))
    return session.scalars(query.order_by(ApplicationAttachment.id.desc()).limit(1)).first()


def _keep_file(session: Session, application: Application, file: AcceptedFile) -> None:
    old, new = _earlier(session, application, file), new_attachment(session, application, file)
    if old is None:
        session.add(new)
        return
    old.name, old.size, old.content = new.name, new.size, new.content
