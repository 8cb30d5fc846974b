"""Part of a unit of work that is kept whole or not at all, while the rest of the unit goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session


@contextmanager
def whole_or_nothing(session: Session) -> Iterator[None]:
    """A savepoint: an exception undoes what was written inside, and subscribers never hear of it."""
    kept = {topic: len(session.info[topic]) for topic in ("notes", "queued")}
    try:
        with session.begin_nested():
            yield
    except BaseException:
        for topic, length in kept.items():
            del session.info[topic][length:]
        raise
