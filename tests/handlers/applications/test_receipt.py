from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from sqlalchemy import func, select, update

from handlers import case_tokens
from handlers.applications.contents import ApplicationContents
from handlers.desk_job_kinds import JobKind
from handlers.outcomes import Duplicate, Handled, Held, Refused, TemplateFault
from storage.models import (
    Application,
    ApplicationAttachment,
    CaseEntry,
    DeskJob,
    Mail,
    MailFingerprint,
    Office,
    ReceiptCounter,
    Recipient,
    ScheduleDay,
)
from storage.store import opened
from tests.handlers.applications.application_mails import DIAGRAM, MAILS, form_with, mail_with, workbook
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

RECEIVED = "applicant/application-received"
INVALID = "applicant/application-invalid"
HELD = "applicant/application-held"
REQUESTED = "reviewer/review-requested"
WAITING = "reviewer/application-waiting"
REVIEWER = DESK.reviewer_address


@pytest.fixture
def office(store, now):
    """The store with the office of the sample file."""
    take_contracts(store, now)
    return store


def count(store, model):
    return store.read(lambda session: session.scalar(select(func.count()).select_from(model)))


def only(store, model):
    return store.read(lambda session: session.scalars(select(model)).one())


def text_of(raw):
    mail = message_from_bytes(raw, policy=default)
    text = mail.get_body(("plain",))
    assert text is not None
    return text.get_content().replace("\r\n", "\n")


def test_a_valid_application_gets_a_number_and_everybody_a_mail(office, now):
    assert take_in(office, application_mail(now), now) == Handled("received as 260001A")
    assert queued(office) == [(RECEIVED, CONTACT), (RECEIVED, ADMINISTRATOR), (REQUESTED, REVIEWER)]


def test_the_application_stands_in_the_register_as_it_was_written(office, now):
    take_in(office, application_mail(now, mail_id=7), now)
    row = only(office, Application)
    assert (row.receipt_number, row.state, row.mail_id) == ("260001A", "received", 7)
    assert (row.arrived_at, row.received_on) == (now, date(2026, 11, 24))
    assert (row.desired_start_date, row.start_date, row.completed_at) == (date(2026, 12, 14), None, None)
    assert (row.applicant_name, row.applicant_department) == ("通関　花子", "第一営業部通関課")
    assert row.applicant_email == CONTACT
    assert row.last_message_id == "<1@applicant.example>"
    assert row.case_token == case_tokens.case_token(DESK.token_key, "260001A", "")
    assert ApplicationContents.from_json(row.contents).lines[0].smtp_servers == 1
    assert row.row_version == 1


def test_attachments_are_kept_with_their_kind(office, now):
    diagram = workbook()
    files = [(DIAGRAM, diagram), ("x" * 300 + ".pdf", b"%PDF")]
    take_in(office, application_mail(now, mail_with(files=files)), now)
    rows = office.read(
        lambda session: session.scalars(select(ApplicationAttachment).order_by(ApplicationAttachment.id)).all()
    )
    assert [(row.kind, row.name, row.size, row.content) for row in rows] == [
        ("diagram", DIAGRAM, len(diagram), diagram),
        ("other", "x" * 255, 4, b"%PDF"),
    ]


def test_the_case_begins_with_its_receipt_and_why_its_author_was_believed(office, now):
    take_in(office, application_mail(now, mail_id=7), now)
    assert only(office, Application).sender_verdict == "network 127.0.0.1"
    entry = only(office, CaseEntry)
    assert (entry.kind, entry.actor, entry.mail_id) == ("received", f"applicant:{CONTACT}", 7)
    assert json.loads(entry.detail) == {"believed": "network 127.0.0.1"}


def test_an_aligned_signature_is_believed_like_a_trusted_network(office, now):
    mail = application_mail(now, trusted=False, signed_by=("applicant.example",))
    assert take_in(office, mail, now) == Handled("received as 260001A")
    assert only(office, Application).sender_verdict == "dkim applicant.example"
    other = wrong_mail().replace(b"<1@applicant.example>", b"<2@applicant.example>")
    wrong = application_mail(now, other, trusted=False, signed_by=mail.signed_by)
    assert isinstance(take_in(office, wrong, now), Refused)
    assert queued(office)[-1] == (INVALID, CONTACT)


def test_the_clock_is_told_of_a_new_application(office, now):
    take_in(office, application_mail(now), now)
    assert only(office, DeskJob).kind == JobKind.REVIEW_REMINDER


def test_a_wish_off_the_schedule_is_accepted_with_a_warning(office, now):
    def plan(session):
        session.add(ScheduleDay(start_on=date(2026, 12, 21), apply_by=date(2026, 12, 7)))

    office.run(plan)
    take_in(office, application_mail(now), now)
    contents = ApplicationContents.from_json(only(office, Application).contents)
    assert [warning.code for warning in contents.warnings] == ["off_schedule"]


def test_receiving_is_audited_with_its_author(office, now):
    take_in(office, application_mail(now), now)
    assert audited(office, "application:260001A") == [("receive", f"applicant:{CONTACT}", f"mail 1 from {CONTACT}")]


def test_the_day_is_that_of_the_arrival_and_not_of_the_handling(office, now):
    arrived = datetime(2026, 12, 31, 14, 59, tzinfo=UTC)
    raw = mail_with(form_with({"申込内容/利用開始日": "20270114", "回線・論理端末/工事希望日": "20270114"}))
    take_in(office, application_mail(arrived, raw), arrived + timedelta(hours=12))
    row = only(office, Application)
    assert (row.receipt_number, row.received_on) == ("260001A", date(2026, 12, 31))
    assert "（12時間0分）" in text_of(mail_to(office, REQUESTED, REVIEWER))


def test_a_name_wider_than_its_column_is_cut_there_only(office, now):
    raw = mail_with(form_with({"申込担当者/氏名（名）": "花" * 100, "申込担当者/所属部課名": "課" * 100}))
    take_in(office, application_mail(now, raw), now)
    row = only(office, Application)
    assert (len(row.applicant_name), len(row.applicant_department)) == (80, 80)
    assert ApplicationContents.from_json(row.contents).applicant.given_name == "花" * 100


def test_the_acceptance_answers_the_application_mail(office, now):
    take_in(office, application_mail(now), now)
    mail = message_from_bytes(mail_to(office, RECEIVED, CONTACT), policy=default)
    assert mail["In-Reply-To"] == "<1@applicant.example>"
    assert mail["Subject"] == "【NSS】利用申込受付完了のお知らせ"


@pytest.mark.parametrize("field", [b"", b"Message-ID: not one\r\n"])
def test_without_a_usable_message_id_the_acceptance_begins_the_thread(office, now, field):
    raw = mail_with().replace(b"Message-ID: <1@applicant.example>\r\n", field)
    take_in(office, application_mail(now, raw), now)
    first = message_from_bytes(mail_to(office, RECEIVED, CONTACT), policy=default)
    second = message_from_bytes(mail_to(office, RECEIVED, ADMINISTRATOR), policy=default)
    assert "References" not in first
    assert second["References"] == first["Message-ID"]


def test_a_terminal_that_goes_is_counted_in_what_will_be(office, now):
    raw = mail_with(form_with({"回線・論理端末/削除する論理端末名": "27264C"}))
    take_in(office, application_mail(now, raw), now)
    text = text_of(mail_to(office, RECEIVED, CONTACT))
    assert "論理端末数（インタラクティブ） : 1台 → 0台" in text
    assert "SMTPサーバ台数（SMTP双方向） : 0台 → 1台" in text
    assert "削除する論理端末名 : 27264C" in text


def test_an_open_case_of_the_office_is_named_and_does_not_refuse(office, now):
    take_in(office, application_mail(now), now)
    assert isinstance(take_in(office, application_mail(now, numbered(2)), now), Handled)
    assert "申込受付番号 : 260001A" in text_of(mail_to(office, RECEIVED, CONTACT)).partition("手続き中")[2]
    assert "同じ回線の手続き中の申込 : 260001A" in text_of(mail_to(office, REQUESTED, REVIEWER))


def test_a_case_that_has_ended_is_not_named(office, now):
    take_in(office, application_mail(now), now)
    office.run(lambda session: session.execute(update(Application).values(state="in_use")))
    take_in(office, application_mail(now, numbered(2)), now)
    assert "手続き中" not in text_of(mail_to(office, RECEIVED, CONTACT))


def test_an_unregistered_notice_address_is_pointed_out_to_administrator_and_reviewer(office, now):
    address = "new-person@applicant.example"
    values = {"E-mailアドレス（登録用）": address, "E-mailアドレス（確認用）": address}
    raw = mail_with(form_with({f"申込担当者/{label}": value for label, value in values.items()}))
    take_in(office, application_mail(now, raw), now)
    assert "登録連絡先にありません" in text_of(mail_to(office, RECEIVED, ADMINISTRATOR))
    assert "登録連絡先にありません" in text_of(mail_to(office, REQUESTED, REVIEWER))
    assert "登録連絡先にありません" in text_of(mail_to(office, RECEIVED, address))


@pytest.mark.parametrize("author", [CONTACT.upper(), ADMINISTRATOR])
def test_contact_and_administrator_are_believed_in_any_case_of_letters(office, now, author):
    raw = mail_with(sender=f"x <{author}>")
    assert isinstance(take_in(office, application_mail(now, raw), now), Handled)


def test_the_same_mail_again_has_no_second_effect(office, now):
    mail = application_mail(now, mail_id=7)
    take_in(office, mail, now)
    before = queued(office)
    tomorrow = now + timedelta(days=1)
    again = take_in(office, replace(mail, mail_id=8, received_at=tomorrow), tomorrow)
    assert again == Duplicate("the same mail as 7")
    assert queued(office) == before
    assert count(office, Application) == 1


def test_the_same_wrong_mail_again_is_answered_once(office, now):
    mail = application_mail(now, wrong_mail())
    take_in(office, mail, now)
    assert isinstance(take_in(office, replace(mail, mail_id=2), now), Duplicate)
    assert queued(office) == [(INVALID, CONTACT)]


def test_a_used_message_id_with_other_content_is_held(office, now):
    take_in(office, application_mail(now, mail_id=7), now)
    other = mail_with(form_with({"申込内容/変更する理由": "別の理由"}))
    outcome = take_in(office, application_mail(now, other, mail_id=8), now)
    assert outcome == Held("the Message-ID of an earlier mail, but other content")
    assert count(office, Application) == 1
    assert "先のメール : 7" in text_of(mail_to(office, WAITING, REVIEWER))


def test_the_same_mail_in_two_processes_at_once_has_one_effect(office, store_url, now):
    mail = application_mail(now)

    def receive_it(_process):
        with opened(store_url) as own:
            return take_in(own, mail, now)

    with ThreadPoolExecutor(2) as processes:
        outcomes = list(processes.map(receive_it, range(2)))
    assert {type(outcome) for outcome in outcomes} == {Handled, Duplicate}
    assert count(office, Application) == 1


def test_wrong_fields_come_back_in_one_answer_and_spend_no_number(office, now):
    outcome = take_in(office, application_mail(now, wrong_mail()), now)
    assert outcome == Refused("application with 2 errors, answered to its author")
    assert queued(office) == [(INVALID, CONTACT)]
    assert count(office, ReceiptCounter) == 0
    mail = message_from_bytes(mail_to(office, INVALID, CONTACT), policy=default)
    text = text_of(mail_to(office, INVALID, CONTACT))
    assert text.startswith("ナックス商事株式会社 第一営業部 第一営業部通関課\n通関　花子 様\n")
    for line in ("【申込担当者】電話番号", "記入された値 : 012-0794-550", "正しい例 : 0301234567", "Example : 花子"):
        assert line in text
    [part] = mail.iter_attachments()
    assert part.get_content_type() == "application/json"
    errors = json.loads(part.get_content())["errors"]
    assert [(error["label"], error["code"]) for error in errors] == [("氏名（名）", "required"), ("電話番号", "phone")]


def test_an_error_reply_has_a_null_sender(office, now):
    take_in(office, application_mail(now, wrong_mail()), now)
    assert only(office, Recipient).sender == only(office, Mail).mail_from == ""


def test_a_mail_that_cannot_be_read_is_answered_to_a_trusted_network(office, now):
    raw = (MAILS / "unreadable-charset.eml").read_bytes()
    mail = application_mail(now, raw)
    assert isinstance(take_in(office, mail, now), Refused)
    assert queued(office) == [(INVALID, mail.header_from)]
    text = text_of(mail_to(office, INVALID, mail.header_from or ""))
    assert text.startswith("ご担当者 様\n")
    assert "メール本文" in text


def test_control_characters_in_a_wrong_value_are_shown_and_not_sent(office, now):
    raw = mail_with(form_with({"申込担当者/電話番号": "01\x1b[31m2", "申込担当者/役職名": "係\u202e長"}))
    assert isinstance(take_in(office, application_mail(now, raw), now), Refused)
    text = text_of(mail_to(office, INVALID, CONTACT))
    assert "01[U+001B][31m2" in text
    assert "係[U+202E]長" in text


def test_the_answer_to_a_mail_without_message_id_has_no_thread(office, now):
    raw = wrong_mail().replace(b"Message-ID: <1@applicant.example>\r\n", b"")
    take_in(office, application_mail(now, raw), now)
    assert b"In-Reply-To" not in mail_to(office, INVALID, CONTACT)


def test_an_author_the_office_does_not_know_is_answered_without_its_name(office, now):
    raw = wrong_mail().replace(CONTACT.encode(), b"new-person@applicant.example", 1)
    take_in(office, application_mail(now, raw), now)
    assert text_of(mail_to(office, INVALID, "new-person@applicant.example")).startswith("ご担当者 様\n")


@pytest.mark.parametrize("field", ["Auto-Submitted: auto-replied", "List-Id: <l.example>", "Precedence: bulk"])
def test_a_machine_is_never_answered(office, now, field):
    outcome = take_in(office, application_mail(now, field.encode() + b"\r\n" + wrong_mail()), now)
    assert isinstance(outcome, Refused)
    assert outcome.reason.startswith("automatic mail, not answered: ")
    assert queued(office) == []


def test_the_null_sender_is_never_answered(office, now):
    assert isinstance(take_in(office, application_mail(now, mail_from=""), now), Refused)
    assert queued(office) == []
    assert count(office, MailFingerprint) == 0


def test_a_notice_that_cannot_be_written_undoes_the_whole_application(office, now):
    broken = replace(DESK, reviewer_address="not an address")
    with pytest.raises(TemplateFault):
        take_in(office, application_mail(now), now, broken)
    assert count(office, Application) == count(office, Mail) == count(office, ReceiptCounter) == 0
    assert take_in(office, application_mail(now), now) == Handled("received as 260001A")


def test_without_an_administrator_address_the_reviewer_is_told(office, now):
    def lose_address(row: Office) -> None:
        row.administrator_email = ""

    change_office(office, lose_address)
    take_in(office, application_mail(now), now)
    assert queued(office) == [
        (RECEIVED, CONTACT),
        ("reviewer/no-administrator-address", REVIEWER),
        (REQUESTED, REVIEWER),
    ]
