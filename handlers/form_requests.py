"""Mails to form@ and schedule@: answered with the blank form or the schedule of registration days.

Only a verified author is answered, a machine never, an address once an hour. Nothing they write is read.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from handlers import case_notices, schedule
from handlers.applications import blank_form
from handlers.applications.authenticity import verified_by
from handlers.applications.receipt_repeats import first_within
from handlers.automatic_mail import why_absent, why_automatic
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_mail import NoticePart
from handlers.outcomes import Handled, Outcome, Refused

_ONCE_IN = timedelta(hours=1)
_DAYS_IN_FORM = 10
_WORKBOOK = "vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FORM_NAME = "利用申込書.txt"
_DIAGRAM_NAME = "システム構成図.xlsx"

Send = Callable[[Session, InboundMail, DeskSettings, datetime], object]


def send_form(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Outcome:
    """Answer with the blank form and the template of the system diagram."""
    return _answer(session, mail, desk, now, "form", _send_form)


def send_schedule(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> Outcome:
    """Answer with the table of registration days."""
    return _answer(session, mail, desk, now, "schedule", _send_schedule)


def _answer(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime, what: str, send: Send) -> Outcome:
    automatic = why_automatic(mail, desk) or why_absent(mail)
    if automatic is not None:
        return Refused(f"automatic mail, not answered: {automatic}")
    if mail.header_from is None or not verified_by(mail):
        return Refused("not answered: the sender could not be verified")
    if not first_within(session, mail, what, mail.header_from, _ONCE_IN):
        return Handled("not answered again: the address was answered within the hour")
    send(session, mail, desk, now)
    return Handled(f"answered with the {what}")


def _send_form(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> None:
    today = jst_date(now)
    days = schedule.coming(session, today, _DAYS_IN_FORM)
    parts = (
        NoticePart(file_name=_FORM_NAME, main_type="text", subtype="plain", content=blank_form.blank_form(today, days)),
        NoticePart(file_name=_DIAGRAM_NAME, subtype=_WORKBOOK, content=blank_form.diagram_template()),
    )
    case_notices.send_blank_form(session, desk, mail, parts, days, now)


def _send_schedule(session: Session, mail: InboundMail, desk: DeskSettings, now: datetime) -> None:
    case_notices.send_schedule(session, desk, mail, schedule.coming(session, jst_date(now), None), now)
