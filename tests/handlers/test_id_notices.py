from __future__ import annotations

from datetime import date
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from handlers import reviews
from handlers.id_notices import confirmed_start
from handlers.text_columns import columns
from storage.models import Application
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    WITH_SMTP_SERVER,
    contents,
    line_change,
    no_servers,
    notice_to,
    receive,
    take_contracts,
)

GOLDEN = Path(__file__).parent / "golden"
APPLICANT = "tsukan-hanako@applicant.example"


def complete(store, now, start_date=None, said=None):
    receive(store, now, said=said)
    done = store.run(
        lambda session: reviews.complete(session, DESK, "260001A", start_date, "os:reviewer", now, CALENDAR)
    )
    assert isinstance(done, reviews.Decided)


def read(store, name):
    mail = message_from_bytes(notice_to(store, f"applicant/{name}", APPLICANT), policy=policy.default)
    return str(mail["Subject"]), mail.get_content().replace("\r\n", "\n")


def shown(store, name):
    subject, body = read(store, name)
    return f"Subject: {subject}\n\n{body}"


@pytest.mark.parametrize("name", ["review-complete", "id-notice"])
def test_the_mail_of_the_seeds_case_reads_as_kept(store, now, name):
    take_contracts(store, now)
    complete(store, now)
    assert shown(store, name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_the_id_notice_of_added_changed_and_deleted_terminals_reads_as_kept(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    said = contents(
        line_change(interactive_terminals=1, mail_addresses=2, addresses_of_new_servers=(2,)),
        no_servers(mail_addresses=1, target_terminal="60777S", terminals_to_delete=("25130M",)),
    )
    complete(store, now, said=said)
    assert shown(store, "id-notice") == (GOLDEN / "id-notice-all-changes.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["review-complete", "id-notice"])
def test_no_line_is_wider_than_76_columns(store, now, name):
    take_contracts(store, now)
    complete(store, now, said=contents(items=("naccs_terminals", "system_settings")))
    assert max(columns(line) for line in read(store, name)[1].splitlines()) <= 76


def test_each_person_has_a_salutation_and_a_reply_address_of_their_own(store, now):
    take_contracts(store, now)
    complete(store, now)
    mails = [
        message_from_bytes(notice_to(store, "applicant/id-notice", address), policy=policy.default)
        for address in (APPLICANT, "kanri@applicant.example")
    ]
    bodies = [mail.get_content() for mail in mails]
    assert "第一営業部通関課" in bodies[0]
    assert "通関　花子 様" in bodies[0]
    assert "管理　太郎 様" in bodies[1]
    assert all(str(mail["Reply-To"]).startswith("case+260001A.") for mail in mails)
    assert mails[0]["Reply-To"] != mails[1]["Reply-To"]


@pytest.mark.parametrize(
    ("start", "last_day"),
    [
        (date(2026, 12, 12), "2026年12月15日"),  # a Saturday
        (date(2026, 12, 14), "2026年12月16日"),
        (date(2026, 12, 25), "2027年1月4日"),
        (date(2026, 12, 28), "2027年1月5日"),
        (date(2026, 5, 1), "2026年5月8日"),
        (date(2026, 9, 18), "2026年9月25日"),
    ],
)
def test_passwords_can_be_seen_until_the_second_business_day_after_the_start(store, now, start, last_day):
    at = now.replace(month=start.month, day=1)
    take_contracts(store, at)
    complete(store, at, start)
    _, body = read(store, "review-complete")
    assert "パスワードの参照期間：本日～利用開始日の2営業日後まで" in body
    assert f"（2026年{start.month}月1日～{last_day}）" in body


@pytest.mark.parametrize(
    ("start", "deadline"),
    [(date(2026, 12, 14), "2026年12月8日"), (date(2027, 1, 4), "2026年12月23日")],
)
def test_the_deadline_for_system_settings_is_printed_where_they_are_needed(store, now, start, deadline):
    take_contracts(store, now)
    complete(store, now, start, contents(items=("naccs_terminals", "identification_numbers")))
    assert f"システム設定申込締切日 : {deadline}" in read(store, "review-complete")[1]


def test_the_package_manual_is_named_only_where_a_pc_is_new(store, now):
    take_contracts(store, now)
    complete(store, now, said=contents(line_change(gateway_servers=1)))
    assert DESK.package_url not in read(store, "id-notice")[1]


def test_no_password_is_in_the_id_notice(store, now):
    take_contracts(store, now)
    complete(store, now)
    body = read(store, "id-notice")[1]
    assert "事業所パスワード : *****" in body
    assert "change-me" not in body
    assert "PASSWD01" not in body


def test_an_application_that_is_not_completed_has_no_confirmed_start():
    with pytest.raises(ValueError, match="260001A"):
        confirmed_start(Application(receipt_number="260001A"))
