"""What the papers of an application say, and from which day on each may be had."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import documents, reviews
from handlers.applications import register
from handlers.applications.application_copy import Acceptance, copy_of_application
from handlers.applications.contents import ApplicationContents
from handlers.calendar import start_of_day
from handlers.documents import DocumentKind, DocumentRequest, Withheld
from handlers.reviews import Decided, Details
from handlers.workflow import Event
from storage.models import Application
from storage.store import opened
from tests.handlers.applications.receipt_cases import application_mail
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    START,
    WITH_SMTP_SERVER,
    contents,
    line_change,
    no_servers,
    receive,
    take_contracts,
)

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
TODAY = date(2026, 11, 22)


@pytest.fixture
def store(store_url):
    with opened(store_url) as store:
        take_contracts(store, NOW, WITH_SMTP_SERVER)
        yield store


def application(session: Session) -> Application:
    return session.scalars(select(Application)).one()


def papers(store, day):
    return store.read(lambda session: documents.allowed(session, application(session), day))


def paper(store, kind, day):
    return store.read(lambda session: documents.document(session, application(session), kind, day))


def complete(store):
    decided = store.run(lambda s: reviews.complete(s, DESK, "260001A", None, "os:reviewer", NOW, CALENDAR))
    assert isinstance(decided, Decided)


def test_the_application_can_be_had_at_once_and_the_approval_only_from_the_start_date(store):
    receive(store, NOW, said=contents(line_change()))
    assert [each.kind for each in papers(store, TODAY)] == [DocumentKind.APPLICATION]
    assert isinstance(paper(store, DocumentKind.APPROVAL, START), Withheld)
    complete(store)
    assert [each.kind for each in papers(store, date(2026, 12, 13))] == [DocumentKind.APPLICATION]
    assert paper(store, DocumentKind.APPROVAL, date(2026, 12, 13)) == Withheld("ids_issued", START)
    assert [each.kind for each in papers(store, START)] == [DocumentKind.APPLICATION, DocumentKind.APPROVAL]


def test_what_was_rejected_is_never_approved(store):
    receive(store, NOW, said=contents(line_change()))
    rejected = reviews.Details(words="回線がありません")
    store.run(lambda s: reviews.decide(s, DESK, "260001A", Event.REJECT, "os:reviewer", NOW, CALENDAR, rejected))
    assert isinstance(paper(store, DocumentKind.APPROVAL, START), Withheld)


def test_a_paper_names_the_office_its_dates_and_every_item_with_its_box(store):
    receive(store, NOW, said=contents(line_change()))
    found = paper(store, DocumentKind.APPLICATION, TODAY)
    assert isinstance(found, DocumentRequest)
    assert found.title == "システムサービス利用契約変更申込書"
    assert (found.issued_on, found.start_label, found.start_date) == (
        "2026年11月22日",
        "変更利用開始希望日",
        "2026年12月14日",
    )
    assert (found.company_name, found.office_code, found.office_name) == (
        "ナックス商事株式会社",
        "CT0001",
        "第一営業部",
    )
    items = [row for row in found.rows if not row.heading.startswith("　")]
    assert len(items) == 20
    assert [row.heading for row in items if row.ticked] == ["一般NACCS端末の登録情報（追加・削除）"]


@pytest.mark.parametrize("completed", [False, True])
def test_counts_stand_before_and_after_whether_the_ids_are_issued_or_not(store, completed):
    receive(store, NOW, said=contents(line_change(smtp_servers=2, mail_addresses=3, addresses_of_new_servers=(2, 1))))
    if completed:
        complete(store)
    rows = {row.heading: (row.before, row.after) for row in paper(store, DocumentKind.APPLICATION, TODAY).rows}
    assert rows["　回線 09143（変更） SMTPサーバ台数（SMTP双方向）"] == ("1台", "3台")
    assert rows["　回線 09143（変更） メールアドレス数（SMTP双方向）"] == ("1個", "4個")


@pytest.mark.parametrize("completed", [False, True])
def test_a_deleted_terminal_is_named(store, completed):
    receive(store, NOW, said=contents(no_servers(terminals_to_delete=("60777S",))))
    if completed:
        complete(store)
    rows = {row.heading: (row.before, row.after) for row in paper(store, DocumentKind.APPLICATION, START).rows}
    assert rows["　回線 09143（変更） SMTPサーバ台数（SMTP双方向）"] == ("1台", "0台")
    assert rows["　回線 09143（変更） メールアドレス数（SMTP双方向）"] == ("1個", "0個")
    assert rows["　回線 09143（変更） 削除する論理端末名"] == ("60777S", "削除")


@pytest.mark.parametrize("completed", [False, True])
def test_a_paper_and_the_acceptance_write_what_changes_of_a_line_in_the_same_way(store, completed):
    said = contents(
        line_change(access_speed="128kbps", edifact="要", mail_addresses=2, addresses_of_new_servers=(2,)),
        items=("naccs_lines", "naccs_terminals"),
    )
    receive(store, NOW, said=said)
    copied = store.read(lambda session: _copied(session, said))
    if completed:
        complete(store)
    place = "　回線 09143（変更） "
    rows = {row.heading: row for row in paper(store, DocumentKind.APPLICATION, TODAY).rows}
    written = {label: f"{row.before} → {row.after}" for label in copied if (row := rows[f"{place}{label}"])}
    assert written == copied
    assert written["メールアドレス数（SMTP双方向）"] == "1個 → 3個"
    assert written["EDIFACTの要否"] == "否 → 要"


def _copied(session: Session, said: ApplicationContents) -> dict[str, str]:
    """Label -> before and after, as the acceptance has them."""
    office = register.get_office(session, said.office_code)
    acceptance = Acceptance(
        mail=application_mail(NOW),
        application=application(session),
        contents=said,
        office=office,
        lines=register.line_facts(session, office, ["09143"], TODAY),
        open_cases=(),
    )
    lines = copy_of_application(session, acceptance)["lines"]
    assert isinstance(lines, list)
    return {change.label: change.shown for change in lines[0].changes}


def test_addresses_for_a_terminal_that_is_there_are_counted_and_named(store):
    receive(store, NOW, said=contents(no_servers(mail_addresses=2, target_terminal="60777S")))
    rows = {row.heading: (row.before, row.after) for row in paper(store, DocumentKind.APPLICATION, TODAY).rows}
    assert rows["　回線 09143（変更） メールアドレス数（SMTP双方向）"] == ("1個", "3個")
    assert rows["　回線 09143（変更） 対象の論理端末名"] == ("", "60777S")


def test_what_a_column_was_is_left_open_once_the_register_has_the_new_one(store):
    said = contents(line_change(access_speed="128kbps"), items=("naccs_lines", "naccs_terminals"))
    receive(store, NOW, said=said)
    complete(store)
    begun = store.run(
        lambda s: reviews.decide(
            s, DESK, "260001A", Event.BEGIN_USE, "gateway", start_of_day(START), CALENDAR, Details()
        )
    )
    assert isinstance(begun, Decided)
    rows = {row.heading: (row.before, row.after) for row in paper(store, DocumentKind.APPROVAL, START).rows}
    assert rows["　回線 09143（変更） アクセス速度"] == ("", "128kbps")
    assert rows["　回線 09143（変更） SMTPサーバ台数（SMTP双方向）"] == ("1台", "2台")
