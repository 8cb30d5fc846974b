"""What the exchange decides, as plain effects, and what the store makes of them (semantics §1, §7, §8, §10, §11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import select

from handlers.naccs.common_items import INPUT_PLACES, OUTPUT_PLACES, WIDTH_WITH_LINE_END, OutputCommonItems
from handlers.naccs.exchange import BACKEND_LANE, Exchange, ExchangeSettings, InStore, Unhandled
from handlers.naccs.procedures.syg import SygSettings
from handlers.naccs.results import result_notification
from handlers.terminals import Binding, EdiUser, MapView, change_map
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import (
    ADDRESS_FREE,
    CHANGE_ORDER,
    CONTENT,
    INSERT_ORDER,
    LANE_HEARD,
    MAIL,
    RECIPIENT_HANDLED,
    REQUEST,
    REQUEST_REFUSED,
    SECRET_FORGOTTEN,
    TERMINAL_CHECKED,
    Applied,
    Note,
    Stale,
    Unit,
)
from storage.mail_queue import Arrival, Origin, Outbound, arrival, hash_of
from storage.models import Mail, Recipient, Request
from storage.states import TRANSITIONS, Direction, State
from storage.store import StaleUnit, Store
from tests.handlers.naccs.damage_tables import Sending, rows
from tests.handlers.naccs.sound_mime import BODIES, HEADERS
from tests.handlers.naccs.sound_request import (
    ADDRESS,
    BODY,
    EDI,
    KEY,
    OFFICE,
    mail_with,
    request_with,
    user,
)
from tests.handlers.naccs.sound_request import MAIL as SOUND_MAIL
from tests.handlers.naccs.sound_request import RECEIVED_AT as RECEIVED_AT_OF_PAGE
from tests.handlers.test_terminals import binding, only_sqlite

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"
BACKEND = "BACKEND@SMTP.CENTER.EXAMPLE"
TERMINALS = "terminals.center.example"
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


def a_map(
    *bindings: Binding, users: Iterable[Any] = (), version: int = 7, routes: Mapping[str, Any] = MappingProxyType({})
) -> MapView:
    """A map of these bindings; its user is TST01/001 of the sound request, unless others are given."""
    by_address: dict[str, tuple[Binding, ...]] = {}
    by_terminal: dict[str, tuple[Binding, ...]] = {}
    for bound in bindings or (BOUND,):
        by_address[bound.address.lower()] = (*by_address.get(bound.address.lower(), ()), bound)
        by_terminal[bound.terminal] = (*by_terminal.get(bound.terminal, ()), bound)
    known = {("TST01", "001"): user("TST01", "001", OFFICE), **dict(users)}
    return MapView(
        version=version,
        by_address=by_address,
        by_terminal=by_terminal,
        users={
            (code, number): EdiUser(
                code=code,
                number=number,
                office_code=found.office_code,
                password_mac=found.password_mac,
                procedures=found.procedures,
                service_hours=found.service_hours,
                barred=found.barred,
            )
            for (code, number), found in known.items()
        },
        offices_of_code={
            code: frozenset(other.office_code for (of, _), other in known.items() if of == code) for code, _ in known
        },
        output_routes=routes,
    )


def an_exchange(*, window: float = 30.0, new_key: Callable[[], int] | None = None, **more: Any) -> Exchange:
    settings = ExchangeSettings(
        center_address=CENTER,
        backend_address=BACKEND,
        message_id_domain="center.example",
        password_key=KEY,
        repeat_window=window,
        terminals_domain=TERMINALS,
        **more,
    )
    return Exchange(settings=settings, new_key=new_key or count(1000).__next__)


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


def decide(
    arrived: Arrival,
    view: MapView | None = None,
    *,
    window: float = 30.0,
    now: datetime = NOW,
    busy: bool = False,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Unit:
    decided = an_exchange(window=window, **settings).handle(arrived, view or a_map(), now, busy=busy)
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
    assert [change.kind for change in unit.changes if not change.must] == [LANE_HEARD, TERMINAL_CHECKED]
    assert changed(unit, TERMINAL_CHECKED)["checked_at"] == to_micros(NOW)
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
    assert (recipient.address_id, recipient.map_version, recipient.output_code) == (ROW, 7, "*CTCC")
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
    assert unit.queued[0].recipient.output_code == "*CCMSG"
    assert inserted(unit, REQUEST)["answered_at"] == to_micros(NOW)
    assert changed(unit, SECRET_FORGOTTEN) == {"id": 501}


DAMAGES = rows("Case")


def sender_of(sending: Sending) -> Binding:
    """The address row the sending comes from."""
    about = {"office_code": sending.office, "left_to_backend": sending.left}
    return binding(address_id=ROW, address=sending.mail_from, **about)


@pytest.mark.parametrize("case", DAMAGES, ids=lambda case: case["Case"])
def test_every_row_of_the_damage_page_is_answered_here_or_goes_on_untouched(case):
    sending = Sending().damage(case["Made by"])
    # Rows about who asks change the sender, his office or what his users may do.
    office = sender_of(sending)
    view = a_map(office, users=sending.users.by_code.items())
    content = sending.content()
    arrived = a_request(content, mail_from=sending.mail_from, received_at=RECEIVED_AT_OF_PAGE)
    settings: dict[str, Any] = {"service_hours": sending.hours, "stopped_procedures": sending.stopped}
    decided = an_exchange(**settings).handle(arrived, view, NOW)
    if case["Answer"] == "ok":
        passed(decided, content)
        return
    assert isinstance(decided, Unit)
    assert changed(decided, RECIPIENT_HANDLED)["last_reply"] == case["Answer"]
    assert answer_of(decided)[400:415] == f"{case['Answer']}-0000-0000".encode()
    assert [queued.lane for queued in decided.queued] == [LANE]
    assert content not in [insert.values[-1] for insert in decided.inserts]  # never passed on


def passed(decided: Unit | InStore | Unhandled, content: bytes) -> None:
    """A sound request went where its procedure is carried out."""
    if isinstance(decided, InStore):
        return
    assert isinstance(decided, Unit)
    (queued,) = decided.queued
    if changed(decided, RECIPIENT_HANDLED)["last_reply"] == "TCC":
        assert queued.lane == LANE
    else:
        assert (queued.lane, queued.content) == (BACKEND_LANE, content)


def test_a_sound_retrieval_is_carried_out_in_the_store_and_never_reaches_the_backend():
    content = mail_with((EDI / "syg-list-request.edi").read_bytes())
    decided = an_exchange().handle(a_request(content), a_map(version=12), NOW)
    assert isinstance(decided, InStore)
    assert (decided.binding, decided.map_version) == (BOUND, 12)
    assert decided.request is not None
    assert decided.request.data == b"REF    \r\n"


def test_what_is_wrong_with_the_asker_is_said_before_anything_is_carried_out():
    unit = decide(a_request(mail_with(BODY.replace(b"TCC  ", b"SYG  ", 1).replace(b"PASSWD01", b"PASSWD02"))))
    assert answer_of(unit)[400:415] == b"A0004-0000-0000"


@pytest.mark.parametrize(
    ("body", "heard"),
    [
        (BODY, True),
        (BODY.replace(b"PASSWD01", b"PASSWD02"), True),
        (BODY.replace(b"TCC  ", b"SYG  ", 1).replace(b"PASSWD01", b"PASSWD02"), True),
        (BODY.replace(b"TCC  ", b"OTA  ", 1).replace(b"PASSWD01", b"PASSWD02"), False),
    ],
    ids=["a check", "a check that is refused", "a retrieval that is refused", "anything else"],
)
def test_a_terminal_that_sends_a_check_or_a_retrieval_is_heard_whatever_comes_of_it(body, heard):
    unit = decide(a_request(mail_with(body)))
    assert unit.notes == ((Note("heard", LANE),) if heard else ())
    told = [change for change in unit.changes if change.kind is LANE_HEARD]
    assert [(change.values, change.must) for change in told] == [((LANE, to_micros(NOW)), False)] * heard


@pytest.mark.parametrize("fill", [False, True])
def test_own_answers_name_the_address_always_and_the_terminal_where_the_settings_say_so(fill):
    refused, damaged = mail_with(BODY.replace(b"PASSWD01", b"PASSWD02")), mail_with(b"<\0", HEADERS["XML"])
    for content in (SOUND_MAIL, refused, damaged):
        answer = answer_of(decide(a_request(content), settings={"fill_terminal_name": fill}))
        assert answer[45:51] == (b"60777S" if fill else b"      ")
        assert answer[51:115].rstrip() == ADDRESS.encode()


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
    # Everything counts from when it came, however long it waits here.
    assert request["outstanding_until"] == to_micros(RECEIVED_AT) + 120_000_000
    assert unit.queued[0].recipient.waiting_since == to_micros(RECEIVED_AT)
    assert unit.queued[0].recipient.request_id == 502
    assert [change.kind for change in unit.changes] == [RECIPIENT_HANDLED]
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == "OTA"


# A second request of an address.


def test_a_second_request_waits_in_the_lane_unless_the_settings_refuse_it():
    content = to_backend()
    assert ADDRESS_FREE not in {change.kind for change in decide(a_request(content)).changes}
    refusing = {"refuse_second": True}
    unit = decide(a_request(content), settings=refusing)
    # Whether there is one is decided by the statement, in the commit that queues this one.
    assert changed(unit, ADDRESS_FREE) == {"id": 502, "address_id": ROW, "now": to_micros(NOW)}
    second = decide(a_request(content), settings=refusing, busy=True)
    assert answer_of(second)[400:415] == b"A0011-0000-0000"
    assert changed(second, RECIPIENT_HANDLED)["last_reply"] == "A0011"
    assert changed(second, SECRET_FORGOTTEN) == {"id": 501}


def test_a_check_and_a_retrieval_never_wait_for_another_request():
    unit = decide(a_request(), settings={"refuse_second": True}, busy=True)
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == "TCC"
    assert ADDRESS_FREE not in {change.kind for change in unit.changes}
    retrieval = a_request(mail_with((EDI / "syg-list-request.edi").read_bytes()))
    assert isinstance(an_exchange(refuse_second=True).handle(retrieval, a_map(), NOW, busy=True), InStore)


# A request that was never handed over.


def handover(content: bytes, **changes: Any) -> Outbound:
    made = Outbound(
        recipient_id=900,
        mail_id=501,
        lane=BACKEND_LANE,
        sequence=1,
        sender=ADDRESS,
        rcpt_to=BACKEND,
        created_at=NOW,
        due_at=NOW,
        waiting_since=RECEIVED_AT,
        header=None,
        body_offset=0,
        attempts=0,
        in_doubt=0,
        address_id=ROW,
        request_id=502,
        content=content,
    )
    return replace(made, **changes)


def test_a_request_that_was_never_handed_over_is_answered_in_its_own_words():
    content = to_backend()
    unit = an_exchange().refused_later(handover(content), content, "A0011", a_map(version=12), NOW)
    assert unit is not None
    assert changed(unit, REQUEST_REFUSED) == {"id": 502, "answered_at": to_micros(NOW), "result_mail_id": 1000}
    assert changed(unit, SECRET_FORGOTTEN) == {"id": 501}
    assert [change.kind for change in unit.changes if change.must] == [REQUEST_REFUSED]
    answer = answer_of(unit)
    assert (answer[3:8], answer[400:415]) == (b"OTA  ", b"A0011-0000-0000")
    assert answer[15:29] == b"202611241000  "  # when the request came
    items = request_with().items
    assert answer[OUTPUT_PLACES["handover"]].rstrip().decode() == items.handover
    (queued,) = unit.queued
    assert (queued.lane, queued.recipient.rcpt_to, queued.recipient.request_id) == (LANE, ADDRESS, 502)
    assert (unit.map_version, unit.size) == (12, len(queued.content or b""))


@pytest.mark.parametrize("content", [mail_with(BODIES["XML"], HEADERS["XML"]), mail_with(b"cut"), b""])
def test_what_cannot_be_read_when_it_is_refused_is_answered_with_blank_items(content):
    unit = an_exchange().refused_later(handover(content), content, "A0007", a_map(), NOW)
    assert unit is not None
    answer = answer_of(unit)
    assert (answer[3:8], answer[400:415]) == (b"     ", b"A0007-0000-0000")
    assert answer[51:115].rstrip() == ADDRESS.encode()


def test_a_request_whose_address_row_is_gone_has_nobody_to_answer():
    content = to_backend()
    for outbound in (handover(content, address_id=9), handover(content, address_id=None)):
        assert an_exchange().refused_later(outbound, content, "A0011", a_map(), NOW) is None
    assert an_exchange().refused_later(handover(content, request_id=None), content, "A0011", a_map(), NOW) is None


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


@pytest.mark.parametrize("name", HEADERS)
def test_a_message_of_another_family_goes_to_the_backend_as_it_came_and_nobody_waits_for_it(name):
    content = mail_with(BODIES[name], HEADERS[name])
    unit = decide(a_request(content), settings={"refuse_second": True})
    (queued,) = unit.queued
    assert (queued.lane, queued.content) == (BACKEND_LANE, content)
    assert (queued.recipient.header, queued.recipient.body_offset) == (None, 0)
    request = inserted(unit, REQUEST)
    assert (request["procedure"], request["handover"], request["input_number"]) == ("", "", "")
    assert (request["outstanding_until"], request["answered_at"]) == (None, None)
    assert [change.kind for change in unit.changes] == [RECIPIENT_HANDLED]


OTHER_REFUSALS = {
    "an envelope that is not its From": ({"mail_from": OTHER_ADDRESS}, {}, "A0013"),
    "before the service": ({}, {"service_hours": "10:01-19:00"}, "A0006"),
    "after the service": ({}, {"service_hours": "06:00-10:00"}, "A0010"),
    "in the service": ({}, {"service_hours": "10:00-19:00"}, None),
}


@pytest.mark.parametrize("name", OTHER_REFUSALS)
def test_a_refused_message_of_another_family_is_answered_in_the_form_of_an_edi_message(name):
    envelope, settings, code = OTHER_REFUSALS[name]
    view = a_map(BOUND, replace(BOUND, address=OTHER_ADDRESS))
    unit = decide(a_request(mail_with(BODIES["XML"], HEADERS["XML"]), **envelope), view, settings=settings)
    if code is None:
        assert unit.queued[0].lane == BACKEND_LANE
        return
    assert answer_of(unit)[400:415] == f"{code}-0000-0000".encode()
    assert answer_of(unit)[:3] == b"   "
    assert b'Content-Type: Text/plain;charset="EUC-JP"' in inserted(unit, CONTENT)["content"]
    assert changed(unit, RECIPIENT_HANDLED)["last_reply"] == code


@pytest.mark.parametrize("case", rows("Other case"), ids=lambda case: case["Other case"])
def test_every_row_about_another_family_is_answered_here_or_goes_on_untouched(case):
    sending = Sending.of(case["Of"]).damage(case["Made by"])
    office = sender_of(sending)
    content = sending.content()
    arrived = a_request(content, mail_from=sending.mail_from, received_at=RECEIVED_AT_OF_PAGE)
    unit = decide(arrived, a_map(office), settings={"service_hours": sending.hours})
    (queued,) = unit.queued
    if case["Answer"] == "ok":
        assert (queued.lane, queued.content) == (BACKEND_LANE, content)
    else:
        assert queued.lane == LANE
        assert answer_of(unit)[400:415] == f"{case['Answer']}-0000-0000".encode()


# Repeats.


@pytest.mark.parametrize(
    ("arrived", "window", "repeat_after"),
    [
        (a_request(), 30.0, to_micros(RECEIVED_AT) - 30_000_000),
        (a_request(), 0.5, to_micros(RECEIVED_AT) - 500_000),
        (a_request(), 0, NEVER),
        (a_request(to_backend()), 30.0, to_micros(RECEIVED_AT) - 30_000_000),
        (a_request(mail_with(b"")), 30.0, to_micros(RECEIVED_AT) - 30_000_000),
        (a_result(), 30.0, to_micros(RECEIVED_AT) - 30_000_000),
        (a_result(), 0, NEVER),
    ],
    ids=["within the window", "a short window", "off", "to the backend", "damaged", "a result", "a result, off"],
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
    exchange = an_exchange(new_key=store.new_key)
    decided = exchange.handle(arrival, a_map(version=0), NOW)
    assert isinstance(decided, Unit)
    # No map was ever imported here; the bindings are the test's own.
    (outcome,) = Committer(store).commit([replace(decided, map_version=None)])
    return outcome


def answers(store: Store) -> list[int | None]:
    return list(store.read(lambda s: s.scalars(select(Request.result_mail_id).order_by(Request.id)).all()))


@only_sqlite
def test_an_answer_given_here_is_on_record_with_its_request(store):
    asked = arrived(store, SOUND_MAIL)
    assert commit(store, asked) == Applied((True, True, False, False), (1,))  # no lane, no terminal of that row yet
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


# Retrieval, in the store.


def retrieval(store: Store, exchange: Exchange, asked: Arrival) -> InStore:
    version = store.run(lambda session: change_map(session, NOW))
    decided = exchange.handle(asked, a_map(version=version), NOW)
    assert isinstance(decided, InStore)
    return decided


def carry_out(store: Store, exchange: Exchange, asked: Arrival) -> tuple[list[Note], list[tuple[str, int]]]:
    """The notes and the places in lanes that a retrieval leaves."""
    wanted = retrieval(store, exchange, asked)
    _, notes, queued = store.run_noting(lambda session: exchange.carry_out(session, asked, wanted, NOW))
    return notes, [(enqueue.lane, sequence) for enqueue, sequence in queued]


def test_a_list_is_answered_in_the_unit_of_work_that_reads_it(store):
    asked = arrived(store, mail_with((EDI / "syg-list-request.edi").read_bytes()))
    exchange = an_exchange(new_key=store.new_key)
    assert carry_out(store, exchange, asked) == ([Note("heard", LANE)], [(LANE, 1)])
    row = store.read(lambda session: session.get_one(Recipient, asked.recipient_id))
    assert (row.state, row.last_reply) == ("handled", "SYG")
    (request,) = store.read(lambda session: session.scalars(select(Request)).all())
    assert (request.id, request.procedure, request.answered_at) == (asked.recipient_id, "SYG", NOW)
    assert (request.outstanding_until, request.claimed_at) == (None, None)
    sent = store.read(lambda session: session.scalars(select(Recipient).where(Recipient.lane == LANE)).one())
    assert (sent.mail_id, sent.request_id, sent.output_code) == (request.result_mail_id, asked.recipient_id, "SYG0001")
    # Taken up once more, by whoever did not see that it was done: nothing of it happens twice.
    with pytest.raises(StaleUnit, match="state"):
        carry_out(store, exchange, asked)
    assert len(answers(store)) == 1


@only_sqlite
def test_a_fetch_that_needs_no_words_is_final_without_a_result(store):
    asked = arrived(store, mail_with((EDI / "syg-fetch-request.edi").read_bytes()))
    exchange = an_exchange(new_key=store.new_key, syg=SygSettings(fetch_notice="never"))
    assert carry_out(store, exchange, asked) == ([Note("heard", LANE)], [])
    (request,) = store.read(lambda session: session.scalars(select(Request)).all())
    assert (request.answered_at, request.result_mail_id) == (NOW, None)


@only_sqlite
def test_a_retrieval_decided_on_an_older_map_leaves_nothing(store):
    asked = arrived(store, mail_with((EDI / "syg-fetch-request.edi").read_bytes()))
    exchange = an_exchange(new_key=store.new_key)
    older = retrieval(store, exchange, asked)
    store.run(lambda session: change_map(session, NOW))
    with pytest.raises(StaleUnit, match="map"):
        store.run(lambda session: exchange.carry_out(session, asked, older, NOW))
    assert answers(store) == []


def test_every_state_the_exchange_gives_is_a_move_from_received():
    moves = TRANSITIONS[Direction.INBOUND][State.RECEIVED]
    decided = [decide(a_request()), decide(a_result()), an_exchange().duplicate(a_request(), NOW)]
    assert {State(changed(unit, RECIPIENT_HANDLED)["state"]) for unit in decided} <= moves


def test_effects_are_only_of_kinds_the_store_applies():
    for unit in (decide(a_request()), decide(a_request(to_backend())), decide(a_result())):
        assert {change.kind for change in unit.changes} <= set(CHANGE_ORDER)
        assert {insert.kind for insert in unit.inserts} <= set(INSERT_ORDER)
