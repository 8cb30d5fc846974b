from __future__ import annotations

from datetime import date, timedelta

import pytest

from handlers.applications.contents import LineAction
from handlers.case_works import WorkState, works_of
from handlers.review_case import NewLine
from handlers.workflow import Event
from tests.handlers.clock_cases import application_in, complete, day, decide, jst, order, run_out, schedule
from tests.handlers.review_cases import contents, line_change, receive, take_contracts

OPENS = jst(day(12, 10), 13)
CLOSES = OPENS + timedelta(hours=2)


@pytest.fixture
def case(store, now):
    take_contracts(store, now)
    receive(store, now)
    return store


def seen(store):
    return store.read(lambda session: works_of(session, application_in(session)))


def test_a_case_without_work_shows_none(case):
    assert seen(case) == ()


def test_a_work_is_shown_as_it_was_arranged(case, now):
    row = schedule(
        case,
        now,
        order(OPENS, mode="on_site", router_installed_on=date(2026, 12, 12), contact="工事　太郎", phone="0312345678",
              fee="30,000円", note="入館証"),
    )  # fmt: skip
    (work,) = seen(case)
    assert (work.id, work.router_number, work.mode, work.begins_at, work.ends_at) == (
        row.id, "09143", "on_site", OPENS, CLOSES,
    )  # fmt: skip
    assert (work.router_installed_on, work.contact, work.phone, work.fee, work.note, work.scheduled_by) == (
        date(2026, 12, 12), "工事　太郎", "0312345678", "30,000円", "入館証", "os:reviewer",
    )  # fmt: skip
    assert work.replaces is None


def test_a_work_is_planned_open_closed_and_done(case, now):
    schedule(case, now, order(OPENS))
    states = [seen(case)[0].state]
    for at in (OPENS, CLOSES):
        run_out(case, at)
        states.append(seen(case)[0].state)
    decide(case, Event.FINISH_WORK, CLOSES)
    states.append(seen(case)[0].state)
    assert states == [WorkState.PLANNED, WorkState.OPEN, WorkState.CLOSED, WorkState.DONE]


def test_work_that_replaced_other_work_names_it(case, now):
    first = schedule(case, now, order(OPENS, mode="on_site"))
    schedule(case, now, order(OPENS + timedelta(days=1)))
    before, after = seen(case)
    assert (before.state, before.replaces) == (WorkState.CALLED_OFF, None)
    assert (after.replaces.id, after.replaces.mode, after.replaces.begins_at, after.replaces.ends_at) == (
        first.id, "on_site", OPENS, CLOSES,
    )  # fmt: skip


def test_work_for_a_new_line_has_its_number_once_it_is_made(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(action=LineAction.ADD, router_number="")))
    schedule(store, now, order(OPENS))
    assert [work.router_number for work in seen(store)] == [""]
    complete(store, now, new_lines=(NewLine(router_number="09150", lan_subnet="127.20.50.0/24"),))
    assert [work.router_number for work in seen(store)] == ["09150"]
    schedule(store, now, order(OPENS, router_number="09150", note="入館証"))
    assert seen(store)[1].replaces.id == seen(store)[0].id


def test_work_on_another_line_replaces_nothing(store, now):
    take_contracts(store, now)
    new = line_change(action=LineAction.ADD, router_number="")
    receive(store, now, said=contents(line_change(), new))
    schedule(store, now, order(OPENS, router_number="09143"))
    schedule(store, now, order(OPENS, router_number="00001"))
    assert [(work.router_number, work.state, work.replaces) for work in seen(store)] == [
        ("09143", WorkState.PLANNED, None),
        ("", WorkState.PLANNED, None),
    ]
