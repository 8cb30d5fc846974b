from __future__ import annotations

import pytest

from tests.gateway.command_line import on_store

CSV = "申込締切日,システム登録日\r\n2026-11-20,2026-12-07\r\n2026-11-27,2026-12-14\r\n"


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
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
    assert command_line.json("calendar", "remove", "2026-12-18") == {"day": "2026-12-18"}
    assert command_line.run("calendar", "remove", "2026-12-18", lang="en").stderr == "2026-12-18 is no day off\n"
    assert command_line.json("calendar", "add", "2026-12-18", "--name", "移転") == {"day": "2026-12-18", "name": "移転"}
    assert command_line.run("calendar", "add", "18.12.2026").exit_code == 2
