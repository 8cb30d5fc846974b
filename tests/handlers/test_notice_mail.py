from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest
from fast_mail_parser import parse_email
from hypothesis import given
from hypothesis import strategies as st

from handlers.notice_mail import NoticeHeader, NoticePart, build, is_message_id
from handlers.outcomes import TemplateFault

HEADER = NoticeHeader(
    from_address="nss@nss.center.example",
    to="tsukan-hanako@applicant.example",
    reply_to="case+260001A.aaaaaaaaaaaaaaaa@nss.center.example",
    subject="【NSS】利用申込受付完了のお知らせ",
    message_id="<382872872311328768@nss.center.example>",
    thread="<" + "long-" * 20 + "id@mail.applicant.example>",
    auto_submitted="auto-generated",
)
BODY = "通関　花子 様\n\n髙﨑① ｱｲｳ →\n.\n" + "あ" * 400 + "\n"
PART = NoticePart(file_name="application-errors.json", subtype="json", content='{"値": "髙"}\n')

SUBJECTS = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from("【】 テストaB1=?"), max_size=120)


def test_the_mail_is_seven_bit_and_every_line_ends_in_crlf(now):
    raw = build(HEADER, BODY, (PART,), now)
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998


def test_no_parser_has_anything_to_repair(now):
    raw = build(HEADER, BODY, (PART,), now)
    mail = message_from_bytes(raw, policy=default)
    assert [part.defects for part in mail.walk()] == [[], [], []]
    assert [value.defects for value in mail.values()] == [()] * len(mail.keys())
    assert parse_email(raw).warnings == []


def test_two_parsers_read_the_same_mail(now):
    raw = build(HEADER, BODY, (PART,), now)
    standard = message_from_bytes(raw, policy=default)
    other = parse_email(raw)
    assert standard["Subject"] == other.subject == HEADER.subject
    assert other.from_ is not None
    assert standard["From"].addresses[0].display_name == other.from_.display_name == "NACCSサポートシステム"
    assert standard["To"].addresses[0].addr_spec == other.to[0].address == HEADER.to
    assert standard["Reply-To"].addresses[0].addr_spec == other.reply_to[0].address == HEADER.reply_to
    assert standard["Auto-Submitted"] == "auto-generated"
    text = standard.get_body()
    assert text is not None
    assert text.get_content().replace("\r\n", "\n") == BODY
    assert other.text_plain[0].replace("\r\n", "\n") == BODY
    assert other.attachments[0].filename == PART.file_name
    assert other.attachments[0].mimetype == "application/json"
    assert other.attachments[0].content.decode() == PART.content


def test_a_long_message_id_of_the_thread_stays_one_word(now):
    raw = build(HEADER, BODY, (), now)
    assert f"In-Reply-To: {HEADER.thread}\r\n".encode() in raw
    assert f"References: {HEADER.thread}\r\n".encode() in raw


def test_a_mail_without_thread_has_no_references(now):
    raw = build(replace(HEADER, thread=""), BODY, (), now)
    assert b"References" not in raw
    assert b"In-Reply-To" not in raw


def test_the_date_is_that_of_the_instant_in_japan(now):
    assert b"Date: Tue, 24 Nov 2026 10:00:00 +0900\r\n" in build(HEADER, BODY, (), now)


def test_the_same_notice_has_the_same_bytes(now):
    assert build(HEADER, BODY, (PART,), now) == build(HEADER, BODY, (PART,), now)


@pytest.mark.parametrize(
    "field", ["subject", "message_id", "thread", "auto_submitted", "to", "reply_to", "from_address"]
)
@pytest.mark.parametrize(
    "injected",
    ["\r\nBcc: other@elsewhere.example", "\nBcc: other@elsewhere.example", "\r", "\x00", "\u2028X: y", "\r\n\r\nbody"],
)
def test_no_value_becomes_a_field_of_its_own(field, injected, now):
    with pytest.raises(TemplateFault):
        build(replace(HEADER, **{field: getattr(HEADER, field) + injected}), BODY, (), now)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b.example, c@d.example",
        "a@b.example> <c@d.example",
        "=?utf-8?q?a=0d=0aBcc=3a?=@b.example",
        "あ@b.example",
        "a b@c.example",
        "Group: a@b.example;",
    ],
)
def test_only_one_plain_address_is_written_to(address, now):
    with pytest.raises(TemplateFault, match="not an address"):
        build(replace(HEADER, to=address), BODY, (), now)


@pytest.mark.parametrize("name", ["a\r\nb.json", "a\nX: y.json", "a\x00.json"])
def test_no_file_name_becomes_a_field(name, now):
    with pytest.raises(TemplateFault):
        build(HEADER, BODY, (replace(PART, file_name=name),), now)


def test_a_body_that_cannot_be_encoded_is_a_fault(now):
    with pytest.raises(TemplateFault, match="could not be built"):
        build(HEADER, "\ud800", (), now)


def test_a_subject_the_generator_would_change_is_a_fault(now):
    with pytest.raises(TemplateFault, match="otherwise than it was written"):
        build(replace(HEADER, subject="=?utf-8?b?44GC?="), BODY, (), now)


@given(SUBJECTS)
def test_a_subject_arrives_as_it_was_written_or_not_at_all(subject):
    header = replace(HEADER, subject=subject)
    try:
        raw = build(header, BODY, (), datetime(2026, 11, 24, tzinfo=UTC))
    except TemplateFault:
        return
    read = message_from_bytes(raw, policy=default)
    assert "".join(read["Subject"].split()) == "".join(subject.split())
    assert " ".join(read.keys()) == (
        "From To Reply-To Subject Date Message-ID In-Reply-To References Auto-Submitted "
        "Content-Type Content-Transfer-Encoding MIME-Version"
    )


@pytest.mark.parametrize("text", ["<a@b>", "<1.2$x@mail.example>"])
def test_a_message_id_can_carry_a_thread(text):
    assert is_message_id(text)


@pytest.mark.parametrize(
    "text", ["", "a@b", "<a>", "<a@b> <c@d>", "<a b@c>", "<あ@b>", "<a@b>\n", "<" + "x" * 121 + "@b>"]
)
def test_what_is_no_message_id_carries_no_thread(text):
    assert not is_message_id(text)
