"""Works on lines (回線工事) as the store has them: which line one is for, and which earlier one it replaced.

Work that was arranged before its line was made belongs to the line that the application added since.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import Line, Work


class WorkMode(StrEnum):
    """How work is done."""

    REMOTE = "remote"
    ON_SITE = "on_site"


def undone(session: Session, application_id: int) -> Sequence[Work]:
    """What is arranged and not recorded done, in the order of the windows."""
    query = select(Work).where(
        Work.application_id == application_id, Work.done_at.is_(None), Work.cancelled_at.is_(None)
    )
    return session.scalars(query.order_by(Work.begins_at, Work.id)).all()


def added_line(session: Session, application_id: int) -> Line | None:
    """The line that the application added, once it is made; None for several, too."""
    lines = session.scalars(select(Line).where(Line.application_id == application_id)).all()
    return lines[0] if len(lines) == 1 else None


def line_id_of(work: Work, added: Line | None) -> int | None:
    """The line of a work, by the one line that its application added; None for one still to be made."""
    if work.line_id is None and added is not None:
        return added.id
    return work.line_id


def with_replaced(session: Session, application_id: int) -> list[tuple[Work, Work | None]]:
    """Every work of the application in the order they were arranged, each with the one it replaced.

    Arranging work for a line calls off what is not done there, so what came before it and is called off was replaced.
    """
    added = added_line(session, application_id)
    latest: dict[int | None, Work] = {}
    found = []
    for work in session.scalars(select(Work).where(Work.application_id == application_id).order_by(Work.id)):
        line_id = line_id_of(work, added)
        former = latest.get(line_id)
        found.append((work, former if former is not None and former.cancelled_at is not None else None))
        latest[line_id] = work
    return found


def replaced_by(session: Session, work: Work) -> Work | None:
    """The earlier work on the same line that this one replaced, if there was any."""
    return next((former for each, former in with_replaced(session, work.application_id) if each is work), None)
