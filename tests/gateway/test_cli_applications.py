from __future__ import annotations

import os
import pwd
from datetime import date

import pytest
from sqlalchemy import func, select

from gateway.cli.application_refusals import REFUSALS
from gateway.cli.applications import KINDS
from gateway.cli.deciding import CAUTIONS
from gateway.cli.opening import OpenedStore
from gateway.settings import Settings
from handlers.case_history import EntryKind
from handlers.reviews import Caution, Reason
from handlers.terminals import load
from storage.models import Application, ApplicationAttachment, CalendarDay
from storage.store import new_key
from tests.gateway.command_line import on_store
from tests.handlers.review_cases import (
    WITH_SMTP_SERVER,
    audited,
    contents,
    line_change,
    no_servers,
    notices_sent,
    receive,
    state_of,
    take_contracts,
)

USER = pwd.getpwuid(os.getuid()).pw_name
ADDRESS = "3A0001@SMTP.CT0001.CENTER.EXAMPLE"


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    # The key file is made while the store is empty, as the first command of an installation does.
    made = on_store(store, store_url, tmp_path, now)
    (tmp_path / "secret.key").write_text("00" * 32)
    (tmp_path / "secret.key").chmod(0o600)
    return made


def attach(store, name, size):
    def add(session):
        application = session.scalars(select(Application)).one()
        row = ApplicationAttachment(
            id=new_key(session), application_id=application.id, kind="diagram", name=name, size=size, content=b""
        )
        session.add(row)

    store.run(add)


def test_applications_are_listed_by_state(command_line, store, now):
    take_contracts(store, now)
    receive(store, now, "260001A")
    receive(store, now, "260002A", state="withdrawn")
    assert [row["receipt_number"] for row in command_line.json("application", "list")] == ["260001A", "260002A"]
    (withdrawn,) = command_line.json("application", "list", "--state", "withdrawn")
    assert (withdrawn["receipt_number"], withdrawn["status_ja"], withdrawn["start_date"]) == (
        "260002A",
        "取下げ",
        None,
    )
    assert "260002A  取下げ  CT0001  (2026-12-14)  通関　花子" in command_line.run("application", "list").stdout
    assert command_line.run("application", "list", "--state", "lost").exit_code == 2


def test_completing_confirms_the_wish_and_prints_what_was_issued(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    done = command_line.run("application", "complete", "260001A", lang="en")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (f"260001A completed, start date 2026-12-14\n  added 60000S 127.20.13.2 {ADDRESS}\n")
    assert state_of(store) == "ids_issued"
    assert len(notices_sent(store)) == 4
    assert audited(store, "application:260001A")[0] == ("take", f"os:{USER}", "received -> under_review")


def test_a_start_of_today_is_allowed_with_a_warning_and_routes_at_once(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    done = command_line.run("application", "complete", "２６０００１ａ", "--start-date", "2026-11-24", "--json")
    assert done.exit_code == 0
    assert "警告" in done.stderr
    assert state_of(store) == "in_use"
    assert store.read(load).binding(ADDRESS.lower(), date(2026, 11, 24)) is not None


def test_a_start_before_today_is_refused(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    refused = command_line.run("application", "complete", "260001A", "--start-date", "2026-11-23", lang="en")
    assert refused.exit_code == 1
    assert "2026-11-23 has passed" in refused.stderr
    assert state_of(store) == "received"


def test_what_is_no_date_is_wrong_usage(command_line):
    assert command_line.run("application", "complete", "260001A", "--start-date", "20261214").exit_code == 2


def test_a_second_completion_ends_with_status_1(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    assert command_line.run("application", "complete", "260001A").exit_code == 0
    refused = command_line.run("application", "complete", "260001A")
    assert refused.exit_code == 1
    assert "審査終了（ids_issued）" in refused.stderr
    assert "reschedule, settings-received" in refused.stderr


@pytest.mark.parametrize("command", ["show", "complete"])
def test_an_unknown_receipt_number_ends_with_status_1(command_line, command):
    result = command_line.run("application", command, "269999A", lang="en")
    assert (result.exit_code, result.stderr) == (1, "there is no application 269999A\n")


def test_a_notice_that_cannot_be_written_ends_with_status_1(command_line, store, now):
    take_contracts(store, now)
    receive(store, now, applicant_email="no address")
    refused = command_line.run("application", "complete", "260001A", lang="en")
    assert refused.exit_code == 1
    assert "cannot be written" in refused.stderr
    assert state_of(store) == "received"


def test_every_reason_of_a_refusal_has_its_sentence_in_both_languages():
    assert set(REFUSALS) == set(Reason)
    assert set(CAUTIONS) == set(Caution)
    assert set(KINDS) == set(EntryKind)


def test_a_received_application_is_shown_before_anything_is_issued(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    attach(store, "システム構成図.xlsx", 151552)
    shown = command_line.json("application", "show", "260001a")
    assert {key: shown[key] for key in shown if key not in ("applicant", "counts", "marks", "review")} == {
        "receipt_number": "260001A",
        "state": "received",
        "status_ja": "受付",
        "office_code": "CT0001",
        "contract_office_code": "CT0001",
        "application_class": "変更",
        "special_classes": [],
        "items": ["一般NACCS端末の登録情報（追加・削除）"],
        "reason": "自社システムのSMTP双方向サーバを追加するため",
        "remarks": "",
        "received_on": "2026-11-24",
        "review_completed_on": None,
        "desired_start_date": "2026-12-14",
        "desired_end_date": None,
        "start_date": None,
        "end_date": None,
        "settings_deadline": None,
        "settings_received_on": None,
        "passwords_until": None,
        "applicant_name": "通関　花子",
        "applicant_email": "tsukan-hanako@applicant.example",
        "administrator_email": "kanri@applicant.example",
        "terminals": [],
        "works": [],
        "attachments": [{"kind": "diagram", "name": "システム構成図.xlsx", "size": 151552}],
        "progress": [{"item": "利用申込", "date": "2026-11-24", "notice": "利用申込受付完了のお知らせ"}],
    }
    assert shown["counts"] == {
        "user_codes": {"added": 0, "changed": 0, "deleted": 0},
        "identification_numbers": {"added": 0, "changed": 0, "deleted": 0},
        "lines": {"added": 0, "changed": 0, "deleted": 0},
        "terminals": {"added": 1, "changed": 0, "deleted": 0},
        "mailboxes": {"added": 0, "changed": None, "deleted": 0},
    }
    assert shown["marks"] == {"company": False, "office": True, "contract_holder": False}
    assert shown["applicant"]["company_name"] == "ナックス商事株式会社"
    assert (shown["review"]["age"], shown["review"]["lines"][0]["router_number"]) == (0, "09143")


def test_a_completed_application_is_shown_with_its_ids(command_line, store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    said = contents(
        line_change(), no_servers(mail_addresses=1, target_terminal="60777S", terminals_to_delete=("25130M",))
    )
    receive(store, now, said=said)
    command_line.run("application", "complete", "260001A", "--start-date", "2026-11-24")
    shown = command_line.json("application", "show", "260001A")
    assert (shown["state"], shown["status_ja"], shown["start_date"]) == ("in_use", "審査終了", "2026-11-24")
    assert (shown["review_completed_on"], shown["review"]) == ("2026-11-24", None)
    assert shown["counts"]["terminals"] == {"added": 1, "changed": 1, "deleted": 1}
    assert [row["item"] for row in shown["progress"]] == [
        "利用申込",
        "利用申込回答(審査終了)",
        "ID通知",
        "利用開始",
    ]
    assert {terminal["name"] for terminal in shown["terminals"]} == {"60000S", "60777S"}


def test_a_shown_application_names_only_the_addresses_that_it_issued(command_line, store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now, said=contents(no_servers(mail_addresses=1, target_terminal="60777S")))
    command_line.run("application", "complete", "260001A")
    (terminal,) = command_line.json("application", "show", "260001A")["terminals"]
    assert terminal == {
        "name": "60777S",
        "ip_address": "127.20.13.13",
        "mail_addresses": ["3A0002@SMTP.CT0001.CENTER.EXAMPLE"],
    }


@pytest.mark.parametrize(
    ("lang", "expected"),
    [("ja", ["受付番号: 260001A", "ステータス: 審査終了"]), ("en", ["receipt number: 260001A", "state: ids_issued"])],
)
def test_an_application_is_shown_to_people_in_their_language(command_line, store, now, lang, expected):
    take_contracts(store, now)
    receive(store, now)
    attach(store, "システム構成図.xlsx", 1)
    command_line.run("application", "complete", "260001A")
    shown = command_line.run("application", "show", "260001A", lang=lang).stdout
    assert [text for text in [*expected, ADDRESS, "システム構成図.xlsx", "ID通知"] if text not in shown] == []


WINDOW = ("--begins", "2026-12-10T13:00", "--ends", "2026-12-10T15:00")
MOVED = ("--begins", "2026-12-11T22:00", "--ends", "2026-12-12T01:00")
TOLD = ("--contact", "工事窓口", "--phone", "0312345678", "--fee", "33,000円", "--note", "入館証が要ります")


def schedule_work(command_line, *options, lang="ja"):
    return command_line.run("application", "schedule-work", "260001A", *options, lang=lang)


def test_work_is_shown_with_its_application(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    schedule_work(command_line, *WINDOW, *TOLD, "--mode", "on_site", "--router-installed-on", "2026-12-12")
    (work,) = command_line.json("application", "show", "260001A")["works"]
    assert {key: work[key] for key in work if key not in ("id", "scheduled_by")} == {
        "router_number": "09143",
        "mode": "on_site",
        "begins_at": "2026-12-10T04:00:00.000+00:00",
        "ends_at": "2026-12-10T06:00:00.000+00:00",
        "state": "planned",
        "router_installed_on": "2026-12-12",
        "contact": "工事窓口",
        "phone": "0312345678",
        "fee": "33,000円",
        "note": "入館証が要ります",
        "replaces": None,
    }
    assert (
        "回線工事: 09143  現地  2026-12-10 13:00-15:00  予定  ルータ設置日 2026-12-12  連絡先 工事窓口 0312345678"
        f"  費用 33,000円  備考 入館証が要ります  (--work {work['id']})\n"
    ) in command_line.run("application", "show", "260001A").stdout
    shown = command_line.run("application", "show", "260001A", lang="en").stdout
    assert "work: 09143  on site  2026-12-10 13:00-15:00  planned  router installed on 2026-12-12" in shown
    command_line.run("application", "schedule-work", "260001A", "--done", "--work", work["id"])
    assert command_line.json("application", "show", "260001A")["works"][0]["state"] == "done"


def test_work_that_replaces_other_work_says_so_outright(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    first = schedule_work(command_line, *WINDOW, *TOLD, "--mode", "on_site", lang="en")
    assert (first.exit_code, first.stderr) == (0, "")
    previewed = schedule_work(command_line, *MOVED, "--preview")
    assert "2026-12-10 13:00-15:00、現地" in previewed.stderr
    moved = schedule_work(command_line, *MOVED, lang="en")
    assert "replaces the work arranged before on the same line (2026-12-10 13:00-15:00, on site)" in moved.stderr
    assert "as in the work before: contact 工事窓口, phone 0312345678, fee 33,000円" in moved.stderr
    called_off, standing = command_line.json("application", "show", "260001A")["works"]
    assert (called_off["state"], standing["state"], standing["mode"]) == ("called_off", "planned", "on_site")
    assert standing["replaces"] == {
        "id": called_off["id"],
        "mode": "on_site",
        "begins_at": called_off["begins_at"],
        "ends_at": called_off["ends_at"],
    }
    shown = command_line.run("application", "show", "260001A").stdout
    assert "2026-12-10 13:00-15:00  取消し" in shown
    assert "2026-12-10 13:00-15:00 の工事に替わるもの" in shown


def test_json_of_arranged_work_shows_it_and_what_it_replaced(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    first = command_line.json("application", "schedule-work", "260001A", *WINDOW, "--fee", "33,000円")["work"]
    assert (first["router_number"], first["state"], first["replaces"]) == ("09143", "planned", None)
    moved = command_line.json("application", "schedule-work", "260001A", *MOVED)
    assert moved["work"]["replaces"] == {
        "id": first["id"],
        "mode": "remote",
        "begins_at": "2026-12-10T04:00:00.000+00:00",
        "ends_at": "2026-12-10T06:00:00.000+00:00",
    }
    assert (moved["work"]["fee"], moved["work_warnings"]) == ("33,000円", ["replaces", "carried_over"])
    done = command_line.run("application", "schedule-work", "260001A", "--done")
    assert "09143  リモート  2026-12-11 22:00-2026-12-12 01:00  終了  費用 33,000円" in done.stdout


def test_a_window_that_has_ended_is_refused_with_what_to_do(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    refused = schedule_work(command_line, "--begins", "2026-11-24T08:00", "--ends", "2026-11-24T09:00", lang="en")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "the window 2026-11-24 08:00-09:00 is over already; give --begins and --ends" in refused.stderr
    assert command_line.json("application", "show", "260001A")["works"] == []


def test_the_same_work_again_changes_nothing_and_is_no_fault(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    schedule_work(command_line, *WINDOW, *TOLD)
    for preview in ((), ("--preview",)):
        again = schedule_work(command_line, *WINDOW, *TOLD, *preview)
        assert (again.exit_code, again.stderr) == (0, "")
        assert again.stdout.startswith("何も変わりません。同じ工事（2026-12-10 13:00-15:00）")
    options = ("application", "schedule-work", "260001A", *WINDOW)
    assert command_line.json(*options) == {"receipt_number": "260001A", "unchanged": "work_unchanged"}
    assert command_line.json(*options, "--preview")["mails"] == []
    assert len(command_line.json("application", "show", "260001A")["works"]) == 1


def test_a_line_or_work_that_is_not_there_is_refused_with_what_is(command_line, store, now):
    take_contracts(store, now)
    receive(store, now)
    assert "ルータ番号: 09143" in schedule_work(command_line, *WINDOW, "--router", "99999").stderr
    work = command_line.json("application", "schedule-work", "260001A", *WINDOW)["work"]
    refused = schedule_work(command_line, "--done", "--work", work["id"] + "1", lang="en")
    assert (refused.exit_code, f"such work: {work['id']}" in refused.stderr) == (1, True)


def test_the_help_says_that_work_is_replaced_and_what_is_carried_over(command_line):
    said = " ".join(command_line.run("application", "schedule-work", "--help", lang="en").stdout.split())
    assert "REPLACES the earlier one" in said
    assert "taken over from it" in said


@pytest.mark.parametrize("options", [("--done", *WINDOW), ("--work", "1", *WINDOW)])
def test_arranging_work_and_recording_it_done_are_not_mixed(command_line, options):
    assert schedule_work(command_line, *options).exit_code == 2


def test_the_queue_names_three_other_cases_and_counts_the_rest(command_line, store, now):
    take_contracts(store, now)
    for number in range(1, 7):
        receive(store, now, f"26000{number}A")
    sheet = command_line.json("application", "queue")[0]
    assert len(sheet["open_cases"]) == len(sheet["lines"][0]["open_cases"]) == 5
    shown = command_line.run("application", "queue").stdout
    assert "同じ回線のほかの申込: 260002A 260003A 260004A ほか 2 件（全 5 件）\n" in shown
    assert "この事業所のほかの申込: 260002A 260003A 260004A ほか 2 件（全 5 件）\n" in shown
    shown = command_line.run("application", "queue", lang="en").stdout
    assert "on this line: 260002A 260003A 260004A and 2 more (5 in all)\n" in shown
    assert "260005A" not in shown.partition("260002A  received")[0]


def test_few_other_cases_are_all_named(command_line, store, now):
    take_contracts(store, now)
    for number in range(1, 4):
        receive(store, now, f"26000{number}A")
    shown = command_line.run("application", "queue", lang="en").stdout
    assert "other open applications of the office: 260002A 260003A (2 in all)\n" in shown


def test_years_the_calendar_knows_nothing_of_are_filled_in_and_edits_are_kept(store):
    opened = OpenedStore(settings=Settings(), store=store)
    assert date(2027, 1, 1) in opened.calendar(date(2026, 11, 24)).holidays
    store.run(lambda session: session.delete(session.get(CalendarDay, date(2027, 1, 11))))
    before = store.read(lambda session: session.scalar(select(func.count()).select_from(CalendarDay)))
    assert opened.calendar(date(2026, 11, 24)).is_business_day(date(2027, 1, 11))
    after = store.read(lambda session: session.scalar(select(func.count()).select_from(CalendarDay)))
    assert after == before
