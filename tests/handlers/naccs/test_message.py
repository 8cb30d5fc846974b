"""Mails of the exchange taken apart, whatever a client wrote around the message."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.naccs.message import (
    Damage,
    Family,
    Request,
    body_of,
    examine,
    family,
    line_ends_are_sound,
    message_length,
)
from tests.handlers.naccs.sound_request import ADDRESS, BODY, HEADER, MAIL, mail_with, request_with


def from_with(value: str) -> str | None:
    return body_of(f"From:{value}\r\n\r\n".encode())[0].header_from


def encoded(encoding: str, wire: bytes) -> bytes:
    return mail_with(wire, f"Content-Transfer-Encoding: {encoding}\r\n".encode())


def test_the_known_clients_mail_is_taken_apart():
    headers, body = body_of(MAIL)
    assert headers.header_from == ADDRESS
    assert (headers.content_type, headers.transfer_encoding) == ('text/xml;charset="euc-jp"', "8bit")
    assert body == BODY + b"\r\n"
    assert MAIL[headers.body_offset :] == body
    assert headers.sound_line_ends


def test_the_message_ends_where_its_length_says():
    request = request_with(BODY + b"\r\n")
    assert request.message == BODY
    assert request.items.raw + b"\r\n" + request.data == BODY


def test_field_names_count_in_any_case_and_with_a_space_before_the_colon():
    headers, body = body_of(b"FROM : a@b.example\r\ncontent-TYPE:Text/Plain\r\n\r\nX")
    assert (headers.header_from, headers.content_type, body) == ("a@b.example", "text/plain", b"X")


def test_of_a_repeated_content_field_the_first_counts():
    headers, _ = body_of(b"Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n\r\nX")
    assert headers.transfer_encoding == "8bit"


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (b"", b""),
        (BODY, BODY),
        (b"\r\n" + BODY, BODY),
        (b"From:a@b.example\r\nTo:c@d.example\r\n", b""),
        (b"From:a@b.example\n\nX", b"X"),
        (b"Subject: 1\r\n continued\r\n\r\nX\r\n\r\nY", b"X\r\n\r\nY"),
    ],
    ids=["nothing", "no header", "an empty header", "no blank line", "bare LF", "folded"],
)
def test_the_body_begins_after_the_first_blank_line(content: bytes, body: bytes):
    assert body_of(content)[1] == body


@pytest.mark.parametrize(
    "value",
    [
        "a@b.example",
        " <a@b.example> ",
        "Name <a@b.example>",
        '"Name, \\"N\\"" <a@b.example>',
        "<\r\n a@b.example>",
    ],
)
def test_one_address_in_any_form_is_the_sender(value: str):
    assert from_with(value) == "a@b.example"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a",
        "<>",
        "a@b.example, c@d.example",
        "a@b.example c@d.example",
        "a@b.example <c@d.example>",
        "Name <a@b.example> <c@d.example>",
        "Group: a@b.example;",
        "a@b.example (comment)",
        "a@b@c.example",
        "あ@b.example",
        "X" * 1000 + "@b.example",
        '"' + "x" * 900,
    ],
)
def test_none_or_two_or_a_doubtful_address_is_no_sender(value: str):
    assert from_with(value) is None


def test_two_from_fields_are_no_sender():
    assert body_of(b"From:a@b.example\r\nFrom:a@b.example\r\n\r\n")[0].header_from is None


def test_encoded_bodies_are_decoded():
    assert body_of(encoded("base64", base64.encodebytes(BODY)))[1] == BODY
    assert body_of(encoded("BASE64", base64.b64encode(BODY)))[1] == BODY
    assert body_of(encoded("quoted-printable", b"=41=\r\nB=0D=0A"))[1] == b"AB\r\n"
    assert body_of(encoded("7bit", b"=41"))[1] == b"=41"


@given(cut=st.integers(0, 700))
def test_a_base64_body_that_was_cut_is_decoded_as_far_as_it_goes(cut: int):
    wire = base64.b64encode(BODY)[:cut]
    body = body_of(encoded("base64", wire))[1]
    assert BODY.startswith(body)
    assert len(body) >= len(wire) // 4 * 3 - 2


def test_what_is_not_base64_though_it_says_so_is_no_body():
    assert body_of(encoded("base64", BODY))[1] == b""


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/xml", b"   TCC", Family.NACCS_EDI),
        ("text/plain", b"", Family.NACCS_EDI),
        ("text/xml", b"   <A>", Family.NACCS_EDI),
        ("application/octet-stream", b"   OTA", Family.NACCS_EDI),
        ("text/plain", b"<?xml version='1.0'?>", Family.XML),
        ("text/xml", b"\xef\xbb\xbf<Declaration/>", Family.XML),
        ("text/plain", b"UNA:+.? '", Family.EDIFACT),
        ("text/plain", b"UNB+UNOA:3", Family.EDIFACT),
        ("Application/EDIFACT; charset=us-ascii", b"", Family.EDIFACT),
        ("multipart/mixed; boundary=b", b"--b\r\n", Family.EDIFACT),
    ],
)
def test_the_family_is_seen_from_the_first_bytes_and_the_content_type(content_type, body, expected):
    headers, body = body_of(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    assert family(headers, body) is expected


@pytest.mark.parametrize("data", [b"", b"A\r\nB\r\n", b"\r\n\r\n", b"no end"])
def test_line_ends_that_are_all_crlf_are_sound(data: bytes):
    assert line_ends_are_sound(data)


@pytest.mark.parametrize("data", [b"\r", b"\n", b"A\0", b"\n\r", b"\r\r\n", b"\r\n\n", b"A\rB\nC", b"\r\n\r"])
def test_bare_line_ends_and_nul_are_found(data: bytes):
    assert not line_ends_are_sound(data)


def test_the_greatest_message_passes_and_a_greater_one_does_not():
    def of(length: int) -> bytes:
        return BODY[:392] + b"%06d\r\n" % length + b"X" * (length - 402) + b"\r\n"

    assert message_length(of(700_000)) == 700_000
    assert message_length(of(700_001)) is None


@given(content=st.binary(max_size=600) | st.binary(max_size=60).map(lambda data: HEADER + b"\r\n" + data))
def test_whatever_comes_in_is_a_request_or_a_damage(content: bytes):
    found = examine(*body_of(content))
    assert isinstance(found, Damage | Request)
    assert len(found.items.raw) == 398


@given(at=st.integers(0, 506), byte=st.integers(0, 255))
def test_one_changed_byte_never_raises_and_never_changes_the_message_unseen(at: int, byte: int):
    body = BODY[:at] + bytes([byte]) + BODY[at + 1 :]
    found: Any = examine(*body_of(mail_with(body)))
    assert isinstance(found, Damage) or found.message == body[: found.items.message_length]


def test_no_password_is_shown_of_a_request_or_a_damage():
    damage = examine(*body_of(mail_with(BODY[:450])))
    assert isinstance(damage, Damage)
    assert "PASSWD01" not in repr(damage) + repr(request_with())
