"""`explain`: everything a name means, with what it waits for (design §7, semantics §4-§6, §8)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import select, update

from handlers.address_explanations import Circumstances
from handlers.explanations import explain
from handlers.lane_operations import pause
from handlers.output_destination_file import WantedDestination
from handlers.output_destinations import register_destinations
from storage.models import OfficeUser, Recipient
from storage.states import State
from tests.handlers import stuck_messages
from tests.handlers.exchanged_mails import (
    CENTER,
    LIFE,
    add_mail,
    add_recipient,
    mail_of,
    outbound,
    request,
    result,
    result_mail,
    set_outbound,
    tried,
)
from tests.handlers.review_cases import receive, take_contracts
from tests.handlers.test_terminals import ADDRESS, OFFICES_WITH_TWO_SERVERS, TODAY, only_sqlite, reissue

LANE = "terminal:60777S"
SOON = timedelta(seconds=10)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now, OFFICES_WITH_TWO_SERVERS)
    return stuck_messages.bound(store)


def explained(store, now, what):
    circumstances = Circumstances(
        now=now,
        center_address=CENTER,
        terminals_domain="terminals.center.example",
        terminal_port=25,
        service_hours="08:30-19:00",
        smarthost_lanes=4,
        retention=timedelta(days=31),
    )
    return store.read(lambda session: explain(session, what, circumstances))


def only(store, now, what):
    (found,) = explained(store, now, str(what))
    return found


def recipient(store, now, mail_id):
    """How the outbound recipient of a mail is explained."""
    return only(store, now, mail_id).recipients[-1]


# --- mails -----------------------------------------------------------------------------------------------------------


def test_a_request_is_explained_with_its_hand_over_and_by_its_own_id(store, now, binding):
    asked = request(store, binding, now, claimed_at=now)
    mail_id = mail_of(store, asked)
    found = only(store, now, mail_id)
    assert (found.kind, found.id, found.peer) == ("mail", mail_id, "127.20.13.13")
    inbound, hand_over = found.recipients
    assert (inbound.why, hand_over.destination, hand_over.request_id) == ("handled", "backend", asked.id)
    (linked,) = found.requests
    assert (linked.request_id, linked.state, linked.address) == (asked.id, "handed_over", ADDRESS)
    assert only(store, now, asked.id) == found


def test_every_try_is_told_in_the_peers_own_words(store, now, binding):
    mail_id = stuck_messages.give_up(store, binding, "SAD4031", now)
    recipient_id = outbound(store, mail_id).id
    tried(store, recipient_id, now, "450 4.2.0 full")
    tried(store, recipient_id, now + SOON, "timed out", outcome="in_doubt")
    found = recipient(store, now, mail_id)
    assert (found.why, found.state, found.output_code) == ("undelivered", "undelivered", "SAD4031")
    assert [(one.at, one.outcome, one.stage, one.reply) for one in found.tries] == [
        (now, "temporary", "dot", "450 4.2.0 full"),
        (now + SOON, "in_doubt", "dot", "timed out"),
    ]


def test_a_queued_message_says_what_it_waits_for(store, now, binding):
    first, second = (stuck_messages.put(store, binding, "SAD4031", now) for _ in range(2))

    def why(mail_id=first):
        found = recipient(store, now, mail_id)
        return found.why, found.ahead, found.next_try_at

    assert (why(), why(second)) == (("next", 0, None), ("behind", 1, None))
    set_outbound(store, first, due_at=now + SOON)
    assert why() == ("deferred", 0, now + SOON)
    stuck_messages.set_lane(store, LANE, down_since=now, next_try_at=now + 2 * SOON)
    assert why() == ("down", 0, now + 2 * SOON)
    reissue(store)
    assert why() == ("unbound", 0, None)
    store.run(lambda session: pause(session, LANE, reason="", actor="os:op", now=now))
    assert why() == ("paused", 0, None)


def test_a_hand_over_says_that_its_address_waits_for_a_result(store, now, binding):
    request(store, binding, now, "H1", claimed_at=now)
    waiting = mail_of(store, request(store, binding, now + SOON, "H2"))
    found = recipient(store, now + SOON, waiting)
    assert (found.why, found.next_try_at) == ("address_busy", now + LIFE)
    assert recipient(store, now + LIFE, waiting).why == "next"


def test_inbound_mail_says_when_it_is_handled(store, now):
    def add(session):
        mail = add_mail(session, now, listener="public")
        add_recipient(session, mail, now, order_key="k", due_at=now + SOON)
        add_recipient(session, mail, now, order_key="k")
        add_recipient(session, mail, now, order_key="other")
        return mail.id

    rows = only(store, now, store.run(add)).recipients
    assert [(row.why, row.ahead, row.next_try_at) for row in rows] == [
        ("deferred", 0, now + SOON),
        ("behind", 1, None),
        ("next", 0, None),
    ]


def test_the_codes_of_a_result_are_told_with_their_texts(store, now, binding):
    mail_id = result(store, binding, now, None, result_mail("A0004"))
    found = only(store, now, mail_id)
    (code,) = found.codes
    assert code.code == "A0004-0000-0000"
    assert "パスワード" in code.cause_ja
    assert "password" in code.cause_en
    assert found.unmatched


# --- addresses and destinations --------------------------------------------------------------------------------------


def test_an_address_is_explained_with_all_that_hangs_on_it(store, now, binding):
    asked = request(store, binding, now, claimed_at=now)
    stuck_messages.give_up(store, binding, "SAD4031", now)
    wanted = WantedDestination(place="", output_code="SAD4011", address=ADDRESS)
    store.run(lambda session: register_destinations(session, [wanted], actor="os:op", now=now))
    found = only(store, now, f"<{ADDRESS.lower()}>")
    assert (found.kind, found.address, found.fate, found.may_send_from) == (
        "address", ADDRESS, "delivered", "127.20.13.13",
    )  # fmt: skip
    assert (found.in_force.terminal, found.in_force.port, found.in_force.office_code) == ("60777S", 2525, "CT0001")
    assert found.destination.undelivered == 1
    (user,) = found.users
    assert (user.code, user.hours, user.open, user.barred) == ("TST01", "08:30-19:00", True, False)
    assert [one.request_id for one in found.outstanding] == [asked.id]
    assert [(kind.output_code, kind.count) for kind in found.undelivered] == [("SAD4031", 1)]
    assert [output.output_code for output in found.outputs] == ["SAD4011"]


def test_an_address_leads_elsewhere_at_other_dates(store, now, binding):
    reissue(store, today=date(2026, 12, 1))
    found = only(store, now, ADDRESS)
    assert [(bound.terminal, bound.state) for bound in found.bindings] == [("60777S", "in_force"), ("60778S", "coming")]
    later = only(store, now + timedelta(days=7), ADDRESS)
    assert [bound.state for bound in later.bindings] == ["ended", "in_force"]
    assert later.in_force.terminal == "60778S"


def test_a_message_that_comes_now_goes_or_waits(store, now, binding):
    assert only(store, now, ADDRESS).fate == "delivered"
    stuck_messages.set_lane(store, LANE, down_since=now)
    assert only(store, now, ADDRESS).fate == "waits"


def test_an_address_without_a_binding_today_is_parked_and_may_not_send(store, now, binding):
    reissue(store, today=TODAY)
    yesterday = only(store, now - timedelta(days=1), ADDRESS)
    assert (yesterday.fate, yesterday.may_send_from, yesterday.in_force, yesterday.users) == ("parked", None, None, ())


@only_sqlite
def test_a_users_own_hours_and_bar_are_told(store, now, binding):
    changed = update(OfficeUser).values(service_hours="11:00-12:00", barred=True)
    store.run(lambda session: session.execute(changed))
    (user,) = only(store, now, ADDRESS).users
    assert (user.hours, user.open, user.barred) == ("11:00-12:00", False, True)


@only_sqlite
def test_the_centres_own_address_is_told(store, now):
    found = only(store, now, CENTER)
    assert (found.is_center, found.bindings, found.fate) == (True, (), "parked")


def test_a_terminal_and_the_lanes_of_the_center_are_explained(store, now, binding):
    stuck_messages.put(store, binding, "SAD4031", now)
    found = only(store, now, "60777s")
    assert (found.kind, found.name, found.router_number, found.port) == ("terminal", "60777S", "09143", 2525)
    assert [bound.address for bound in found.addresses] == [ADDRESS]
    assert found.destination.queued == 1
    assert only(store, now, "60777S@Terminals.center.example") == found
    assert only(store, now, "backend").destination.endpoint == "primary"
    assert only(store, now, "smarthost:1").destination.lane == "smarthost:1"


# --- handovers and receipts ------------------------------------------------------------------------------------------


def test_every_request_of_a_handover_value_is_told_the_newest_first(store, now, binding):
    old = request(store, binding, now, "H1", claimed_at=now)
    mail_id = result(store, binding, now, old, result_mail("00000"))
    new = request(store, binding, now + SOON, "H1", claimed_at=now, in_doubt=True, late_at=now, overdue_at=now)
    found = only(store, now + SOON, "H1")
    assert found.handover == "H1"
    first, second = found.requests
    assert (first.request.request_id, first.request.state, first.request.overdue_at) == (new.id, "in_doubt", now)
    assert (second.request.request_id, second.request.state) == (old.id, "answered")
    assert [row.destination for row in first.hand_overs] == ["backend"]
    (answer,) = second.results
    assert (answer.mail_id, answer.codes[0].code) == (mail_id, "00000-0000-0000")
    assert [row.destination for row in answer.deliveries] == [LANE]


def test_a_receipt_number_tells_the_application_its_mails_and_its_terminals(store, now, binding):
    came = store.run(lambda session: add_mail(session, now, listener="public").id)
    receive(store, now, "260001A", mail_id=came)
    found = only(store, now, "２６０００１ａ")
    assert (found.kind, found.receipt_number, found.state, found.office_code) == (
        "receipt", "260001A", "received", "CT0001",
    )  # fmt: skip
    assert [mail.id for mail in found.mails] == [came]


def test_all_that_a_name_means_is_told(store, now, binding):
    mail_id = mail_of(store, request(store, binding, now, "60777S"))
    request(store, binding, now, str(mail_id))
    assert [found.kind for found in explained(store, now, "60777S")] == ["terminal", "handover"]
    assert [found.kind for found in explained(store, now, str(mail_id))] == ["mail", "handover"]


@only_sqlite
@pytest.mark.parametrize(
    "what", ["17", "x", "nobody@x.example", "269999A", "99999S", "9" * 30, "smarthost:9", "*" * 320]
)
def test_what_nothing_is_called_has_no_explanation(store, now, what):
    assert explained(store, now, what) == []


@only_sqlite
def test_every_state_of_a_recipient_has_a_word(store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    for state in State:
        set_outbound(store, mail_id, state=state)
        assert recipient(store, now, mail_id).why in {*State, "next"}
    assert len(store.read(lambda session: session.scalars(select(Recipient)).all())) == 1
