"""A mail of the backend taken apart, and the one address row a recipient stands for."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest

from handlers.naccs.backend_results import BackendMail, Names, bound_address, read, third_parties
from handlers.naccs.message import Family, body_of
from tests.handlers.naccs.sound_mime import BODIES, HEADERS
from tests.handlers.naccs.sound_request import ADDRESS, BODY, mail_with
from tests.handlers.naccs.test_exchange import BOUND, CENTER, NOW, OTHER_ADDRESS, TERMINALS, a_map, content_of_result

NAMES = Names(center=CENTER.lower(), terminals_domain=TERMINALS)
TODAY = NOW.date()
SECOND = replace(BOUND, address=OTHER_ADDRESS, address_id=72)


def taken(content: bytes) -> BackendMail:
    found = read(content)
    assert isinstance(found, BackendMail), found
    return found


def test_a_result_is_read_whatever_its_encoding_and_only_an_encoded_one_keeps_its_mime_fields():
    plain = taken(content_of_result())
    assert (plain.family, plain.output_code, plain.content_fields) == (Family.NACCS_EDI, "*CTCC", None)
    body = body_of(content_of_result())[1]
    wire = base64.encodebytes(body).replace(b"\n", b"\r\n")
    encoded = taken(b"CONTENT-transfer-encoding :\r\n base64\r\nX: y\r\n\r\n" + wire)
    assert encoded.output == plain.output
    assert encoded.content_fields == "CONTENT-transfer-encoding :\r\n base64\r\n"
    eight_bit = taken(b"Content-Transfer-Encoding: 8bit\r\n\r\n" + body)
    assert eight_bit.content_fields is None


@pytest.mark.parametrize("name", HEADERS)
def test_a_message_of_another_family_is_not_opened(name):
    found = taken(mail_with(BODIES[name], HEADERS[name]))
    assert (found.output, found.output_code) == (None, "")
    assert not found.answers_somebody
    assert not found.ends_a_request
    assert (found.content_fields or "").startswith("Mime-Version:1.0\r\nContent-Type:")


def test_fields_that_came_with_odd_line_ends_leave_with_sound_ones():
    found = taken(b"Content-Type: multipart/mixed;\n\tboundary=x\nFrom: y\nMime-Version: 1.0\n\nbody")
    assert found.content_fields == "Content-Type: multipart/mixed;\r\n\tboundary=x\r\nMime-Version: 1.0\r\n"


@pytest.mark.parametrize("content", [b"", b"x: y\r\n\r\n", mail_with(BODY), b"Subject: failure notice\r\n\r\nSorry."])
def test_what_is_no_output_has_a_reason(content):
    assert read(content) == "the backend's mail holds no output common items"


def test_an_address_that_looks_like_a_terminal_is_an_address():
    odd = replace(SECOND, address=f"60777S@{TERMINALS}".upper())
    view = a_map(BOUND, odd)
    assert bound_address(f"60777S@{TERMINALS}", NAMES, b"", view, TODAY) == odd
    # Also on a day on which it is not bound: a route is never guessed.
    assert bound_address(f"60777S@{TERMINALS}", NAMES, b"", view, TODAY - timedelta(days=1)) is None


def test_a_mail_to_the_center_is_bound_to_its_requester_and_one_for_third_parties_to_nobody():
    view = a_map(BOUND, SECOND)
    assert bound_address(CENTER, NAMES, content_of_result(), view, TODAY) == BOUND
    archived = content_of_result(destination_control_type="K", mail_address=OTHER_ADDRESS)
    assert bound_address(CENTER, NAMES, archived, view, TODAY) == SECOND
    to_many = content_of_result(destination_control_type="C")
    for content in (to_many, b"", mail_with(BODIES["XML"], HEADERS["XML"])):
        assert bound_address(CENTER, NAMES, content, view, TODAY) is None


def test_only_an_output_of_type_c_has_third_parties():
    for kind in ("Q", "Z", "K", ""):
        assert third_parties(taken(content_of_result(destination_control_type=kind)), a_map(), TODAY) == []
    assert third_parties(taken(mail_with(BODIES["XML"], HEADERS["XML"])), a_map(), TODAY) == []


def test_without_a_terminals_domain_only_addresses_are_known():
    nowhere = Names(center=CENTER.lower(), terminals_domain="")
    assert bound_address("60777S", nowhere, b"", a_map(), TODAY) is None
    assert bound_address(ADDRESS.lower(), nowhere, b"", a_map(), TODAY) == BOUND
