from __future__ import annotations

import pytest

from handlers.applications.blank_form import blank_form
from handlers.applications.checks import Accepted
from tests.handlers.applications.application_mails import (
    DIAGRAM,
    FILE_KINDS,
    FORM,
    TODAY,
    accepted,
    broken_places,
    form_with,
    mail_with,
    read,
    workbook,
)

NEWER = form_with({"申込担当者/役職名": "課長"})
BLANK = blank_form(TODAY)


def outlook(*mails: str) -> str:
    """Mails each quoted by the one before as Outlook does."""
    header = "\n-----Original Message-----\nFrom: x\nSent: y\nTo: z\nSubject: s\n\n"
    return header.join(mails)


def japanese(*mails: str) -> str:
    header = "\n________________________________\n差出人: x\n送信日時: y\n宛先: z\nCC: c\n件名: s\n\n"
    return header.join(mails)


@pytest.mark.parametrize("quoting", [outlook, japanese])
class TestQuotes:
    def title(self, text: str) -> str | None:
        return accepted(mail_with(text)).contents.applicant.title

    def test_the_new_form_counts_beside_a_quoted_one(self, quoting):
        assert self.title(quoting(NEWER, FORM)) == "課長"

    def test_a_form_filled_in_inside_the_quote_is_used(self, quoting):
        assert self.title(quoting("記入しました。\n", FORM)) == "係長"

    def test_of_several_quoted_forms_the_newest_that_is_filled_in_is_used(self, quoting):
        forms = [form.replace("【以上】\n", "") for form in (NEWER, FORM)]
        assert self.title(quoting("転送します。\n", *forms)) == "課長"
        assert self.title(quoting("転送します。\n", BLANK.replace("【以上】\n", ""), FORM)) == "係長"

    def test_a_blank_form_in_the_quote_is_all_of_its_errors(self, quoting):
        assert "申込担当者/電話番号: required" in broken_places(mail_with(quoting("よろしく", BLANK)))


class TestRichText:
    def test_a_winmail_is_told_beside_the_errors_of_the_form_and_the_missing_diagram_is_not(self):
        raw = mail_with(form_with({"申込担当者/電話番号": "1"}), [("winmail.dat", FILE_KINDS["winmail"]())])
        assert broken_places(raw) == ["/メール本文: winmail", "申込担当者/電話番号: phone"]

    @pytest.mark.parametrize("text", ["よろしくお願いします。", ""])
    def test_a_winmail_without_a_form_is_one_error(self, text):
        assert broken_places(mail_with(text, [("winmail.dat", b"")])) == ["/メール本文: winmail"]

    def test_a_winmail_beside_everything_may_hide_more(self):
        assert broken_places(mail_with(files=[(DIAGRAM, workbook()), ("winmail.dat", b"")])) == ["/メール本文: winmail"]


class TestEncryption:
    def test_an_envelope_is_told(self):
        raw = (
            b"From: a@b.example\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nMIIB\r\n"
        )
        assert broken_places(raw) == ["/メール本文: mail_encrypted"]

    def test_a_pgp_message_is_told_in_the_text_and_as_a_part(self):
        text = "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n"
        assert broken_places(mail_with(text, [])) == ["/メール本文: mail_encrypted"]
        raw = (
            b"Content-Type: multipart/encrypted; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
            b"--b\r\nContent-Type: application/octet-stream; name=encrypted.asc\r\n\r\nx\r\n--b--\r\n"
        )
        assert broken_places(raw) == ["/メール本文: mail_encrypted"]

    def test_a_signature_is_no_file_of_the_application(self):
        raw = mail_with(files=[(DIAGRAM, workbook()), ("smime.p7s", b"0")])
        start = raw.rindex(b"application/octet-stream")
        raw = raw[:start] + raw[start:].replace(b"application/octet-stream", b"application/pkcs7-signature", 1)
        outcome = read(raw)
        assert isinstance(outcome, Accepted)
        assert (outcome.warnings, outcome.contents.files) == ((), ())
