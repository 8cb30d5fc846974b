"""Work that is done to see what comes of it, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.store import Store

T = TypeVar("T")


class _TakenBack(Exception):
    """What the work answered is kept beside it."""


def rehearse(store: Store, work: Callable[[Session], T]) -> T:
    """What the work answers; nothing of it stays in the store."""

    answers: list[T] = []

    def in_session(session: Session) -> None:
        answers.append(work(session))
        session.flush()
        raise _TakenBack

    with suppress(_TakenBack):
        store.run(in_session)
    return answers[-1]  # a busy store has the work done again
