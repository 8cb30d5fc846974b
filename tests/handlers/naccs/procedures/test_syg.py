"""SYG: the list and the fetch of undelivered messages, byte for byte as in the samples (semantics §6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from handlers.naccs.message import Request
from handlers.naccs.procedures import syg
from handlers.naccs.procedures.syg import SygSettings
from storage.mail_queue import Arrival
from storage.models import Recipient
from tests.handlers.naccs.sound_request import ADDRESS, EDI, request_with
from tests.handlers.review_cases import audited, take_contracts
from tests.handlers.stuck_messages import bound, change, give_up, in_lane, put, row_of, set_lane
from tests.handlers.test_terminals import OFFICES_WITH_TWO_SERVERS, only_sqlite

LIST = (EDI / "syg-list-request.edi").read_bytes()
FETCH = (EDI / "syg-fetch-request.edi").read_bytes()
LIST_REPLY = (EDI / "syg-list-reply.edi").read_bytes()
RECEIVED_AT = datetime(2025, 4, 1, 0, 40, 3, tzinfo=UTC)  # 09:40:03 in Japan
SETTINGS = SygSettings()
CODE = slice(8, 15)
LENGTH = slice(392, 398)
MESSAGE_TYPE = slice(249, 250)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now - timedelta(days=30), OFFICES_WITH_TWO_SERVERS)
    return bound(store)


@pytest.fixture
def ask(store, binding, now):
    """Send a SYG; what is answered, and what is noted."""

    def ask(body: bytes, settings: SygSettings = SETTINGS, at: datetime = now) -> syg.SygAnswer:
        arrival = Arrival(
            recipient_id=1,
            mail_id=17,
            listener="naccs",
            peer="127.20.13.13",
            helo_name="60777S",
            mail_from=ADDRESS,
            rcpt_to="NACCS@SMTP.CENTER.EXAMPLE",
            received_at=RECEIVED_AT,
            content=b"",
            content_hash=b"",
            order_key="",
        )
        own = replace(binding, address=ADDRESS)
        served: syg.SygAnswer = store.run(
            lambda session: syg.serve(session, arrival, request_with(body), own, settings, at)
        )
        return served

    return ask


def with_item(data: bytes) -> bytes:
    """The fetch request with other procedure-specific items."""
    return FETCH[:392] + b"%06d\r\n" % (400 + len(data)) + data


def fetch_of(code: bytes) -> bytes:
    return with_item(code.ljust(7) + b"\r\n")


def codes(answer: bytes | None) -> bytes:
    assert answer is not None
    return answer[400:415]


def test_the_list_is_the_sample_byte_for_byte(ask, store, binding, now):
    for code in ("SAD4031", "SAD4071", "SAD4031"):
        give_up(store, binding, code, now)
    served = ask(LIST)
    assert served.answer == LIST_REPLY
    assert served.note == "SYG list: 3 messages of 2 kinds"


def test_the_list_counts_what_waits_behind_a_lane_that_is_down(ask, store, binding, now):
    give_up(store, binding, "SAD4031", now)
    put(store, binding, "SAD4031", now)
    put(store, binding, "SAD4071", now)
    set_lane(store, binding.lane, down_since=now)
    assert ask(LIST).answer == LIST_REPLY


@only_sqlite
def test_the_list_of_an_address_with_nothing_stuck_has_483_bytes(ask):
    answer = ask(LIST).answer
    assert answer is not None
    assert answer == LIST_REPLY[:392] + b"000483\r\n" + LIST_REPLY[400:477] + b"0000\r\n"
    assert len(answer) == 483


@only_sqlite
def test_the_code_of_the_list_and_the_terminal_in_it_are_settings(ask, binding):
    answer = ask(LIST, replace(SETTINGS, list_code="CSYG001", fill_terminal_name=True)).answer
    assert (answer[CODE], answer[45:51], answer[MESSAGE_TYPE]) == (b"CSYG001", b"60777S", b"M")


@only_sqlite
def test_counts_and_kinds_end_where_their_items_do(ask, store, binding, now):
    row = row_of(store, give_up(store, binding, "K00000", now))
    names = ", ".join(column.name for column in Recipient.__table__.columns)
    changed = {
        "id": "id + n",
        "lane_sequence": "lane_sequence + n",
        "output_code": "printf('K%05d', max(0, n - 10000))",
    }
    values = ", ".join(changed.get(name, name) for name in names.split(", "))
    copies = f"""WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000)
        INSERT INTO recipients ({names}) SELECT {values} FROM recipients, s WHERE id = {row.id}"""
    store.run(lambda session: session.execute(text(copies)))
    answer = ask(LIST).answer
    assert (answer[477:483], len(answer)) == (b"9999\r\n", 483 + 9_999 * 15)
    assert int(answer[LENGTH]) == len(answer)
    assert (answer[483:498], answer[-15:]) == (b"K00000 \r\n9999\r\n", b"K09998 \r\n0001\r\n")


@only_sqlite
def test_messages_without_a_code_are_listed_under_a_stand_in_and_fetched_by_it_or_by_a_blank(ask, store, binding, now):
    first, second = give_up(store, binding, "", now), give_up(store, binding, "", now)
    assert ask(LIST).answer[477:] == b"0001\r\nNOCODE \r\n0002\r\n"
    assert ask(fetch_of(b"NOCODE")).note == "SYG NOCODE: 2 queued again"
    change(store, second, state="undelivered", finished_at=now)
    assert ask(fetch_of(b"")).answer is None
    assert in_lane(store, binding.lane) == [first, second]


def test_a_fetch_queues_the_kind_it_names_again_and_says_nothing_more(ask, store, binding, now):
    first, other, second = (give_up(store, binding, code, now) for code in ("SAD4031", "SAD4071", "SAD4031"))
    served = ask(FETCH)
    assert (served.answer, served.note) == (None, "SYG SAD4031: 2 queued again")
    assert in_lane(store, binding.lane) == [first, second]
    assert row_of(store, other).state == "undelivered"
    assert audited(store, f"mail:{first}") == [
        ("undelivered-fetched", "terminal:60777S", f"{binding.address} by TST01 001 in mail 17")
    ]
    assert ask(LIST).answer[477:] == b"0001\r\nSAD4071\r\n0001\r\n"


NOTICES = {
    "when_empty": (False, True),
    "always": (True, True),
    "never": (False, False),
}


@pytest.mark.parametrize("setting", NOTICES)
@only_sqlite
def test_a_notification_of_the_fetch_goes_when_the_setting_says_so(ask, store, binding, now, setting):
    settings = replace(SETTINGS, fetch_notice=setting)
    give_up(store, binding, "SAD4031", now)
    for expected in NOTICES[setting]:
        answer = ask(FETCH, settings).answer
        assert (answer is not None) is expected
        if expected:
            assert (answer[CODE], answer[MESSAGE_TYPE], len(answer)) == (b"*CSYG  ", b"R", 477)
            assert codes(answer) == b"00000-0000-0000"


def test_a_repeated_fetch_moves_nothing_twice(ask, store, binding, now):
    mail_id = give_up(store, binding, "SAD4031", now)
    assert ask(FETCH).answer is None
    place = row_of(store, mail_id).lane_sequence
    assert codes(ask(FETCH).answer) == b"00000-0000-0000"
    assert row_of(store, mail_id).lane_sequence == place
    assert len(audited(store, f"mail:{mail_id}")) == 1


@only_sqlite
def test_messages_past_the_retention_are_neither_listed_nor_fetched(ask, store, binding, now):
    mail_id = give_up(store, binding, "SAD4031", now - timedelta(days=31, seconds=1))
    assert ask(LIST).answer[477:] == b"0000\r\n"
    assert ask(FETCH).note == "SYG SAD4031: 0 queued again"
    assert row_of(store, mail_id).state == "undelivered"
    longer = replace(SETTINGS, retention=timedelta(days=32))
    assert ask(LIST, longer).answer[477:] == b"0001\r\nSAD4031\r\n0001\r\n"


WRONG = {
    "no item": b"",
    "an item of six bytes": b"REF   \r\n",
    "an item of eight bytes": b"REF     \r\n",
    "two items": b"SAD4031\r\nSAD4071\r\n",
    "an empty item behind it": b"SAD4031\r\n\r\n",
    "a line end within the item": b"SAD\r\n31\r\n",
    "lower case": b"sad4031\r\n",
    "Japanese": "障害x ".encode("euc_jp") + b" \r\n",
    "a character outside the class": b"SAD$031\r\n",
}


@pytest.mark.parametrize("name", WRONG)
@only_sqlite
def test_what_is_not_one_code_of_seven_bytes_gets_e0001_and_moves_nothing(ask, store, binding, now, name):
    mail_id = give_up(store, binding, "SAD4031", now)
    served = ask(with_item(WRONG[name]))
    answer = served.answer
    assert codes(answer) == b"E0001-0000-0000"
    assert (answer[CODE], answer[MESSAGE_TYPE], len(answer)) == (b"*CSYG  ", b"R", 477)
    assert served.note == "SYG E0001-0000-0000"
    assert row_of(store, mail_id).state == "undelivered"


def test_the_samples_are_sound_requests():
    for body in (LIST, FETCH):
        assert isinstance(request_with(body), Request)
        assert len(body) == 409
