"""What the gateway itself sends to a terminal: header block, answer, place in the lane."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from handlers.calendar import JST
from handlers.naccs.answers import Answers
from handlers.naccs.common_items import InputCommonItems
from storage.columns import to_micros
from storage.effects import CONTENT, MAIL
from storage.mail_queue import hash_of
from tests.handlers.naccs.sound_request import ADDRESS, request_with
from tests.handlers.test_terminals import binding

NOW = datetime(2026, 11, 24, 1, 0, 6, tzinfo=UTC)
BOUND = binding(address_id=71, address=ADDRESS)


def answers(content_type: str = "Text/plain", *, fill: bool = False) -> Answers:
    return Answers(
        new_key=count(1000).__next__,
        center_address="NACCS@SMTP.CENTER.EXAMPLE",
        message_id_domain="center.example",
        content_type=content_type,
        fill_terminal_name=fill,
    )


def test_an_edi_message_says_the_content_type_of_the_settings_and_euc_jp():
    assert answers("Text/plane").header(ADDRESS, 17) == (
        b"From: NACCS@SMTP.CENTER.EXAMPLE\r\n"
        b"To: 3A0001@SMTP.TST01.NACCS6\r\n"
        b"Message-ID: <17@center.example>\r\n"
        b"Mime-Version: 1.0\r\n"
        b'Content-Type: Text/plane;charset="EUC-JP"\r\n'
        b"Content-Transfer-Encoding: 8bit\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize("fields", ["Content-Type: multipart/mixed;\r\n boundary=x\r\n", ""])
def test_another_message_keeps_the_fields_it_came_with_even_none(fields):
    header = answers().header(ADDRESS, 17, fields)
    assert header.endswith(f"\r\nMessage-ID: <17@center.example>\r\n{fields}\r\n".encode())


def test_an_answer_is_a_mail_of_ours_that_names_its_request():
    own = answers().own(b"x" * 8 + b"*CTCC  rest", BOUND, 502, 7, NOW)
    rows = {insert.kind: dict(zip(insert.kind.columns, insert.values, strict=True)) for insert in own.inserts}
    content = rows[CONTENT]["content"]
    assert own.mail_id == rows[MAIL]["id"] == rows[CONTENT]["mail_id"] == 1000
    assert own.size == rows[MAIL]["size"] == len(content)
    assert (rows[MAIL]["content_hash"], rows[MAIL]["received_at"]) == (hash_of(content), to_micros(NOW))
    recipient = own.queued.recipient
    assert (own.queued.lane, own.queued.content) == (BOUND.lane, content)
    assert (recipient.mail_id, recipient.address_id, recipient.map_version) == (1000, 71, 7)
    assert (recipient.request_id, recipient.output_code) == (502, "*CTCC")
    assert content.endswith(b"\r\n\r\n" + b"x" * 8 + b"*CTCC  rest")


@pytest.mark.parametrize("codec", ["euc_jp", "cp932"])
def test_a_refusal_has_one_code_the_address_and_the_time_the_request_came(codec):
    at = NOW.astimezone(JST)
    for items in (request_with().items, InputCommonItems.readable_part(b"")):
        answer = answers().refusal(items, "A0011", replace(BOUND, codec=codec), at)
        assert len(answer) == 477
        assert answer[400:415] == b"A0011-0000-0000"
        assert answer[415:475] == b" " * 60
        assert answer[15:29] == b"202611241000  "
        assert answer[45:115] == b" " * 6 + ADDRESS.encode().ljust(64)
    filled = answers(fill=True).refusal(request_with().items, "A0011", BOUND, at)
    assert filled[45:51] == b"60777S"
