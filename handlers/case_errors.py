"""The answer to a mail about a case that cannot be done as it is written: everything that is wrong, at once.

It goes to one person, in Japanese and English and for machines, and names the application, which stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime

from sqlalchemy.orm import Session

from handlers import notices
from handlers.applications.field_rules import FieldError
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_mail import NoticePart, is_message_id
from handlers.notice_templates import shown
from handlers.notices import Addressee, Notice
from storage.models import Application

_LONGEST_SUBJECT = 200

# What the rules say of the whole form, as it is done about an application that stands: only the change is sent again.
_OF_A_CHANGE = {
    "action_ja": ("申込書全体を送り直して", "【修正】のメールを送り直して"),
    "action_en": ("send the whole form again", "send the amendment again"),
}


def send_errors(
    session: Session,
    desk: DeskSettings,
    application: Application,
    mail: InboundMail,
    to: Addressee,
    errors: Sequence[FieldError],
    now: datetime,
) -> int:
    """Queue the answer; its mail id."""
    listed = [_harmless(_of_a_change(error)) for error in errors]
    context = {
        "received": mail.received_at,
        "subject": shown(mail.subject, at_most=_LONGEST_SUBJECT),
        "errors": [{"place": _place(error), **asdict(error)} for error in listed],
    }
    answer = Notice(
        name="applicant/amendment-invalid",
        to=to,
        application=application,
        context=context,
        thread=mail.message_id if mail.message_id and is_message_id(mail.message_id) else "",
        parts=(_for_machines(application, listed),),
    )
    return notices.send(session, desk, answer, now)


def _of_a_change(error: FieldError) -> FieldError:
    return replace(error, **{name: getattr(error, name).replace(*words) for name, words in _OF_A_CHANGE.items()})


def _harmless(error: FieldError) -> FieldError:
    return replace(error, **{field.name: shown(getattr(error, field.name)) for field in fields(error)})


def _place(error: FieldError) -> str:
    return f"【{error.section}】{error.label}" if error.section else error.label


def _for_machines(application: Application, errors: Sequence[FieldError]) -> NoticePart:
    """Keys are those of `FieldError`."""
    content = {"receipt_number": application.receipt_number, "errors": [asdict(error) for error in errors]}
    return NoticePart(
        file_name="application-errors.json",
        subtype="json",
        content=json.dumps(content, ensure_ascii=False, indent=2) + "\n",
    )
