"""The answer to a mail about a case that cannot be done as it is written: everything that is wrong, at once.

It goes to one person and names the application, which stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from handlers.applications import error_answers
from handlers.applications.field_rules import FieldError
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notices import Addressee
from storage.models import Application

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
    listed = [_of_a_change(error) for error in errors]
    return error_answers.send_errors(
        session, desk, "applicant/amendment-invalid", mail, to, listed, now, application=application
    )


def _of_a_change(error: FieldError) -> FieldError:
    return replace(error, **{name: getattr(error, name).replace(*words) for name, words in _OF_A_CHANGE.items()})
