from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from threading import Barrier, Thread

import pytest
from sqlalchemy import func, select, update

from handlers import reviews
from handlers.outcomes import TemplateFault
from handlers.reviews import Details, Reason, Refusal
from handlers.terminals import load
from handlers.workflow import Event, State
from storage.models import Application, AuditEvent, LogicalTerminal, MapVersion, Office, Reservation
from storage.store import Store
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    START,
    WITH_SMTP_SERVER,
    audited,
    contents,
    line_change,
    no_servers,
    notices_sent,
    receive,
    state_of,
    take_contracts,
)

TODAY = date(2026, 11, 24)
ADDRESS_KEY = "3a0001@smtp.ct0001.center.example"
APPLICANT, ADMINISTRATOR = "tsukan-hanako@applicant.example", "kanri@applicant.example"


def complete(store, now, receipt="260001A", start_date=None, desk=DESK, actor="os:reviewer"):
    return store.run(lambda session: reviews.complete(session, desk, receipt, start_date, actor, now, CALENDAR))


def decide(store, now, event, receipt="260001A"):
    return store.run(lambda session: reviews.decide(session, DESK, receipt, event, "os:reviewer", now, CALENDAR))


def count(store, model):
    return store.read(lambda session: session.scalar(select(func.count()).select_from(model)))


def fingerprint(store):
    """Everything a refused decision must not have touched."""
    version = store.read(lambda session: session.scalar(select(MapVersion.version)))
    return [version, state_of(store), notices_sent(store)] + [
        count(store, model) for model in (AuditEvent, LogicalTerminal, Reservation)
    ]


def test_completing_issues_the_ids_and_tells_both_people_in_order(store, now):
    take_contracts(store, now)
    receive(store, now)
    done = complete(store, now)
    assert (done.receipt_number, done.state, done.start_date) == ("260001A", State.IDS_ISSUED, START)
    assert [terminal.name for terminal in done.terminals] == ["60000S"]
    assert notices_sent(store) == [
        ("applicant/review-complete", APPLICANT),
        ("applicant/review-complete", ADMINISTRATOR),
        ("applicant/id-notice", APPLICANT),
        ("applicant/id-notice", ADMINISTRATOR),
    ]
    application = store.read(lambda session: session.scalars(select(Application)).one())
    assert (application.start_date, application.completed_at) == (START, now)


def test_each_move_has_its_audit_event(store, now):
    take_contracts(store, now)
    receive(store, now)
    complete(store, now)
    assert audited(store, "application:260001A") == [
        ("take", "os:reviewer", "received -> under_review"),
        ("complete", "os:reviewer", "under_review -> completed"),
        ("issue", "os:reviewer", "completed -> ids_issued"),
    ]
    assert audited(store, "terminal:60000S") == [
        ("terminal_added", "os:reviewer", "260001A 09143 127.20.13.2 from 2026-12-14")
    ]


def test_the_address_routes_from_midnight_of_the_start_date_in_japan(store, now):
    take_contracts(store, now)
    receive(store, now)
    complete(store, now, start_date=date(2026, 12, 1))
    view = store.read(load)
    assert view.binding(ADDRESS_KEY, date(2026, 11, 30)) is None
    bound = view.binding(ADDRESS_KEY, date(2026, 12, 1))
    assert (bound.terminal, bound.ip) == ("60000S", "127.20.13.2")


def test_a_start_of_today_is_in_use_with_the_commit(store, now):
    take_contracts(store, now)
    receive(store, now)
    done = complete(store, now, start_date=TODAY)
    assert done.state is State.IN_USE
    assert store.read(load).binding(ADDRESS_KEY, TODAY) is not None
    assert audited(store, "application:260001A")[-1] == ("begin_use", "os:reviewer", "ids_issued -> in_use")


def test_the_map_version_moves_once(store, now):
    take_contracts(store, now)
    receive(store, now)
    complete(store, now)
    assert store.read(lambda session: session.scalar(select(MapVersion.version))) == 2


@pytest.mark.parametrize("written", ["260001A", "260001a", "２６０００１Ａ", " 260001A ", "【260001a】"])
def test_a_receipt_number_is_found_in_any_width_and_case(store, now, written):
    take_contracts(store, now)
    receive(store, now)
    assert complete(store, now, written).receipt_number == "260001A"


def test_an_unknown_receipt_number_is_not_found(store, now):
    assert complete(store, now, "269999A") == Refusal(Reason.NOT_FOUND, "269999A")


@pytest.mark.parametrize("start_date", [TODAY - timedelta(days=1), date(2020, 1, 1)])
def test_a_start_before_today_is_refused(store, now, start_date):
    take_contracts(store, now)
    receive(store, now)
    before = fingerprint(store)
    assert complete(store, now, start_date=start_date) == Refusal(Reason.START_IN_THE_PAST, start_date.isoformat())
    assert fingerprint(store) == before


def test_a_wish_that_has_passed_needs_another_start_date(store, now):
    take_contracts(store, now)
    receive(store, now)
    late = now + timedelta(days=40)
    assert complete(store, late).reason is Reason.START_IN_THE_PAST
    assert complete(store, late, start_date=date(2027, 1, 12)).state is State.IDS_ISSUED


def test_today_is_the_day_in_japan(store, now):
    take_contracts(store, now)
    receive(store, now)
    late_in_utc = now.replace(hour=15)  # the 25th in Japan
    assert complete(store, late_in_utc, start_date=TODAY).reason is Reason.START_IN_THE_PAST


def test_a_second_completion_is_refused_and_changes_nothing(store, now):
    take_contracts(store, now)
    receive(store, now)
    complete(store, now)
    before = fingerprint(store)
    assert complete(store, now) == Refusal(Reason.WRONG_STATE, "ids_issued")
    assert fingerprint(store) == before


@pytest.mark.parametrize("state", ["inquiry", "withdrawn", "rejected", "void", "in_use", "checked"])
def test_only_what_is_under_review_can_be_completed(store, now, state):
    take_contracts(store, now)
    receive(store, now, state=state)
    assert complete(store, now) == Refusal(Reason.WRONG_STATE, state)


def test_of_two_completions_at_the_same_moment_one_is_refused(store, store_url, now):
    take_contracts(store, now)
    receive(store, now)
    results = []
    together = Barrier(2)

    def run() -> None:
        own_store = Store.open(store_url, "test")
        try:
            together.wait()
            results.append(complete(own_store, now))
        finally:
            own_store.close()

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [result for result in results if isinstance(result, Refusal)]
    assert refused == [Refusal(Reason.WRONG_STATE, "ids_issued")]
    assert len(notices_sent(store)) == 4
    assert count(store, LogicalTerminal) == 3


def test_a_decision_made_on_an_older_row_finds_what_has_changed_since(store, now):
    take_contracts(store, now)
    receive(store, now)

    def work(session):
        seen = reviews.find(session, "260001A")
        assert seen is not None
        assert seen.state == "received"
        # Another process was faster: the row moved, the session has not noticed.
        session.connection().execute(
            update(Application).values(state="withdrawn", row_version=Application.row_version + 1)
        )
        return reviews.complete(session, DESK, "260001A", None, "os:reviewer", now, CALENDAR)

    assert store.run(work) == Refusal(Reason.WRONG_STATE, "withdrawn")


def test_an_exhausted_pool_leaves_nothing_behind(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(interactive_terminals=2)))
    desk = replace(DESK, terminal_pools={**DESK.terminal_pools, "C": (27000, 27000)})
    before = fingerprint(store)
    assert complete(store, now, desk=desk) == Refusal(Reason.EXHAUSTED, "09143 (27000C-27000C)")
    assert fingerprint(store) == before
    assert complete(store, now).state is State.IDS_ISSUED


def test_a_refused_completion_tells_no_subscriber_of_a_mail_or_a_map_that_is_not_there(store, now):
    take_contracts(store, now)
    receive(store, now)
    desk = replace(DESK, terminal_pools={**DESK.terminal_pools, "S": (60000, 59999)})
    refused, notes, queued = store.run_noting(
        lambda session: reviews.complete(session, desk, "260001A", None, "os:reviewer", now, CALENDAR)
    )
    assert (refused.reason, notes, queued) == (Reason.EXHAUSTED, [], [])


def test_a_terminal_that_is_gone_meanwhile_is_named(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(no_servers(terminals_to_delete=("60777S",))))
    before = fingerprint(store)
    assert complete(store, now) == Refusal(Reason.IMPOSSIBLE, "60777S")
    assert fingerprint(store) == before


def test_a_notice_that_cannot_be_written_undoes_the_whole_completion(store, now):
    take_contracts(store, now)
    receive(store, now, applicant_email="no address")
    before = fingerprint(store)
    with pytest.raises(TemplateFault):
        complete(store, now)
    assert fingerprint(store) == before


def test_one_person_in_both_roles_gets_one_mail_each(store, now):
    take_contracts(store, now)
    receive(store, now, applicant_email="KANRI@applicant.example")
    complete(store, now)
    assert [to for _, to in notices_sent(store)] == ["KANRI@applicant.example"] * 2


def test_without_an_administrators_address_the_reviewer_is_told(store, now):
    take_contracts(store, now)
    store.run(lambda session: session.execute(update(Office).values(administrator_email="")))
    receive(store, now)
    complete(store, now)
    told = [name for name, to in notices_sent(store) if to == DESK.reviewer_address]
    assert set(told) == {"reviewer/no-administrator-address"}


def test_deleting_a_terminal_takes_effect_on_the_start_date(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now, said=contents(no_servers(terminals_to_delete=("60777S",))))
    complete(store, now)
    view = store.read(load)
    assert view.binding(ADDRESS_KEY, START - timedelta(days=1)) is not None
    assert view.binding(ADDRESS_KEY, START) is None
    assert audited(store, "terminal:60777S")[-1][0] == "terminal_ended"


def test_a_start_too_close_for_the_system_settings_is_refused(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(items=("naccs_terminals", "user_codes")))
    # Four business days before the 27th is 2026-11-20, before the 28th, a Saturday, the 24th.
    refused = complete(store, now, start_date=date(2026, 11, 27))
    assert refused == Refusal(Reason.DEADLINE_PASSED, "2026-11-20", first_start=date(2026, 11, 28))
    assert complete(store, now, start_date=refused.first_start).state is State.IDS_ISSUED


def test_use_does_not_begin_before_the_start_date(store, now):
    take_contracts(store, now)
    receive(store, now)
    complete(store, now)
    assert decide(store, now, Event.BEGIN_USE) == Refusal(Reason.START_NOT_REACHED, "2026-12-14")


def test_voiding_issued_ids_takes_them_back(store, now):
    take_contracts(store, now)
    receive(store, now)
    complete(store, now)
    voided = store.run(
        lambda session: reviews.decide(
            session, DESK, "260001A", Event.VOID, "os:reviewer", now, CALENDAR, Details(words="無効")
        )
    )
    assert voided.state is State.VOID
    assert store.read(load).binding(ADDRESS_KEY, START) is None
