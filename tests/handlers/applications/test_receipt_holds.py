from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from sqlalchemy import func, select

from handlers.applications.receipt_holds import HoldReason
from handlers.outcomes import Held
from storage.models import Application, Contact, Office, ReceiptCounter
from storage.store import new_key, opened
from tests.handlers.applications.application_mails import form_with, mail_with
from tests.handlers.applications.receipt_cases import (
    ADMINISTRATOR,
    CONTACT,
    application_mail,
    change_office,
    mail_to,
    numbered,
    queued,
    take_in,
    wrong_mail,
)
from tests.handlers.review_cases import DESK, audited, take_contracts

HELD = "applicant/application-held"
WAITING = "reviewer/application-waiting"
REVIEWER = DESK.reviewer_address
STRANGER = "someone@elsewhere.example"


@pytest.fixture
def office(store, now):
    """The store with the office of the sample file."""
    take_contracts(store, now)
    return store


def text_of(raw):
    return message_from_bytes(raw, policy=default).get_content().replace("\r\n", "\n")


def from_stranger(raw=None):
    return (mail_with() if raw is None else raw).replace(CONTACT.encode(), STRANGER.encode(), 1)


def unknown_office(number=1):
    raw = mail_with(form_with({"申込内容/事業所コード": "ZZ9999"}))
    return raw.replace(b"<1@applicant.example>", f"<{number}@applicant.example>".encode())


@pytest.mark.parametrize(
    ("raw", "envelope", "reason"),
    [
        (mail_with(), {"trusted": False}, HoldReason.UNVERIFIED),
        (wrong_mail(), {"trusted": False}, HoldReason.UNVERIFIED),
        (b"Received: from a by b; now\r\n" + mail_with(), {}, HoldReason.UNVERIFIED),
        (from_stranger(), {}, HoldReason.NOT_REGISTERED),
        (from_stranger(), {"trusted": False}, HoldReason.UNVERIFIED),
        (b"From: other@applicant.example\r\n" + mail_with(), {}, HoldReason.NO_SINGLE_AUTHOR),
        (b"From: other@applicant.example\r\n" + wrong_mail(), {}, HoldReason.NO_SINGLE_AUTHOR),
    ],
    ids=[
        "untrusted",
        "untrusted-wrong",
        "relayed",
        "stranger",
        "untrusted-stranger",
        "two-authors",
        "two-authors-wrong",
    ],
)
def test_a_mail_whose_author_cannot_be_believed_is_held(office, now, raw, envelope, reason):
    outcome = take_in(office, application_mail(now, raw, **envelope), now)
    assert outcome == Held(reason.in_english)
    assert sorted(queued(office)) == sorted([(HELD, CONTACT), (HELD, ADMINISTRATOR), (WAITING, REVIEWER)])
    models = (Application, ReceiptCounter)
    counts = office.read(lambda session: [session.scalar(select(func.count()).select_from(row)) for row in models])
    assert counts == [0, 0]


def test_nothing_goes_to_the_address_that_wrote_it(office, now):
    take_in(office, application_mail(now, from_stranger(), trusted=False, mail_from=STRANGER), now)
    assert STRANGER not in {address for _, address in queued(office)}


def test_the_office_learns_who_wrote_and_nothing_of_the_text(office, now):
    raw = from_stranger(mail_with(subject="至急ご確認ください"))
    take_in(office, application_mail(now, raw, trusted=False, mail_id=7), now)
    text = text_of(mail_to(office, HELD, CONTACT))
    assert text.startswith("ナックス商事株式会社 第一営業部 第一営業部通関課\n通関　花子 様\n")
    assert f"差出人 : {STRANGER}" in text
    assert "照会番号 : 7" in text
    assert "至急" not in text


def test_the_reviewer_learns_what_there_is_to_know(office, now):
    raw = from_stranger(wrong_mail())
    take_in(office, application_mail(now, raw, trusted=False, mail_id=7, peer="192.0.2.1"), now)
    text = text_of(mail_to(office, WAITING, REVIEWER))
    for line in (
        "照会番号 : 7",
        "事業所コード : CT0001",
        f"止めた理由 : {HoldReason.UNVERIFIED.in_japanese}",
        f"差出人（From） : {STRANGER}",
        "接続元 : 192.0.2.1",
        "件名 : 利用申込",
        "誤りが2件あります",
        "2名に、確認のお願いを送りました",
    ):
        assert line in text


def test_an_author_that_cannot_be_read_is_not_quoted(office, now):
    raw = b"From: other@applicant.example\r\n" + mail_with()
    take_in(office, application_mail(now, raw), now)
    assert "差出人 : （一人の差出人として読み取れません）" in text_of(mail_to(office, HELD, CONTACT))


def test_an_office_is_told_once_an_hour_and_the_reviewer_each_time(office, now):
    for number, minutes in ((1, 0), (2, 59), (3, 60)):
        instant = now + timedelta(minutes=minutes)
        take_in(office, application_mail(instant, numbered(number), trusted=False), instant)
    assert queued(office).count((HELD, CONTACT)) == 2
    assert queued(office).count((WAITING, REVIEWER)) == 3


def test_two_mails_held_at_once_tell_the_office_once(office, store_url, now):
    def hold_five(process):
        with opened(store_url) as own:
            for number in range(5):
                mail = application_mail(now, numbered(process * 5 + number), trusted=False)
                assert isinstance(take_in(own, mail, now), Held)

    with ThreadPoolExecutor(2) as processes:
        list(processes.map(hold_five, range(2)))
    assert queued(office).count((HELD, CONTACT)) == 1
    assert queued(office).count((WAITING, REVIEWER)) == 10


def test_an_unknown_office_is_told_to_the_reviewer_only(office, now):
    assert isinstance(take_in(office, application_mail(now, unknown_office(), trusted=False), now), Held)
    assert queued(office) == [(WAITING, REVIEWER)]
    assert "事業所が分からないため" in text_of(mail_to(office, WAITING, REVIEWER))


def test_a_flood_of_held_mails_is_no_flood_for_the_reviewer(office, now):
    for number in range(22):
        mail = application_mail(now, unknown_office(number), trusted=False, mail_id=number)
        assert isinstance(take_in(office, mail, now), Held)
    assert queued(office) == [(WAITING, REVIEWER)] * 20
    assert "この1時間のお知らせはこれが最後です" in text_of(mail_to(office, WAITING, REVIEWER))


def test_an_office_without_a_usable_address_is_told_nothing(office, now):
    def lose_addresses(row: Office) -> None:
        row.administrator_email = ""
        for person in row.contacts:
            person.email = "nowhere"

    change_office(office, lose_addresses)
    take_in(office, application_mail(now, trusted=False), now)
    assert queued(office) == [(WAITING, REVIEWER)]


def test_a_contact_who_is_the_administrator_too_gets_one_mail(office, now):
    def add(session):
        row = session.scalars(select(Office)).one()
        session.add(Contact(id=new_key(session), office_id=row.id, name="管理　太郎", email=ADMINISTRATOR.upper()))

    office.run(add)
    take_in(office, application_mail(now, trusted=False), now)
    told = [address.lower() for template, address in queued(office) if template == HELD]
    assert sorted(told) == sorted([CONTACT, ADMINISTRATOR])


def test_holding_is_audited(office, now):
    take_in(office, application_mail(now, trusted=False, mail_id=7), now)
    take_in(office, application_mail(now, unknown_office(2), trusted=False, mail_id=8), now)
    detail = HoldReason.UNVERIFIED.in_english
    assert audited(office, "mail:7") == [("application_held", "gateway", f"{detail}; office CT0001")]
    assert audited(office, "mail:8") == [("application_held", "gateway", f"{detail}; office unknown")]
