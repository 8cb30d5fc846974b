from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import select

from handlers.allocation import AllocationImpossible, allocate, change_lines, move_start, take_back
from handlers.allocation_events import told
from handlers.applications.contents import LineAction
from handlers.contract_history import of_address, of_line, of_terminal
from handlers.terminals import change_map
from storage.models import AuditEvent
from tests.handlers.allocation_cases import FIRST_ADDRESS, order_in
from tests.handlers.clock_cases import RECEIPT, application_in
from tests.handlers.review_cases import DESK, START, WITH_SMTP_SERVER, line_change, no_servers, receive, take_contracts
from tests.handlers.test_allocation_of_lines import CANCELLED, Given, added_line

LATER = date(2026, 12, 21)
SECOND_ADDRESS = "3A0002@SMTP.CT0001.CENTER.EXAMPLE"
EVERY_CHANGE = (
    line_change(terminals_to_delete=("25130M",)),
    no_servers(target_terminal="60777S", mail_addresses=1),
    added_line(),
)


@pytest.fixture
def case(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now)
    return store


def do(store, now, verb, *lines, start=START):
    """What a verb of allocation does for the case, and the events that it writes."""

    def work(session):
        last = max(session.scalars(select(AuditEvent.id)))
        application = application_in(session)
        change_map(session, now)
        order = order_in(session, *lines, application_id=application.id, new_lines=(Given(),), start=start)
        with told(session, application, "os:reviewer", now):
            verb(session, order)
        events = session.scalars(select(AuditEvent).where(AuditEvent.id > last).order_by(AuditEvent.id)).all()
        assert {(event.actor, event.occurred_at) for event in events} <= {("os:reviewer", now)}
        return [(event.event, event.subject, event.detail) for event in events]

    return store.run(work)


def issue(session, order):
    return allocate(session, DESK, order)


def undo(session, order):
    return take_back(session, DESK, order)


def test_what_is_issued_writes_the_events_that_commands_write(case, now):
    assert do(case, now, issue, *EVERY_CHANGE) == [
        ("line_added", "line:09500", f"{RECEIPT} CT0001 127.20.50.0/24 from 2026-12-14"),
        ("terminal_ended", "terminal:25130M", f"{RECEIPT} 127.20.13.11 from 2026-12-14"),
        ("terminal_added", "terminal:60000S", f"{RECEIPT} 09143 127.20.13.2 from 2026-12-14"),
        ("terminal_added", "terminal:60001S", f"{RECEIPT} 09500 127.20.50.2 from 2026-12-14"),
        ("address_added", f"address:{SECOND_ADDRESS}", f"{RECEIPT} 60000S from 2026-12-14"),
        ("address_added", "address:3A0003@SMTP.CT0001.CENTER.EXAMPLE", f"{RECEIPT} 60777S from 2026-12-14"),
        ("address_added", "address:3A0004@SMTP.CT0001.CENTER.EXAMPLE", f"{RECEIPT} 60001S from 2026-12-14"),
    ]


def test_what_is_taken_back_is_told_too(case, now):
    do(case, now, issue, *EVERY_CHANGE)
    found = do(case, now, undo, *EVERY_CHANGE)
    assert [(event, subject.partition(":")[2]) for event, subject, _ in found] == [
        ("line_ended", "09500"),
        ("terminal_continued", "25130M"),
        ("terminal_ended", "60000S"),
        ("terminal_ended", "60001S"),
        ("address_ended", SECOND_ADDRESS),
        ("address_ended", "3A0003@SMTP.CT0001.CENTER.EXAMPLE"),
        ("address_ended", "3A0004@SMTP.CT0001.CENTER.EXAMPLE"),
    ]
    assert found[0][2] == f"{RECEIPT} from 2026-12-14"
    assert found[1][2] == f"{RECEIPT} would have ended 2026-12-14"


def test_a_cancelled_line_ends_with_everything_on_it_and_goes_on_when_that_is_taken_back(case, now):
    found = do(case, now, issue, CANCELLED)
    assert [(event, subject.partition(":")[2]) for event, subject, _ in found] == [
        ("line_ended", "09143"),
        ("terminal_ended", "25130M"),
        ("terminal_ended", "27264C"),
        ("terminal_ended", "60777S"),
        ("address_ended", FIRST_ADDRESS),
    ]
    found = do(case, now, undo, CANCELLED)
    assert {event for event, *_ in found} == {"line_continued", "terminal_continued", "address_continued"}
    assert len(found) == 5


def test_another_start_is_told_of_all_that_moves(case, now):
    do(case, now, issue, *EVERY_CHANGE)
    found = do(case, now, lambda session, order: move_start(session, order, LATER), *EVERY_CHANGE)
    begins = f"{RECEIPT} begins 2026-12-14 -> 2026-12-21"
    assert ("line_rescheduled", "line:09500", begins) in found
    assert ("terminal_rescheduled", "terminal:60000S", begins) in found
    assert ("terminal_rescheduled", "terminal:25130M", f"{RECEIPT} ends 2026-12-14 -> 2026-12-21") in found
    assert len(found) == 7


def test_columns_of_a_line_are_told_before_and_after(case, now):
    wanted = no_servers(action=LineAction.CHANGE, access_speed="2Mbps")
    ((event, subject, detail),) = do(case, now, change_lines, wanted)
    assert (event, subject) == ("line_changed", "line:09143")
    assert detail.endswith("-> 2Mbps")
    assert "access_speed: " in detail
    assert do(case, now, change_lines, wanted) == []


def test_what_fails_writes_no_event(case, now):
    with pytest.raises(AllocationImpossible):
        do(case, now, issue, line_change(), no_servers(terminals_to_delete=("99999S",)))
    assert case.read(lambda session: of_terminal(session, "60000S")) is None


def test_the_histories_of_line_terminal_and_address_tell_each_thing_once(case, now):
    do(case, now, issue, line_change(), no_servers(terminals_to_delete=("60777S",)))

    def events(read, name):
        return [event.event for event in case.read(lambda session: read(session, name))]

    assert events(of_terminal, "60000S") == ["terminal_added", "address_added"]
    assert events(of_address, SECOND_ADDRESS.lower()) == ["address_added"]
    assert events(of_address, FIRST_ADDRESS.lower()) == ["address_added", "address_ended"]
    assert events(of_line, "09143")[-2:] == ["terminal_ended", "terminal_added"]
