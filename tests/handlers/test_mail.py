from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.applications.checks import Accepted, Invalid
from handlers.mail import InboundMail, TextProblem, parse_address, parse_mailbox
from tests.handlers.applications.application_mails import MAILS, inbound, read

VENDOR_REASON = "①㈱ナックスのｻｰﾊﾞ追加～第Ⅱ期"
SEED_REASON = "自社システムのSMTP双方向サーバを追加するため"


@pytest.mark.parametrize(
    ("name", "subject", "reason"),
    [
        ("outlook-iso-2022-jp-vendor", "利用申込①（㈱ナックス）", VENDOR_REASON),
        ("webmail-shift_jis-8bit-headers", "利用申込", VENDOR_REASON),
        ("unix-eucjp-ms", "利用申込①", VENDOR_REASON),
        ("no-charset-euc-jp", "apply", SEED_REASON),
        ("declared-utf-8-is-iso-2022-jp", "apply", SEED_REASON),
        ("thunderbird-flowed-utf-8", "利用申込", SEED_REASON),
        ("telephone-html-only", "apply", SEED_REASON),
        ("no-closing-boundary", "apply", SEED_REASON),
        ("outlook-quoted-form", "RE: 利用申込書", SEED_REASON),
    ],
)
def test_an_application_is_read_from_the_mail_of_any_mailer(name, subject, reason):
    raw = (MAILS / f"{name}.eml").read_bytes()
    mail = inbound(raw)
    assert mail.subject == subject
    assert mail.header_from == "tsukan-hanako@applicant.example"
    outcome = read(raw)
    assert isinstance(outcome, Accepted)
    assert outcome.contents.reason == reason
    assert outcome.warnings == ()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("unreadable-charset", TextProblem.UNREADABLE_CHARSET),
        ("declared-utf-8-cut-character", TextProblem.UNREADABLE_CHARSET),
        ("broken-base64-text", TextProblem.BROKEN_MIME),
        ("no-boundary", TextProblem.BROKEN_MIME),
        ("attachment-only", TextProblem.NO_TEXT),
    ],
)
def test_a_mail_that_cannot_be_read_brings_one_error_that_names_the_problem(name, problem):
    raw = (MAILS / f"{name}.eml").read_bytes()
    mail = inbound(raw)
    assert mail.text_problem is problem
    assert mail.text == ""
    outcome = read(raw)
    assert isinstance(outcome, Invalid)
    assert [error.code for error in outcome.errors] == [str(problem)]
    assert outcome.office_code is None


def test_a_damaged_diagram_is_an_error_of_its_field():
    outcome = read((MAILS / "broken-base64-diagram.eml").read_bytes())
    assert isinstance(outcome, Invalid)
    assert [error.code for error in outcome.errors] == ["diagram_unreadable"]


def test_two_from_fields_name_nobody():
    assert inbound((MAILS / "two-from.eml").read_bytes()).header_from is None


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\r\n\r\n", b"Content-Type: text/plain\r\n\r\n \r\n"])
def test_a_mail_of_nothing_has_no_text(raw):
    mail = inbound(raw)
    assert mail.text_problem is TextProblem.NO_TEXT
    assert (mail.subject, mail.message_id, mail.auto_submitted, mail.header_from) == ("", None, None, None)


def test_header_fields_that_decide_something_are_read():
    mail = inbound(
        b"MESSAGE-ID:\r\n <1@x.example>\r\nMessage-ID: <2@x.example>\r\nAuto-Submitted: Auto-Replied; x=y\r\n"
        b"List-Id: <l.x.example>\r\nSubject:\r\n\r\nhi\r\n"
    )
    assert mail.message_id == "<1@x.example>"
    assert mail.auto_submitted == "auto-replied"
    assert mail.header_value("list-id") == "<l.x.example>"
    assert mail.header_value("precedence") is None
    assert mail.text == "hi"
    assert inbound(b"Auto-Submitted:\r\nMessage-ID: \r\n\r\n").auto_submitted is None


def test_a_mail_with_a_received_field_is_never_trusted():
    assert inbound(b"From: a@b.example\r\n\r\nhi").trusted
    assert not inbound(b"received : by relay\r\nFrom: a@b.example\r\n\r\nhi").trusted
    assert not inbound(b"From: a@b.example\r\n\r\nReceived: no header", trusted=False).trusted
    assert inbound(b"From: a@b.example\r\n\r\nReceived: no header").trusted


def test_a_header_that_may_hide_a_received_field_is_not_trusted():
    assert not inbound(b"no field\r\nFrom: a@b.example\r\n\r\nhi").trusted
    long = inbound(b"X: y\r\n" * 200_000 + b"Received: by relay\r\nFrom: a@b.example\r\n\r\nhi")
    assert not long.trusted
    assert long.header_from is None


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n" + "あ".encode() * 500_001,
        b"Content-Type: text/html\r\n\r\n" + b"<br>" * 50_001,
    ],
)
def test_a_text_nobody_wrote_is_too_long_to_be_read(raw):
    assert inbound(raw).text_problem is TextProblem.TOO_LONG
    outcome = read(raw)
    assert isinstance(outcome, Invalid)
    assert [error.code for error in outcome.errors] == ["text_too_long"]


def test_the_bytes_are_not_part_of_what_is_shown():
    assert "secret" not in repr(inbound(b"X: secret\r\n\r\nsecret"))


def test_quoted_lines_are_not_part_of_the_text():
    mail = inbound(b"\r\nnew\r\n> old\r\n")
    assert mail.text == "new"
    assert [line.text for line in mail.quoted_lines] == ["old"]


def test_a_text_with_a_file_name_is_an_attachment():
    mail = inbound(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n"
        b"--b\r\nContent-Type: text/plain; name=a.txt\r\n\r\nfile\r\n--b--"
    )
    assert mail.text == "text"
    assert [(file.name, file.content.strip(), file.inline) for file in mail.attachments] == [("a.txt", b"file", False)]


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("a@b.example", "a@b.example"),
        (" <A.b+c@B.Example> ", "A.b+c@b.example"),
        ("通関 花子 <a@b.example>", "a@b.example"),
        ('"a@evil.example" <a@b.example>', "a@b.example"),
        (r'"say \"hi\"" <a@b.example>', "a@b.example"),
        ("=?utf-8?B?YUBldmls?= <a@b.example>", "a@b.example"),
        ("=?iso-2022-jp?B?GyRC?=\r\n <a@b.example>", "a@b.example"),
    ],
)
def test_one_plain_mailbox_is_the_author(value, address):
    assert inbound(b"From: " + value.encode() + b"\r\n\r\n").header_from == address


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a@b.example, c@d.example",
        b"<a@b.example> <c@d.example>",
        b"a@b.example <c@d.example>",
        b"<a@b.example>, ",
        b"undisclosed:;",
        b"friends: a@b.example;",
        b"a@b.example (comment)",
        b"(comment) a@b.example",
        b"x <a(c)@b.example>",
        b"<@relay.example:a@b.example>",
        b"<a@b.example",
        b"a@b.example>",
        b"< a@b.example >",
        b'"a b"@b.example',
        b"a@[127.0.0.1]",
        b"a@localhost",
        b"a@-b.example",
        b"a@b..example",
        b".a@b.example",
        b"a.@b.example",
        b"=?utf-8?Q?a?=@b.example",
        b"a@=?utf-8?Q?b.example?=",
        "a＠b.example".encode(),
        "あ@b.example".encode(),
        b"a@b.example\x00",
        b"\x1b$B<\x1b(B <a@b.example>",
        b'"x <a@b.example>',
        b"x" * 65 + b"@b.example",
        b"a@" + b"b." * 127 + b"example",
    ],
)
def test_anything_else_names_nobody(value):
    assert parse_mailbox(value) is None


@pytest.mark.parametrize(
    "header",
    [
        b"From: a@b.example\r\nFrom: a@b.example",
        b"From a@b.example\r\nFrom: a@b.example",
        b" folded: first\r\nFrom: a@b.example",
        b"From: a@b.example\r\nno field here",
        b"From: a@b.example\r\nX: a\rFrom: c@d.example",
        b"From: a@b.example\nX: \x00",
        b"Fr om: a@b.example",
    ],
)
def test_a_malformed_header_names_nobody(header):
    assert inbound(header + b"\r\n\r\nhi").header_from is None


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_an_author_is_never_more_than_an_address(value):
    address = parse_mailbox(value)
    assert address is None or parse_address(address) == address


PIECES = [
    b"From: a@b.example",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"Content-Type: text/html",
    b"multipart/mixed; boundary=b",
    b"--b",
    b"charset=",
    b"iso-2022-jp",
    b"\x1b$B",
    b"\x80\xff",
    b"=?utf-8?B?",
    b"?=",
    b"<p",
    b">",
    b"\x00",
]


@settings(max_examples=200, deadline=None)
@given(st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_no_bytes_make_a_mail_raise(raw):
    mail = InboundMail(
        mail_id=1,
        listener="public",
        peer="192.0.2.1",
        helo="",
        mail_from="",
        rcpt_to="",
        received_at=datetime(2026, 11, 24, tzinfo=UTC),
        trusted=True,
        raw=raw,
    )
    assert mail.text_problem is None or mail.text == ""
    assert isinstance(
        mail.subject + (mail.header_from or "") + (mail.message_id or "") + (mail.auto_submitted or ""), str
    )
    assert isinstance(mail.attachments, tuple)
