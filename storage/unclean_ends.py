"""Sessions that a process took with it when it was killed: their clients may not have seen the last 250.

A living process writes such an end on the mail itself (`mails.unclean_end_at`); for one that was killed the next one
does, so that the same mail sent again is known as a repeat.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.keys import KeyMaker, dead_nodes, first_key, key_milliseconds, key_node
from storage.models import Mail
from storage.states import Direction

# A client that was still in its session when the process died got its mail in within this time before the last one.
_SESSION = timedelta(seconds=5)


def mark_after_kill(session: Session, window: timedelta, now: datetime, *, alone: bool) -> int:
    """Mark the last mails that a killed process took on the NACCS listener as possibly unseen; how many.

    Only mails of the last `window` matter: no repeat is recognised by an older one.
    """
    make: KeyMaker = session.info["new_key"]
    dead = dead_nodes(session.connection(), make.claim, alone=alone)
    if not dead or not window:
        return 0
    recent = session.scalars(
        select(Mail.id).where(
            Mail.id >= first_key(now - window - _SESSION),
            Mail.direction == Direction.INBOUND,
            Mail.listener.in_(("naccs", "backend")),
            Mail.unclean_end_at.is_(None),
        )
    ).all()
    of_dead: dict[int, list[int]] = {}
    for mail_id in recent:
        is_former = key_node(mail_id) != make.claim.node or key_milliseconds(mail_id) < make.claim.from_ms
        if key_node(mail_id) in dead and is_former:
            of_dead.setdefault(key_node(mail_id), []).append(mail_id)
    marked = [mail_id for ids in of_dead.values() for mail_id in _last_of(ids)]
    for start in range(0, len(marked), 500):
        some = marked[start : start + 500]
        session.execute(update(Mail).where(Mail.id.in_(some)).values(unclean_end_at=now))
    return len(marked)


def _last_of(ids: list[int]) -> list[int]:
    newest = max(key_milliseconds(mail_id) for mail_id in ids)
    return [mail_id for mail_id in ids if key_milliseconds(mail_id) >= newest - _SESSION / timedelta(milliseconds=1)]
