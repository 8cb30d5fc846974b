from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import pytest

from gateway.cli import offices, opening
from gateway.cli.faults import FAULTS
from handlers import contract_file
from tests.gateway.command_line import on_store
from tests.handlers.review_cases import OFFICES, WITH_SMTP_SERVER, audited

# Where a rule is named: by keyword, by the checks of the office file, or as what a change is refused for.
RULES = (
    r'(?:rule=|_like\(|_read_as\(|_one_of\(|PydanticCustomError\()"(\w+)"'
    r'|(?<!_)refuse\((?:f?"[^"]*"|\w+), "(\w+)"'
)
USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    return on_store(store, store_url, tmp_path, now)


@pytest.fixture
def office_file(tmp_path):
    def write(text: str = WITH_SMTP_SERVER) -> str:
        file = tmp_path / "offices.toml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return write


def test_an_office_file_is_imported_and_listed(command_line, office_file):
    report = command_line.json("office", "import", office_file())
    new = [(change["kind"], change["name"]) for change in report.pop("changes") if change["is_new"]]
    assert (len(new), new[0], new[-1]) == (8, ("offices", "CT0001"), ("office_users", "TST01 001"))
    assert report == {
        "dry_run": False,
        "added": {
            "offices": 1,
            "contacts": 1,
            "lines": 1,
            "logical_terminals": 3,
            "mail_addresses": 1,
            "office_users": 1,
        },
        "updated": {},
        "ended": [],
        "ended_lines": [],
        "map_version": "1",
    }
    (office,) = command_line.json("office", "list")
    assert (office["code"], office["administrator_email"]) == ("CT0001", "kanri@applicant.example")
    assert command_line.run("office", "list").stdout == (
        "CT0001    ナックス商事株式会社 第一営業部  kanri@applicant.example\n"
    )


def test_a_rehearsed_import_says_what_it_would_do_and_does_nothing(command_line, office_file):
    rehearsed = command_line.run("office", "import", office_file(), "--dry-run", lang="en").stdout
    assert rehearsed.startswith("rehearsed, nothing was changed:\nadded: offices 1\n")
    assert command_line.json("office", "list") == []
    assert command_line.json("office", "import", office_file(), "--dry-run")["dry_run"]


def test_a_rehearsed_import_names_every_row_that_would_differ_before_and_after(command_line, office_file):
    command_line.run("office", "import", office_file())
    changed = (
        WITH_SMTP_SERVER.replace('"127.20.13.12"', '"127.20.13.22"')
        .replace("128kbps", "1Mbps")
        .replace("PASSWD01", "PASSWD02")
        .replace('"60777S"', '"60778S"')
        .replace('"127.20.13.13"', '"127.20.13.14"')
        .replace("3A0001@", "3A0009@")
    )
    rehearsed = command_line.run("office", "import", office_file(changed), "--dry-run", lang="en").stdout
    assert rehearsed.splitlines() == [
        "rehearsed, nothing was changed:",
        "added: logical terminals 1",
        "added: mail addresses 1",
        "updated: lines 1",
        "updated: logical terminals 1",
        "updated: office users 1",
        "  line 09143",
        "    access_speed: 128kbps -> 1Mbps",
        "  logical terminal 27264C",
        "    ip_address: 127.20.13.12 -> 127.20.13.22",
        "  office user TST01 001",
        "    password changes",
        "  new logical terminal 60778S",
        "  new mail address 3A0009@SMTP.CT0001.CENTER.EXAMPLE",
    ]
    japanese = command_line.run("office", "import", office_file(changed), "--dry-run").stdout
    assert "  利用者 TST01 001\n    password が変わります\n  新しい論理端末 60778S\n" in japanese
    found = command_line.json("office", "import", office_file(changed), "--dry-run")["changes"]
    assert {
        "kind": "lines",
        "name": "09143",
        "is_new": False,
        "columns": [{"column": "access_speed", "before": "128kbps", "after": "1Mbps"}],
    } in found
    assert "PASSWD02" not in str(found)
    assert "access_speed" not in command_line.run("office", "import", office_file(changed)).stdout


def test_a_rehearsed_import_of_a_large_file_names_fifty_rows_and_how_many_more(command_line, office_file):
    addresses = ", ".join(f'"3A{number:04}@SMTP.CT0001.CENTER.EXAMPLE"' for number in range(1, 61))
    many = re.sub(r"mail_addresses = \[.*\]", f"mail_addresses = [{addresses}]", WITH_SMTP_SERVER)
    shown = command_line.run("office", "import", office_file(many), "--dry-run", lang="en").stdout
    assert "added: mail addresses 60" in shown
    assert (shown.count("\n  new "), shown.endswith("\n  17 more\n")) == (50, True)


def test_a_file_with_two_lines_on_one_lan_is_refused_also_in_a_rehearsal(command_line, office_file, tmp_path):
    text = Path(office_file()).read_text(encoding="utf-8")
    line = text[text.index("[[office.line]]") : text.index("[[office.line.terminal]]")]
    file = tmp_path / "two-lines.toml"
    file.write_text(text.replace("[[office.user]]", line.replace("09143", "09144") + "[[office.user]]", 1), "utf-8")
    for rehearsed in ((), ("--dry-run",)):
        refused = command_line.run("office", "import", str(file), *rehearsed, lang="en")
        told = FAULTS["lan_taken"][1].format(value="127.20.13.0/24 (09143)")
        assert (refused.exit_code, refused.stderr) == (1, f"office CT0001, line 09144, lan_subnet: {told}\n")


def test_importing_again_says_that_nothing_changed(command_line, office_file):
    assert "追加 論理端末 3" in command_line.run("office", "import", office_file()).stdout
    again = command_line.run("office", "import", office_file())
    assert (again.exit_code, again.stdout) == (0, "変更はありません。\n")
    assert command_line.run("office", "import", office_file(), lang="en").stdout == "nothing to change\n"


def test_every_fault_of_a_file_is_told_and_nothing_is_imported(command_line, office_file):
    wrong = OFFICES.replace('"127.20.13.12"', '"127.20.14.12"').replace('"001"', '"1"').replace("PASSWD01", "SECRET012")
    refused = command_line.run("office", "import", office_file(wrong), lang="en")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "office CT0001, user TST01, identification_number: 3 capitals and digits, not 1\n"
        "office CT0001, user TST01, password: up to 8 printable half-width characters\n"
        "office CT0001, line 09143, terminal 27264C, ip_address: "
        "is not an address a terminal of the line's LAN 127.20.13.0/24 can have\n"
    )
    assert "SECRET012" not in refused.output
    assert command_line.json("office", "list") == []
    as_json = command_line.run("office", "import", office_file(wrong), "--json")
    assert as_json.exit_code == 1
    assert '"rule": "identification_number"' in as_json.stdout


def test_a_file_that_is_no_utf8_or_missing_is_refused(command_line, tmp_path):
    file = tmp_path / "offices.toml"
    file.write_bytes("事業所".encode("shift_jis"))
    assert command_line.run("office", "import", str(file)).exit_code == 1
    assert command_line.run("office", "import", str(tmp_path / "none.toml")).exit_code == 2


def test_every_rule_has_its_sentence_in_both_languages():
    spelled = set()
    modules = (*Path(contract_file.__file__).parent.glob("*.py"), Path(offices.__file__))
    for module in modules:
        source = module.read_text(encoding="utf-8")
        if "Fault(" in source or "map_changes" in source:
            spelled |= {one or other for one, other in re.findall(RULES, source)}
    assert {*spelled, *contract_file.RULE_OF_TYPE.values()} == set(FAULTS)
    assert all(ja and en for ja, en in FAULTS.values())


def test_terminals_are_listed_with_what_scripts_rely_on(command_line, office_file):
    command_line.run("office", "import", office_file())
    terminals = command_line.json("terminal", "list", "--office", "CT0001")
    assert [terminal["name"] for terminal in terminals] == ["25130M", "27264C", "60777S"]
    assert {key: terminals[2][key] for key in ("name", "ip_address", "port", "mail_addresses")} == {
        "name": "60777S",
        "ip_address": "127.20.13.13",
        "port": 2525,
        "mail_addresses": [
            {
                "address": "3A0001@SMTP.CT0001.CENTER.EXAMPLE",
                "effective_from": "2026-11-24",
                "effective_until": None,
            }
        ],
    }
    assert terminals[0]["port"] == 25  # naccs.terminal_port
    assert (terminals[0]["codec"], terminals[0]["left_to_backend"]) == ("euc_jp", [])
    shown = command_line.run("terminal", "list").stdout
    assert "60777S  SMTP  127.20.13.13:2525" in shown


def test_addresses_are_listed_with_the_terminal_behind_them(command_line, office_file):
    command_line.run("office", "import", office_file())
    (address,) = command_line.json("address", "list")
    assert (address["address"], address["terminal"]) == ("3A0001@SMTP.CT0001.CENTER.EXAMPLE", "60777S")
    assert command_line.run("address", "list").stdout == "3A0001@SMTP.CT0001.CENTER.EXAMPLE  60777S  2026-11-24 -\n"


def test_one_office_is_shown_without_any_password(command_line, office_file):
    command_line.run("office", "import", office_file())
    office = command_line.json("office", "show", "CT0001")
    assert office["lines"][0]["router_number"] == "09143"
    assert office["users"] == [
        {"code": "TST01", "identification_number": "001", "procedures": ["*"], "service_hours": "", "barred": False}
    ]
    for lang, label in (("ja", "事業所コード: CT0001"), ("en", "code: CT0001")):
        shown = command_line.run("office", "show", "CT0001", lang=lang).stdout
        assert label in shown
        assert "60777S" in shown
        assert "PASSWD01" not in shown
        assert "argon2" not in shown


@pytest.mark.parametrize(
    "arguments",
    [("office", "show", "XX"), ("terminal", "list", "--office", "XX"), ("address", "list", "--office", "XX")],
)
def test_an_office_that_is_not_there_ends_with_status_1(command_line, arguments):
    result = command_line.run(*arguments, lang="en")
    assert (result.exit_code, result.stderr) == (1, "there is no office XX\n")


def test_the_import_is_audited_with_who_ran_it(command_line, office_file, store):
    command_line.run("office", "import", office_file())
    assert audited(store, "office:CT0001") == [("office_imported", f"os:{USER}", "")]
    command_line.run("office", "import", office_file(WITH_SMTP_SERVER.replace("係長", "課長")), SUDO_UID="0")
    assert audited(store, "office:CT0001")[-1] == ("office_imported", "os:root", "")


def test_a_user_without_a_name_is_recorded_by_number():
    assert opening.actor(4_000_000_000) == "os:4000000000"


def test_a_deleted_terminal_in_the_file_is_told(command_line, office_file, store):
    from sqlalchemy import update

    from storage.models import LogicalTerminal

    command_line.run("office", "import", office_file())
    ended = update(LogicalTerminal).where(LogicalTerminal.name == "60777S")
    store.run(lambda session: session.execute(ended.values(effective_until=LogicalTerminal.effective_from)))
    assert "60777S" in command_line.run("office", "import", office_file()).stderr


def test_a_store_that_cannot_be_opened_ends_the_command_with_its_reason(command_line, tmp_path):
    directory = tmp_path / "open-to-all"
    directory.mkdir(mode=0o755)
    url = f"sqlite:///{directory / 'gateway.db'}"
    refused = command_line.run("office", "list", NACCS_GATEWAY_STORE__URL=url)
    assert refused.exit_code == 1
    assert "chmod" in refused.stderr


def test_a_key_file_that_is_missing_beside_a_used_store_is_refused(command_line, office_file, tmp_path):
    command_line.run("office", "import", office_file())
    (tmp_path / "secret.key").unlink()
    refused = command_line.run("office", "import", office_file())
    assert refused.exit_code == 1
    assert "secrets.key_file" in refused.stderr


def test_what_the_exchange_is_told_of_users_and_terminals_is_shown(command_line, office_file):
    text = WITH_SMTP_SERVER.replace("port = 2525", 'port = 2525\ncodec = "cp51932"\nleft_to_backend = ["hours"]')
    text = text.replace('procedures = ["*"]', 'procedures = ["*"]\nservice_hours = "08:30-19:00"\nbarred = true')
    assert command_line.run("office", "import", office_file(text)).exit_code == 0
    (user,) = command_line.json("office", "show", "CT0001")["users"]
    assert (user["service_hours"], user["barred"]) == ("08:30-19:00", True)
    terminal = command_line.json("terminal", "list")[2]
    assert (terminal["codec"], terminal["left_to_backend"]) == ("cp51932", ["hours"])
    shown = command_line.run("office", "show", "CT0001").stdout
    for part in ("08:30-19:00 利用停止", "cp51932", "left to the backend: hours"):
        assert part in shown
