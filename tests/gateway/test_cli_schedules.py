from __future__ import annotations

from datetime import timedelta

import pytest
from typer.testing import CliRunner

from gateway.cli import build
from gateway.cli.replanned import DAYS
from handlers import replanning
from handlers.desk_jobs import JobKind
from tests.gateway.command_line import on_store
from tests.handlers.clock_cases import complete, undone
from tests.handlers.review_cases import receive, take_contracts

CSV = "申込締切日,システム登録日\r\n2026-11-20,2026-12-07\r\n2026-11-27,2026-12-14\r\n"


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    (tmp_path / "secret.key").write_text("00" * 32)
    (tmp_path / "secret.key").chmod(0o600)
    return on_store(store, store_url, tmp_path, now)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_a_schedule_is_imported_from_a_spreadsheets_file_and_listed(command_line, tmp_path, encoding):
    file = tmp_path / "schedule.csv"
    file.write_bytes(CSV.encode(encoding))
    assert command_line.json("schedule", "import", str(file)) == {
        "added": ["2026-12-07", "2026-12-14"],
        "changed": [],
        "unchanged": 0,
    }
    assert command_line.run("schedule", "import", str(file)).stdout == "追加 0、変更 0、変更なし 2\n"
    assert command_line.json("schedule", "list") == [{"apply_by": "2026-11-27", "start_on": "2026-12-14"}]
    assert len(command_line.json("schedule", "list", "--all")) == 2
    shown = command_line.run("schedule", "list", lang="en").stdout
    assert shown == "apply by 2026-11-27  registered on 2026-12-14\n"


def test_a_file_with_faults_is_refused_with_all_of_them(command_line, tmp_path):
    file = tmp_path / "schedule.toml"
    file.write_text('[[schedule]]\napply_by = "soon"\nstart_on = 2026-12-14\n[[schedule]]\nstart_on = 2026-12-21\n')
    refused = command_line.run("schedule", "import", str(file), lang="en")
    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [
        "schedule #1, 申込締切日: must be a date such as 2026-04-01, not soon",
        "schedule #2, 申込締切日: must be given",
    ]
    file.write_text("[[schedule]]\napply_by = 2026-12-15\nstart_on = 2026-12-14\n")
    assert "must not be after" in command_line.run("schedule", "import", str(file), lang="en").stderr
    assert "スケジュール表はありません" in command_line.run("schedule", "list").stdout


def test_a_file_in_no_known_encoding_is_refused(command_line, tmp_path):
    file = tmp_path / "schedule.csv"
    file.write_bytes(b"\xff\xfe\x80\x00")
    assert command_line.run("schedule", "import", str(file)).exit_code == 1


def test_a_day_off_is_added_listed_and_removed(command_line):
    assert command_line.run("calendar", "add", "2026-12-18", lang="en").stdout == "2026-12-18 臨時休業 added\n"
    assert command_line.run("calendar", "add", "2026-12-18", lang="en").exit_code == 1
    shown = command_line.json("calendar", "list")
    assert {"day": "2026-12-18", "name": "臨時休業"} in shown
    assert shown[0]["day"] >= "2026-11-24"
    assert "2026-12-29  年末年始" in command_line.run("calendar", "list", "--year", "2026").stdout
    assert command_line.json("calendar", "remove", "2026-12-18") == {
        "day": "2026-12-18",
        "name": "臨時休業",
        "by_law": False,
        "dry_run": False,
        "moved": [],
        "jobs_changed": 0,
    }
    assert command_line.run("calendar", "remove", "2026-12-18", lang="en").stderr == "2026-12-18 is no day off\n"
    assert command_line.json("calendar", "add", "2026-12-18", "--name", "移転")["name"] == "移転"
    assert command_line.run("calendar", "add", "18.12.2026").exit_code == 2


@pytest.fixture
def case(command_line, store, now):
    """An application whose IDs were issued, to start on 2026-12-14."""
    take_contracts(store, now)
    receive(store, now)
    complete(store, now)
    return store


HOLIDAY = "2026-11-23"  # 勤労感謝の日
TURN_OF_THE_YEAR = "2026-12-29"


def answered(command_line, answer, *arguments, lang="en"):
    return CliRunner().invoke(
        build(), ["--lang", lang, *arguments], input=answer, env=command_line.environment, catch_exceptions=False
    )


def is_off(command_line, on):
    return on in [row["day"] for row in command_line.json("calendar", "list", "--year", on[:4])]


@pytest.mark.parametrize("on", [HOLIDAY, TURN_OF_THE_YEAR])
def test_a_day_off_by_law_is_made_a_working_day_only_after_a_yes(command_line, on):
    nobody = command_line.run("calendar", "remove", on, lang="en")
    assert (nobody.exit_code, nobody.stdout.strip()) == (2, "")
    assert "is a day off by law" in nobody.stderr
    assert nobody.stderr.endswith("nobody answered, so nothing was done; add --yes to go on without being asked\n")
    assert answered(command_line, "n\n", "calendar", "remove", on).exit_code == 1
    assert is_off(command_line, on)
    assert answered(command_line, "y\n", "calendar", "remove", on).exit_code == 0
    assert not is_off(command_line, on)


def test_with_yes_nobody_is_asked(command_line):
    done = command_line.run("calendar", "remove", HOLIDAY, "--yes")
    assert (done.exit_code, done.stdout) == (0, "2026-11-23 勤労感謝の日（法令による休日） を営業日に戻しました。\n")


def test_a_day_off_by_law_comes_back_as_the_laws(command_line):
    rehearsed = command_line.run("calendar", "remove", HOLIDAY, "--dry-run", lang="en").stdout
    assert rehearsed == "2026-11-23 勤労感謝の日 (off by law) would be a working day\n"
    command_line.run("calendar", "remove", HOLIDAY, "--yes")
    again = command_line.run("calendar", "add", HOLIDAY, "--dry-run").stdout
    assert again == "2026-11-23 勤労感謝の日（法令による休日） を追加します（予行）。\n"
    added = command_line.json("calendar", "add", HOLIDAY, "--name", "移転")
    assert (added["name"], added["by_law"]) == ("勤労感謝の日", True)
    assert {"day": HOLIDAY, "name": "勤労感謝の日"} in command_line.json("calendar", "list", "--year", "2026")


def test_an_edit_says_which_dates_move_and_plans_the_jobs_at_once(command_line, case):
    before = undone(case)["tcc_reminder", ""]
    rehearsed = command_line.run("calendar", "add", "2026-12-15", "--dry-run", lang="en").stdout
    assert rehearsed.splitlines() == [
        "2026-12-15 臨時休業 would be added",
        "  260001A  last day of the password window  2026-12-16 -> 2026-12-17 (was told, so it stays)",
        "  260001A  reminder of the communication check  2026-12-17 -> 2026-12-18",
    ]
    assert undone(case)["tcc_reminder", ""] == before
    assert not is_off(command_line, "2026-12-15")
    added = command_line.json("calendar", "add", "2026-12-15")
    assert added["jobs_changed"] == 1
    assert {"what": "tcc_reminder", "before": "2026-12-17", "after": "2026-12-18"}.items() <= added["moved"][1].items()
    assert undone(case)["tcc_reminder", ""] == before + timedelta(days=1)
    removed = command_line.run("calendar", "remove", "2026-12-15").stdout
    assert "通信確認の催促  2026-12-18 -> 2026-12-17" in removed
    assert removed.endswith("予定を組み直した作業 1 件\n")
    assert undone(case)["tcc_reminder", ""] == before


def test_many_cases_are_planned_with_the_progress_shown(command_line, store, now, monkeypatch):
    take_contracts(store, now)
    for number in range(1, 4):
        receive(store, now, f"26000{number}A")
    monkeypatch.setattr(replanning, "CASES_AT_ONCE", 2)
    shown = command_line.run("calendar", "add", "2026-12-18", lang="en")
    assert (shown.exit_code, shown.stderr) == (0, "applications 2/3\n")
    assert shown.stdout.endswith("planned again: 3 jobs\n")


def test_an_imported_schedule_plans_open_cases_that_lacked_a_job(command_line, store, now, tmp_path):
    take_contracts(store, now)
    receive(store, now)
    file = tmp_path / "schedule.csv"
    file.write_text(CSV, encoding="utf-8")
    command_line.run("schedule", "import", str(file))
    assert [kind for kind, _ in undone(store)] == ["review_reminder"]


def test_every_kind_of_day_has_a_name_in_both_languages():
    assert {str(kind) for kind in JobKind} | {"settings_deadline", "passwords_until"} == set(DAYS)
