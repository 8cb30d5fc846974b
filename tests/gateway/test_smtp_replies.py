"""Replies are single lines of ASCII with a matching RFC 3463 code, whatever they are made from."""

from __future__ import annotations

import re

import pytest

from gateway import smtp_replies as replies
from gateway.smtp_replies import Reply

CONSTANTS = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_constant_is_one_line_with_a_code_of_its_class(name):
    reply = CONSTANTS[name]
    assert re.fullmatch(rb"[2345]\d\d ([245]\.\d{1,3}\.\d{1,3} )?[ -~]+\r\n", reply.wire)
    assert reply.code == 354 or reply.enhanced[0] == str(reply.code)[0]


def test_our_own_trouble_is_never_permanent():
    own = ("NO_ROOM", "UNAVAILABLE", "NOT_READY", "SHUTTING_DOWN", "TIMED_OUT", "TOO_MANY_CONNECTIONS")
    assert {CONSTANTS[name].code // 100 for name in own} == {4}
    assert replies.incident("00ff00ff").wire.startswith(b"451 4.3.0 ")


@pytest.mark.parametrize("text", ["a\r\n250 fake", "a\nb", "a\0b", "\u53d7\u4ed8", "x" * 510, "a\x7f"])
def test_a_text_that_is_no_single_line_is_refused(text):
    with pytest.raises(ValueError):
        Reply(250, "2.0.0", text)


@pytest.mark.parametrize(("code", "enhanced"), [(250, "5.0.0"), (199, ""), (600, ""), (550, "4.1.1")])
def test_codes_that_do_not_go_together_are_refused(code, enhanced):
    with pytest.raises(ValueError):
        Reply(code, enhanced, "text")


def test_the_acceptance_names_the_mail():
    assert replies.queued(12345).wire == b"250 2.0.0 queued as 12345\r\n"
    assert replies.queued(1).accepts
    assert not replies.TOO_LARGE.accepts


def test_ehlo_offers_what_is_served_and_ends_with_a_space_line():
    lines = replies.extended_hello("gateway.example", 1000).split(b"\r\n")
    assert lines == [
        b"250-gateway.example",
        b"250-SIZE 1000",
        b"250-8BITMIME",
        b"250 ENHANCEDSTATUSCODES",
        b"",
    ]
