"""`application held|release` on the command line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.cli.held import REFUSALS
from handlers.applications.held_release import ReleaseReason
from handlers.case_tokens import case_token
from storage.clock import move_clock
from tests.gateway.command_line import on_store
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.application_mails import form_with, mail_with
from tests.handlers.applications.receipt_cases import CONTACT
from tests.handlers.applications.test_held_release import CASE, held, row_of
from tests.handlers.reply_cases import NUMBER, STRANGER, written
from tests.handlers.review_cases import DESK, notices_sent, take_contracts


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    made = on_store(store, store_url, tmp_path, now)
    (tmp_path / "secret.key").write_text("00" * 32)
    (tmp_path / "secret.key").chmod(0o600)
    take_contracts(store, now)
    return made


def test_every_refusal_has_words():
    assert set(REFUSALS) == set(ReleaseReason)


def test_held_mail_is_listed(command_line, store, now):
    mail_id = held(store, now)
    [row] = command_line.json("application", "held")
    assert (row["mail_id"], row["author"], row["subject"]) == (str(mail_id), CONTACT, "利用申込")
    assert row["expires_at"].startswith("2026-12-08T01:00:00")
    shown = command_line.run("application", "held").stdout
    assert str(mail_id) in shown
    assert "期限" in shown


@only_sqlite
def test_no_token_and_no_control_character_is_listed(command_line, store, now):
    held(store, now, written("【取下げ】\n", sender=STRANGER, subject="x\x1b[31m"), to=CASE, sender=STRANGER)
    held(store, now, b"From: a@b.example\r\n" + mail_with())
    shown = command_line.run("application", "held").stdout + str(command_line.json("application", "held"))
    assert case_token(DESK.token_key, NUMBER, CONTACT) not in shown
    assert "\x1b" not in shown
    assert "差出人を一人に読み取れません" in shown


def test_a_mail_is_released(command_line, store, now):
    mail_id = held(store, now)
    found = command_line.json("application", "release", str(mail_id))
    assert (found["mail_id"], found["receipt_number"], found["state"]) == (str(mail_id), NUMBER, "handled")
    again = command_line.run("application", "release", str(mail_id))
    assert again.exit_code == 1
    assert "止めているメールではありません（handled）" in again.stderr


def test_a_preview_shows_the_mails_and_changes_nothing(command_line, store, now):
    mail_id = held(store, now)
    before = notices_sent(store)
    found = command_line.json("application", "release", str(mail_id), "--preview")
    assert found["mails"][0]["to"] == CONTACT
    shown = command_line.run("application", "release", str(mail_id), "--preview").stdout
    assert "【NSS】利用申込受付完了のお知らせ" in shown
    assert "何も変えていません" in shown
    assert (notices_sent(store), row_of(store, mail_id).state) == (before, "held")


@only_sqlite
def test_errors_that_nobody_could_be_told_are_shown(command_line, store, now):
    raw = mail_with(form_with({"申込内容/事業所コード": "ZZ9999"})).replace(CONTACT.encode(), STRANGER.encode())
    mail_id = held(store, now, raw, sender=STRANGER)
    result = command_line.run("application", "release", str(mail_id))
    assert result.exit_code == 1
    assert "【申込内容】事業所コード" in result.stderr
    as_json = command_line.run("application", "release", str(mail_id), "--json")
    assert '"office_unknown"' in as_json.stdout
    assert row_of(store, mail_id).state == "held"


@only_sqlite
def test_an_unknown_mail_is_refused_in_both_languages(command_line, store, now):
    assert "メール 7 はありません" in command_line.run("application", "release", "7").stderr
    assert "there is no mail 7" in command_line.run("application", "release", "7", lang="en").stderr


@only_sqlite
def test_expired_mail_cannot_be_released(command_line, store, now):
    from handlers.applications.held_release import expire

    mail_id = held(store, now)
    later = now + DESK.held_for + timedelta(hours=1)
    store.run(lambda session: expire(session, DESK, later))
    store.run(lambda session: move_clock(session, timedelta()))
    assert "expired" in command_line.run("application", "release", str(mail_id)).stderr
