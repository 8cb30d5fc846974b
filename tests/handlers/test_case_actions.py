"""What a mail about a case does, mark by mark and state by state (application-desk §5)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.policy import default

import pytest

from handlers import desk_mail
from handlers.documents import DocumentRequest
from handlers.notice_mail import NoticePart
from handlers.outcomes import Handled, Refused
from handlers.preparation import CaseChanged, Prepared
from handlers.workflow import Event
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, application_mail, mail_to, queued, take_in
from tests.handlers.reply_cases import (
    NEWS,
    NUMBER,
    REVIEWER,
    STATUS,
    application,
    change_application,
    decided,
    entries,
    reply,
    take_up,
    written,
)
from tests.handlers.review_cases import DESK, audited, contents, receive, state_of, take_contracts

INVALID = "applicant/amendment-invalid"
AMENDED = "applicant/amendment-received"
WITHDRAWN = "applicant/withdrawal-received"
DONE = ["completed", "ids_issued", "in_use", "checked"]
ENDED = ["withdrawn", "rejected", "void"]


@pytest.fixture
def case(store, now):
    """The store with the sample office and one received application of it."""
    take_contracts(store, now)
    receive(store, now)
    return store


def told(store, template=STATUS, address=CONTACT):
    """The text of the latest mail of a template to an address."""
    mail = message_from_bytes(mail_to(store, template, address), policy=default)
    body = mail.get_body(("plain",))
    assert body is not None
    return body.get_content().replace("\r\n", "\n")


def asked(store, now):
    decided(store, Event.INQUIRE, now, words="台数を教えてください。")


@pytest.mark.parametrize("text", ["【回答】\n3台です。\n", "3台です。\n"])
def test_an_answer_brings_an_inquiry_back_to_review_and_is_told(case, now, text):
    asked(case, now)
    mail = reply(now, text)
    assert take_up(case, mail, now) == Handled(f"answer to the inquiry about {NUMBER}")
    assert state_of(case) == "under_review"
    [entry] = entries(case, "answer")
    assert (entry.actor, entry.words, entry.mail_id) == (f"applicant:{CONTACT}", "3台です。", mail.mail_id)
    assert queued(case)[-1] == (NEWS, REVIEWER)
    assert "3台です。" in told(case, NEWS, REVIEWER)


@only_sqlite
def test_files_of_an_answer_are_named_in_it(case, now):
    asked(case, now)
    take_up(case, reply(now, "【回答】\n", files=[("台数表.pdf", b"%PDF-1.7")]), now)
    assert entries(case, "answer")[0].words == "添付ファイル: 台数表.pdf（1KB）"


@only_sqlite
def test_a_mail_of_files_alone_answers_too(case, now):
    asked(case, now)
    raw = written("", files=[("台数表.pdf", b"%PDF")])
    assert take_up(case, reply(now, "", raw=raw), now).reason.startswith("answer to the inquiry")


@only_sqlite
@pytest.mark.parametrize("text", ["【回答】\n", "\n", "> 【回答】\n> 3台です。\n"])
def test_an_empty_answer_leaves_the_inquiry_open(case, now, text):
    asked(case, now)
    assert take_up(case, reply(now, text), now) == Handled(f"question about {NUMBER}")
    assert state_of(case) == "inquiry"
    assert queued(case)[-1] == (STATUS, CONTACT)


@pytest.mark.parametrize("state", ["received", "under_review", *DONE, *ENDED])
def test_an_answer_that_nobody_asked_for_is_kept_told_and_answered(case, now, state):
    change_application(case, state=state)
    outcome = take_up(case, reply(now, "【回答】\n追記です。\n"), now)
    assert isinstance(outcome, Handled)
    assert state_of(case) == state
    assert [entry.words for entry in entries(case)] == ["【回答】\n追記です。"]
    assert queued(case) == [(STATUS, CONTACT), (NEWS, REVIEWER)]
    assert ("手続きはすでに終わっている" in told(case)) == (state in ENDED)
    assert "追記です。" in told(case, NEWS, REVIEWER)


def test_answered_twice_the_second_answer_is_a_question(case, now):
    asked(case, now)
    take_up(case, reply(now, "【回答】\n3台です。\n"), now)
    take_up(case, reply(now, "【回答】\n4台でした。\n"), now)
    assert state_of(case) == "under_review"
    assert [entry.kind for entry in entries(case)][-2:] == ["answer", "question"]


def test_withdrawn_then_answered_stays_withdrawn(case, now):
    asked(case, now)
    take_up(case, reply(now, "【取下げ】\n"), now)
    take_up(case, reply(now, "【回答】\n3台です。\n"), now)
    assert state_of(case) == "withdrawn"
    assert entries(case)[-1].words == "【回答】\n3台です。"


@pytest.mark.parametrize("state", ["received", "under_review", "inquiry"])
def test_an_application_is_withdrawn_until_its_completion(case, now, state):
    change_application(case, state=state)
    assert take_up(case, reply(now, "【取下げ】\n都合により。\n"), now) == Handled(f"withdrawal of {NUMBER}")
    assert state_of(case) == "withdrawn"
    assert entries(case)[-1].words == "都合により。"
    assert queued(case) == [(WITHDRAWN, CONTACT), (WITHDRAWN, ADMINISTRATOR), (NEWS, REVIEWER)]


@only_sqlite
@pytest.mark.parametrize("mark", ["取下げ", "修正"])
@pytest.mark.parametrize("state", DONE)
def test_after_completion_the_answer_names_the_desks(case, now, state, mark):
    change_application(case, state=state)
    assert isinstance(take_up(case, reply(now, f"【{mark}】\n電話番号: 0312345678\n"), now), Handled)
    assert state_of(case) == state
    assert queued(case) == [(STATUS, CONTACT), (NEWS, REVIEWER)]
    assert "電話番号" in entries(case)[-1].words
    assert DESK.desks[0].phone in told(case)
    late = told(case)
    change_application(case, state="withdrawn")
    take_up(case, reply(now, f"【{mark}】\n"), now)
    assert told(case) != late


@pytest.mark.parametrize("mark", ["取下げ", "修正"])
def test_the_reviewer_is_told_of_what_came_after_completion_and_what_was_answered(case, now, mark):
    change_application(case, state="ids_issued")
    take_up(case, reply(now, f"【{mark}】\n電話番号: 0312345678\n"), now)
    news = message_from_bytes(mail_to(case, NEWS, REVIEWER), policy=default)
    assert news["Subject"] == f"【NSS】審査終了後の{mark}（{NUMBER} CT0001）"
    text = told(case, NEWS, REVIEWER)
    for words in (NUMBER, f"【{mark}】", CONTACT, "お問い合わせ先へ電話いただくこと", "電話番号: 0312345678"):
        assert words in text, words


@only_sqlite
def test_the_reviewer_is_told_where_the_author_had_enough_answers_within_the_hour(case, now):
    change_application(case, state="ids_issued")
    for _ in range(5):
        take_up(case, reply(now, "【照会】\n"), now)
    outcome = take_up(case, reply(now, "【取下げ】\n"), now)
    assert outcome.reason.endswith("not answered, the author had enough answers within the hour")
    assert "お答えしていません" in told(case, NEWS, REVIEWER)


@only_sqlite
def test_a_second_withdrawal_is_answered_and_nobody_has_to_look_at_it(case, now):
    take_up(case, reply(now, "【取下げ】\n"), now)
    before = queued(case)
    take_up(case, reply(now, "【取下げ】\n"), now)
    assert queued(case)[len(before) :] == [(STATUS, CONTACT)]
    assert "手続きはすでに終わっているため" in told(case)


def test_answers_to_a_long_address_are_counted_as_well(case, now):
    address = f"{'a' * 64}@{'b' * 60}.example"
    change_application(case, applicant_email=address, address_accepted=True)
    outcome = take_up(case, reply(now, "【照会】\n", sender=address, token_of=address), now)
    assert outcome == Handled(f"question about {NUMBER}")
    assert queued(case) == [(STATUS, address)]


def test_a_question_is_answered_with_where_the_case_stands(case, now):
    assert take_up(case, reply(now, "【照会】\nいかがでしょうか。\n"), now) == Handled(f"question about {NUMBER}")
    assert queued(case) == [(STATUS, CONTACT)]
    assert NUMBER in told(case)
    assert entries(case)[-1].words == "いかがでしょうか。"


@only_sqlite
def test_a_question_is_answered_to_who_asked_it(case, now):
    take_up(case, reply(now, "【照会】\n", sender=ADMINISTRATOR, token_of=ADMINISTRATOR), now)
    assert queued(case) == [(STATUS, ADMINISTRATOR)]
    assert told(case, STATUS, ADMINISTRATOR).startswith("ナックス商事株式会社 第一営業部 総務部\n")


def test_two_machines_do_not_keep_each_other_busy(case, now):
    outcomes = [
        take_up(case, reply(now, f"{number}回目の自動のお知らせです。\n"), now + timedelta(minutes=number))
        for number in range(8)
    ]
    assert outcomes[-1].reason.endswith("not answered, the author had enough answers within the hour")
    assert queued(case) == [(STATUS, CONTACT)] * 5
    assert len(entries(case, "question")) == 8
    take_up(case, reply(now, "【照会】\n"), now + timedelta(hours=2))
    assert queued(case) == [(STATUS, CONTACT)] * 6


def test_news_to_the_reviewer_have_a_limit_too(case, now):
    for number in range(22):
        take_up(case, reply(now, f"【回答】\n{number}\n"), now)
    assert queued(case).count((NEWS, REVIEWER)) == 20
    assert len(entries(case, "question")) == 22


@pytest.fixture
def settings_case(store, now):
    """An application that needs system settings."""
    take_contracts(store, now)
    receive(store, now, said=contents(items=("system_settings",), desired_start_date=date(2026, 12, 14)))
    return store


def test_system_settings_are_recorded_and_answered(settings_case, now):
    outcome = take_up(settings_case, reply(now, "【システム設定申込】\n利用者コード: 1AABC\n"), now)
    assert outcome == Handled(f"system settings of {NUMBER}")
    assert application(settings_case).settings_received_at == now
    assert entries(settings_case, "settings")[0].words == "利用者コード: 1AABC"
    assert ("applicant/settings-received", CONTACT) in queued(settings_case)


@only_sqlite
def test_system_settings_that_nobody_needs_are_kept_and_answered(case, now):
    assert isinstance(take_up(case, reply(now, "【システム設定申込】\nx\n"), now), Handled)
    assert application(case).settings_received_at is None
    assert queued(case) == [(STATUS, CONTACT), (NEWS, REVIEWER)]
    assert "システム設定申込は必要ありません" in told(case).replace("\n", "")
    assert entries(case)[-1].words == "【システム設定申込】\nx"


@only_sqlite
def test_system_settings_after_their_deadline_are_kept_and_answered(settings_case, now):
    change_application(settings_case, state="ids_issued", settings_deadline=date(2026, 11, 23))
    take_up(settings_case, reply(now, "【システム設定申込】\nx\n"), now)
    assert application(settings_case).settings_received_at is None
    assert queued(settings_case) == [(STATUS, CONTACT), (NEWS, REVIEWER)]
    assert "システム設定申込締切日を過ぎて" in told(settings_case).replace("\n", "")


@only_sqlite
def test_system_settings_that_came_in_time_count_however_late_they_are_handled(settings_case, now):
    change_application(settings_case, state="ids_issued", settings_deadline=date(2026, 11, 24))
    arrived = datetime(2026, 11, 24, 14, 59, 59, tzinfo=UTC)  # a second before midnight in Japan
    outcome = take_up(settings_case, reply(arrived, "【システム設定申込】\nx\n"), arrived + timedelta(minutes=5))
    assert outcome == Handled(f"system settings of {NUMBER}")
    assert application(settings_case).settings_received_at == arrived


def test_several_marks_are_answered_and_none_acts(case, now):
    asked(case, now)
    before = queued(case)
    mail = reply(now, "【回答】\n3台です。\n\n【取下げ】\n")
    assert take_up(case, mail, now) == Refused(f"reply about {NUMBER} with 1 errors, answered to its author")
    assert state_of(case) == "inquiry"
    assert queued(case)[len(before) :] == [(INVALID, CONTACT)]
    raw = message_from_bytes(mail_to(case, INVALID, CONTACT), policy=default)
    assert NUMBER in raw["Subject"]
    [part] = raw.iter_attachments()
    said = json.loads(part.get_content())
    assert (said["receipt_number"], said["errors"][0]["code"]) == (NUMBER, "several_marks")
    assert audited(case, f"application:{NUMBER}")[-1][2] == f"mail {mail.mail_id}: several_marks"


@only_sqlite
def test_a_mail_whose_text_cannot_be_read_is_no_answer(case, now):
    asked(case, now)
    raw = written("3台です。\n").replace(b'charset="utf-8"', b'charset="x-unknown"')
    raw = raw.replace(b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: 8bit")
    mail = reply(now, "", raw=raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n\xff\xfe\x81\r\n")
    assert isinstance(take_up(case, mail, now), Refused)
    assert state_of(case) == "inquiry"
    assert queued(case)[-1] == (INVALID, CONTACT)


def test_documents_go_with_the_answer_to_a_question(case, now):
    mail = reply(now, "【照会】\n")
    prepared = case.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    assert [type(document) for document in prepared.documents] == [DocumentRequest]
    ready = _with_parts(prepared)
    case.run(lambda session: desk_mail.handle(session, mail, DESK, now, ready))
    raw = message_from_bytes(mail_to(case, STATUS, CONTACT), policy=default)
    assert [part.get_filename() for part in raw.iter_attachments()] == ["申込書.pdf"]


def test_documents_of_a_case_that_changed_meanwhile_are_not_sent(case, now):
    mail = reply(now, "【照会】\n")
    ready = _with_parts(case.read(lambda session: desk_mail.prepare(session, mail, DESK, now)))
    decided(case, Event.TAKE, now)
    with pytest.raises(CaseChanged):
        case.run(lambda session: desk_mail.handle(session, mail, DESK, now, ready))
    assert STATUS not in dict(queued(case))
    assert isinstance(take_up(case, mail, now), Handled)


def _with_parts(prepared: Prepared) -> Prepared:
    part = NoticePart(file_name="申込書.pdf", subtype="pdf", content=b"%PDF-1.7")
    return Prepared(
        mail=prepared.mail,
        application_id=prepared.application_id,
        row_version=prepared.row_version,
        documents=prepared.documents,
        parts=(part,),
    )


@only_sqlite
@pytest.mark.parametrize(
    "text", ["【回答】\n3台です。\n", "【取下げ】\n", "【修正】\n電話番号: 0312345678\n", "【システム設定申込】\n"]
)
def test_no_documents_are_prepared_for_anything_but_a_question(case, now, text):
    asked(case, now)
    mail = reply(now, text)
    prepared = case.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    assert prepared.documents == ()
    assert (prepared.reading is not None) == ("修正" in text)


@only_sqlite
def test_nothing_is_prepared_for_a_stranger(case, now):
    mail = reply(now, "【照会】\n", trusted=False)
    prepared = case.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    assert (prepared.documents, prepared.application_id) == ((), None)


def test_amendments_are_taken_while_the_application_is_reviewed(store, now):
    take_contracts(store, now)
    take_in(store, application_mail(now), now)
    outcome = take_up(store, reply(now, "【修正】\n【申込担当者】\n電話番号: 0312345678\n"), now)
    assert outcome == Handled(f"amendment of {NUMBER}")
    assert queued(store)[-3:] == [(AMENDED, CONTACT), (AMENDED, ADMINISTRATOR), (NEWS, REVIEWER)]
    text = told(store, AMENDED, CONTACT)
    assert "0120794550" in text
    assert "0312345678" in text


def test_an_amendment_with_errors_is_answered_at_once_and_changes_nothing(store, now):
    take_contracts(store, now)
    take_in(store, application_mail(now), now)
    before = application(store)
    outcome = take_up(store, reply(now, "【修正】\n【申込担当者】\n電話番号: 03-1\n役職名: x\n"), now)
    assert outcome == Refused(f"reply about {NUMBER} with 2 errors, answered to its author")
    assert queued(store)[-1] == (INVALID, CONTACT)
    after = application(store)
    assert (after.contents, after.row_version) == (before.contents, before.row_version)
    assert entries(store, "amendment") == []
