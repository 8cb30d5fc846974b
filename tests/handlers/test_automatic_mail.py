from __future__ import annotations

from dataclasses import replace

import pytest

from handlers.automatic_mail import correspondent, is_own, why_absent, why_automatic
from tests.handlers.applications.application_mails import inbound, mail_with
from tests.handlers.review_cases import DESK


def with_header(line: str):
    return inbound(line.encode() + b"\r\n" + mail_with())


def test_a_persons_mail_may_be_answered():
    assert why_automatic(inbound(mail_with()), DESK) is None


def test_the_null_sender_is_never_answered():
    mail = replace(inbound(mail_with()), mail_from="")
    assert why_automatic(mail, DESK) == "null envelope sender"


@pytest.mark.parametrize(
    "line",
    [
        "Auto-Submitted: auto-generated",
        "Auto-Submitted: auto-replied (vacation)",
        "AUTO-SUBMITTED: Auto-Notified; owner-email=a@b.example",
        "List-Id: <brokers.lists.example>",
        "List-Unsubscribe: <mailto:leave@lists.example>",
        "Precedence: bulk",
        "Precedence: List",
        "precedence: junk ",
        "Precedence: auto_reply",
        "X-Autoreply: yes",
        "X-Autorespond: vacation",
    ],
)
def test_a_machines_mail_is_not_answered(line):
    assert why_automatic(with_header(line), DESK) is not None


@pytest.mark.parametrize("value", ["All", "DR, RN, OOF, AutoReply", "oof"])
@pytest.mark.parametrize("envelope", [{"trusted": True}, {"signed_by": ("applicant.example",)}])
def test_what_exchange_puts_on_mail_of_people_is_no_sign_where_the_author_is_verified(value, envelope):
    line = f"X-Auto-Response-Suppress: {value}"
    mail = replace(with_header(line), trusted=False)
    assert why_automatic(mail, DESK) == "X-Auto-Response-Suppress: it wants no automatic answer"
    assert why_automatic(replace(mail, signed_by=("elsewhere.example",)), DESK) is not None
    assert why_automatic(replace(mail, **envelope), DESK) is None
    with_more = replace(with_header(f"Precedence: bulk\r\n{line}"), **envelope)
    assert why_automatic(with_more, DESK) == "Precedence: bulk"
    assert why_automatic(replace(mail, mail_from="", **envelope), DESK) == "null envelope sender"


def test_a_correspondent_has_one_short_name_in_any_case_of_letters():
    address = f"{'a' * 64}@{'b' * 60}.example"
    assert correspondent(address) == correspondent(address.upper())
    assert correspondent(address) != correspondent("a@b.example")
    assert len(correspondent(address)) == 16


@pytest.mark.parametrize(
    "line",
    [
        "Auto-Submitted: no",
        "Precedence: first-class",
        "Precedence:",
        "X-List: a",
        "X-Autoreply: no",
        "X-Auto-Response-Suppress: None",
        "X-Auto-Response-Suppress: DR, RN, NRN",
    ],
)
def test_a_field_that_says_otherwise_is_no_sign(line):
    assert why_automatic(with_header(line), DESK) is None


@pytest.mark.parametrize(
    "subject",
    ["自動応答: お知らせ", "【自動返信】お知らせ", "不在通知", "Automatic reply: x", "Auto-Reply", "Out of Office: x"],
)
def test_the_subject_of_somebody_away_is_known(subject):
    assert why_absent(inbound(mail_with(subject=subject))) is not None


@pytest.mark.parametrize("subject", ["利用申込", "Re: 自動応答: お知らせ", "自動応答装置の追加", "Out of officer", ""])
def test_other_subjects_are_no_sign(subject):
    assert why_absent(inbound(mail_with(subject=subject))) is None


@pytest.mark.parametrize("sender", ["MAILER-DAEMON", "mailer-daemon@applicant.example"])
def test_a_mailer_daemon_is_not_answered(sender):
    mail = replace(inbound(mail_with()), mail_from=sender)
    assert why_automatic(mail, DESK) == "sent by a mailer daemon"


@pytest.mark.parametrize(
    "sender",
    [
        "nss@nss.center.example",
        "APPLY@NSS.CENTER.EXAMPLE",
        "case+260001A.aaaaaaaaaaaaaaaa@nss.center.example",
        "bounce+1.aaaaaaaaaaaaaaaa@nss.center.example",
        "postmaster@nss.center.example",
    ],
)
def test_the_gateway_does_not_answer_itself(sender):
    in_envelope = replace(inbound(mail_with()), mail_from=sender)
    in_header = inbound(mail_with(sender=sender))
    assert why_automatic(in_envelope, DESK) == "sent by this gateway"
    assert is_own(in_header, DESK)


def test_a_notice_that_comes_back_is_known_by_its_message_id():
    raw = mail_with().replace(b"<1@applicant.example>", b"<382872872311328768@nss.center.example>")
    assert is_own(inbound(raw), DESK)


def test_a_person_of_the_support_domain_is_no_machine():
    mail = inbound(mail_with(sender="reviewer@nss.center.example"))
    assert not is_own(mail, DESK)


def test_a_mail_without_author_and_message_id_is_not_ours():
    assert not is_own(inbound(b"Subject: x\r\n\r\ntext\r\n"), DESK)
