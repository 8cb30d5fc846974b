"""What has to hold before an application can be completed or its start moved, beside state and start date."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from handlers.applications.contents import ApplicationContents, LineAction
from handlers.calendar import BusinessCalendar
from handlers.map_rows import taken_for_line
from handlers.review_case import Case, Reason, Refusal, TurnedDown

_ONE_DAY = timedelta(days=1)


def refuse_incomplete(case: Case, start: date) -> None:
    """Turn down a completion that lacks the prior inquiry, a new line, or time for the system settings."""
    if case.contents.needs_inquiry and not (case.application.inquiry_made or case.details.inquiry_made):
        raise TurnedDown(Refusal(Reason.INQUIRY_NEEDED, "、".join(items_needing_inquiry(case.contents))))
    wanted = new_line_count(case.contents)
    if len(case.details.new_lines) != wanted:
        raise TurnedDown(Refusal(Reason.NEW_LINE_NEEDED, str(wanted)))
    taken = next(_taken(case), None)
    if taken is not None:
        raise TurnedDown(Refusal(Reason.NEW_LINE_TAKEN, taken))
    refuse_late_settings(case, start)


def refuse_late_settings(case: Case, start: date) -> date | None:
    """システム設定申込締切日 of a start; None where nothing is to be set. A deadline that has passed is turned down."""
    if not case.contents.needs_system_settings:
        return None
    deadline = case.calendar.settings_deadline(start)
    if deadline < case.today and case.application.settings_received_at is None:
        first = first_start_in_time(case.calendar, case.today)
        raise TurnedDown(Refusal(Reason.DEADLINE_PASSED, deadline.isoformat(), first))
    return deadline


def first_start_in_time(calendar: BusinessCalendar, today: date) -> date:
    """The first start date whose deadline for the system settings has not passed."""
    start = today
    while calendar.settings_deadline(start) < today:
        start += _ONE_DAY
    return start


def items_needing_inquiry(contents: ApplicationContents) -> tuple[str, ...]:
    """The names of the chosen items that ask for a prior inquiry (事前の問い合わせ)."""
    return tuple(item.name for item in contents.chosen_items if item.inquiry)


def new_line_count(contents: ApplicationContents) -> int:
    """How many lines (回線) the application adds."""
    return sum(line.action is LineAction.ADD for line in contents.lines)


def _taken(case: Case) -> Iterator[str]:
    """The router numbers and LANs of the new lines that another line has, or another of them."""
    given = case.details.new_lines
    for at, line in enumerate(given):
        yield from taken_for_line(case.session, line.router_number, line.lan_subnet, case.today)
        yield from (clash for other in given[:at] if (clash := line.clash_with(other)))
