from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, update

from gateway.cli.previewing import drafts_of
from handlers.notice_previews import PREVIEWS
from handlers.notice_templates import template_names
from handlers.workflow import Event, State
from storage.models import Application, AuditEvent, LogicalTerminal, Mail, Office
from tests.gateway.command_line import on_store
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, application_mail, change_office, take_in
from tests.handlers.review_cases import receive, take_contracts
from tests.mail_templates.case_stories import NOW, RECEIPT, bring, desk_in, happen
from tests.mail_templates.mail_stories import keep_mail

ONE_STORE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
# Made from a mail, an alarm or a lane, never from an accepted application.
NOT_OF_A_CASE = {
    "applicant/amendment-invalid",
    "applicant/application-held",
    "applicant/application-invalid",
    "applicant/blank-form",
    "applicant/schedule",
    "reviewer/application-waiting",
    "reviewer/automatic-form",
    "reviewer/held-expired",
}


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    made = on_store(store, store_url, tmp_path, now)
    (tmp_path / "secret.key").write_text("00" * 32)
    (tmp_path / "secret.key").chmod(0o600)
    return made


def rows(store):
    """How much is in the tables a preview writes to while it runs."""
    tables = (Mail, AuditEvent, Application)
    return store.read(lambda session: [session.scalar(select(func.count()).select_from(table)) for table in tables])


@pytest.fixture
def full_case(store, tmp_path):
    """An application to which everything happened that a notice tells of."""
    desk = desk_in(tmp_path)
    bring(store, desk, State.RECEIVED)
    for event in (Event.INQUIRE, Event.AMEND, Event.SCHEDULE_WORK, Event.COMPLETE, Event.RECEIVE_SETTINGS):
        happen(store, desk, event, NOW)
    happen(store, desk, Event.RESCHEDULE, NOW)
    return store


@ONE_STORE
def test_notices_are_listed_with_version_and_subject(command_line):
    listed = {row["name"]: row for row in command_line.json("notice", "list")}
    assert listed.keys() == set(template_names())
    received = listed["applicant/application-received"]
    assert received["subject"] == "【NSS】利用申込受付完了のお知らせ"
    assert received["english_subject"] == "Your application has been received"
    assert len(received["version"]) == 12
    assert listed["reviewer/review-requested"]["subject"] == "【NSS】審査のお願い（… …）"
    assert listed["reviewer/review-requested"]["english_subject"] is None
    japanese, english = (command_line.run("notice", "list", lang=lang).stdout for lang in ("ja", "en"))
    assert "【NSS】ID通知のお知らせ" in japanese
    assert "Notice of IDs" in english


def test_a_notice_is_previewed_as_each_person_would_get_it_and_nothing_is_kept(command_line, full_case):
    before = rows(full_case)
    shown = command_line.run("notice", "preview", "id-notice", "--receipt", RECEIPT).stdout
    assert f"To: {CONTACT}\n" in shown
    assert "Subject: 【テスト】【NSS】ID通知のお知らせ\n" in shown
    assert "新ID 論理端末名 : 60000S" in shown
    assert "Reply-To: case+260001A.…@" in shown
    copy = command_line.json(
        "notice", "preview", "applicant/id-notice", "--receipt", "２６０００１Ａ", "--to", "administrator"
    )
    assert copy["to"] == ADMINISTRATOR
    assert "管理　太郎 様" in copy["text"]
    assert copy["name"] == "applicant/id-notice"
    assert copy["attachments"] == []
    assert rows(full_case) == before


@ONE_STORE
def test_a_preview_has_the_language_that_is_asked_for(command_line, full_case):
    preview = ("notice", "preview", "inquiry", "--receipt", RECEIPT)
    assert " / A question" not in command_line.json(*preview)["subject"]
    assert " / A question" in command_line.json(*preview, "--lang", "en")["subject"]
    change_office(full_case, lambda office: setattr(office, "bilingual", True))
    assert " / A question" in command_line.json(*preview)["subject"]
    assert " / A question" not in command_line.json(*preview, "--lang", "ja")["subject"]
    assert full_case.read(lambda session: session.scalars(select(Office.bilingual)).one())


@ONE_STORE
def test_every_notice_about_a_case_can_be_previewed(command_line, full_case):
    for name in PREVIEWS.keys() - {"applicant/application-received", "reviewer/review-requested"}:
        shown = command_line.json("notice", "preview", name, "--receipt", RECEIPT)
        assert shown["name"] == name
        assert "【NSS】" in shown["subject"]


@ONE_STORE
def test_what_was_written_is_shown_and_a_mark_where_nothing_was(command_line, full_case):
    inquiry = command_line.json("notice", "preview", "inquiry", "--receipt", RECEIPT)["text"]
    assert "予定している接続先をお知らせください。" in inquiry
    amended = command_line.json("notice", "preview", "amendment-received", "--receipt", RECEIPT)["text"]
    assert "変更後 : 0312345678" in amended
    rejected = command_line.json("notice", "preview", "application-rejected", "--receipt", RECEIPT)["text"]
    assert "（ここに、" in rejected


def test_the_acceptance_is_previewed_from_the_mail_that_brought_it(command_line, store, now):
    take_contracts(store, now)
    mail = application_mail(now)
    take_in(store, mail, now)
    store.run(lambda session: keep_mail(session, mail.raw, mail_id=mail.mail_id))
    before = rows(store)
    received, requested = (
        command_line.json("notice", "preview", name, "--receipt", RECEIPT)["text"]
        for name in ("application-received", "review-requested")
    )
    assert "SMTPサーバ台数（SMTP双方向） : 0台 → 1台" in received
    assert "差出人 : tsukan-hanako@applicant.example（登録連絡先）" in requested
    assert rows(store) == before


NOT_NOW = {
    "application-received": "申込のメールが残っていません",
    "review-requested": "申込のメールが残っていません",
    "review-complete": "利用開始日がまだ確定していません",
    "id-notice": "利用開始日がまだ確定していません",
    "amendment-received": "修正されていません",
    "rescheduled": "利用開始日は変更されていません",
    "work-schedule": "工事は予定されていません",
    **dict.fromkeys(sorted(NOT_OF_A_CASE), "受け付けた申込からは作られません"),
}


@ONE_STORE
def test_a_notice_that_cannot_be_made_now_says_why(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    for name, reason in NOT_NOW.items():
        result = command_line.run("notice", "preview", name, "--receipt", RECEIPT)
        assert result.exit_code == 1
        assert reason in result.output
    assert "not made from" in command_line.run("notice", "preview", "schedule", "--receipt", RECEIPT, lang="en").output


@ONE_STORE
def test_terminals_that_are_all_checked_need_no_reminder(command_line, full_case):
    full_case.run(lambda session: session.execute(update(LogicalTerminal).values(checked_at=datetime.now(UTC))))
    result = command_line.run("notice", "preview", "tcc-reminder", "--receipt", RECEIPT)
    assert result.exit_code == 1
    assert "通信確認を待っている論理端末はありません" in result.output


@ONE_STORE
def test_what_is_not_there_is_named(command_line, full_case):
    result = command_line.run("notice", "preview", "no-such-notice", "--receipt", RECEIPT)
    assert (result.exit_code, "no-such-notice" in result.output) == (1, True)
    result = command_line.run("notice", "preview", "id-notice", "--receipt", "269999A")
    assert (result.exit_code, "269999A" in result.output) == (1, True)
    change_office(full_case, lambda office: setattr(office, "administrator_email", ""))
    result = command_line.run("notice", "preview", "id-notice", "--receipt", RECEIPT, "--to", "administrator")
    assert (result.exit_code, "送られません" in result.output) == (1, True)


def test_every_notice_can_be_previewed_or_is_of_no_case():
    of_cases = {name for name in template_names() if not name.startswith("operator/")}
    assert of_cases == PREVIEWS.keys() | NOT_OF_A_CASE
    assert PREVIEWS.keys() & NOT_OF_A_CASE == set()


def test_work_that_is_previewed_is_taken_back(store):
    def work(session):
        session.add(Office(id=1, code="CT0009", company_name="他社", name="本店"))
        session.flush()
        return "answer"

    assert drafts_of(store, work) == ("answer", [])
    assert store.read(lambda session: session.scalar(select(func.count()).select_from(Office))) == 0
