"""Contracts from the command line: export, and changes of lines, terminals and addresses."""

from __future__ import annotations

import csv
import os
import pwd
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.cli.faults import FAULTS
from gateway.key_file import read_keys
from handlers.terminals import load
from storage.models import MapVersion
from tests.gateway.command_line import on_store
from tests.handlers.allocation_cases import FIRST_ADDRESS, TODAY, issue
from tests.handlers.review_cases import WITH_SMTP_SERVER, audited, take_contracts
from tests.handlers.stuck_messages import bound, put
from tests.handlers.test_map_changes import void
from tests.handlers.test_terminals import only_sqlite

USER = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
LAN_TAKEN = FAULTS["lan_taken"][1].format(value="127.20.13.0/24 (09143)")
ADD_LINE = ("line", "add", "CT0001", "09500", "--lan", "127.20.50.0/28", "--class", "共用", "--edifact")


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    read_keys(tmp_path / "secret.key", may_make=True)  # a store with passwords in it has its key file
    return on_store(store, store_url, tmp_path, now)


def version(store):
    return store.read(lambda session: session.scalar(select(MapVersion.version)))


# --- office export ---------------------------------------------------------------------------------------------------


def test_an_exported_file_is_imported_again_without_a_change(command_line, tmp_path):
    shown = command_line.run("office", "export").stdout
    assert shown.startswith("# Offices as they stood on 2026-11-24")
    assert 'router_number = "09143"' in shown
    file, tables = tmp_path / "out.toml", tmp_path / "tables"
    command_line.run("office", "export", "--output", str(file))
    command_line.run("office", "export", "--format", "csv", "--output", str(tables))
    assert file.read_text(encoding="utf-8") == shown
    assert {path.stat().st_mode & 0o777 for path in (file, *tables.iterdir())} == {0o600}
    for source in (file, tables):
        again = command_line.run("office", "import", str(source), lang="en")
        assert (again.exit_code, again.stdout) == (0, "nothing to change\n"), again.stderr


def test_tables_open_in_a_spreadsheet_and_are_imported_with_what_was_changed_there(command_line, tmp_path):
    tables = tmp_path / "tables"
    command_line.run("office", "export", "--format", "csv", "--output", str(tables))
    lines = tables / "lines.csv"
    assert lines.read_bytes().startswith(b"\xef\xbb\xbf")
    with lines.open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["router_number"], row["spare_router"]) == ("09143", "false")
    lines.write_text(lines.read_text(encoding="utf-8-sig").replace("128kbps", "1Mbps"), encoding="utf-8")
    assert command_line.json("office", "import", str(tables))["updated"] == {"lines": 1}


@only_sqlite
def test_tables_that_are_not_known_or_missing_are_told(command_line, tmp_path):
    tables = tmp_path / "tables"
    command_line.run("office", "export", "--format", "csv", "--output", str(tables))
    (tables / "line.csv").write_text("", encoding="utf-8")
    refused = command_line.run("office", "import", str(tables), lang="en")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "line.csv: is none of the tables offices.csv, contacts.csv, lines.csv, terminals.csv, users.csv\n",
    )
    for table in tables.iterdir():
        table.unlink()
    assert "offices.csv: must be given" in command_line.run("office", "import", str(tables), lang="en").stderr
    (tables / "offices.csv").write_bytes("事業所".encode("shift_jis"))
    assert command_line.run("office", "import", str(tables)).exit_code == 1


def test_one_office_and_another_day_may_be_exported(command_line, store, now):
    (issued,) = issue(store, now)
    assert issued.name not in command_line.run("office", "export", "--office", "CT0001").stdout
    assert issued.name in command_line.run("office", "export", "--on", "2026-12-14").stdout
    (office,) = command_line.json("office", "export")["office"]
    assert office["line"][0]["terminal"][0]["name"] == "25130M"
    assert command_line.run("office", "export", "--office", "XX").exit_code == 1
    assert command_line.run("office", "export", "--format", "csv").exit_code == 2


# --- lines -----------------------------------------------------------------------------------------------------------


def test_a_line_is_added_shown_changed_and_ended(command_line, store):
    added = command_line.json(*ADD_LINE, "--effective", "2026-11-25")
    assert added == {
        "dry_run": False,
        "map_version": "2",
        "effective": "2026-11-25",
        "steps": [{"event": "line_added", "subject": "line:09500", "detail": "CT0001 127.20.50.0/28"}],
        "affected": {"count": 0, "mails": []},
    }
    shown = command_line.json("line", "show", "09500")
    assert {key: shown[key] for key in ("office_code", "line_class", "edifact", "effective_from", "terminals")} == {
        "office_code": "CT0001",
        "line_class": "共用",
        "edifact": True,
        "effective_from": "2026-11-25",
        "terminals": [],
    }
    assert [line["router_number"] for line in command_line.json("line", "list", "--office", "CT0001")] == [
        "09143",
        "09500",
    ]
    assert command_line.run("line", "change", "09143", "--shared").exit_code == 0
    shared = ("--lan", "127.20.13.0/24", "--shared")
    assert command_line.run("line", "change", "09500", *shared, "--dry-run").exit_code == 0
    assert command_line.run("line", "change", "09500", *shared[:2], "--dry-run").exit_code == 1
    changed = command_line.run("line", "change", "09500", "--no-edifact", "--spare-router", "--shared-with", "")
    assert "回線を変更: 09500  edifact: True -> False, spare_router: False -> True" in changed.stdout
    ended = command_line.run("line", "end", "09143", lang="en").stdout
    assert ended.splitlines()[:2] == [
        "terminal ended: 25130M  127.20.13.11",
        "terminal ended: 27264C  127.20.13.12",
    ]
    assert "effective 2026-11-24" in ended
    assert audited(store, "line:09143")[-1] == ("line_ended", USER, "from 2026-11-24")


@only_sqlite
def test_lines_are_listed_and_shown_for_people(command_line):
    assert "09143       CT0001    127.20.13.0/24      3  -" in command_line.run("line", "list").stdout
    shown = command_line.run("line", "show", "09143").stdout
    assert "access_speed: 128kbps" in shown
    assert "  60777S  SMTP  127.20.13.13:2525" in shown


@only_sqlite
def test_a_terminal_that_was_taken_back_is_told_so_counted_by_no_line_and_in_no_way(command_line, store, now):
    (issued,) = issue(store, now)
    void(store, now)
    assert "127.20.13.0/24      3  -" in command_line.run("line", "list").stdout
    (terminal,) = command_line.json("explain", issued.name)["matches"]
    (address,) = command_line.json("explain", *issued.mail_addresses)["matches"]
    for told in (terminal, *terminal["addresses"], *address["bindings"]):
        assert (told["state"], told["awaits_check"]) == ("never_in_force", False)
    for shown in (issued.name, *issued.mail_addresses):
        told = command_line.run("explain", shown).stdout
        assert "予定" not in told
        assert "TCC" not in told
    rehearsed = command_line.run("line", "end", "09143", "--dry-run", lang="en")
    assert (rehearsed.exit_code, issued.name in rehearsed.stdout) == (0, False)


@only_sqlite
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("line", "list", "--office", "XX"), "there is no office XX"),
        (("line", "show", "1"), "there is no line 1"),
        (("line", "history", "1"), "there is no line 1"),
        (("terminal", "history", "60999S"), "there is no terminal 60999S"),
        (("address", "history", "a@b.example"), "there is no mail address a@b.example"),
        (("line", "end", "1"), "line 1: there is no line 1"),
        (
            (*ADD_LINE[:5], "127.20.13.0/24", "--dry-run"),
            f"line 09500: {LAN_TAKEN}",
        ),
        (("line", "add", "CT0001", "09143", "--lan", "127.20.50.0/24"), "line 09143: 09143 is another line's"),
        (("terminal", "end", "60777S", "--effective", "2026-11-23"), "--effective: has passed: 2026-11-23"),
    ],
)
def test_what_cannot_be_is_refused_with_a_clear_text(command_line, arguments, words):
    result = command_line.run(*arguments, lang="en")
    assert (result.exit_code, result.stderr) == (1, f"{words}\n")


@only_sqlite
@pytest.mark.parametrize(
    "arguments",
    [
        ("line", "change", "09143"),
        ("terminal", "move", "60777S"),
        ("terminal", "add", "09143", "--kind", "gw", "--addresses", "1"),
        ("terminal", "end", "60777S", "--effective", "tomorrow"),
        ("line", "add", "CT0001", "09500"),
        ("line", "add", "CT0001", "x", "--lan", "127.20.50.0/28"),
        ("line", "change", "09143", "--lan", "127.20.13.1/24"),
        ("terminal", "add", "09143", "--kind", "gw", "--name", "abc"),
        ("address", "add", "60777S", "nobody"),
    ],
)
def test_wrong_usage_is_told_as_such(command_line, arguments):
    assert command_line.run(*arguments).exit_code == 2


# --- terminals and addresses -----------------------------------------------------------------------------------------


def test_a_terminal_is_added_moved_and_ended(command_line, store):
    added = command_line.json("terminal", "add", "09143", "--kind", "smtp", "--addresses", "1", "--port", "2526")
    assert [step["subject"] for step in added["steps"]] == [
        "terminal:60000S",
        "address:3A0002@SMTP.CT0001.CENTER.EXAMPLE",
    ]
    moved = command_line.run("terminal", "move", "60000s", "--ip", "127.20.13.50").stdout
    assert "論理端末を移動: 60000S  09143 127.20.13.2 -> 09143 127.20.13.50" in moved
    command_line.run("terminal", "end", "60000S", "--effective", "2026-12-01")
    terminal = next(one for one in command_line.json("terminal", "list") if one["name"] == "60000S")
    assert (terminal["ip_address"], terminal["effective_until"]) == ("127.20.13.50", "2026-12-01")
    history = command_line.json("terminal", "history", "60000S")
    assert [(event["event"], event["actor"]) for event in history] == [
        ("terminal_added", USER),
        ("address_added", USER),
        ("terminal_moved", USER),
        ("terminal_ended", USER),
        ("address_ended", USER),
    ]
    assert "terminal_moved  terminal:60000S" in command_line.run("terminal", "history", "60000S").stdout


def test_a_dry_run_changes_nothing_and_names_the_mail_that_would_not_be_sent(command_line, store, now):
    mail_id = put(store, bound(store), "SAD4031", now)
    before = version(store)
    rehearsed = command_line.json("address", "end", FIRST_ADDRESS, "--dry-run")
    assert rehearsed["dry_run"] is True
    assert rehearsed["affected"] == {
        "count": 1,
        "mails": [
            {
                "mail_id": str(mail_id),
                "address": FIRST_ADDRESS,
                "terminal": "60777S",
                "state": "queued",
                "output_code": "SAD4031",
                "since": "2026-11-24T01:00:00.000+00:00",
            }
        ],
    }
    for lang, words in (("ja", "影響を受けるメール 1 件"), ("en", "mail affected, queued or undelivered: 1")):
        shown = command_line.run("terminal", "end", "60777S", "--dry-run", lang=lang).stdout
        assert words in shown
        assert f"    {mail_id}  {FIRST_ADDRESS}  60777S  queued  SAD4031" in shown
    assert version(store) == before
    assert store.read(load).binding(FIRST_ADDRESS.lower(), TODAY) is not None
    assert audited(store, f"address:{FIRST_ADDRESS}") == [("address_added", "gateway", "60777S")]


def test_an_address_is_added_and_ended(command_line):
    command_line.run("address", "add", "60777s", "own@smtp.ct0001.center.example", "--effective", "2026-12-01")
    added = next(one for one in command_line.json("address", "list") if one["address"].startswith("OWN"))
    assert (added["terminal"], added["effective_from"]) == ("60777S", "2026-12-01")
    ended = command_line.run("address", "end", "own@smtp.ct0001.center.example", "--effective", "2026-12-05")
    assert "メールアドレスを廃止: OWN@SMTP.CT0001.CENTER.EXAMPLE" in ended.stdout
    history = command_line.json("address", "history", "own@SMTP.ct0001.center.example")
    assert [event["event"] for event in history] == ["address_added", "address_ended"]
    refused = command_line.run("address", "end", "own@smtp.ct0001.center.example", "--json")
    assert refused.exit_code == 1
    assert '"rule": "ends_already"' in refused.stdout


def test_the_line_keeps_its_own_history(command_line, tmp_path: Path):
    command_line.run("line", "change", "09143", "--wiring", "他社手配")
    events = command_line.json("line", "history", "09143")
    assert [event["event"] for event in events] == ["line_added", *["terminal_added"] * 3, "line_changed"]
    assert "wiring: 自社手配 -> 他社手配" in command_line.run("line", "history", "09143").stdout
