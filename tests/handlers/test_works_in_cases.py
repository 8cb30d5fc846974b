"""What a case, its mails and the map see of work on a line: rearranged, and while its window is open."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from handlers import desk_jobs
from handlers.allocation import SMTP_SERVER, TerminalChange
from handlers.applications.contents import LineAction
from handlers.case_history import history, parts
from handlers.case_progress import news, progress
from handlers.line_changes import add_line
from handlers.map_changes import Change
from handlers.review_case import NewLine
from handlers.terminal_changes import add_terminal, move_terminal
from handlers.workflow import Event
from storage.models import Mail, Office
from storage.store import Store
from tests.handlers.applications.receipt_cases import ADMINISTRATOR
from tests.handlers.clock_cases import (
    RECEIPT,
    application_in,
    complete,
    day,
    decide,
    jst,
    notice_text,
    order,
    pauses,
    run_out,
    schedule,
)
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    WITH_SMTP_SERVER,
    audited,
    contents,
    line_change,
    receive,
    take_contracts,
)
from tests.handlers.test_map_changes import NEW_LINE

OPENS = jst(day(12, 10), 13)
CLOSES = OPENS + timedelta(hours=2)
NEW = NewLine(router_number="09150", lan_subnet="127.20.50.0/24")


@pytest.fixture
def case(store, now):
    """An application in review, of an office whose line has a server in use."""
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now)
    return store


@pytest.fixture
def open_window(case, now):
    """A window on the line, opened by the clock."""
    work = schedule(case, now, order(OPENS))
    run_out(case, OPENS)
    return work


def reason(work):
    return f"work {work.id} {RECEIPT}"


def test_the_mail_names_the_date_that_is_replaced(case, now):
    schedule(case, now, order(OPENS, mode="on_site"))
    first = notice_text(case, "applicant/work-schedule", ADMINISTRATOR)
    assert ("決まりました" in first, "以前にお知らせした" in first) == (True, False)
    case.run(lambda session: session.execute(update(Mail).values(template="former@1")))
    schedule(case, now, order(OPENS + timedelta(days=1), mode="remote"))
    again = notice_text(case, "applicant/work-schedule", ADMINISTRATOR)
    assert "日程が変わりました" in again
    _, _, former = again.partition("■以前にお知らせした日程（上の日程に替わります）\n")
    assert former.splitlines()[:3] == [
        "  開始日時 : 2026年12月10日 13:00",
        "  終了予定日時 : 2026年12月10日 15:00",
        "  工事の方法 : 現地での工事（オンサイト工事）",
    ]


def test_a_decision_says_and_keeps_what_was_replaced(case, now):
    first = schedule(case, now, order(OPENS, mode="on_site"))
    done = decide(case, Event.SCHEDULE_WORK, now, work=order(OPENS + timedelta(days=1)))
    assert done.work is not None
    assert done.work.replaces is not None
    assert (done.work.replaces.id, done.work.router_number) == (first.id, "09143")
    assert [warning.code for warning in done.work_warnings] == ["replaces"]
    kept = case.read(lambda session: [parts(entry) for entry in history(session, application_in(session))])
    assert "replaces" not in kept[0]
    assert (kept[1]["replaces"], kept[1]["replaced_mode"], kept[1]["replaced_begins_at"]) == (
        str(first.id), "on_site", OPENS.isoformat(),
    )  # fmt: skip
    steps = case.read(lambda session: [row.item for row in progress(session, application_in(session))])
    assert steps == ["利用申込", "回線工事", "回線工事の日程の変更"]
    office = case.read(lambda session: news(session, session.scalars(select(Office)).first()))
    assert [row.text.partition("。")[0] for row in office] == [
        "回線工事の日程が変わりました",
        "回線工事の日程が決まりました",
    ]


def test_a_terminal_issued_during_the_window_is_paused_until_its_end_and_resumed_once(case, open_window):
    receive(case, OPENS, "260002A")
    at = OPENS + timedelta(minutes=30)
    (issued,) = decide(case, Event.COMPLETE, at, "260002A", start_date=day(12, 10)).terminals
    lane = f"terminal:{issued.name}"
    assert pauses(case, lane) == [("gateway", reason(open_window), True)]
    run_out(case, CLOSES)
    assert pauses(case, lane) == [("gateway", reason(open_window), False)]
    assert [event for event, *_ in audited(case, f"lane:{lane}")] == ["destination-paused", "destination-resumed"]


def test_terminals_of_a_line_made_during_its_window_are_paused(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(action=LineAction.ADD, router_number="")))
    work = schedule(store, now, order(OPENS))
    run_out(store, OPENS)
    (issued,) = complete(store, OPENS, start=day(12, 14), new_lines=(NEW,)).terminals
    lane = f"terminal:{issued.name}"
    assert pauses(store, lane) == [("gateway", reason(work), True)]
    run_out(store, CLOSES)
    assert pauses(store, lane) == [("gateway", reason(work), False)]


@pytest.mark.parametrize("closes", [False, True])
def test_a_window_that_opens_or_closes_at_the_same_moment_misses_no_terminal(case, store_url, now, closes):
    schedule(case, now, order(OPENS))
    receive(case, now, "260002A")
    if closes:
        run_out(case, OPENS)
    at = CLOSES if closes else OPENS
    other = Store.open(store_url, "other")
    issued: list[TerminalChange] = []

    def issue():
        issued.extend(decide(other, Event.COMPLETE, at, "260002A", start_date=day(12, 14)).terminals)

    issuing = threading.Thread(target=issue)

    def turn(session):
        while desk_jobs.run_due(session, DESK, CALENDAR, at):
            session.flush()
        issuing.start()
        issuing.join(0.5)  # long enough to get as far as it can

    case.run(turn)
    issuing.join(60)
    other.close()
    assert [is_open for *_, is_open in pauses(case, f"terminal:{issued[0].name}")] == ([] if closes else [True])


@pytest.mark.parametrize("moves", [False, True])
def test_a_terminal_that_an_operator_puts_on_the_line_waits_too(case, open_window, moves):
    at = OPENS + timedelta(minutes=30)
    change = Change(desk=DESK, actor="os:op", now=at)
    if moves:
        case.run(lambda session: add_line(session, change, "CT0001", NEW_LINE))
        case.run(lambda session: add_terminal(session, change, "09500", SMTP_SERVER, {"name": "60888S"}))
        assert pauses(case, "terminal:60888S") == []
        case.run(lambda session: move_terminal(session, change, "60888S", "09143", None))
    else:
        case.run(lambda session: add_terminal(session, change, "09143", SMTP_SERVER, {"name": "60888S"}))
    assert pauses(case, "terminal:60888S") == [("gateway", reason(open_window), True)]


def test_a_terminal_that_a_file_puts_on_the_line_waits_too(case, open_window):
    at = OPENS + timedelta(minutes=30)
    more = (
        WITH_SMTP_SERVER.replace("60777S", "60888S").replace("127.20.13.13", "127.20.13.88").replace("3A0001", "3A0088")
    )
    take_contracts(case, at, more)
    assert pauses(case, "terminal:60888S") == [("gateway", reason(open_window), True)]


def test_news_and_progress_say_whether_the_date_or_only_the_particulars_changed(case, now):
    schedule(case, now, order(OPENS))
    schedule(case, now, order(OPENS, contact="第三の者"))
    steps = case.read(lambda session: [row.item for row in progress(session, application_in(session))])
    assert steps == ["利用申込", "回線工事", "回線工事の内容の変更"]
    office = case.read(lambda session: news(session, session.scalars(select(Office)).first()))
    assert office[0].text.startswith("回線工事の内容が変わりました。")
