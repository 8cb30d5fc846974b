"""The dates of a case: confirmed at completion, moved by a reschedule, the window in which passwords can be seen."""

from __future__ import annotations

from datetime import date

from handlers import schedule
from handlers.applications.application_rows import write_contents
from handlers.applications.contents import ApplicationContents, warning
from handlers.calendar import mail_date
from handlers.review_case import Case, Reason, Refusal, TurnedDown
from handlers.review_conditions import refuse_incomplete, refuse_late_settings

_OFF_SCHEDULE = "off_schedule"


def check_completion(case: Case) -> date:
    """The start that a completion would confirm; turned down where something is missing."""
    start = case.start or case.application.desired_start_date
    refuse_incomplete(case, start)
    return start


def confirm_start_date(case: Case) -> None:
    """Fix 利用開始日 and the two days that follow from it."""
    application, start = case.application, check_completion(case)
    application.inquiry_made = application.inquiry_made or case.details.inquiry_made
    application.completed_at = case.now
    _set_start(case, start)
    case.facts["start_date"] = start.isoformat()
    if application.proposed_by:
        case.facts["proposed_by"] = application.proposed_by


def move_start(case: Case) -> None:
    """Move the wish before the completion, afterwards the confirmed start and what follows from it."""
    application, start = case.application, case.start
    before = application.start_date or application.desired_start_date
    if start is None or start == before:
        raise TurnedDown(Refusal(Reason.START_UNCHANGED, before.isoformat()))
    case.start_before = before
    case.facts |= {"before": before.isoformat(), "after": start.isoformat()}
    if application.start_date is None:
        case.contents = _with_wish(case, start)
        write_contents(application, case.contents)
    else:
        _set_start(case, start)


def open_password_window(case: Case) -> date:
    """The last day of a new window: two business days after today, or after a start that is still to come."""
    start = case.application.start_date or case.today
    until = case.calendar.last_day_of_password_window(max(start, case.today))
    case.application.passwords_until = until
    return until


def _set_start(case: Case, start: date) -> None:
    case.application.settings_deadline = refuse_late_settings(case, start)
    case.application.start_date = start
    case.application.passwords_until = case.calendar.last_day_of_password_window(start)


def _with_wish(case: Case, start: date) -> ApplicationContents:
    """The contents with another wish; where only terminals change, the work is wished for the same day."""
    contents = case.contents
    lines = tuple(
        line if line.has_line_work else line.model_copy(update={"construction_date": start}) for line in contents.lines
    )
    warnings = tuple(found for found in contents.warnings if found.code != _OFF_SCHEDULE)
    days = schedule.start_days(case.session, case.today)
    if days and start not in days:
        warnings += (warning(_OFF_SCHEDULE, date=mail_date(start)),)
    return contents.model_copy(update={"desired_start_date": start, "lines": lines, "warnings": warnings})
