"""Messages that are passed on whole: what they are told by, and that nothing a sender writes takes long or raises."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.naccs.message import Damage, Family, Request, body_of, examine, family
from handlers.naccs.mime_message import OtherRequest, examine_other
from tests.handlers.naccs.damage_tables import Sending
from tests.handlers.naccs.sound_mime import BODIES, HEADERS


def examined(content: bytes) -> OtherRequest | Damage:
    headers, body = body_of(content)
    return examine_other(headers, content, body)


def names_of(content: bytes) -> tuple[str, ...]:
    found = examined(content)
    assert isinstance(found, OtherRequest)
    return found.file_names


@pytest.mark.parametrize(
    ("name", "expected", "names"),
    [("MIME", Family.EDIFACT, ("invoice.txt",)), ("EDIFACT", Family.EDIFACT, ()), ("XML", Family.XML, ())],
)
def test_a_sound_message_is_known_by_its_family_and_its_attachments(name: str, expected: Family, names):
    assert examined(Sending.of(name).content()) == OtherRequest(family=expected, file_names=names)


def test_an_interchange_is_known_by_its_first_bytes_whatever_it_is_called():
    for body in (BODIES["EDIFACT"], BODIES["EDIFACT"].partition(b"\r\n")[2]):
        content = HEADERS["EDIFACT"].replace(b"application/edifact", b"text/plain") + b"\r\n" + body
        assert family(*body_of(content)) is Family.EDIFACT


def test_a_damage_of_another_family_carries_nothing_to_echo():
    found = examined(HEADERS["EDIFACT"] + b"\r\n")
    assert isinstance(found, Damage)
    assert found.items.raw == b" " * 398


def test_a_name_that_says_its_charset_is_shown_before_a_stopgap():
    disposition = b"attachment; filename=\"????.txt\"; filename*=utf-8''%E6%97%A5.txt"
    content = Sending.of("MIME").content().replace(b'attachment; filename="invoice.txt"', disposition)
    assert names_of(content) == ("日.txt",)


def test_names_are_told_in_the_order_of_the_parts_and_of_parts_inside_parts():
    sending = Sending.of("MIME").damage("`nest 2`")
    part = b"--level1\r\nContent-Type: text/plain; name=first.txt\r\n\r\nx\r\n"
    assert names_of(sending.content().replace(b"\r\n\r\n--level1\r\n", b"\r\n\r\n" + part + b"--level1\r\n")) == (
        "first.txt",
        "invoice.txt",
    )


@pytest.mark.parametrize(
    "made_by",
    [
        "nest 999",
        "parts 30000",
        "long-name continued utf_8 10000",
        "long-name plain shift_jis 600000",
        'fill 699000 "--=_b1\\r\\n"',
        'fill 699000 "\\r\\n"',
        'swap "--=_b1--" "--=_b1"; fill 699000 "\\r\\n--=_b1 "',
        'swap "UNB" "Content-Type:multipart/mixed;boundary=x\\r\\n"; fill 690000 "--=_b1\\r\\n "',
    ],
)
def test_hostile_structures_are_answered_in_bounded_time(made_by: str):
    content = Sending.of("MIME").damage(f"`{made_by}`").content()
    began = time.monotonic()
    assert isinstance(examined(content), OtherRequest | Damage)
    assert time.monotonic() - began < 2


@given(data=st.data())
@settings(max_examples=100)
def test_no_damage_makes_it_raise(data: st.DataObject):
    content = bytearray(Sending.of(data.draw(st.sampled_from(["MIME", "EDIFACT", "XML"]))).content())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\r\n", b"--=_b1", b"--=_b1--", b'"', b";", b"=?", b"*0*="])
        )
    headers, body = body_of(bytes(content))
    found = examine_other(headers, bytes(content), body)
    assert isinstance(found, OtherRequest) or found.code in {"A0008", "A0009", "A0016"}
    assert isinstance(examine(headers, body), Request | Damage)
