"""Mail that looks automatic: never answered, and told to the reviewer where a person may stand behind it."""

from __future__ import annotations

import json
from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest

from handlers import notice_rates
from handlers.outcomes import Handled, Refused
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.application_mails import FORM, form_with, mail_with
from tests.handlers.applications.receipt_cases import CONTACT, application_mail, mail_to, queued
from tests.handlers.reply_cases import REVIEWER, reply, take_up, written
from tests.handlers.review_cases import DESK, receive, take_contracts

TOLD = "reviewer/automatic-form"
BULK = b"Precedence: bulk\r\n"


@pytest.fixture
def office(store, now):
    """The store with the sample office."""
    take_contracts(store, now)
    return store


def arrive(store, now, raw=None, **envelope):
    return take_up(store, application_mail(now, BULK + mail_with() if raw is None else raw, **envelope), now)


def text(store):
    mail = message_from_bytes(mail_to(store, TOLD, REVIEWER), policy=default)
    return mail["Subject"] + "\n" + mail.get_content().replace("\r\n", "\n")


def told(store):
    return queued(store).count((TOLD, REVIEWER))


def test_a_form_in_an_automatic_mail_is_told_to_the_reviewer_and_to_nobody_else(office, now):
    outcome = arrive(office, now, mail_id=7)
    assert outcome == Refused("automatic mail, not answered: Precedence: bulk; the reviewer was told")
    assert queued(office) == [(TOLD, REVIEWER)]
    for words in ("（CT0001）", "照会番号 : 7", CONTACT, "Precedence", "信頼するネットワーク", "mail show 7"):
        assert words in text(office), words
    assert "お知らせしていないもの" not in text(office)


@only_sqlite
def test_an_author_nobody_could_verify_is_called_so(office, now):
    arrive(office, now, trusted=False)
    assert "確認できていません" in text(office)
    assert "Auto-Response" not in text(office)


@only_sqlite
@pytest.mark.parametrize(
    "raw",
    [
        mail_with("お世話になっております。\n", files=()),
        mail_with("自動応答です。\n【以上】\n【お知らせ】\n不在です。\n"),
        mail_with("不在です。\n\n-----Original Message-----\nFrom: a\n\n【申込担当者】\n電話番号:\n", files=()),
        mail_with().replace(b"<1@applicant.example>", b"<382872872311328768@nss.center.example>"),
    ],
    ids=["text", "headings of others", "an empty form in a quote", "a mail of ours"],
)
def test_what_holds_nothing_of_a_person_is_not_told(office, now, raw):
    assert arrive(office, now, BULK + raw) == Refused("automatic mail, not answered: Precedence: bulk")
    assert queued(office) == []


@only_sqlite
@pytest.mark.parametrize(
    "raw",
    [
        mail_with("【申込内容】\n事業所 CT0001 の申込です。\n", files=()),
        mail_with("よろしくお願いします。\n", [("application.json", json.dumps({"application": {}}).encode())]),
        mail_with("-----Original Message-----\nFrom: a\n\n" + FORM),
        mail_with("【取下げ】\n", files=()),
    ],
    ids=["words in a section", "for machines", "in a quote", "a mark"],
)
def test_what_a_person_may_have_meant_is_told(office, now, raw):
    arrive(office, now, BULK + raw)
    assert queued(office) == [(TOLD, REVIEWER)]


@only_sqlite
@pytest.mark.parametrize("address", ["apply", "form", "schedule"])
def test_it_is_told_to_whatever_address_it_was_sent(office, now, address):
    arrive(office, now, rcpt_to=f"{address}@{DESK.support_domain}")
    assert f"{address}@{DESK.support_domain}" in text(office)


@only_sqlite
def test_a_filled_form_from_somebody_away_is_told_where_nobody_would_answer_it(office, now):
    raw = mail_with(subject="自動応答: 利用申込")
    assert isinstance(arrive(office, now, raw, rcpt_to=f"form@{DESK.support_domain}"), Refused)
    assert "件名が不在の自動応答のものです" in text(office)
    assert isinstance(arrive(office, now, raw.replace(b"<1@", b"<2@")), Handled), "an application is one all the same"


def test_a_mark_to_a_case_is_told_with_its_number_and_without_its_token(office, now):
    receive(office, now)
    mail = reply(now, "【取下げ】\n取りやめます。\n", mail_from="")
    assert isinstance(take_up(office, mail, now), Refused)
    assert queued(office) == [(TOLD, REVIEWER)]
    assert "（260001A）" in text(office)
    assert "【取下げ】" in text(office)
    assert mail.rcpt_to not in text(office)


@only_sqlite
def test_an_answer_of_somebody_away_to_a_case_says_nothing(office, now):
    receive(office, now)
    away = reply(now, "", raw=written("本日は休暇です。\n", subject="自動応答: お知らせ"))
    assert take_up(office, away, now).reason.endswith("its subject says that its writer is away")
    assert queued(office) == []


def test_of_one_sender_the_reviewer_hears_once_an_hour_and_how_many_were_passed_over(office, now):
    outcomes = [arrive(office, now + timedelta(minutes=minutes)) for minutes in (0, 1, 59)]
    assert told(office) == 1
    assert outcomes[-1].reason.endswith("the reviewer was told of others lately")
    arrive(office, now + timedelta(minutes=60))
    assert told(office) == 2
    assert "2通" in text(office)
    arrive(office, now + timedelta(minutes=120))
    assert told(office) == 3
    assert "お知らせしていないもの" not in text(office)


def test_many_senders_together_are_told_a_few_times(office, now):
    for number in range(20):
        raw = BULK + mail_with(sender=f"sender{number}@elsewhere.example")
        arrive(office, now + timedelta(seconds=number), raw)
    assert told(office) == notice_rates.AT_ONCE
    later = now + notice_rates.GAP + timedelta(minutes=1)
    arrive(office, later, BULK + mail_with(form_with(None), sender="another@elsewhere.example"))
    assert told(office) == notice_rates.AT_ONCE + 1
    assert "15通" in text(office)


@only_sqlite
def test_a_sender_may_have_the_longest_address(office, now):
    sender = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 55}.example"
    arrive(office, now, BULK + mail_with(sender=sender), mail_from=sender)
    assert sender in text(office).replace("\n", "").replace(" ", "")
