from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select, update

from handlers import case_history, reviews
from handlers.case_history import EntryKind
from handlers.case_progress import news
from handlers.case_view import Marks, case_view
from handlers.workflow import Event
from handlers.works import WorkOrder
from storage.models import Application, Office
from tests.handlers.deciding import case_of, decide, desk_with_keys
from tests.handlers.review_cases import WITH_SMTP_SERVER, contents, no_servers, receive, take_contracts

TODAY = date(2026, 11, 24)


def view_of(store, receipt="260001A"):
    return store.read(lambda session: case_view(session, case_of(session, receipt)))


def news_of(store, **options):
    return store.read(
        lambda session: news(session, session.scalars(select(Office).filter_by(code="CT0001")).one(), **options)
    )


@pytest.fixture
def case(store, now):
    take_contracts(store, now)
    receive(store, now)
    return store


def test_the_view_names_the_applicant_with_the_office(case):
    applicant = view_of(case).applicant
    assert (applicant.company_name, applicant.office_name, applicant.office_code) == (
        "ナックス商事株式会社",
        "第一営業部",
        "CT0001",
    )
    assert (applicant.department, applicant.phone, applicant.title) == ("第一営業部通関課", "0120794550", "")
    assert (applicant.name, applicant.kana) == ("通関　花子", "ツウカン　ハナコ")


@pytest.mark.parametrize(
    ("items", "others", "shown", "special", "marks"),
    [
        (("naccs_terminals",), (), "変更", (), Marks(company=False, office=True, contract_holder=False)),
        (("contract_holder",), (), "変更(契約者)", (), Marks(company=True, office=False, contract_holder=True)),
        (("office_names",), (), "変更", (), Marks(company=True, office=True, contract_holder=False)),
        ((), ("joint_use",), "変更", ("共同利用",), Marks(company=False, office=True, contract_holder=False)),
        ((), ("shared_equipment",), "変更", ("機器共用",), Marks(company=False, office=True, contract_holder=False)),
    ],
)
def test_the_view_says_what_kind_of_application_it_is(store, now, items, others, shown, special, marks):
    take_contracts(store, now)
    receive(store, now, said=contents(items=items, other_items=others, lines=()))
    view = view_of(store)
    assert (view.application_class, view.special_classes, view.marks) == (shown, special, marks)


def test_the_end_of_a_contract_is_wished_and_then_fixed(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(items=(), other_items=("cancellation",), lines=()))
    assert (view_of(store).desired_end_date, view_of(store).end_date) == (date(2026, 12, 14), None)
    decide(store, now, Event.COMPLETE, start_date=date(2026, 12, 21))
    assert (view_of(store).desired_end_date, view_of(store).end_date) == (date(2026, 12, 14), date(2026, 12, 21))


def test_the_progress_has_every_step_of_the_procedure(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(items=("naccs_terminals", "user_codes")))
    desk, order = desk_with_keys(), WorkOrder(begins_at=now, ends_at=now + timedelta(hours=2))
    for event, details in (
        (Event.TAKE, {}),
        (Event.INQUIRE, {"words": "？"}),
        (Event.ANSWER, {"words": "はい"}),
        (Event.SCHEDULE_WORK, {"work": order}),
        (Event.RESCHEDULE, {"start_date": date(2026, 12, 21)}),
        (Event.COMPLETE, {"accept_address": True}),
        (Event.RECEIVE_SETTINGS, {}),
        (Event.FINISH_WORK, {}),
        (Event.RESCHEDULE, {"start_date": TODAY}),
        (Event.CONFIRM, {}),
        (Event.REISSUE_SECRETS, {}),
    ):
        done = decide(store, now, event, desk=desk, **details)
        assert isinstance(done, reviews.Decided), (event, done)
    assert [(row.item, row.notice != "") for row in view_of(store).progress] == [
        ("利用申込", True),
        ("確認事項", True),
        ("確認事項への回答", False),
        ("回線工事", True),
        ("日程の変更", True),
        ("利用申込回答(審査終了)", True),
        ("ID通知", True),
        ("システム設定申込", True),
        ("回線工事終了", False),
        ("日程の変更", True),
        ("利用開始", True),
        ("通信確認", True),
        ("パスワードの再発行", True),
    ]


@pytest.mark.parametrize(
    ("event", "item"), [(Event.WITHDRAW, "取下げ"), (Event.REJECT, "利用申込回答(不承認)"), (Event.VOID, "無効")]
)
def test_the_progress_ends_with_how_the_case_ended(case, now, event, item):
    if event is Event.VOID:
        decide(case, now, Event.COMPLETE)
    decide(case, now, event, words="理由")
    assert view_of(case).progress[-1].item == item


def test_an_application_of_before_there_was_a_history_has_its_steps_too(case, now):
    start = date(2026, 11, 30)
    values = {"state": "in_use", "start_date": start, "completed_at": now + timedelta(days=2)}
    case.run(lambda session: session.execute(update(Application).values(**values)))
    assert [(row.item, row.date) for row in view_of(case).progress] == [
        ("利用申込", TODAY),
        ("利用申込回答(審査終了)", date(2026, 11, 26)),
        ("ID通知", date(2026, 11, 26)),
        ("利用開始", start),
    ]


def test_a_step_is_dated_by_the_day_in_japan(case, now):
    decide(case, datetime(2026, 11, 24, 15, 0, tzinfo=UTC), Event.WITHDRAW)
    assert view_of(case).progress[-1].date == date(2026, 11, 25)


def test_only_the_addresses_that_the_application_issued_are_shown(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now, said=contents(no_servers(mail_addresses=1, target_terminal="60777S")))
    receive(store, now, "260002A")
    decide(store, now, Event.COMPLETE)
    decide(store, now, Event.COMPLETE, receipt="260002A")
    (extended,), (issued,) = view_of(store).terminals, view_of(store, "260002A").terminals
    assert (extended.name, extended.mail_addresses) == ("60777S", ("3A0002@SMTP.CT0001.CENTER.EXAMPLE",))
    assert (issued.name, issued.mail_addresses) == ("60000S", ("3A0003@SMTP.CT0001.CENTER.EXAMPLE",))


def test_the_news_of_an_office_are_what_its_people_should_know_newest_first(case, now):
    decide(case, now, Event.TAKE)
    decide(case, now + timedelta(days=1), Event.INQUIRE, words="？")
    decide(case, now + timedelta(days=2), Event.ANSWER, words="はい")
    decide(case, now + timedelta(days=2), Event.COMPLETE)
    rows = news_of(case)
    assert [(row.date, row.category, row.receipt_number) for row in rows] == [
        (date(2026, 11, 26), "利用申込", "260001A"),
        (date(2026, 11, 25), "利用申込", "260001A"),
    ]
    assert "審査を終了しました" in rows[0].text
    assert "確認事項があります" in rows[1].text


def test_the_news_are_the_newest_ten(case, now):
    def add(session):
        application = session.scalars(select(Application)).one()
        for day in range(12):
            case_history.record(session, application, EntryKind.SETTINGS, "gateway", now + timedelta(days=day))

    case.run(add)
    rows = news_of(case)
    assert (len(rows), rows[0].date, rows[0].category) == (10, TODAY + timedelta(days=11), "システム設定")
    assert len(news_of(case, at_most=3)) == 3


def test_news_of_work_say_whether_it_is_arranged_or_done(case, now):
    decide(case, now, Event.SCHEDULE_WORK, work=WorkOrder(begins_at=now, ends_at=now + timedelta(hours=1)))
    decide(case, now + timedelta(hours=1), Event.FINISH_WORK)
    assert [row.text for row in news_of(case)] == [
        "回線工事が終わりました。",
        "回線工事の日程が決まりました。お知らせの内容を確認してください。",
    ]
