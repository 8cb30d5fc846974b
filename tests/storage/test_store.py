"""Effects inside a unit of work (semantics §2)."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from handlers.terminals import change_map
from storage.committer import Committer
from storage.effects import Note, Unit
from storage.models import Mail, Recipient
from storage.states import State
from storage.store import StaleUnit, Store, apply_within
from tests.storage.units import accepted, handled, outbound


def test_effects_of_a_work_are_committed_with_it_and_announced_with_its_own(store: Store, now: datetime) -> None:
    found, unit = accepted(store.new_key, now)
    Committer(store).commit([unit])
    queued = outbound(store.new_key, found.mail_id, "terminal:A", now)

    def work(session: Session) -> str:
        row = session.get_one(Recipient, found.recipient_id)
        outcome = apply_within(session, Unit(changes=(handled(found, now),), notes=(Note("heard", "terminal:A"),)))
        assert outcome.found == (True,)
        assert row.state == State.HANDLED  # what was read before is not shown any more
        apply_within(session, Unit(queued=(queued,)))
        return row.state

    value, notes, announced = store.run_noting(work)
    assert value == State.HANDLED
    assert notes == [Note("heard", "terminal:A")]
    assert announced == [(queued, 1)]
    assert store.read(lambda s: s.scalars(select(Recipient.lane_sequence).order_by(Recipient.id)).all()) == [None, 1]


@pytest.mark.parametrize("reason", ["state", "map"])
def test_effects_that_do_not_fit_undo_the_whole_work(store: Store, now: datetime, reason: str) -> None:
    found, unit = accepted(store.new_key, now)
    Committer(store).commit([unit])
    version = store.run(lambda session: change_map(session, now))
    if reason == "state":
        store.run(lambda session: session.execute(update(Recipient).values(state=State.HELD)))
    decided_on = version if reason == "state" else version - 1

    def work(session: Session) -> None:
        session.execute(update(Mail).values(template="written before"))
        apply_within(session, Unit(queued=(outbound(store.new_key, found.mail_id, "terminal:A", now),)))
        apply_within(session, Unit(changes=(handled(found, now),), map_version=decided_on))

    with pytest.raises(StaleUnit) as stale:
        store.run_noting(work)
    assert stale.value.reason == reason
    assert store.read(lambda session: session.scalars(select(Mail.template)).one()) == ""
    assert store.read(lambda session: session.scalars(select(Recipient.id)).all()) == [found.recipient_id]
