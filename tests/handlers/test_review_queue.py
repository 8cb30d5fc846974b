from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import update

from handlers.applications.contents import ItemChange
from handlers.case_history import EntryKind, history, record
from handlers.review_queue import LineHint, WantedChange, queue, review_sheet
from handlers.reviews import NewLine
from handlers.workflow import Event
from storage.models import Application, Line, ScheduleDay
from tests.handlers.deciding import case_of, decide, desk_with_keys
from tests.handlers.review_cases import CALENDAR, contents, line_change, no_servers, receive, take_contracts
from tests.handlers.test_two_persons import NEW_LINE

TODAY = date(2026, 11, 24)


def sheet_of(store, receipt="260001A", today=TODAY):
    return store.read(lambda session: review_sheet(session, case_of(session, receipt), CALENDAR, today))


@pytest.fixture
def office(store, now):
    take_contracts(store, now)
    return store


def test_what_waits_is_queued_in_the_order_of_its_arrival(office, now):
    receive(office, now + timedelta(hours=1), "260002A")
    receive(office, now, "260001A", state="inquiry")
    receive(office, now, "260003A", state="ids_issued")
    receive(office, now + timedelta(hours=2), "260004A", state="under_review")

    def queued(**options):
        return [row.receipt_number for row in office.read(lambda session: queue(session, CALENDAR, TODAY, **options))]

    assert queued() == ["260001A", "260002A", "260004A"]
    assert queued(at_most=1) == ["260001A"]
    assert queued(after=1, at_most=1) == ["260002A"]


@pytest.mark.parametrize(
    ("today", "age"), [(TODAY, 0), (date(2026, 11, 25), 1), (date(2026, 11, 30), 4), (date(2026, 11, 29), 3)]
)
def test_the_age_is_in_business_days(office, now, today, age):
    receive(office, now)
    assert sheet_of(office, today=today).age == age


def test_the_sheet_shows_what_is_and_what_will_be(office, now):
    pair = ItemChange(code="user_codes", before="なし", after="1ABCD")
    receive(office, now, said=contents(items=("naccs_terminals", "user_codes"), item_changes=(pair,)))
    sheet = sheet_of(office)
    assert WantedChange(item="利用者コード（追加・変更・削除）", before="なし", after="1ABCD") in sheet.changes
    assert any(row.item.endswith("SMTPサーバ台数（SMTP双方向）") and row.after == "1台" for row in sheet.changes)
    assert (sheet.company_name, sheet.office_name, sheet.office_code) == (
        "ナックス商事株式会社",
        "第一営業部",
        "CT0001",
    )


@pytest.mark.parametrize(
    ("days", "on_schedule"), [((), None), ((date(2026, 12, 14),), True), ((date(2026, 12, 7),), False)]
)
def test_the_sheet_says_whether_the_wish_is_on_the_schedule(office, now, days, on_schedule):
    receive(office, now)
    rows = [ScheduleDay(start_on=day, apply_by=TODAY) for day in days]
    office.run(lambda session: session.add_all(rows))
    assert sheet_of(office).on_schedule is on_schedule


def test_the_sheet_names_the_deadline_and_the_first_start_once_it_has_passed(office, now):
    receive(office, now, said=contents(items=("naccs_terminals", "user_codes")))
    sheet = sheet_of(office)
    assert (sheet.settings_deadline, sheet.first_start) == (date(2026, 12, 8), None)
    assert sheet_of(office, today=date(2026, 12, 9)).first_start == date(2026, 12, 15)


def test_the_sheet_shows_lines_spare_routers_free_addresses_and_other_cases(office, now):
    receive(office, now, "260001A", said=contents(line_change(), line_change(**NEW_LINE)))
    receive(office, now, "260002A")
    receive(office, now, "260003A", said=contents(items=("user_codes",), lines=()))
    receive(office, now, "260004A", state="withdrawn")
    office.run(lambda session: session.execute(update(Line).values(spare_router=True)))
    sheet = sheet_of(office)
    known, new = sheet.lines
    assert (known.router_number, known.spare_router, known.open_cases) == ("09143", True, ("260002A",))
    assert known.free_ip_addresses > 200
    assert new == LineHint(router_number="", action="追加", spare_router=False, free_ip_addresses=0, open_cases=())
    assert (sheet.new_lines_needed, sheet.open_cases) == (1, ("260002A", "260003A"))


def test_the_sheet_says_who_wrote_and_whether_replies_act(office, now):
    receive(office, now, sender_verdict="dkim applicant.example")
    sheet = sheet_of(office)
    assert (sheet.sender_verdict, sheet.notice_address) == ("dkim applicant.example", "tsukan-hanako@applicant.example")
    assert (sheet.address_registered, sheet.address_accepted) == (True, False)
    office.run(lambda session: session.execute(update(Application).values(applicant_email="new@other.example")))
    decide(office, now, Event.ACCEPT_ADDRESS)
    sheet = sheet_of(office)
    assert (sheet.address_registered, sheet.address_accepted) == (False, True)


def test_the_sheet_shows_the_inquiry_that_is_needed_and_the_proposal(office, now):
    said = contents(no_servers(**NEW_LINE), items=("naccs_lines",), other_items=())
    receive(office, now, said=said)
    line = NewLine(router_number="09150", lan_subnet="127.20.50.0/24")
    desk = desk_with_keys(two_person=True)
    decide(office, now, Event.COMPLETE, desk=desk, actor="os:first", new_lines=(line,))
    proposal = sheet_of(office).proposal
    assert (proposal.proposed_by, proposal.start_date, proposal.new_lines) == (
        "os:first",
        date(2026, 12, 14),
        (line,),
    )
    receive(office, now, "260002A", said=contents(items=(), other_items=("succession",), lines=()))
    assert (sheet_of(office, "260002A").inquiry_needed, sheet_of(office, "260002A").inquiry_made) == (
        ("地位の承継",),
        False,
    )


def test_a_history_is_read_in_the_order_it_happened(office, now):
    receive(office, now)

    def add(session):
        application = case_of(session)
        record(session, application, EntryKind.ANSWER, "applicant:a@b.example" + "x" * 90, now + timedelta(seconds=1))
        record(session, application, EntryKind.INQUIRY, "os:reviewer", now, words="？")

    office.run(add)
    found = office.read(
        lambda session: [(entry.kind, len(entry.actor)) for entry in history(session, case_of(session))]
    )
    assert found == [("inquiry", 11), ("answer", 80)]
