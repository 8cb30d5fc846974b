"""Completion by two persons: the first proposes, another one decides on exactly what was proposed.

Whoever says something else than what was proposed proposes anew. What the proposal consists of stands in the
history, its author and start date in the application; an inquiry, an amendment or another wish drops it.
"""

from __future__ import annotations

import json
from dataclasses import replace

from sqlalchemy.orm import Session

from handlers import case_history
from handlers.case_history import EntryKind
from handlers.review_case import Case, Details, NewLine, Reason, Refusal, TurnedDown
from handlers.workflow import Event
from storage.models import Application


def propose(case: Case) -> None:
    """Keep what would be completed; `case.start` is the start it would have."""
    case.application.proposed_by = case.actor
    case.application.proposed_start = case.start
    case.application.inquiry_made = case.application.inquiry_made or case.details.inquiry_made
    case.facts["start_date"] = None if case.start is None else case.start.isoformat()
    case.facts["new_lines"] = [[line.router_number, line.lan_subnet] for line in case.details.new_lines]


def drop(application: Application) -> None:
    """Forget a proposal: what it was about has changed."""
    application.proposed_by = ""
    application.proposed_start = None


def as_two_persons(session: Session, application: Application, actor: str, details: Details) -> tuple[Event, Details]:
    """What a call to complete means where two persons are needed; the application is locked.

    The same person again with the same words is turned down.
    """
    lines = proposed_lines(session, application)
    if not application.proposed_by or _is_another(application, lines, details):
        return Event.PROPOSE, details
    if application.proposed_by == actor:
        raise TurnedDown(Refusal(Reason.SAME_PERSON, actor))
    return Event.COMPLETE, replace(details, start_date=application.proposed_start, new_lines=lines)


def proposed_lines(session: Session, application: Application) -> tuple[NewLine, ...]:
    """The new lines of the proposal that stands."""
    if not application.proposed_by:
        return ()
    entry = case_history.last_of(session, application, EntryKind.PROPOSED)
    facts = json.loads(entry.detail) if entry is not None and entry.detail else {}
    return tuple(NewLine(router_number=number, lan_subnet=lan) for number, lan in facts.get("new_lines", ()))


def _is_another(application: Application, lines: tuple[NewLine, ...], details: Details) -> bool:
    other_start = details.start_date is not None and details.start_date != application.proposed_start
    return other_start or (bool(details.new_lines) and details.new_lines != lines)
