from __future__ import annotations

from datetime import date
from email import message_from_bytes, policy

import pytest

from handlers import reviews
from handlers.applications.contents import LineAction
from handlers.id_notices import confirmed_start
from handlers.reviews import NewLine
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
from tests.mail_templates.mail_stories import NEW_COLUMNS

APPLICANT = "tsukan-hanako@applicant.example"


def complete(store, now, start_date=None, said=None, **details):
    receive(store, now, said=said)
    done = store.run(
        lambda session: reviews.complete(session, DESK, "260001A", start_date, "os:reviewer", now, CALENDAR, **details)
    )
    assert isinstance(done, reviews.Decided)


def read(store, name):
    mail = message_from_bytes(notice_to(store, f"applicant/{name}", APPLICANT), policy=policy.default)
    return str(mail["Subject"]), mail.get_content().replace("\r\n", "\n")


def test_a_line_that_is_added_is_shown_with_its_lan_and_one_that_is_cancelled_by_its_number(store, now):
    take_contracts(store, now)
    said = contents(
        line_change(action=LineAction.ADD, router_number="", **NEW_COLUMNS),
        no_servers(router_number="09143", action=LineAction.CANCEL),
        items=("naccs_lines", "naccs_terminals"),
    )
    complete(store, now, said=said, new_lines=(NewLine(router_number="09300", lan_subnet="127.20.30.0/24"),))
    body = read(store, "id-notice")[1]
    assert "【回線】（追加）\n  ルータ番号 : 09300\n  区分 : 共用\n  LAN側ネットワーク : 127.20.30.0/24\n" in body
    assert "【回線】（廃止）\n  ルータ番号 : 09143\n" in body
    assert body.count("【論理端末】（削除）") == 2


def test_where_nothing_is_issued_the_notice_says_so(store, now):
    take_contracts(store, now)
    complete(store, now, said=contents(items=("billing_contact",)).model_copy(update={"lines": ()}))
    assert "このお申込みで追加・変更・削除される論理端末はありません。" in read(store, "id-notice")[1]
    assert "パスワードはありません" in read(store, "review-complete")[1]


def test_addresses_alone_bring_no_password_and_replace_no_address(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    complete(store, now, said=contents(no_servers(mail_addresses=2, target_terminal="60777S")))
    assert "パスワードはありません" in read(store, "review-complete")[1]
    assert "これまでのものも引き続き使えます。" in read(store, "id-notice")[1]


def test_where_a_terminal_is_new_its_password_is_spoken_of_and_its_addresses_are_all_it_has(store, now):
    take_contracts(store, now)
    complete(store, now)
    assert "パスワードはありません" not in read(store, "review-complete")[1]
    assert "これまでのものも" not in read(store, "id-notice")[1]


def test_system_settings_that_came_in_already_are_not_asked_for_again(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(items=("naccs_terminals", "system_settings")), settings_received_at=now)
    store.run(lambda session: reviews.complete(session, DESK, "260001A", None, "os:reviewer", now, CALENDAR))
    body = read(store, "review-complete")[1]
    assert "※ システム設定申込は受け付けています。" in body
    assert "お申込みは無効になります" not in body


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
