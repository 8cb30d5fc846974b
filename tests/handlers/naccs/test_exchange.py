"""What the exchange decides, as plain effects, and what the store makes of them (semantics §1, §7, §8, §10, §11)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from handlers.naccs.common_items import INPUT_PLACES, WIDTH_WITH_LINE_END, OutputCommonItems
from handlers.naccs.exchange import BACKEND_LANE, Exchange, ExchangeSettings, Unhandled
from handlers.naccs.message import body_of
from handlers.naccs.results import result_notification
from handlers.terminals import Binding, EdiUser, MapView
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import (
    CHANGE_ORDER,
    CONTENT,
    INSERT_ORDER,
    MAIL,
    RECIPIENT_HANDLED,
    REQUEST,
    REQUEST_ANSWERED,
    SECRET_FORGOTTEN,
    Applied,
    Stale,
    Unit,
)
from storage.mail_queue import Arrival, Origin, arrival, hash_of
from storage.models import Mail, Request
from storage.states import TRANSITIONS, Direction, State
from storage.store import Store
from tests.handlers.naccs.damage_tables import Sending, rows
from tests.handlers.naccs.sound_request import (
    ADDRESS,
    BODY,
    KEY,
    OFFICE,
    mail_with,
    request_with,
    user,
)
from tests.handlers.naccs.sound_request import (
    MAIL as SOUND_MAIL,
)
from tests.handlers.test_terminals import binding, only_sqlite

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"
BACKEND = "BACKEND@SMTP.CENTER.EXAMPLE"
OTHER_ADDRESS = "3A0002@SMTP.TST01.NACCS6"
RECEIVED_AT = datetime(2026, 11, 24, 1, 0, 5, tzinfo=UTC)  # 10:00:05 in Japan
NOW = datetime(2026, 11, 24, 1, 0, 6, tzinfo=UTC)
NEVER = (1 << 63) - 1
ROW = 71
LANE = "terminal:60777S"

BOUND = binding(address_id=ROW, address=ADDRESS, office_code=OFFICE)
TCC_RESULT = b"\r\n".join(
    (
        f"From: {CENTER}".encode(),
        f"To: {ADDRESS}".encode(),
        b"Message-ID: <1000@center.example>",
        b"Mime-Version: 1.0",
        b'Content-Type: Text/plain;charset="EUC-JP"',
        b"Content-Transfer-Encoding: 8bit",
        b"",
        b"",
    )
)


def a_map(*bindings: Binding, users: Iterable[Any] = (), version: int = 7) -> MapView:
    """A map of these bindings; its user is TST01/001 of the sound request, unless others are given."""
    by_address: dict[str, tuple[Binding, ...]] = {}
    for bound in bindings or (BOUND,):
        by_address[bound.address.lower()] = (*by_address.get(bound.address.lower(), ()), bound)
    known = {("TST01", "001"): user("TST01", "001", OFFICE), **dict(users)}
    return MapView(
        version=version,
        by_address=by_address,
        by_terminal={bound.terminal: (bound,) for bound in bindings},
        users={
            (code, number): EdiUser(
                code=code,
                number=number,
                office_code=found.office_code,
                password_mac=found.password_mac,
                procedures=found.procedures,
            )
            for (code, number), found in known.items()
        },
        offices_of_code={
            code: frozenset(other.office_code for (of, _), other in known.items() if of == code) for code, _ in known
        },
    )


def an_exchange(*, window: float = 30.0) -> Exchange:
    settings = ExchangeSettings(
        center_address=CENTER,
        backend_address=BACKEND,
        message_id_domain="center.example",
        password_key=KEY,
        repeat_window=window,
    )
    return Exchange(settings=settings, new_key=count(1000).__next__)


def a_request(content: bytes = SOUND_MAIL, **changes: Any) -> Arrival:
    made = Arrival(
        recipient_id=502,
        mail_id=501,
        listener="naccs",
        peer="127.20.13.13",
        helo_name="60777S",
        mail_from=ADDRESS,
        rcpt_to=CENTER,
        received_at=RECEIVED_AT,
        content=content,
        content_hash=hash_of(content),
        order_key=ADDRESS.lower(),
        map_version=7,
        address_id=ROW,
    )
    return replace(made, **changes)


def to_backend(body: bytes = BODY) -> bytes:
    """The sound request as a procedure that only the backend carries out."""
    return mail_with(body.replace(b"TCC  ", b"OTA  ", 1))


def a_result(content: bytes | None = None, **changes: Any) -> Arrival:
    """A result mail of the backend for the sound request's address."""
    content = content_of_result() if content is None else content
    values = {
        "listener": "backend",
        "peer": "127.0.0.1",
        "mail_from": BACKEND,
        "rcpt_to": ADDRESS,
        "address_id": None,
        "map_version": None,
    }
    return a_request(content, **(values | changes))


def content_of_result(message_type: str = "R", **items: str) -> bytes:
    body = result_notification(request_with().items, ["00000-0000-0000"], address=ADDRESS, received_at_jst=RECEIVED_AT)
    read = OutputCommonItems.readable_part(body)
    changed = replace(read, **{"message_type": message_type, **items})  # type: ignore[arg-type]
    return b"From: x\r\nSubject: y\r\n\r\n" + changed.encode() + body[WIDTH_WITH_LINE_END:]


def decide(arrived: Arrival, view: MapView | None = None, *, window: float = 30.0, now: datetime = NOW) -> Unit:
    decided = an_exchange(window=window).handle(arrived, view or a_map(), now)
    assert isinstance(decided, Unit), decided
    return decided


def inserted(unit: Unit, kind: Any) -> dict[str, Any]:
    """The one row of that kind, by column."""
    (found,) = [insert for insert in unit.inserts if insert.kind is kind]
    return dict(zip(kind.columns, found.values, strict=True))


def changed(unit: Unit, kind: Any) -> dict[str, Any]:
    """What the one change of that kind carries, by column."""
    (found,) = [change for change in unit.changes if change.kind is kind]
    return {name: value for (name, _), value in zip(kind.carried, found.values, strict=True)}


def answer_of(unit: Unit) -> bytes:
    """The message of an answer given here."""
    body: bytes = inserted(unit, CONTENT)["content"]
    return body.partition(b"\r\n\r\n")[2]


# Requests answered here.


def test_a_communication_check_is_answered_in_one_unit():
    unit = decide(a_request())
    assert changed(unit, RECIPIENT_HANDLED) == {
        "id": 502,
        "state": "handled",
        "finished_at": to_micros(NOW),
        "last_reply": "TCC",
        "content_hash": hash_of(SOUND_MAIL),
        "repeat_after": to_micros(RECEIVED_AT) - 30_000_000,
    }
    assert all(change.must for change in unit.changes)
    mail = inserted(unit, MAIL)
    assert (mail["id"], mail["direction"], mail["listener"], mail["mail_from"]) == (1000, "outbound", "gateway", CENTER)
    assert (mail["received_at"], mail["map_version"]) == (to_micros(NOW), 7)
    content = inserted(unit, CONTENT)["content"]
    assert (mail["size"], mail["content_hash"], unit.size) == (len(content), hash_of(content), len(content))
    request = inserted(unit, REQUEST)
    assert (request["id"], request["address_id"], request["procedure"]) == (502, ROW, "TCC")
    assert (request["received_at"], request["answered_at"]) == (to_micros(RECEIVED_AT), to_micros(NOW))
    assert request["result_mail_id"] == 1000


def test_the_answer_stands_in_the_lane_of_the_address_row_it_was_asked_from():
    (queued,) = decide(a_request()).queued
    recipient = queued.recipient
    assert queued.lane == LANE
    assert (recipient.id, recipient.mail_id, recipient.direction, recipient.state) == (1001, 1000, "outbound", "queued")
    assert (recipient.rcpt_to, recipient.sender) == (ADDRESS, CENTER)
    assert (recipient.address_id, recipient.map_version, recipient.output_code) == (ROW, 7, "*CTCC  ")
    assert recipient.created_at == recipient.due_at == to_micros(NOW)
    assert (recipient.header, recipient.body_offset) == (None, 0)


def test_the_bytes_of_an_answer_are_a_header_block_for_the_known_client_and_the_message():
    unit = decide(a_request())
    content = inserted(unit, CONTENT)["content"]
    assert content.startswith(TCC_RESULT)
    answer = answer_of(unit)
    assert len(answer) == 477
    assert answer[400:415] == b"00000-0000-0000"
    assert answer[15:29] == b"202611241000  "  # when the request came, in Japan
    assert answer[51:115].rstrip() == ADDRESS.encode()
    (queued,) = unit.queued
    assert queued.content == content  # so that delivery need not read it again


def test_the_unit_names_the_version_of_the_map_it_was_decided_on():
    assert decide(a_request(), a_map(version=12)).map_version == 12
    assert decide(a_request(to_backend()), a_map(version=12)).map_version == 12
    assert decide(a_result(), a_map(version=12)).map_version == 12


def test_a_decision_is_the_same_whenever_it_is_made_again():
    for arrived in (a_request(), a_request(to_backend()), a_result(), a_request(SOUND_MAIL[:300])):
        assert decide(arrived) == decide(arrived)


def test_an_address_is_written_as_it_is_registered_whatever_the_envelope_said():
    unit = decide(a_request(mail_from=ADDRESS.lower()))
    assert f"To: {ADDRESS}\r\n".encode() in inserted(unit, CONTENT)["content"]
    assert unit.queued[0].recipient.rcpt_to == ADDRESS


def test_a_damaged_request_is_answered_and_final():
    unit = decide(a_request(mail_with(BODY[:430]), damage="bare_lf"))
    assert answer_of(unit)[400:415] == b"A0008-0000-0000"
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == "A0008"
    assert unit.queued[0].recipient.output_code == "*CCMSG "
    assert inserted(unit, REQUEST)["answered_at"] == to_micros(NOW)
    assert changed(unit, SECRET_FORGOTTEN) == {"id": 501}


DAMAGES = rows("Case")


@pytest.mark.parametrize("case", DAMAGES, ids=lambda case: case["Case"])
def test_every_row_of_the_damage_page_is_answered_here_or_goes_on_untouched(case):
    sending = Sending().damage(case["Made by"])
    # Rows about who asks change the sender, his office or his procedures.
    office = binding(address_id=ROW, address=sending.mail_from, office_code=sending.office)
    view = a_map(office, users=sending.users.by_code.items())
    content = sending.content()
    unit = decide(a_request(content, mail_from=sending.mail_from, order_key=sending.mail_from.lower()), view)
    note = changed(unit, RECIPIENT_HANDLED)["last_reply"]
    assert len(unit.queued) == 1
    if case["Answer"] == "ok":
        assert note in {"TCC", "ZZZ99"}
        assert unit.queued[0].lane == (LANE if note == "TCC" else BACKEND_LANE)
    else:
        assert note == case["Answer"]
        assert answer_of(unit)[400:415] == f"{case['Answer']}-0000-0000".encode()
        assert unit.queued[0].lane == LANE
        assert content not in [insert.values[-1] for insert in unit.inserts]  # never passed on


def test_a_procedure_of_the_gateway_that_is_not_carried_out_yet_never_reaches_the_backend():
    unit = decide(a_request(mail_with(BODY.replace(b"TCC  ", b"SYG  ", 1))))
    assert answer_of(unit)[400:415] == b"A0002-0000-0000"
    assert unit.queued[0].lane == LANE


def test_what_is_wrong_with_the_asker_is_said_before_what_is_not_carried_out():
    unit = decide(a_request(mail_with(BODY.replace(b"TCC  ", b"SYG  ", 1).replace(b"PASSWD01", b"PASSWD02"))))
    assert answer_of(unit)[400:415] == b"A0004-0000-0000"


# Requests for the backend.


def test_a_request_for_the_backend_is_another_recipient_of_the_same_bytes():
    content = to_backend()
    unit = decide(a_request(content))
    (queued,) = unit.queued
    recipient = queued.recipient
    assert (queued.lane, queued.content) == (BACKEND_LANE, content)
    assert (recipient.mail_id, recipient.rcpt_to, recipient.sender) == (501, BACKEND, ADDRESS)
    assert (recipient.header, recipient.body_offset, recipient.address_id) == (None, 0, ROW)
    assert recipient.map_version == 7
    assert [insert.kind for insert in unit.inserts] == [REQUEST]


def test_a_request_for_the_backend_is_outstanding_and_keeps_its_password():
    unit = decide(a_request(to_backend()))
    request = inserted(unit, REQUEST)
    assert (request["id"], request["address_id"], request["procedure"]) == (502, ROW, "OTA")
    assert (request["answered_at"], request["result_mail_id"]) == (None, None)
    assert [change.kind for change in unit.changes] == [RECIPIENT_HANDLED]
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == "OTA"


# The address row a mail is bound to.


def test_a_request_is_answered_to_its_own_row_after_the_address_went_to_another_owner():
    ended = replace(BOUND, effective_until=NOW.date())
    other = replace(BOUND, address_id=99, terminal="60778S", office_code="CT0002", ip="127.20.14.13")
    unit = decide(a_request(), a_map(ended, other))
    assert unit.queued[0].lane == LANE
    assert unit.queued[0].recipient.address_id == ROW


def test_a_result_that_carries_its_row_stays_with_the_owner_who_asked():
    ended = replace(BOUND, effective_until=NOW.date())
    other = replace(BOUND, address_id=99, terminal="60778S", office_code="CT0002", ip="127.20.14.13")
    unit = decide(a_result(address_id=ROW), a_map(ended, other))
    assert unit.queued[0].lane == LANE
    assert unit.queued[0].recipient.address_id == ROW


def test_a_request_whose_row_is_not_in_the_map_is_set_aside():
    other = replace(BOUND, address_id=99)
    for view in (a_map(other), a_map(binding(address="X@X.EXAMPLE"))):
        decided = an_exchange().handle(a_request(), view, NOW)
        assert decided == Unhandled("the sender's address row is not in the map any more")


# Families.


@pytest.mark.parametrize(
    "content",
    [
        mail_with(b"<?xml version='1.0'?>"),
        mail_with(b"\xef\xbb\xbf<x/>"),
        mail_with(b"UNA:+.? 'UNB+"),
        mail_with(b"UNB+UNOA"),
        mail_with(BODY, b"Content-Type: multipart/mixed; boundary=x\r\n"),
        mail_with(BODY, b"Content-Type: Application/EDIFACT\r\n"),
    ],
    ids=["xml", "xml with a mark", "edifact with una", "edifact", "multipart", "named edifact"],
)
def test_a_message_of_another_family_is_set_aside(content):
    decided = an_exchange().handle(a_request(content), a_map(), NOW)
    assert isinstance(decided, Unhandled)
    assert "family" in decided.reason


# Repeats.


@pytest.mark.parametrize(
    ("arrived", "window", "repeat_after"),
    [
        (a_request(), 30.0, to_micros(RECEIVED_AT) - 30_000_000),
        (a_request(), 0.5, to_micros(RECEIVED_AT) - 500_000),
        (a_request(), 0, NEVER),
        (a_request(to_backend()), 30.0, to_micros(RECEIVED_AT) - 30_000_000),
        (a_request(mail_with(b"")), 30.0, to_micros(RECEIVED_AT) - 30_000_000),
        (a_result(), 30.0, NEVER),
    ],
    ids=["within the window", "a short window", "switched off", "to the backend", "damaged", "results never"],
)
def test_a_repeat_is_looked_for_in_the_window_before_the_arrival(arrived, window, repeat_after):
    assert changed(decide(arrived, window=window), RECIPIENT_HANDLED)["repeat_after"] == repeat_after


def test_a_repeat_has_no_effect_but_its_own_state():
    unit = an_exchange().duplicate(a_request(), NOW)
    assert changed(unit, RECIPIENT_HANDLED) == {
        "id": 502,
        "state": "duplicate",
        "finished_at": to_micros(NOW),
        "last_reply": "repeat of an earlier mail",
        "content_hash": hash_of(SOUND_MAIL),
        "repeat_after": NEVER,
    }
    assert changed(unit, SECRET_FORGOTTEN) == {"id": 501}
    assert (unit.inserts, unit.queued, unit.map_version) == ((), (), None)


# Results.


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


def test_a_result_marks_its_oldest_outstanding_request_and_goes_on_where_there_is_none():
    unit = decide(a_result())
    assert changed(unit, REQUEST_ANSWERED) == {
        "result_mail_id": 501,
        "address_id": ROW,
        "handover": request_with().items.handover,
        "input_number": request_with().items.input_information_number,
        "answered_at": to_micros(NOW),
    }
    (answered,) = [change for change in unit.changes if change.kind is REQUEST_ANSWERED]
    assert not answered.must


@pytest.mark.parametrize(
    ("message_type", "ends"), [*((letter, True) for letter in "RM"), *((letter, False) for letter in "PCTU")]
)
def test_only_a_result_or_an_inquiry_result_ends_a_request(message_type, ends):
    unit = decide(a_result(content_of_result(message_type)))
    assert any(change.kind is REQUEST_ANSWERED for change in unit.changes) is ends
    assert len(unit.queued) == 1


def test_a_result_in_base64_is_read_and_passed_on_as_it_came():
    wire = base64.encodebytes(body_of(content_of_result())[1]).replace(b"\n", b"\r\n")
    unit = decide(a_result(b"Content-Transfer-Encoding: base64\r\n\r\n" + wire))
    assert any(change.kind is REQUEST_ANSWERED for change in unit.changes)


def test_a_result_for_an_address_without_a_terminal_today_is_set_aside():
    ended = replace(BOUND, effective_until=NOW.date())
    for arrived, view in ((a_result(rcpt_to="NOBODY@X.EXAMPLE"), a_map()), (a_result(), a_map(ended))):
        decided = an_exchange().handle(arrived, view, NOW)
        assert decided == Unhandled(f"the map has no terminal for {arrived.rcpt_to} today")


def test_what_holds_no_output_common_items_is_set_aside():
    for body in (b"", BODY, body_of(content_of_result())[1][:399]):
        decided = an_exchange().handle(a_result(mail_with(body)), a_map(), NOW)
        assert decided == Unhandled("the backend's mail holds no output common items")


# In the store.


def arrived(store: Store, content: bytes, *, listener: str = "naccs") -> Arrival:
    """A mail committed as its listener does."""
    found = a_request(content) if listener == "naccs" else a_result(content)
    origin = Origin(listener=listener, mail_from=found.mail_from, address_id=found.address_id)
    _, unit = arrival(store.new_key, origin, [(found.rcpt_to, ADDRESS.lower())], content, RECEIVED_AT)
    assert Committer(store).commit([unit]) == [Applied()]
    note: Arrival = unit.notes[0].payload
    return note


def commit(store: Store, arrival: Arrival) -> Applied | Stale | BaseException:
    exchange = replace(an_exchange(), new_key=store.new_key)
    decided = exchange.handle(arrival, a_map(version=0), NOW)
    assert isinstance(decided, Unit)
    # No map was ever imported here; the bindings are the test's own.
    (outcome,) = Committer(store).commit([replace(decided, map_version=None)])
    return outcome


def answers(store: Store) -> list[int | None]:
    return list(store.read(lambda s: s.scalars(select(Request.result_mail_id).order_by(Request.id)).all()))


def test_results_answer_outstanding_requests_oldest_first_and_the_rest_is_delivered_too(store):
    for _ in range(2):  # neither handover nor number is unique
        assert isinstance(commit(store, arrived(store, to_backend())), Applied)
    results = [arrived(store, content_of_result(procedure_code="OTA"), listener="backend") for _ in range(3)]
    outcomes = [commit(store, result) for result in results]
    assert [outcome.found for outcome in outcomes if isinstance(outcome, Applied)] == [
        (True, True),
        (True, True),
        (True, False),
    ]
    assert answers(store) == [results[0].mail_id, results[1].mail_id]
    assert [outcome.sequences for outcome in outcomes if isinstance(outcome, Applied)] == [(1,), (2,), (3,)]


@only_sqlite
@pytest.mark.parametrize(
    "items", [{"handover": "ANOTHER"}, {"input_information_number": "9"}], ids=["handover", "input number"]
)
def test_a_result_with_another_correlation_answers_nobodys_request(store, items):
    commit(store, arrived(store, to_backend()))
    outcome = commit(store, arrived(store, content_of_result(**items), listener="backend"))
    assert outcome == Applied((True, False), (1,))
    assert answers(store) == [None]


@only_sqlite
def test_an_answer_given_here_is_on_record_with_its_request(store):
    asked = arrived(store, SOUND_MAIL)
    assert commit(store, asked) == Applied((True, True), (1,))
    mail = store.read(lambda s: s.scalars(select(Mail).where(Mail.listener == "gateway")).one())
    assert answers(store) == [mail.id]
    assert commit(store, asked) == Stale("state")  # decided twice, committed once
    assert answers(store) == [mail.id]


@only_sqlite
def test_a_cut_common_item_is_blank_in_the_record(store):
    cut = mail_with(BODY[: INPUT_PLACES["handover"].start + 3])
    assert isinstance(commit(store, arrived(store, cut)), Applied)
    row = store.read(lambda s: s.scalars(select(Request)).one())
    assert (row.procedure, row.handover, row.input_number) == ("TCC", "", "")


def test_every_state_the_exchange_gives_is_a_move_from_received():
    moves = TRANSITIONS[Direction.INBOUND][State.RECEIVED]
    decided = [decide(a_request()), decide(a_result()), an_exchange().duplicate(a_request(), NOW)]
    assert {State(changed(unit, RECIPIENT_HANDLED)["state"]) for unit in decided} <= moves


def test_effects_are_only_of_kinds_the_store_applies():
    for unit in (decide(a_request()), decide(a_request(to_backend())), decide(a_result())):
        assert {change.kind for change in unit.changes} <= set(CHANGE_ORDER)
        assert {insert.kind for insert in unit.inserts} <= set(INSERT_ORDER)
