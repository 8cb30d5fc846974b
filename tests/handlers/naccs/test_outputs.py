"""The backend's mails on their way to terminals: requests they end, lanes they are queued in (semantics §5, §8)."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from handlers.naccs.exchange import NO_REQUEST, Unhandled
from handlers.naccs.message import body_of
from handlers.terminals import OutputRoute
from storage.effects import RECIPIENT_HANDLED, REQUEST_ANSWERED, RESULT_CORRELATED, Applied, Note, Unit
from storage.mail_queue import Arrival
from storage.models import Recipient, Request
from storage.store import Store
from tests.handlers.naccs.sound_mime import BODIES, HEADERS
from tests.handlers.naccs.sound_request import ADDRESS, BODY, mail_with, request_with
from tests.handlers.naccs.test_exchange import (
    BOUND,
    CENTER,
    LANE,
    NOW,
    OTHER_ADDRESS,
    ROW,
    TCC_RESULT,
    TERMINALS,
    a_map,
    a_result,
    an_exchange,
    arrived,
    changed,
    commit,
    content_of_result,
    decide,
    to_backend,
)
from tests.handlers.test_terminals import only_sqlite

OTHER_ROW, OTHER_LANE = 72, "terminal:60778S"
OTHER = replace(BOUND, address=OTHER_ADDRESS, address_id=OTHER_ROW, terminal="60778S")
SECOND = replace(BOUND, address=OTHER_ADDRESS, address_id=OTHER_ROW)  # of the same terminal
TODAY = NOW.date()
DAY = timedelta(days=1)


NOWHERE = "neither item 51/64 nor a registered output destination says where"


def test_a_result_goes_to_the_terminal_under_a_header_of_ours_and_its_body_untouched():
    content = content_of_result()
    unit = decide(a_result(content))
    (queued,) = unit.queued
    recipient = queued.recipient
    assert (queued.lane, queued.content) == (LANE, content)
    assert (recipient.mail_id, recipient.rcpt_to, recipient.sender) == (501, ADDRESS, CENTER)
    assert recipient.header == TCC_RESULT.replace(b"1000", b"501")
    assert content[recipient.body_offset :] == body_of(content)[1]
    assert (recipient.address_id, recipient.output_code, recipient.map_version) == (ROW, "*CTCC", 7)
    assert unit.inserts == ()


def test_a_result_belongs_to_a_request_ends_it_and_goes_on_where_there_is_none():
    unit = decide(a_result())
    items = request_with().items
    about = (ROW, items.handover, items.input_information_number, NOW.timestamp() * 1_000_000)
    assert tuple(changed(unit, RESULT_CORRELATED).values()) == (502, *about)
    assert tuple(changed(unit, REQUEST_ANSWERED).values()) == (501, *about)
    assert [change.kind for change in unit.changes if change.must] == [RECIPIENT_HANDLED]
    # Marked until a request is found.
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == NO_REQUEST
    assert unit.notes == (Note("answered", ROW),)


@pytest.mark.parametrize(
    ("message_type", "final", "ends"),
    [
        ("R", "E", True),
        ("R", "", True),
        ("M", "E", True),
        ("M", "", False),  # more parts of it are to come
        *((letter, "E", False) for letter in "PCTU"),
    ],
)
def test_the_notification_or_the_last_part_of_an_inquiry_result_ends_a_request(message_type, final, ends):
    unit = decide(a_result(content_of_result(message_type, final_indicator=final)))
    assert any(change.kind is REQUEST_ANSWERED for change in unit.changes) is ends
    assert any(change.kind is RESULT_CORRELATED for change in unit.changes)
    assert unit.notes == ((Note("answered", ROW),) if ends else ())
    assert len(unit.queued) == 1


@pytest.mark.parametrize(("kind", "answers"), [("Q", True), ("Z", True), ("", True), ("C", False), ("K", False)])
def test_an_output_to_third_parties_is_of_no_request_and_not_marked_as_lacking_one(kind, answers):
    unit = decide(a_result(content_of_result(destination_control_type=kind)))
    kinds = [change.kind for change in unit.changes]
    assert (kinds == [RECIPIENT_HANDLED, RESULT_CORRELATED, REQUEST_ANSWERED]) is answers
    assert (kinds == [RECIPIENT_HANDLED]) is not answers
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == (NO_REQUEST if answers else "")


def test_a_result_in_base64_is_read_passed_on_as_it_came_and_says_so():
    wire = base64.encodebytes(body_of(content_of_result())[1]).replace(b"\n", b"\r\n")
    content = b"Mime-Version: 1.0\r\nSubject: x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wire
    unit = decide(a_result(content))
    assert any(change.kind is REQUEST_ANSWERED for change in unit.changes)
    (queued,) = unit.queued
    header = queued.recipient.header or b""
    assert header.endswith(b"\r\nMime-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n")
    assert content[queued.recipient.body_offset :] == wire


@pytest.mark.parametrize("name", HEADERS)
def test_a_mail_of_another_family_keeps_its_mime_fields_and_its_body(name):
    content = mail_with(BODIES[name], b"Received: from b\r\n" + HEADERS[name].replace(b"; b", b";\r\n b"))
    unit = decide(a_result(content))
    (queued,) = unit.queued
    header = (queued.recipient.header or b"").decode()
    kept = HEADERS[name].replace(b"; b", b";\r\n b").decode().partition("Mime-Version")[2]
    assert header == (f"From: {CENTER}\r\nTo: {ADDRESS}\r\nMessage-ID: <501@center.example>\r\nMime-Version{kept}\r\n")
    assert content[queued.recipient.body_offset :] == BODIES[name]
    assert queued.recipient.output_code == ""
    assert [change.kind for change in unit.changes] == [RECIPIENT_HANDLED]
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == ""


def test_a_message_that_came_without_mime_fields_gets_none():
    unit = decide(a_result(b"From: x\r\n\r\n" + BODIES["XML"]))
    assert b"Content" not in (unit.queued[0].recipient.header or b"")


# Where it goes.


def lanes(arrival: Arrival, *bindings: Any, now: Any = NOW, **more: Any) -> list[str] | str:
    """The lanes a mail of the backend is queued in, or why it is in none."""
    decided = an_exchange().handle(arrival, a_map(*bindings, **more), now)
    if isinstance(decided, Unhandled):
        return decided.reason
    assert isinstance(decided, Unit)
    return [queued.lane for queued in decided.queued]


def test_a_result_for_an_address_without_a_terminal_today_is_set_aside():
    ended = replace(BOUND, effective_until=TODAY)
    for arrived_, bound in ((a_result(rcpt_to="NOBODY@X.EXAMPLE"), BOUND), (a_result(), ended)):
        assert lanes(arrived_, bound) == f"the map has no terminal for {arrived_.rcpt_to} today"


def test_what_holds_no_output_common_items_is_set_aside():
    for body in (b"", BODY, body_of(content_of_result())[1][:399]):
        assert lanes(a_result(mail_with(body)), BOUND) == "the backend's mail holds no output common items"


def test_a_result_that_carries_its_row_stays_with_the_owner_who_asked():
    ended = replace(BOUND, effective_until=TODAY)
    reissued = replace(OTHER, address=ADDRESS)
    unit = decide(a_result(address_id=ROW), a_map(ended, reissued))
    assert [(queued.lane, queued.recipient.address_id) for queued in unit.queued] == [(LANE, ROW)]
    assert lanes(a_result(), ended, reissued) == [OTHER_LANE]
    assert lanes(a_result(address_id=9), BOUND) == f"the map has no terminal for {ADDRESS} today"


def test_a_terminal_stands_for_its_address_and_where_it_has_several_for_the_one_the_message_names():
    at_terminal = a_result(rcpt_to=f"60777s@{TERMINALS.upper()}")
    named = a_result(content_of_result(mail_address=OTHER_ADDRESS), rcpt_to=at_terminal.rcpt_to)
    nameless = a_result(content_of_result(mail_address=""), rcpt_to=at_terminal.rcpt_to)
    no_terminal = f"{at_terminal.rcpt_to} has no mail address today, or several and item 51/64 names none of them"
    assert lanes(nameless, BOUND) == [LANE]
    assert [q.recipient.rcpt_to for q in decide(named, a_map(BOUND, SECOND)).queued] == [OTHER_ADDRESS]
    assert [q.recipient.rcpt_to for q in decide(at_terminal, a_map(BOUND, SECOND)).queued] == [ADDRESS]
    for guess in (nameless, a_result(mail_with(BODIES["XML"], HEADERS["XML"]), rcpt_to=at_terminal.rcpt_to)):
        assert lanes(guess, BOUND, SECOND) == no_terminal
    # An address that ended is none of several, and one of another terminal is not named by it.
    assert lanes(nameless, BOUND, replace(SECOND, effective_until=TODAY)) == [LANE]
    assert lanes(named, BOUND, replace(SECOND, address="X@X.EXAMPLE"), OTHER) == no_terminal
    for nobody in (f"60799S@{TERMINALS}", f"@{TERMINALS}", "60777S", "60777S@elsewhere.example"):
        assert isinstance(lanes(a_result(rcpt_to=nobody), BOUND), str)


@pytest.mark.parametrize("kind", ["Q", "Z", ""])
def test_a_mail_to_the_center_address_goes_to_the_requester_the_message_names(kind):
    def to_center(**items: str) -> Arrival:
        return a_result(content_of_result(destination_control_type=kind, **items), rcpt_to=CENTER.lower())

    assert lanes(to_center(), BOUND, OTHER) == [LANE]
    assert lanes(to_center(mail_address=OTHER_ADDRESS), BOUND, OTHER) == [OTHER_LANE]
    unit = decide(to_center(mail_address=OTHER_ADDRESS), a_map(BOUND, OTHER))
    assert changed(unit, RESULT_CORRELATED)["address_id"] == OTHER_ROW
    for nobody in (to_center(mail_address=""), to_center(mail_address="N@X.EXAMPLE")):
        assert lanes(nobody, BOUND) == f"{NOWHERE} *CTCC goes today"
    assert isinstance(lanes(to_center(), replace(BOUND, effective_from=TODAY + DAY)), str)


def test_what_names_nobody_at_the_center_address_is_set_aside():
    content = mail_with(BODIES["EDIFACT"], HEADERS["EDIFACT"])
    assert lanes(a_result(content, rcpt_to=CENTER), BOUND) == f"{NOWHERE} no output code goes today"


def route(bound: Any, user_code: str = "", **changes: Any) -> OutputRoute:
    made = OutputRoute(
        user_code=user_code,
        address_key=bound.address.lower(),
        address_id=bound.address_id,
        effective_from=TODAY,
        effective_until=None,
    )
    return replace(made, **changes)


ROUTES = {
    "none": ((), []),
    "one": ((route(OTHER),), [OTHER_LANE]),
    "two": ((route(OTHER), route(BOUND)), [OTHER_LANE, LANE]),
    "one address by two rows": ((route(OTHER), route(OTHER, "TST01"), route(BOUND)), [OTHER_LANE, LANE]),
    "of that user": ((route(OTHER, "TST01"),), [OTHER_LANE]),
    "of another user": ((route(OTHER, "OTHER"), route(BOUND)), [LANE]),
    "from tomorrow": ((route(OTHER, effective_from=TODAY + DAY), route(BOUND)), [LANE]),
    "until today": ((route(OTHER, effective_until=TODAY), route(BOUND)), [LANE]),
    "until tomorrow": ((route(OTHER, effective_until=TODAY + DAY),), [OTHER_LANE]),
    "of an address reissued since": ((route(OTHER, address_id=99), route(BOUND)), [LANE]),
}


@pytest.mark.parametrize("name", ROUTES)
def test_an_output_of_type_c_to_the_center_address_goes_to_the_registered_third_parties(name):
    routes, expected = ROUTES[name]
    content = content_of_result("C", destination_control_type="C", output_information_code="SAD4031")
    found = lanes(a_result(content, rcpt_to=CENTER), BOUND, OTHER, routes={"SAD4031": routes})
    assert found == (expected or f"{NOWHERE} SAD4031 goes today")
    # The register is for the center address; an address is an address.
    assert lanes(a_result(content), BOUND, OTHER, routes={"SAD4031": routes}) == [LANE]
    nobody = a_result(content, rcpt_to="N@X.EXAMPLE")
    assert lanes(nobody, BOUND, OTHER, routes={"SAD4031": routes}) == "the map has no terminal for N@X.EXAMPLE today"


def test_each_third_party_is_a_recipient_of_its_own_of_the_same_mail():
    content = content_of_result("C", destination_control_type="C", output_information_code="SAD4031")
    view = a_map(BOUND, OTHER, routes={"SAD4031": (route(BOUND), route(OTHER))})
    unit = decide(a_result(content, rcpt_to=CENTER), view)
    recipients = [queued.recipient for queued in unit.queued]
    assert [(each.rcpt_to, each.address_id, each.mail_id) for each in recipients] == [
        (ADDRESS, ROW, 501),
        (OTHER_ADDRESS, OTHER_ROW, 501),
    ]
    for each in recipients:
        assert f"\r\nTo: {each.rcpt_to}\r\n".encode() in (each.header or b"")
        assert each.output_code == "SAD4031"
    assert len({each.id for each in recipients}) == 2


# In the store.


def asked(store: Store) -> int:
    """A request for the backend, handed over."""
    made = arrived(store, to_backend())
    assert isinstance(commit(store, made), Applied)
    claimed = update(Request).where(Request.id == made.recipient_id).values(claimed_at=NOW)
    store.run(lambda session: session.execute(claimed))
    return made.recipient_id


def result_of(store: Store, **items: str) -> Arrival:
    return arrived(store, content_of_result(**({"procedure_code": "OTA"} | items)), listener="backend")


def marks(store: Store, *results: Arrival) -> list[tuple[int | None, str]]:
    """Of each result the request it was joined to, and its mark."""
    query = select(Recipient.request_id, Recipient.last_reply).where(
        Recipient.id.in_([each.recipient_id for each in results])
    )
    return [(row[0], row[1]) for row in store.read(lambda s: s.execute(query.order_by(Recipient.id)).all())]


def test_results_end_outstanding_requests_oldest_first_and_the_rest_is_delivered_too(store):
    first, second = asked(store), asked(store)  # neither handover nor number is unique
    results = [result_of(store) for _ in range(3)]
    strange = result_of(store, handover="ANOTHER")
    outcomes = [commit(store, each) for each in (*results, strange)]
    assert outcomes == [
        Applied((True, True, True), (1,)),
        Applied((True, True, True), (2,)),
        Applied((True, True, False), (3,)),
        Applied((True, False, False), (4,)),
    ]
    assert marks(store, *results) == [(first, ""), (second, ""), (second, "")]
    assert marks(store, strange) == [(None, NO_REQUEST)]
    query = select(Request.result_mail_id).order_by(Request.id)
    assert store.read(lambda s: s.scalars(query).all()) == [each.mail_id for each in results[:2]]


@only_sqlite
def test_a_result_before_its_request_was_handed_over_belongs_to_nobody(store):
    waiting = arrived(store, to_backend())
    commit(store, waiting)
    early = result_of(store)
    assert commit(store, early) == Applied((True, False, False), (1,))
    assert marks(store, early) == [(None, NO_REQUEST)]


@only_sqlite
def test_the_parts_of_a_divided_result_belong_to_one_request_and_the_last_one_ends_it(store):
    request_id = asked(store)
    parts = [result_of(store, message_type="M", final_indicator=final) for final in ("", "", "E")]
    for part in parts:
        assert store.read(lambda s: s.get_one(Request, request_id).answered_at) is None
        commit(store, part)
    assert store.read(lambda s: s.get_one(Request, request_id).answered_at) == NOW
    assert marks(store, *parts) == [(request_id, "")] * 3


@only_sqlite
def test_an_output_for_third_parties_commits_without_a_mark(store):
    asked(store)
    output = result_of(store, destination_control_type="C")
    assert commit(store, output) == Applied((True,), (1,))
    assert marks(store, output) == [(None, "")]
