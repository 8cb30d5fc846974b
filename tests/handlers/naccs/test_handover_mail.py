"""The mail towards the backend: the request's bytes below our fields, the same at each attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from handlers.naccs.common_items import InputCommonItems
from handlers.naccs.handover_mail import HandoverMail, awaits_result
from storage.mail_queue import Outbound

WHEN = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
OUTBOUND = Outbound(
    recipient_id=8,
    mail_id=6,
    lane="backend",
    sequence=1,
    sender="3A0001@SMTP.TST01.CENTER.EXAMPLE",
    rcpt_to="BACKEND@SMTP.CENTER.EXAMPLE",
    created_at=WHEN,
    due_at=WHEN,
    waiting_since=WHEN,
    header=None,
    body_offset=0,
    attempts=0,
    in_doubt=0,
    address_id=3,
    map_version=12,
    request_id=7,
)
FIELDS = (
    b"X-NACCS-Request-Id: 7\r\n"
    b"X-NACCS-Logical-Terminal: 60001S\r\n"
    b"X-NACCS-Mail-Address: 3A0001@SMTP.TST01.CENTER.EXAMPLE\r\n"
    b"X-NACCS-Map-Version: 12\r\n"
)
MESSAGE_ID = b"Message-ID: <7@center.example>\r\n"
BODY = InputCommonItems.of(procedure_code="IDA", user_code="1AABC", system_identification="1").encode()


def writer(**options: Any) -> HandoverMail:
    return HandoverMail(host="center.example", terminal_of=lambda _: "60001S", **options)


def test_the_request_stands_untouched_below_our_fields():
    content = b"From: a@x.example\r\nSubject: \xa4\xa2\r\n\r\n" + BODY
    assert writer().write(OUTBOUND, content) == FIELDS + MESSAGE_ID + content


def test_the_same_request_gives_the_same_bytes_whatever_its_attempts():
    content = b"From: a@x.example\r\n\r\n" + BODY
    again = replace(OUTBOUND, attempts=3, in_doubt=1, due_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert writer().write(again, content) == writer().write(OUTBOUND, content)


@pytest.mark.parametrize("name", [b"Message-ID", b"message-id ", b"MESSAGE-ID"])
def test_a_message_id_of_the_sender_is_kept_and_no_second_one_added(name):
    content = b"From: a@x.example\r\n" + name + b": <1@x.example>\r\n\r\n" + BODY
    assert writer().write(OUTBOUND, content) == FIELDS + content


def test_a_message_id_in_the_body_is_none():
    content = b"From: a@x.example\r\n\r\nMessage-ID: <1@x.example>\r\n"
    assert MESSAGE_ID in writer().write(OUTBOUND, content)


def test_a_mail_without_a_header_gets_a_blank_line_below_ours():
    assert writer().write(OUTBOUND, BODY) == FIELDS + MESSAGE_ID + b"\r\n" + BODY
    assert writer().write(OUTBOUND, b"\r\n" + BODY) == FIELDS + MESSAGE_ID + b"\r\n" + BODY


def test_fields_of_the_same_name_that_a_sender_wrote_come_after_ours():
    content = b"X-NACCS-Request-Id: 1\r\nFrom: a@x.example\r\n\r\n" + BODY
    mail = writer().write(OUTBOUND, content)
    assert mail.startswith(FIELDS)
    assert mail.endswith(content)


def test_a_terminal_the_map_does_not_have_is_left_out():
    mail = HandoverMail(host="center.example", terminal_of=lambda _: "").write(OUTBOUND, b"From: a\r\n\r\n" + BODY)
    assert b"Logical-Terminal" not in mail


def test_stamps_fill_their_bytes_and_no_others():
    content = b"From: a@x.example\r\n\r\n" + BODY
    mail = writer(stamp_terminal=True, stamp_address=True).write(OUTBOUND, content)
    body = mail[-len(BODY) :]
    assert body[45:51] == b"60001S"
    assert body[51:115] == b"3A0001@SMTP.TST01.CENTER.EXAMPLE".ljust(64)
    assert body[:45] + body[115:] == BODY[:45] + BODY[115:]
    only = writer(stamp_terminal=True).write(OUTBOUND, content)[-len(BODY) :]
    assert only[51:115] == BODY[51:115]


@pytest.mark.parametrize(
    "content",
    [
        b"From: a\r\nContent-Transfer-Encoding: base64\r\n\r\n" + BODY,
        b"From: a\r\n\r\n<xml>" + BODY,
        b"From: a\r\n\r\nUNB" + BODY,
        b"From: a\r\n\r\n" + BODY[:300],
    ],
)
def test_what_is_no_plain_naccs_edi_is_not_stamped(content):
    mail = writer(stamp_terminal=True, stamp_address=True).write(OUTBOUND, content)
    assert mail.endswith(content)


def test_an_address_too_long_for_its_item_is_not_stamped():
    long = replace(OUTBOUND, sender="A" * 60 + "@X.EXAMPLE")
    assert writer(stamp_address=True).write(long, b"From: a\r\n\r\n" + BODY).endswith(BODY)


@pytest.mark.parametrize(("body", "awaited"), [(BODY, True), (b"<xml/>", False), (b"UNB+", False)])
def test_only_a_naccs_edi_request_awaits_a_result(body, awaited):
    assert awaits_result(b"From: a\r\n\r\n" + body) is awaited
