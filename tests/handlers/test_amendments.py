"""Amendments: what changes, what is kept of before and after, and what is no change."""

from __future__ import annotations

import json
from datetime import date
from email import message_from_bytes
from email.policy import default

import pytest
from sqlalchemy import select

from handlers import desk_mail
from handlers.amendments import Amendment, FieldChange, form_changes, read_amendment
from handlers.applications.checks import Invalid
from handlers.applications.contents import ApplicationContents
from handlers.outcomes import Handled, Refused
from handlers.workflow import Event
from storage.models import ApplicationAttachment
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.application_mails import DIAGRAM, FORM, mail_with, workbook
from tests.handlers.applications.receipt_cases import CONTACT, application_mail, mail_to, take_in
from tests.handlers.reply_cases import (
    NUMBER,
    application,
    change_application,
    decided,
    entries,
    reply,
    take_up,
)
from tests.handlers.review_cases import DESK, contents, line_change, state_of, take_contracts
from tests.mail_templates.mail_stories import TWO_LINES

DIAGRAM_IS = "【システム構成図】\n添付ファイル名: {}\n"
NEW_ADDRESS = "new-person@applicant.example"


@pytest.fixture
def case(store, now):
    """The store with the seed's application, received by mail."""
    take_contracts(store, now)
    take_in(store, application_mail(now), now)
    return store


def read(store, mail):
    def work(session):
        row = session.merge(application(store), load=True)
        return read_amendment(session, DESK, row, mail)

    return store.read(work)


def amend(store, now, text, **mail):
    return take_up(store, reply(now, f"【修正】\n{text}", **mail), now)


def files_of(store):
    query = select(ApplicationAttachment).order_by(ApplicationAttachment.id)
    return [(row.kind, row.name, row.content) for row in store.read(lambda s: s.scalars(query).all())]


def test_only_what_is_written_changes(case, now):
    before = ApplicationContents.from_json(application(case).contents)
    assert amend(case, now, "【申込担当者】\n電話番号: 0312345678\n") == Handled(f"amendment of {NUMBER}")
    after = ApplicationContents.from_json(application(case).contents)
    applicant = before.applicant.model_copy(update={"phone": "0312345678"})
    assert after == before.model_copy(update={"applicant": applicant})


def test_before_and_after_are_kept_with_each_change(case, now):
    before = application(case).contents
    mail = reply(now, "【修正】\n【申込担当者】\n電話番号: 0312345678\n")
    take_up(case, mail, now)
    [entry] = entries(case, "amendment")
    detail = json.loads(entry.detail)
    assert (entry.mail_id, entry.actor) == (mail.mail_id, f"applicant:{CONTACT}")
    assert detail["before"] == json.loads(before)
    assert detail["after"] == json.loads(application(case).contents)
    assert detail["changes"] == [
        {"section": "申込担当者", "label": "電話番号", "before": "0120794550", "after": "0312345678"}
    ]


def test_the_columns_of_the_register_follow(case, now):
    text = (
        "【申込内容】\n利用開始日: 20270114\n【申込担当者】\n氏名（名）: 雪子\n所属部課名: 第二営業部\n"
        f"E-mailアドレス（登録用）: {NEW_ADDRESS}\nE-mailアドレス（確認用）: {NEW_ADDRESS}\n"
    )
    amend(case, now, text)
    row = application(case)
    assert (row.applicant_name, row.applicant_department) == ("通関　雪子", "第二営業部")
    assert (row.applicant_email, row.desired_start_date) == (NEW_ADDRESS, date(2027, 1, 14))


def test_a_new_notice_address_has_to_be_accepted_anew(case, now):
    change_application(case, address_accepted=True)
    amend(case, now, "【申込担当者】\n電話番号: 0312345678\n")
    assert application(case).address_accepted
    address = f"E-mailアドレス（登録用）: {NEW_ADDRESS}\nE-mailアドレス（確認用）: {NEW_ADDRESS}\n"
    amend(case, now, f"【申込担当者】\n{address}")
    assert not application(case).address_accepted


@only_sqlite
def test_an_amendment_answers_an_open_inquiry(case, now):
    decided(case, Event.INQUIRE, now, words="電話番号をご確認ください。")
    amend(case, now, "【申込担当者】\n電話番号: 0312345678\n")
    assert state_of(case) == "under_review"


def test_a_new_workbook_replaces_the_diagram(case, now):
    new = workbook(9)
    assert amend(case, now, DIAGRAM_IS.format("新構成図.xlsx"), files=[("新構成図.xlsx", new)]) == Handled(
        f"amendment of {NUMBER}"
    )
    assert files_of(case) == [("diagram", "新構成図.xlsx", new)]
    [change] = json.loads(entries(case, "amendment")[0].detail)["changes"]
    assert change["section"] == "システム構成図"
    assert change["before"].startswith(DIAGRAM)
    assert change["after"].startswith("新構成図.xlsx")


@only_sqlite
def test_the_same_name_with_other_bytes_is_a_change(case, now):
    new = workbook(9)
    amend(case, now, DIAGRAM_IS.format(DIAGRAM), files=[(DIAGRAM, new)])
    assert files_of(case) == [("diagram", DIAGRAM, new)]


def test_the_workbook_that_is_there_already_is_no_change(case, now):
    [(_, name, content)] = files_of(case)
    outcome = amend(case, now, DIAGRAM_IS.format(name), files=[(name, content)])
    assert outcome == Refused(f"reply about {NUMBER} with 1 errors, answered to its author")
    assert entries(case, "amendment") == []


NOT_AMENDED = {
    "nothing": ("", "amendment_empty"),
    "what it says already": ("【申込担当者】\n電話番号: 0120794550\n", "amendment_no_change"),
    "another office": ("【申込内容】\n事業所コード: CT0002\n", "amendment_office"),
    "a quoted form": ("> 【申込担当者】\n> 電話番号: 0312345678\n", "amendment_empty"),
    "behind a signature": ("-- \n【申込担当者】\n電話番号: 0312345678\n", "amendment_empty"),
    "a wrong value": ("【申込担当者】\n電話番号: 03-1234\n", "phone"),
}


@only_sqlite
@pytest.mark.parametrize("name", NOT_AMENDED)
def test_what_is_no_amendment_says_why(case, now, name):
    text, code = NOT_AMENDED[name]
    found = read(case, reply(now, f"【修正】\n{text}"))
    assert isinstance(found, Invalid)
    assert [error.code for error in found.errors] == [code]


@only_sqlite
def test_another_file_is_kept_beside_the_diagram_and_a_second_of_its_name_replaces_it(case, now):
    for content in (b"%PDF-1", b"%PDF-2"):
        amend(case, now, "【添付ファイル】\n添付ファイル名: 委任状.pdf\n", files=[("委任状.pdf", content)])
    assert [(kind, name) for kind, name, _ in files_of(case)] == [("diagram", DIAGRAM), ("other", "委任状.pdf")]
    assert files_of(case)[1][2] == b"%PDF-2"


def test_what_was_read_before_is_read_again_when_the_application_changed(case, now):
    mail = reply(now, "【修正】\n【申込担当者】\n電話番号: 0312345678\n")
    prepared = case.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    amend(case, now, "【申込担当者】\n役職名: 部長\n")
    case.run(lambda session: desk_mail.handle(session, mail, DESK, now, prepared))
    applicant = ApplicationContents.from_json(application(case).contents).applicant
    assert (applicant.phone, applicant.title) == ("0312345678", "部長")


def test_changes_of_several_lines_name_the_line():
    before = contents(line_change(), line_change(router_number="09200", smtp_servers=1))
    after = contents(line_change(), line_change(router_number="09200", smtp_servers=2))
    [change] = form_changes(before, after)
    assert change == FieldChange(
        section="回線・論理端末（2）", label="SMTPサーバ台数（SMTP双方向）", before="1", after="2"
    )


def test_equal_applications_have_no_changes():
    assert list(form_changes(contents(), contents())) == []


@only_sqlite
def test_an_amendment_says_what_the_application_will_say(case, now):
    found = read(case, reply(now, "【修正】\n【申込担当者】\n役職名: 部長\n"))
    assert isinstance(found, Amendment)
    assert found.contents.applicant.title == "部長"
    assert [change.label for change in found.changes] == ["役職名"]


SECOND = "【回線・論理端末】\nルータ番号: 09200\n申込内容: 変更\n工事希望日: 20261214\n削除する論理端末名: 25131M\n"


@pytest.fixture
def two_lines(store, now):
    """The store with an application for two lines, received by mail."""
    take_contracts(store, now, TWO_LINES)
    take_in(store, application_mail(now, mail_with(FORM.replace("【以上】", f"{SECOND}【以上】"))), now)
    return store


def errors_of(store, now, written):
    """(section, code) of what is wrong with an amendment of a line, and the answer to it."""
    mail = reply(now, f"【修正】\n【回線・論理端末】\n{written}")
    assert isinstance(take_up(store, mail, now), Refused)
    raw = message_from_bytes(mail_to(store, "applicant/amendment-invalid", CONTACT), policy=default)
    [part] = raw.iter_attachments()
    body = raw.get_body(("plain",))
    assert body is not None
    errors = json.loads(part.get_content())["errors"]
    return [(error["section"], error["code"]) for error in errors], body.get_content()


@only_sqlite
@pytest.mark.parametrize(
    "written",
    [
        "ルータ番号: 09200\n申込内容: （空欄）\n",
        "ルータ番号: 09200\n申込内容: 取消\n",
        "ルータ番号: 09200\n申込内容: （空欄）\n工事希望日: （空欄）\n削除する論理端末名: （空欄）\n",
        "ルータ番号: 09200\n削除する論理端末名: （空欄）\n",
        "ルータ番号: 09200（取り消し）\n",
        "ルータ番号09200の回線は取りやめます。\n",
    ],
)
def test_a_line_cannot_be_taken_out_and_the_answer_says_what_to_do(two_lines, now, written):
    before = application(two_lines).contents
    errors, text = errors_of(two_lines, now, written)
    assert errors == [("回線・論理端末（2）", "line_stays")]
    answer = "".join(line.strip() for line in text.splitlines())
    assert "この回線を取りやめるには、【取下げ】で申込全体を取り下げ、残りの内容で申し込み直すか" in answer
    assert "正しい例 : 変更" in answer
    assert "withdraw the whole application with 【取下げ】 and apply again" in " ".join(text.split())
    assert application(two_lines).contents == before


@only_sqlite
@pytest.mark.parametrize("written", ["ルータ番号: （空欄）\n", "（空欄）\n", "申込内容: 中止\n"])
def test_the_only_line_cannot_be_taken_out_either(case, now, written):
    errors, _ = errors_of(case, now, written)
    assert errors == [("回線・論理端末", "line_stays")]


@only_sqlite
@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("SMTPサーバ台数（SMTP双方向）: （空欄）\n", "target_needed"),
        ("ルータ番号: 09143\n", "amendment_no_change"),
        ("申込内容: 新設\n", "line_action"),
    ],
)
def test_what_only_lacks_something_is_told_by_its_own_rule(case, now, written, code):
    errors, _ = errors_of(case, now, written)
    assert [found for _, found in errors] == [code]


@only_sqlite
def test_every_other_error_is_told_beside_a_line_that_stays(two_lines, now):
    errors, _ = errors_of(two_lines, now, "ルータ番号: 09200\n申込内容: （空欄）\n【申込担当者】\n電話番号: 03-1\n")
    assert errors == [("回線・論理端末（2）", "line_stays"), ("申込担当者", "phone")]
