"""The lanes that one decision on a case touches, locked at once and in the order of their names.

Every writer locks lanes in that order. A decision would not by itself: it calls work off, which lets lanes of
terminals go, before it queues its mails, or it ends the work on several lines one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import notices
from handlers.desk import DeskSettings
from handlers.lane_pauses import for_work
from handlers.notices import Addressee, Notice
from storage.batch import take_sequences
from storage.models import Application, LanePause


def lock(session: Session, desk: DeskSettings, cases: Iterable[Application], tells: Iterable[Addressee] = ()) -> None:
    """Lock the lanes of the cases' mails, and those that work of the cases pauses.

    `tells`: who else may be written to, not about one case alone. The caller holds the applications' rows.
    """
    lanes: set[str] = set()
    for case in cases:
        lanes.add(notices.lane_of(desk, Notice(name="", to=notices.reviewer(desk), application=case)))
        # A pause for work names it: "work <id> <receipt number>".
        of_case = LanePause.reason.like(f"work % {case.receipt_number}")
        lanes.update(session.scalars(select(LanePause.lane).where(LanePause.resumed_at.is_(None), for_work(), of_case)))
    lanes.update(notices.lane_of(desk, Notice(name="", to=to)) for to in tells)
    take_sequences(session.connection(), dict.fromkeys(lanes, 0))
