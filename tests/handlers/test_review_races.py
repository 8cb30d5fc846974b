"""Two processes that decide on the same applications at the same moment, round after round."""

from __future__ import annotations

import multiprocessing
from datetime import datetime
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handlers import reviews
from handlers.reviews import Decided, Details, Reason, Refusal
from handlers.workflow import Event
from storage.models import CaseEntry, LogicalTerminal
from storage.store import Store
from tests.handlers.review_cases import CALENDAR, DESK, audited, receive, state_of, take_contracts

PROCESSES = multiprocessing.get_context("spawn")
ROUNDS = [(f"26000{number}A", other) for number, other in enumerate((Event.COMPLETE, Event.REJECT, Event.WITHDRAW) * 2)]
ENDS = {"complete": "ids_issued", "reject": "rejected", "withdraw": "withdrawn"}
WAIT = 60


def decide(session: Session, receipt: str, event: Event, now: datetime) -> Decided | Refusal:
    return reviews.decide(session, DESK, receipt, event, "os:racer", now, CALENDAR, Details(words="理由"))


def run(url: str, now: datetime, events: list[tuple[str, Event]], together: Barrier, results: Any) -> None:
    """Decide on one application after the other, each at the same moment as the other process."""
    store = Store.open(url, "racer")
    try:
        for receipt, event in events:
            together.wait(WAIT)
            done = store.run(partial(decide, receipt=receipt, event=event, now=now))
            results.put((receipt, str(event), "" if isinstance(done, Decided) else str(done.reason)))
    finally:
        store.close()


def test_of_two_processes_one_decides_and_the_other_is_told_that_it_came_too_late(store, store_url, now):
    take_contracts(store, now)
    for receipt, _ in ROUNDS:
        receive(store, now, receipt)
    together, results = PROCESSES.Barrier(2), PROCESSES.Queue()
    both = [[(receipt, Event.COMPLETE) for receipt, _ in ROUNDS], ROUNDS]
    processes = [PROCESSES.Process(target=run, args=(store_url, now, events, together, results)) for events in both]
    for process in processes:
        process.start()
    found = [results.get(timeout=WAIT) for _ in range(2 * len(ROUNDS))]
    for process in processes:
        process.join(WAIT)
    assert [process.exitcode for process in processes] == [0, 0]
    for receipt, _ in ROUNDS:
        pair = [(event, reason) for number, event, reason in found if number == receipt]
        winners = [event for event, reason in pair if not reason]
        assert (len(winners), {reason for _, reason in pair}) == (1, {"", str(Reason.WRONG_STATE)})
        assert state_of(store, receipt) == ENDS[winners[0]]
        assert [event for event, _, _ in audited(store, f"application:{receipt}")].count(winners[0]) == 1
    completed = sum(not reason for _, event, reason in found if event == "complete")
    count = store.read(
        lambda session: (
            session.scalar(select(func.count()).where(LogicalTerminal.application_id.is_not(None))),
            session.scalar(select(func.count()).where(CaseEntry.kind == "completed")),
        )
    )
    assert count == (completed, completed)
