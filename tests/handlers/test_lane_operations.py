"""What operators see of the lanes and do to them (semantics §4, §5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from handlers.lane_operations import (
    Endpoint,
    flush,
    lane_named,
    lane_states,
    pause,
    release_requests,
    resume,
    switch_backend,
)
from storage.models import Lane, LanePause, Request
from tests.handlers import stuck_messages
from tests.handlers.exchanged_mails import LIFE, mail_of, request
from tests.handlers.review_cases import WITH_SMTP_SERVER, audited, take_contracts
from tests.handlers.test_terminals import ADDRESS, only_sqlite

LANE = "terminal:60777S"
SOON = timedelta(seconds=10)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return stuck_messages.bound(store)


def state(store, lane=LANE, at=None):
    (found,) = store.read(lambda session: lane_states(session, at or datetime(2026, 11, 24, 1, tzinfo=UTC), [lane]))
    return found


@only_sqlite
def test_a_destination_is_called_by_its_terminal_or_by_its_lane(store, now, binding):
    def named(name):
        return store.read(lambda session: lane_named(session, name, smarthost_lanes=4))

    assert named("60777s") == named(" terminal:60777S ") == LANE
    assert named("backend") == "backend"
    assert (named("smarthost:0"), named("smarthost:03")) == ("smarthost:0", "smarthost:3")
    for unknown in ("99999S", "smarthost:4", "smarthost:x", "smarthost:", "Backend", ""):
        assert named(unknown) is None


def test_a_lane_shows_what_waits_and_what_its_breaker_says(store, now, binding):
    stuck_messages.put(store, binding, "SAD4031", now + SOON)
    stuck_messages.put(store, binding, "SAD4031", now)
    stuck_messages.give_up(store, binding, "SAD4031", now - SOON)
    down = {"down_since": now, "failures": 3, "last_failure": "Connection refused", "next_try_at": now + SOON}
    stuck_messages.set_lane(store, LANE, **down)
    (found,) = store.read(lambda session: lane_states(session, now))
    assert (found.lane, found.queued, found.undelivered) == (LANE, 2, 1)
    assert found.oldest_waiting_since == now
    assert {name: getattr(found, name) for name in down} == down
    assert (found.paused, found.endpoint, found.wanted_endpoint) == (None, "", "")


def test_a_lane_that_carried_nothing_is_paused_once_and_resumed(store, now, binding):
    def paused(reason):
        return store.run(lambda session: pause(session, LANE, reason=reason, actor="os:op", now=now))

    assert paused("works") is None
    known = paused("again")
    assert (known.actor, known.paused_at, known.reason) == ("os:op", now, "works")
    assert state(store).paused == known
    assert [lane.lane for lane in store.read(lambda session: lane_states(session, now))] == [LANE]
    ended = [store.run(lambda session: resume(session, LANE, actor="os:other", now=now + SOON)) for _ in range(2)]
    assert ended == [True, False]
    assert state(store).paused is None
    (row,) = store.read(lambda session: session.scalars(select(LanePause)).all())
    assert (row.paused_at, row.resumed_at) == (now, now + SOON)
    assert audited(store, f"lane:{LANE}") == [
        ("destination-paused", "os:op", "works"),
        ("destination-resumed", "os:other", ""),
    ]


def test_a_flush_is_written_where_its_holder_looks(store, now, binding):
    store.run(lambda session: flush(session, LANE, actor="os:op", now=now))
    assert state(store).flushed_at == now
    assert audited(store, f"lane:{LANE}") == [("destination-flushed", "os:op", "")]


def test_the_backend_is_switched_for_a_drill_and_let_go(store, now):
    def switch(endpoint, until=None):
        store.run(lambda session: switch_backend(session, endpoint, drill_until=until, actor="os:op", now=now))
        found = state(store, "backend")
        return found.endpoint, found.wanted_endpoint, found.drill_until

    assert switch(Endpoint.BACKUP, now + SOON) == ("primary", "backup", now + SOON)
    assert switch(Endpoint.PRIMARY) == ("primary", "primary", None)
    assert switch(Endpoint.AUTO) == ("primary", "auto", None)
    assert store.read(lambda session: session.get_one(Lane, "backend").wanted_endpoint) == ""
    details = [detail for _, _, detail in audited(store, "lane:backend")]
    assert details == [f"backup until {(now + SOON).isoformat()}", "primary", "auto"]


@pytest.mark.parametrize("by", ["address", "request", "mail"])
def test_the_wait_for_a_result_is_ended_by_address_request_or_mail(store, now, binding, by):
    asked = request(store, binding, now, claimed_at=now)
    what = {"address": ADDRESS, "request": str(asked.id), "mail": str(mail_of(store, asked))}[by]

    def release():
        return store.run(lambda session: release_requests(session, what, actor="os:op", now=now + SOON))

    (ended,) = release()
    assert (ended.request_id, ended.mail_id, ended.address) == (asked.id, mail_of(store, asked), ADDRESS)
    assert store.read(lambda session: session.get_one(Request, asked.id).outstanding_until) == now + SOON
    assert release() == []
    assert audited(store, f"mail:{ended.mail_id}") == [("request-released", "os:op", ADDRESS)]


def test_what_is_not_outstanding_is_not_ended(store, now, binding):
    request(store, binding, now, "WAITS")
    request(store, binding, now, "ANSWERED", claimed_at=now, answered_at=now)
    request(store, binding, now - LIFE, "OVER", claimed_at=now - LIFE)
    request(store, binding, now, "NOT-EDI", claimed_at=now, outstanding_until=None)
    for what in (ADDRESS, "unknown@x.example", "17", "60777S"):
        assert store.run(lambda session, what=what: release_requests(session, what, actor="a", now=now)) == []


def test_a_drill_that_is_over_is_wanted_no_more(store, now):
    until = now + timedelta(minutes=30)
    store.run(lambda s: switch_backend(s, Endpoint.BACKUP, drill_until=until, actor="os:op", now=now))
    during, after = state(store, "backend", now), state(store, "backend", until)
    assert (during.wanted_endpoint, during.drill_until) == ("backup", until)
    assert (after.wanted_endpoint, after.drill_until) == ("auto", None)
