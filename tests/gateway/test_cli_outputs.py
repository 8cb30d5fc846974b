"""`output list|add|end|import`: registered output destinations (宛先管理, EXC)."""

from __future__ import annotations

import pytest

from tests.gateway.command_line import on_store
from tests.gateway.test_health import only_sqlite
from tests.handlers.review_cases import WITH_SMTP_SERVER, take_contracts
from tests.handlers.test_output_destinations import CSV, TOML
from tests.handlers.test_terminals import ADDRESS


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return on_store(store, store_url, tmp_path, now)


@pytest.mark.parametrize(("name", "text"), [("outputs.toml", TOML), ("outputs.CSV", CSV)])
def test_a_file_is_imported_and_listed_and_again_changes_nothing(command_line, tmp_path, name, text):
    file = tmp_path / name
    file.write_text("\ufeff" + text, encoding="utf-8")
    report = command_line.json("output", "import", str(file))
    assert report == {
        "dry_run": False,
        "added": 2,
        "updated": 0,
        "ended": [],
        "map_version": "2",
        "unknown_users": [],
        "outputs": [],
    }
    assert command_line.run("output", "import", str(file), lang="en").stdout == "nothing to change\n"
    (row,) = command_line.json("output", "list", "--code", "SAD4011")
    assert row.pop("id").isdigit()
    assert row == {
        "output_code": "SAD4011",
        "user_code": "",
        "address": ADDRESS,
        "terminal": "60777S",
        "effective_from": "2026-11-24",
        "effective_until": None,
    }
    assert len(command_line.json("output", "list")) == 2
    assert len(command_line.json("output", "list", "--on", "2026-11-24")) == 1


@only_sqlite
def test_every_fault_of_a_file_is_told_with_its_line(command_line, tmp_path):
    file = tmp_path / "outputs.csv"
    file.write_text(CSV.replace("SAD4011", "sad").replace("2027-01-01", "2026-01-01"), encoding="utf-8")
    refused = command_line.run("output", "import", str(file), lang="en")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "line 2, code: up to 7 capitals and digits, the first may be *, not sad\n"
        "line 3, until: must be after its first day 2026-12-01\n"
    )
    assert command_line.json("output", "list") == []
    file.write_bytes("code,address\n輸入,x".encode("shift_jis"))
    assert command_line.run("output", "import", str(file)).exit_code == 1


@only_sqlite
def test_a_destination_is_added_and_ended_by_command(command_line):
    added = command_line.json("output", "add", "sad4011", ADDRESS.lower(), "--user", "tst01", "--until", "2027-01-01")
    (row,) = added["outputs"]
    assert (row["user_code"], row["effective_from"], row["effective_until"]) == ("TST01", "2026-11-24", "2027-01-01")
    overlap = command_line.run(
        "output", "add", "SAD4011", ADDRESS, "--user", "TST01", "--from", "2026-12-01", lang="en"
    )
    assert overlap.stderr == "SAD4011: the same destination is registered for 2026-11-24 - 2027-01-01\n"
    ended = command_line.run("output", "end", row["id"], "--on", "2026-12-01", lang="en")
    assert ended.stdout == (
        f"added 0, updated 1\n{row['id']}  SAD4011 TST01 {ADDRESS}  60777S  2026-11-24 - 2026-12-01\n"
    )
    past = command_line.run("output", "end", row["id"], "--on", "2026-01-01", lang="en")
    assert (past.exit_code, past.stderr) == (1, "has passed: 2026-01-01\n")


@only_sqlite
def test_what_is_not_there_ends_with_status_1_and_wrong_usage_with_2(command_line):
    refused = command_line.run("output", "end", "17", lang="en")
    assert (refused.exit_code, refused.stderr) == (1, "there is no output destination 17\n")
    unknown = command_line.run("output", "add", "SAD4011", "nobody@x.example", lang="en")
    assert (unknown.exit_code, unknown.stderr) == (
        1, "SAD4011, address: is no mail address of the map on that day: nobody@x.example\n",
    )  # fmt: skip
    assert command_line.run("output", "end", "x").exit_code == 2
    assert command_line.run("output", "add", "SAD4011", ADDRESS, "--from", "tomorrow").exit_code == 2
    assert command_line.run("output", "import", "none.toml").exit_code == 2
    too_long = command_line.run("output", "add", "SAD40111111", ADDRESS, lang="en")
    assert (too_long.exit_code, too_long.stderr.partition(":")[0]) == (2, "SAD40111111, code")
    for until in ("2026-11-30", "2026-12-01"):
        days = ("--from", "2026-12-01", "--until", until)
        assert command_line.run("output", "add", "SAD4011", ADDRESS, *days).exit_code == 2
    today = command_line.run("output", "add", "SAD4011", ADDRESS, "--until", "2026-11-01", lang="en")
    assert (today.exit_code, "must be after its first day 2026-11-24" in today.stderr) == (1, True)


@only_sqlite
def test_a_user_code_nobody_has_is_taken_with_a_caution(command_line, tmp_path):
    caution = "caution: the register has no user with the code TST99\n"
    added = command_line.run("output", "add", "SAD4011", ADDRESS, "--user", "TST99", lang="en")
    assert (added.exit_code, added.stderr) == (0, caution)
    assert command_line.run("output", "add", "SAD4021", ADDRESS, "--user", "TST01", lang="en").stderr == ""
    assert "TST99" in command_line.run("output", "add", "SAD4031", ADDRESS, "--user", "tst99").stderr
    file = tmp_path / "outputs.csv"
    file.write_text(f"code,address,user\nSAD4041,{ADDRESS},TST99\nSAD4041,{ADDRESS},\n", encoding="utf-8")
    assert command_line.run("output", "import", str(file), lang="en").stderr == caution
    assert command_line.json("output", "import", str(file))["unknown_users"] == ["TST99"]


@only_sqlite
def test_a_dry_run_says_what_would_be_and_changes_nothing(command_line, tmp_path):
    add = ("output", "add", "SAD4011", ADDRESS, "--user", "TST99", "--dry-run")
    shown = command_line.run(*add, lang="en")
    assert shown.stdout.startswith("added 1, updated 0 (would be; nothing was changed)\n")
    assert f"SAD4011 TST99 {ADDRESS}  60777S  2026-11-24 -\n" in shown.stdout
    assert shown.stderr == "caution: the register has no user with the code TST99\n"
    told = command_line.json(*add)
    assert (told["dry_run"], told["added"], told["unknown_users"], len(told["outputs"])) == (True, 1, ["TST99"], 1)
    file = tmp_path / "outputs.csv"
    file.write_text(CSV, encoding="utf-8")
    assert command_line.json("output", "import", str(file), "--dry-run")["added"] == 2
    assert command_line.json("output", "list") == []
    assert command_line.run("output", "add", "SAD4011", "nobody@x.example", "--dry-run").exit_code == 1


@only_sqlite
def test_a_filter_that_can_match_nothing_is_an_error(command_line):
    assert command_line.run("output", "list", "--code", "SAD40111").exit_code == 2
    assert command_line.run("output", "list", "--on", "today").exit_code == 2
    unknown = command_line.run("output", "list", "--address", "nobody@x.example", lang="en")
    assert (unknown.exit_code, unknown.stderr) == (1, "there is no mail address nobody@x.example\n")
    assert command_line.json("output", "list", "--code", "*SOTA", "--address", ADDRESS) == []
