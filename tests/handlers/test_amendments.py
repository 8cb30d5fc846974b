"""Amendments: what changes, what is kept of before and after, and what is no change."""

from __future__ import annotations

import json
from datetime import date

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
from tests.handlers.applications.application_mails import DIAGRAM, workbook
from tests.handlers.applications.receipt_cases import CONTACT, application_mail, take_in
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
