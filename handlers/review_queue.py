"""What a reviewer has to see of an application before deciding, and which applications wait for a decision.

Everything is read from the store as it stands: free addresses, open cases and the schedule may have changed since
the application came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import documents
from handlers.applications import register
from handlers.applications.contents import ApplicationContents, ApplicationWarning, LineChange
from handlers.applications.register import LineFacts, OpenCase
from handlers.bounces import UndeliveredNotice, undelivered_notices
from handlers.calendar import BusinessCalendar
from handlers.documents import DocumentKind, DocumentRequest
from handlers.review_case import NewLine
from handlers.review_conditions import first_start_in_time, items_needing_inquiry, new_line_count
from handlers.review_proposals import proposed_lines
from handlers.schedule import start_days
from handlers.workflow import STATUS_JA, State
from storage.models import Application, Office

WAITING = (State.RECEIVED, State.UNDER_REVIEW, State.INQUIRY)
MOST_AT_ONCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedChange:
    """One item or value of the application, 変更前 and 変更後."""

    item: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineHint:
    """A line of the application as it is today. `router_number` is empty, and no address free, for one that is added.

    `spare_router`: work on it is on site and costs extra. `open_cases`: other applications about the same line.
    """

    router_number: str
    action: str
    spare_router: bool
    free_ip_addresses: int
    open_cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What the first of two persons would complete."""

    proposed_by: str
    start_date: date | None
    new_lines: tuple[NewLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSheet:
    """An application as a reviewer has to see it.

    `age` in business days since it was received. `on_schedule` is None without a schedule. `settings_deadline` is the
    one of the wish; where it has passed, `first_start` is the first day that would do.
    """

    receipt_number: str
    state: str
    status_ja: str
    office_code: str
    company_name: str
    office_name: str
    items: tuple[str, ...]
    received_on: date
    age: int
    taken_by: str
    desired_start_date: date
    on_schedule: bool | None
    settings_deadline: date | None
    first_start: date | None
    changes: tuple[WantedChange, ...]
    lines: tuple[LineHint, ...]
    new_lines_needed: int
    open_cases: tuple[str, ...]
    sender_verdict: str
    notice_address: str
    address_registered: bool
    address_accepted: bool
    undelivered: tuple[UndeliveredNotice, ...]
    inquiry_needed: tuple[str, ...]
    inquiry_made: bool
    proposal: Proposal | None
    warnings: tuple[ApplicationWarning, ...]


def queue(
    session: Session, calendar: BusinessCalendar, today: date, *, after: int = 0, at_most: int = MOST_AT_ONCE
) -> list[ReviewSheet]:
    """The applications that wait for a decision, in the order of their arrival; `after` that many of them."""
    query = select(Application).where(Application.state.in_(WAITING)).order_by(Application.arrived_at, Application.id)
    rows = session.scalars(query.offset(after).limit(at_most))
    return [review_sheet(session, row, calendar, today) for row in rows]


def review_sheet(session: Session, application: Application, calendar: BusinessCalendar, today: date) -> ReviewSheet:
    """Everything that bears on the decision, as it is on the JST day `today`."""
    contents = ApplicationContents.from_json(application.contents)
    office = session.get_one(Office, application.office_id)
    cases = [case for case in register.open_cases(session, office) if _is_another(case, application)]
    wish = application.desired_start_date
    days = start_days(session, application.received_on)
    deadline = calendar.settings_deadline(wish) if contents.needs_system_settings else None
    late = deadline is not None and deadline < today and application.settings_received_at is None
    return ReviewSheet(
        receipt_number=application.receipt_number,
        state=application.state,
        status_ja=STATUS_JA[State(application.state)],
        office_code=office.code,
        company_name=office.company_name,
        office_name=office.name,
        items=tuple(item.name for item in contents.chosen_items),
        received_on=application.received_on,
        age=calendar.business_days_between(application.received_on, today),
        taken_by=application.taken_by,
        desired_start_date=wish,
        on_schedule=wish in days if days else None,
        settings_deadline=deadline,
        first_start=first_start_in_time(calendar, today) if late else None,
        changes=_changes(session, application, today),
        lines=_lines(session, office, contents.lines, cases, today),
        new_lines_needed=new_line_count(contents),
        open_cases=tuple(case.receipt_number for case in cases),
        sender_verdict=application.sender_verdict,
        notice_address=application.applicant_email,
        address_registered=register.is_registered(office, application.applicant_email),
        address_accepted=application.address_accepted,
        undelivered=tuple(undelivered_notices(session, application)),
        inquiry_needed=items_needing_inquiry(contents),
        inquiry_made=application.inquiry_made,
        proposal=_proposal(session, application),
        warnings=contents.warnings,
    )


def _is_another(case: OpenCase, application: Application) -> bool:
    return case.receipt_number != application.receipt_number


def _changes(session: Session, application: Application, today: date) -> tuple[WantedChange, ...]:
    paper = documents.document(session, application, DocumentKind.APPLICATION, today)
    rows = paper.rows if isinstance(paper, DocumentRequest) else ()
    return tuple(
        WantedChange(item=row.heading.strip(), before=row.before, after=row.after)
        for row in rows
        if row.before or row.after
    )


def _lines(
    session: Session, office: Office, wanted: Sequence[LineChange], cases: Sequence[OpenCase], today: date
) -> tuple[LineHint, ...]:
    facts: Mapping[str, LineFacts] = register.line_facts(
        session, office, [line.router_number for line in wanted], today
    )
    hints = []
    for line in wanted:
        known = facts.get(line.router_number)
        hints.append(
            LineHint(
                router_number=line.router_number,
                action=line.action.value,
                spare_router=known is not None and known.spare_router,
                free_ip_addresses=0 if known is None else known.free_addresses,
                open_cases=tuple(
                    case.receipt_number
                    for case in cases
                    if line.router_number and line.router_number in case.router_numbers
                ),
            )
        )
    return tuple(hints)


def _proposal(session: Session, application: Application) -> Proposal | None:
    if not application.proposed_by:
        return None
    return Proposal(
        proposed_by=application.proposed_by,
        start_date=application.proposed_start,
        new_lines=proposed_lines(session, application),
    )
