from __future__ import annotations

import os
import pwd
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import update

from handlers.calendar import JST, mail_date
from handlers.reviews import find
from storage.clock import move_clock
from storage.models import Application, Line, ScheduleDay
from tests.gateway.command_line import on_store
from tests.handlers.deciding import application, entries, fingerprint
from tests.handlers.review_cases import (
    CALENDAR,
    contents,
    line_change,
    no_servers,
    notices_sent,
    receive,
    state_of,
    take_contracts,
)
from tests.handlers.test_terminals import only_sqlite
from tests.handlers.test_two_persons import NEW_LINE

USER = pwd.getpwuid(os.getuid()).pw_name
WITH_SETTINGS = contents(items=("naccs_terminals", "user_codes"))


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    made = on_store(store, store_url, tmp_path, now)
    (tmp_path / "secret.key").write_text("00" * 32)
    (tmp_path / "secret.key").chmod(0o600)
    made.environment["NACCS_GATEWAY_SECRETS__PASSWORD_KEYS"] = str(tmp_path / "passwords.key")
    take_contracts(store, now)
    return made


@pytest.fixture
def case(command_line, store, now):
    receive(store, now)
    return store


def templates(store):
    return [name for name, _ in notices_sent(store)]


def test_a_review_goes_from_taking_over_asking_to_a_rejection(command_line, case):
    assert command_line.run("application", "take", "260001A").stdout == "260001A の審査を担当します。\n"
    assert application(case).taken_by == f"os:{USER}"
    asked = command_line.json("application", "inquire", "260001A", "台数は１台でよろしいですか。")
    assert (asked["state"], asked["proposed"], asked["terminals"]) == ("inquiry", False, [])
    rejected = command_line.run("application", "reject", "260001A", "契約と合いません。", lang="en")
    assert (rejected.exit_code, rejected.stdout) == (0, "260001A rejected\n")
    assert templates(case) == ["applicant/inquiry"] * 2 + ["applicant/application-rejected"] * 2


def test_words_may_stand_in_a_file(command_line, case, tmp_path):
    words = tmp_path / "question.txt"
    words.write_text("台数をお知らせください。\n１台でよろしいですか。\n", encoding="utf-8")
    command_line.run("application", "inquire", "260001A", "--file", str(words))
    assert entries(case)[-1].words == "台数をお知らせください。\n１台でよろしいですか。"
    both = command_line.run("application", "inquire", "260001A", "？", "--file", str(words))
    assert both.exit_code == 2
    assert command_line.run("application", "inquire", "260001A", "--file", str(tmp_path / "none")).exit_code == 2


@pytest.mark.parametrize("command", ["inquire", "reject", "void"])
@pytest.mark.parametrize("words", [(), ("",), (" \n",), ("--file", "-")])
def test_without_words_a_decision_that_is_told_was_called_wrongly(command_line, case, command, words):
    refused = command_line.run("application", command, "260001A", *words, lang="en")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "give the words as an argument or with --file" in refused.stderr
    assert state_of(case) == "received"


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (("inquire", "260001A", "台数は？"), "確認事項"),
        (("reject", "260001A", "契約と合いません。"), "不承認"),
        (("complete", "260001A"), "【NSS】ID通知のお知らせ"),
        (("reschedule", "260001A", "2026-12-21"), "変更"),
        (("schedule-work", "260001A", "--begins", "2026-12-10T09:00", "--ends", "2026-12-10T12:00"), "工事"),
    ],
)
def test_a_preview_shows_the_mails_and_changes_nothing(command_line, case, arguments, subject):
    before = fingerprint(case)
    shown = command_line.json("application", *arguments, "--preview")
    assert shown["preview"]
    assert any(subject in mail["subject"] for mail in shown["mails"])
    assert {mail["to"] for mail in shown["mails"]} == {"tsukan-hanako@applicant.example", "kanri@applicant.example"}
    assert all("260001A" in mail["body"] for mail in shown["mails"])
    assert fingerprint(case) == before


def test_a_preview_is_readable_and_says_that_nothing_was_sent(command_line, case):
    shown = command_line.run("application", "inquire", "260001A", "台数は？", "--preview").stdout
    assert "To: tsukan-hanako@applicant.example" in shown
    assert "台数は？" in shown
    assert shown.endswith("2 通。何も送らず、何も変えていません。\n")


def test_a_preview_of_a_refused_decision_is_refused(command_line, case):
    assert command_line.run("application", "void", "260001A", "無効", "--preview").exit_code == 1


def test_two_persons_complete_as_different_users_of_the_system(command_line, case):
    two = {"NACCS_GATEWAY_DESK__TWO_PERSON": "true"}
    first = command_line.run("application", "complete", "260001A", "--json", **two, SUDO_UID="60001")
    assert '"proposed": true' in first.stdout
    again = command_line.run("application", "complete", "260001A", **two, SUDO_UID="60001", lang="en")
    assert again.exit_code == 1
    assert "os:60001 proposed it" in again.stderr
    previewed = command_line.run("application", "complete", "260001A", "--preview", **two, SUDO_UID="60001")
    assert "ID通知" in previewed.stdout
    assert state_of(case) == "under_review"
    claimed = command_line.run("application", "complete", "260001A", "--sudo-uid", "60002", **two, SUDO_UID="60001")
    assert (claimed.exit_code, claimed.stdout) == (2, "")
    second = command_line.run("application", "complete", "260001A", **two, SUDO_UID="60002")
    assert (second.exit_code, state_of(case)) == (0, "ids_issued")


def test_a_first_person_is_told_that_another_has_to_decide(command_line, case):
    proposed = command_line.run("application", "complete", "260001A", NACCS_GATEWAY_DESK__TWO_PERSON="true", lang="en")
    assert proposed.stdout == "260001A proposed; another reviewer decides with application complete\n"


def test_a_completion_takes_new_lines_and_the_ticked_inquiry(command_line, store, now):
    receive(store, now, said=contents(line_change(**NEW_LINE), items=("naccs_lines", "naccs_terminals")))
    assert "--new-line" in command_line.run("application", "complete", "260001A", lang="en").stderr
    for wrong in ("09150", "09150=10.1.1.1/24", "x=10.1.1.0/24"):
        assert command_line.run("application", "complete", "260001A", "--new-line", wrong).exit_code == 2
    done = command_line.json("application", "complete", "260001A", "--new-line", "09150=127.20.50.0/24")
    assert [row["ip_address"] for row in done["terminals"]] == ["127.20.50.2"]
    receive(store, now, "260002A", said=contents(items=(), other_items=("joint_use",), lines=()))
    assert "--inquiry-made" in command_line.run("application", "complete", "260002A", lang="en").stderr
    assert command_line.run("application", "complete", "260002A", "--inquiry-made", "--accept-address").exit_code == 0
    assert application(store, "260002A").address_accepted


def test_a_passed_deadline_is_refused_with_the_first_day_that_would_do(command_line, store, now):
    receive(store, now, said=WITH_SETTINGS)
    refused = command_line.run("application", "complete", "260001A", "--start-date", "2026-11-27", lang="en")
    assert refused.exit_code == 1
    assert "2026-11-20" in refused.stderr
    assert "2026-11-28" in refused.stderr


def test_a_start_off_the_schedule_is_taken_with_a_warning(command_line, case):
    row = ScheduleDay(start_on=date(2026, 12, 7), apply_by=date(2026, 11, 27))
    case.run(lambda session: session.add(row))
    done = command_line.run("application", "complete", "260001A", lang="en")
    assert done.exit_code == 0
    assert "no registration day" in done.stderr


def test_a_start_is_moved_once_however_it_is_given(command_line, case):
    assert command_line.run("application", "reschedule", "260001A").exit_code == 2
    twice = ("2026-12-21", "--start-date", "2026-12-21")
    assert command_line.run("application", "reschedule", "260001A", *twice).exit_code == 2
    assert (
        command_line.run("application", "reschedule", "260001A", "2026-12-21", "--words", "先方の都合").exit_code == 0
    )
    assert command_line.run("application", "reschedule", "260001A", "--start-date", "2026-12-22").exit_code == 0
    assert application(case).desired_start_date == date(2026, 12, 22)
    same = command_line.run("application", "reschedule", "260001A", "2026-12-22", lang="en")
    assert (same.exit_code, "2026-12-22 already" in same.stderr) == (1, True)


def test_settings_are_recorded_and_a_case_is_voided(command_line, store, now):
    receive(store, now, said=WITH_SETTINGS)
    command_line.run("application", "complete", "260001A")
    assert command_line.run("application", "settings-received", "260001A").exit_code == 0
    assert command_line.json("application", "show", "260001A")["settings_received_on"] == "2026-11-24"
    assert command_line.run("application", "void", "260001A", "お申し出により").exit_code == 0
    assert state_of(store) == "void"


def test_the_passwords_of_a_void_case_can_neither_be_seen_nor_issued_again(command_line, case):
    command_line.run("application", "complete", "260001A")
    command_line.run("application", "void", "260001A", "お申し出により")
    for lang, words in (("en", "its passwords are gone for good"), ("ja", "参照も再発行もできません")):
        hidden = command_line.run("application", "reveal-passwords", "260001A", lang=lang)
        assert (hidden.exit_code, words in hidden.stderr, "reissue" in hidden.stderr) == (1, True, False)
    assert command_line.run("application", "reissue-password", "260001A").exit_code == 1


@pytest.mark.parametrize("on", [date(2026, 11, 24), date(2026, 12, 14), date(2026, 12, 16), date(2027, 2, 1)])
@pytest.mark.parametrize("state", ["ids_issued", "in_use", "checked"])
@only_sqlite
def test_a_reissue_tells_the_window_in_every_state_and_at_every_time(command_line, case, on, state):
    command_line.run("application", "complete", "260001A")
    case.run(lambda session: session.execute(update(Application).values(state=state)))
    moment = datetime(on.year, on.month, on.day, 10, tzinfo=JST)
    case.run(lambda session: move_clock(session, moment - datetime.now(UTC)))
    until = CALENDAR.last_day_of_password_window(max(on, date(2026, 12, 14)))
    window = f"（{mail_date(on)}～{mail_date(until)}）"
    drafts = command_line.json("application", "reissue-password", "260001A", "--preview")
    assert drafts["passwords_until"] == until.isoformat()
    assert all(f"パスワードの参照期間：\n  {window}\n" in mail["body"] for mail in drafts["mails"])
    noticed = command_line.json("notice", "preview", "passwords-reissued", "--receipt", "260001A")
    assert window in noticed["text"]
    done = command_line.run("application", "reissue-password", "260001A")
    assert done.stdout == f"260001A パスワードを再発行しました。参照期間は {until} までです。\n"


@only_sqlite
def test_a_window_that_ended_is_named_with_its_day(command_line, case):
    command_line.run("application", "complete", "260001A")
    case.run(lambda session: session.execute(update(Application).values(passwords_until=None)))
    moment = datetime(2027, 2, 1, tzinfo=JST)
    case.run(lambda session: move_clock(session, moment - datetime.now(UTC)))
    hidden = command_line.run("application", "reveal-passwords", "260001A", lang="en")
    assert "could be seen until 2026-12-16" in hidden.stderr


def test_an_address_is_accepted(command_line, case):
    assert command_line.run("application", "accept-address", "260001A").exit_code == 0
    assert application(case).address_accepted


def test_work_is_arranged_and_recorded_done(command_line, case):
    window = ("--begins", "2026-12-10T09:00", "--ends", "2026-12-10T12:00")
    assert command_line.run("application", "schedule-work", "260001A").exit_code == 2
    backwards = ("--begins", "2026-12-10T12:00", "--ends", "2026-12-10T09:00")
    assert command_line.run("application", "schedule-work", "260001A", *backwards).exit_code == 2
    options = ("--mode", "on_site", "--contact", "工事窓口", "--phone", "0312345678", "--fee", "33,000円")
    assert command_line.run("application", "schedule-work", "260001A", *window, *options).exit_code == 0
    assert command_line.run("application", "schedule-work", "260001A", "--done").exit_code == 0
    refused = command_line.run("application", "schedule-work", "260001A", "--done", lang="en")
    assert (refused.exit_code, "no work is arranged" in refused.stderr) == (1, True)
    shown = command_line.run("application", "history", "260001A").stdout
    assert "begins_at: 2026-12-10T00:00:00+00:00" in shown


def test_work_on_a_line_with_a_spare_router_is_warned_of(command_line, case):
    case.run(lambda session: session.execute(update(Line).values(spare_router=True)))
    window = ("--begins", "2026-12-10T09:00", "--ends", "2026-12-10T12:00")
    arranged = command_line.run("application", "schedule-work", "260001A", *window, "--json", lang="en")
    assert "spare router" in arranged.stderr
    assert '"spare_router_remote"' in arranged.stdout


def test_the_queue_shows_what_bears_on_the_decision(command_line, store, now):
    receive(
        store, now, sender_verdict="dkim applicant.example", said=WITH_SETTINGS, applicant_email="new@other.example"
    )
    receive(store, now, "260002A", taken_by="os:first", state="under_review")
    rows = command_line.json("application", "queue")
    assert [(row["receipt_number"], row["taken_by"]) for row in rows] == [("260001A", ""), ("260002A", "os:first")]
    assert (rows[0]["address_registered"], rows[0]["open_cases"]) == (False, ["260002A"])
    shown = command_line.run("application", "queue", lang="en").stdout
    for part in (
        "260001A  received  0 business days  nobody's",
        "sender: dkim applicant.example",
        "the notice address new@other.example is not registered; replies from it do not act",
        "other open applications on this line: 260002A",
        "deadline for system settings: 2026-12-08",
    ):
        assert part in shown
    assert command_line.json("application", "queue", "--after", "1")[0]["receipt_number"] == "260002A"


def test_a_case_under_review_is_shown_with_what_bears_on_it(command_line, store, now):
    receive(
        store,
        now,
        said=contents(no_servers(**NEW_LINE), items=("naccs_lines",)),
        proposed_by="os:first",
        proposed_start=date(2026, 12, 14),
    )
    shown = command_line.run("application", "show", "260001A").stdout
    for part in ("追加する回線: 1", "審査終了の提案: os:first 利用開始日 2026-12-14", "回線 追加/変更/削除: 1/0/0"):
        assert part in shown


def test_the_history_shows_what_was_said_and_done(command_line, case):
    command_line.run("application", "inquire", "260001A", "台数は？")
    shown = command_line.json("application", "history", "260001A")
    assert [(row["kind"], row["words"], row["actor"]) for row in shown] == [
        ("taken", "", f"os:{USER}"),
        ("inquiry", "台数は？", f"os:{USER}"),
    ]
    assert shown[1]["mail_id"] is not None
    assert "確認事項" in command_line.run("application", "history", "260001A").stdout


@pytest.mark.parametrize("command", ["history", "take", "settings-received", "reissue-password", "reveal-passwords"])
def test_an_unknown_receipt_number_is_refused_by_every_command(command_line, command):
    result = command_line.run("application", command, "269999A", lang="en")
    assert (result.exit_code, result.stderr) == (1, "there is no application 269999A\n")


def test_passwords_are_revealed_within_their_window_and_issued_anew_after_it(command_line, case, now, tmp_path):
    hidden = command_line.run("application", "reveal-passwords", "260001A", lang="en")
    assert (hidden.exit_code, "no password was issued" in hidden.stderr) == (1, True)
    command_line.run("application", "complete", "260001A")
    shown = command_line.json("application", "reveal-passwords", "260001A")
    assert shown["passwords_until"] == "2026-12-16"
    assert [(row["kind"], row["terminal"]) for row in shown["passwords"]] == [
        ("office_password", ""),
        ("terminal_access_key", "60000S"),
    ]
    value = shown["passwords"][0]["value"]
    assert value in command_line.run("application", "reveal-passwords", "260001A").stdout
    keys = (tmp_path / "passwords.key").read_bytes()
    assert command_line.json("application", "reissue-password", "260001A", "--preview")["mails"]
    assert (tmp_path / "passwords.key").read_bytes() == keys
    assert command_line.run("application", "reissue-password", "260001A").exit_code == 0
    again = command_line.json("application", "reveal-passwords", "260001A")
    assert value not in [row["value"] for row in again["passwords"]]
    assert "secrets_viewed" in [entry.kind for entry in entries(case)]
    assert case.read(lambda session: find(session, "260001A")).passwords_until == date(2026, 12, 16)
