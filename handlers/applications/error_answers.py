"""The answer to a mail that breaks rules: everything that is wrong, in Japanese and English and for machines.

What somebody wrote is made harmless for a template (`notice_templates.shown`).
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


def send_errors(
    session: Session,
    desk: DeskSettings,
    name: str,
    mail: InboundMail,
    to: Addressee,
    errors: Sequence[FieldError],
    now: datetime,
    application: Application | None = None,
) -> int:
    """Queue the notice `name`, which answers the mail; its mail id. `application`: the one the mail is about."""
    listed = [_harmless(error) for error in errors]
    answer = Notice(
        name=name,
        to=to,
        application=application,
        context={
            "received": mail.received_at,
            "subject": shown(mail.subject, at_most=_LONGEST_SUBJECT),
            "errors": [{"place": _place(error), **asdict(error)} for error in listed],
        },
        thread=mail.message_id if mail.message_id and is_message_id(mail.message_id) else "",
        parts=(_for_machines(application, listed),),
    )
    return notices.send(session, desk, answer, now)


def _harmless(error: FieldError) -> FieldError:
    return replace(error, **{field.name: shown(getattr(error, field.name)) for field in fields(error)})


def _place(error: FieldError) -> str:
    return f"【{error.section}】{error.label}" if error.section else error.label


def _for_machines(application: Application | None, errors: Sequence[FieldError]) -> NoticePart:
    """Keys are those of `FieldError`."""
    content = {
        "receipt_number": None if application is None else application.receipt_number,
        "errors": [asdict(error) for error in errors],
    }
    return NoticePart(
        file_name="application-errors.json",
        subtype="json",
        content=json.dumps(content, ensure_ascii=False, indent=2) + "\n",
    )
