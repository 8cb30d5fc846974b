"""Mails as operators may see them: no password, no token, in whatever encoding they stand (semantics §9, §11)."""

from __future__ import annotations

import base64
import quopri

import pytest

from handlers import case_tokens
from handlers.mail_view import mail_text, shown_bytes, without_tokens
from storage.models import Mail
from tests.gateway.test_listeners import edi_mail
from tests.handlers.exchanged_mails import add_mail
from tests.handlers.review_cases import DESK
from tests.handlers.test_terminals import only_sqlite

CASE = f"{case_tokens.case_local_part(DESK.token_key, '260001A', 'a@x.example')}@nss.center.example"
TOKEN = CASE.partition(".")[2].partition("@")[0]
HIDDEN = CASE.replace(TOKEN, "*" * len(TOKEN))
TEXT = f"返信先: {CASE} です。\r\n".encode()


def letter(encoding: str, body: bytes) -> bytes:
    return (
        f"Reply-To: {CASE}\r\nSubject: a\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode() + body


def in_lines(text: bytes, width: int) -> bytes:
    return b"\r\n".join(text[at : at + width] for at in range(0, len(text), width)) + b"\r\n"


@pytest.mark.parametrize(
    "body",
    [
        letter("8bit", TEXT),
        letter("quoted-printable", quopri.encodestring(TEXT).replace(b"\n", b"\r\n")),
        letter("quoted-printable", CASE.encode().replace(b"+", b"=2B").replace(b"@", b"=40")),
        letter("quoted-printable", CASE[:20].encode() + b"=\r\n" + CASE[20:].encode() + b"\r\n"),
        letter("base64", in_lines(base64.b64encode(TEXT), 76)),
        letter("base64", in_lines(base64.b64encode(b"x" + TEXT), 20)),
        letter("base64", base64.b64encode(b"xy" + TEXT).rstrip(b"=")),
        letter("8bit", CASE.upper().encode()),
    ],
)  # fmt: skip
def test_a_token_is_written_over_and_nothing_else_changes(body):
    hidden = without_tokens(body)
    decoded = (hidden, base64.b64decode(hidden.partition(b"\r\n\r\n")[2] + b"=="), quopri.decodestring(hidden))
    assert not any(TOKEN.encode() in text.lower() for text in decoded)
    assert len(hidden) == len(body)
    assert hidden.startswith(f"Reply-To: {HIDDEN}\r\nSubject: a\r\n".encode())
    changed = sum(before != after for before, after in zip(hidden, body, strict=True))
    assert changed <= 2 * 16 + 24


@pytest.mark.parametrize("content", [b"", edi_mail(), bytes(range(256)) * 8, b"case+1.@ bounce+.x@ case+1.x\r\n"])
def test_a_mail_without_a_token_stays_as_it_is(content):
    assert without_tokens(content) == content


@only_sqlite
@pytest.mark.parametrize("listener", ["naccs", "public", "gateway"])
def test_the_password_of_a_request_is_blanked_wherever_it_came_in(store, now, listener):
    def shown(session) -> bytes:
        return shown_bytes(session, add_mail(session, now, edi_mail(), listener=listener))

    assert store.run(shown) == edi_mail().replace(b"PASSWD01", b" " * 8)


@only_sqlite
def test_a_letter_loses_no_characters_to_the_place_of_a_password(store, now):
    content = letter("8bit", "拝啓、お世話になっております。通関花子です。よろしくお願いします。".encode())

    def shown(session) -> tuple[Mail, bytes]:
        mail = add_mail(session, now, content, listener="public")
        return mail, shown_bytes(session, mail)

    mail, hidden = store.run(shown)
    text = mail_text(mail, hidden)
    assert text.text == "拝啓、お世話になっております。通関花子です。よろしくお願いします。"
    assert dict(text.headers)["subject"] == "a"


@only_sqlite
@pytest.mark.parametrize(
    ("listener", "content", "expected"),
    [
        ("backend", b"a: b\r\n\r\n" + "輸入申告\r\n".encode("euc-jp"), "輸入申告\r\n"),
        ("backend", b"a: b\r\n\r\n<?xml version='1.0'?>" + "<a>輸入</a>".encode(), "<?xml version='1.0'?><a>輸入</a>"),
        ("backend", b"a: b\r\n\r\n\xff\xfe\x00", "��\x00"),
        ("public", b"Subject: a\r\n\r\nnew\r\n> old\r\n", "new\n> old\n"),
    ],
)
def test_the_text_is_read_in_the_encoding_of_its_family(store, now, listener, content, expected):
    mail = store.run(lambda session: add_mail(session, now, content, listener=listener))
    assert mail_text(mail, content).text == expected


@only_sqlite
def test_attachments_are_named(store, now):
    content = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n'
        b'--b\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\n'
    )
    mail = store.run(lambda session: add_mail(session, now, content, listener="public"))
    assert mail_text(mail, content).attachments == ("a.pdf",)
