"""Passwords are blanked out of a mail in every transfer encoding, and can be put back exactly."""

from __future__ import annotations

import base64
import binascii
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.naccs.masking import masked, quoted_printable_places, restore, split_password
from handlers.naccs.message import body_of
from tests.handlers.naccs.sound_request import BODY, HEADER, MAIL, mail_with

BASE64 = b"From:a@b.example\r\nContent-Transfer-Encoding: base64\r\n"
QUOTED = b"From:a@b.example\r\nContent-Transfer-Encoding: Quoted-Printable\r\n"

# Bytes of a mail as encoders and damage make them: mostly what means something to a decoder.
WIRE = st.lists(st.sampled_from([b"=", b"\r\n", b"\r", b"\n", b"=\r\n", b"=4", b"=41", b" ", b"A", b"QUJD"])).map(
    b"".join
)


def decoded(content: bytes) -> bytes:
    return body_of(content)[1]


def quoted_all(data: bytes) -> bytes:
    """Every byte as =XX, with a soft line break after each 20th."""
    return re.sub(rb"((?:=..){20})", rb"\1=\r\n", b"".join(b"=%02X" % byte for byte in data))


def is_masked_and_comes_back(content: bytes) -> bool:
    """The password's bytes are spaces, all other bytes of the body are as before, and nothing is lost."""
    parts = split_password(content)
    assert parts is not None
    blanked, offset, original = parts
    before, after = decoded(content), decoded(blanked)
    return (
        restore(blanked, offset, original) == content
        and len(blanked) == len(content)
        and after == before[:37] + b" " * len(before[37:45]) + before[45:]
    )


@pytest.mark.parametrize(
    "content",
    [
        MAIL,
        BODY,
        mail_with(BODY[:41]),
        mail_with(base64.b64encode(BODY), BASE64),
        mail_with(base64.encodebytes(BODY).replace(b"\n", b"\r\n"), BASE64),
        mail_with(b"\r\n".join(re.findall(rb".{1,5}", base64.b64encode(BODY))), BASE64),
        mail_with(base64.b64encode(BODY[:39]), BASE64),
        mail_with(base64.b64encode(BODY[:44]), BASE64),
        mail_with(binascii.b2a_qp(BODY, istext=True), QUOTED),
        mail_with(quoted_all(BODY), QUOTED),
        mail_with(quoted_all(BODY[:40]), QUOTED),
    ],
    ids=[
        "plain",
        "without header",
        "plain cut",
        "base64 in one line",
        "base64 in lines",
        "base64 in short lines",
        "base64 cut with two pads",
        "base64 cut with one pad",
        "quoted-printable",
        "quoted-printable throughout",
        "quoted-printable cut",
    ],
)
def test_the_password_is_blanked_and_comes_back(content: bytes):
    assert is_masked_and_comes_back(content)
    assert b"PASS" not in decoded(masked(content))


def test_of_a_plain_mail_exactly_the_eight_bytes_are_kept():
    blanked, offset, original = split_password(MAIL) or (b"", 0, b"")
    assert original == b"PASSWD01"
    assert blanked == MAIL.replace(b"PASSWD01", b"        ")
    assert MAIL[offset : offset + 8] == b"PASSWD01"


@given(
    password=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=+/ ", min_size=8, max_size=8),
    before=st.binary(min_size=1, max_size=1),
)
def test_any_password_is_blanked_in_every_encoding(password: str, before: bytes):
    body = BODY[:36] + before + password.encode() + BODY[45:]
    for content in (
        mail_with(body),
        mail_with(base64.encodebytes(body), BASE64),
        mail_with(binascii.b2a_qp(body, istext=True), QUOTED),
        mail_with(quoted_all(body), QUOTED),
    ):
        assert not decoded(masked(content))[37:45].strip(b" ")
        parts = split_password(content)
        assert parts is not None
        assert restore(*parts) == content


@given(wire=WIRE, header=st.sampled_from([HEADER, BASE64, QUOTED]), lead=st.integers(0, 60))
def test_whatever_the_wire_holds_no_byte_of_the_password_stays_and_all_come_back(wire: bytes, header: bytes, lead: int):
    content = mail_with(b"QUJD"[: lead % 5] * (lead // 2) + wire, header)
    parts = split_password(content)
    if parts is None:
        assert not decoded(content)[37:45]
    else:
        assert restore(*parts) == content
        assert not decoded(parts[0])[37:45].strip(b" ")


@given(wire=WIRE)
def test_the_places_of_quoted_printable_are_those_of_the_decoder(wire: bytes):
    assert len(list(quoted_printable_places(wire))) == len(binascii.a2b_qp(wire))


@pytest.mark.parametrize("length", range(49, 62))
def test_of_a_base64_body_cut_inside_the_password_no_character_of_it_stays(length: int):
    content = mail_with(base64.b64encode(BODY)[:length], BASE64)
    secret = base64.b64encode(BODY[:36] + b" " * 9)[:length]
    assert masked(content)[-length:][50:60] == (secret[50:60] if length > 50 else b"")
    assert is_masked_and_comes_back(content) if length > 50 else split_password(content) is None


@pytest.mark.parametrize("wire", [BODY, b"QUI=" + base64.b64encode(BODY)], ids=["plain", "padded in the middle"])
def test_of_a_body_that_is_not_the_base64_it_claims_to_be_nothing_is_shown(wire: bytes):
    content = mail_with(wire, BASE64)
    blanked, offset, original = split_password(content) or (b"", 0, b"")
    assert blanked == mail_with(b" " * len(wire), BASE64)
    assert original == wire
    assert restore(blanked, offset, original) == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        mail_with(b""),
        mail_with(BODY[:37]),
        mail_with(base64.b64encode(BODY[:37]), BASE64),
        mail_with(quoted_all(BODY[:37]), QUOTED),
        mail_with(b"<?xml version='1.0'?>" + BODY),
        mail_with(b"UNB+UNOA:3" + BODY),
    ],
    ids=["nothing", "no body", "short", "short base64", "short quoted-printable", "XML", "EDIFACT"],
)
def test_where_there_is_no_password_nothing_is_changed(content: bytes):
    assert split_password(content) is None
    assert masked(content) == content
