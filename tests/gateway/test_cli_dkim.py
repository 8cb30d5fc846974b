"""`dkim new|show|check`: the key file, the record an operator publishes, and a mail judged as received."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.setting_desk import DkimSection
from gateway.signing import Signer, open_signer
from tests.fakes.dns_server import SERVFAIL, DnsServer
from tests.gateway.command_line import CommandLine
from tests.gateway.signed_mails import DOMAIN, KEY_NAME, mail, record, signed
from tests.gateway.test_signing import NSS, notice


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "dkim.pem"


@pytest.fixture
def command_line(key_file) -> CommandLine:
    return CommandLine({"NACCS_GATEWAY_DKIM__KEY_FILE": str(key_file)})


def test_new_makes_a_key_of_its_owners_alone_and_prints_the_record_of_it(command_line, key_file):
    made = command_line.run("dkim", "new", lang="en")
    assert made.exit_code == 0
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700
    assert list(key_file.parent.iterdir()) == [key_file]
    signer = Signer(DkimSection(key_file=key_file), NSS)
    assert made.stdout == signer.record.zone_line + "\n"
    assert all(len(part) <= 255 for part in re.findall(r'"([^"]*)"', made.stdout))
    assert made.stderr == "publish the record, then restart serve: it signs from its start on\n"
    content = notice()
    assert signer.sign(content, datetime.now(UTC))


def test_as_json_everything_a_script_needs_is_there(command_line, key_file):
    made = command_line.json("dkim", "new", "--bits", "3072", "--selector", "s2026")
    assert made == {
        "key_file": str(key_file),
        "kept": None,
        "domain": NSS,
        "selector": "s2026",
        "name": f"s2026._domainkey.{NSS}.",
        "record": "".join(made["strings"]),
        "strings": made["strings"],
    }
    assert made["record"].startswith("v=DKIM1; k=rsa; p=")
    assert command_line.json("dkim", "show", "--selector", "S2026") == made
    assert command_line.json("dkim", "show")["name"] == f"naccs._domainkey.{NSS}."


def test_another_selector_is_to_be_set_too(command_line):
    said = command_line.run("dkim", "new", "--selector", "s2026", lang="en").stderr.splitlines()
    assert said[0] == "set dkim.selector to s2026 (it is naccs)"


def test_a_key_that_is_there_is_not_overwritten(command_line, key_file):
    command_line.run("dkim", "new")
    before = key_file.read_bytes()
    refused = command_line.run("dkim", "new", lang="en")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "is there already (--replace keeps it beside" in refused.stderr
    assert "--replace" in command_line.run("dkim", "new", lang="ja").stderr
    assert key_file.read_bytes() == before
    assert list(key_file.parent.iterdir()) == [key_file]


def test_a_replaced_key_is_kept_beside(command_line, key_file):
    command_line.run("dkim", "new")
    before = key_file.read_bytes()
    replaced = command_line.json("dkim", "new", "--replace")
    kept = Path(replaced["kept"])
    assert (kept.parent, kept.read_bytes()) == (key_file.parent, before)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert key_file.read_bytes() != before
    again = command_line.run("dkim", "new", "--replace", lang="en")
    assert again.stderr.startswith(f"the key until now: {key_file}.")
    assert len(list(key_file.parent.iterdir())) == 3


def test_with_replace_and_no_key_yet_one_is_made(command_line, key_file):
    assert command_line.json("dkim", "new", "--replace")["kept"] is None
    assert key_file.exists()


def test_a_key_that_cannot_be_written_leaves_the_present_one(command_line, key_file, monkeypatch):
    command_line.run("dkim", "new")
    before = key_file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.key_file.os.fsync", full)
    refused = command_line.run("dkim", "new", "--replace")
    assert (refused.exit_code, refused.stderr) == (1, f"dkim.key_file: {key_file}: No space left on device\n")
    assert key_file.read_bytes() == before
    assert list(key_file.parent.iterdir()) == [key_file]


@pytest.mark.parametrize("arguments", [("--bits", "1024"), ("--bits", "8192"), ("--selector", "two words")])
def test_short_keys_and_strange_selectors_are_wrong_usage(command_line, key_file, arguments):
    assert command_line.run("dkim", "new", *arguments).exit_code == 2
    assert not key_file.exists()


def test_without_a_key_show_says_that_nothing_is_signed(command_line):
    shown = command_line.run("dkim", "show", lang="en")
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "nothing is signed (dkim new makes one)" in shown.stderr
    assert "署名していません" in command_line.run("dkim", "show", lang="ja").stderr


def test_show_refuses_a_key_that_serve_would_refuse(command_line, key_file):
    command_line.run("dkim", "new")
    key_file.chmod(0o640)
    shown = command_line.run("dkim", "show")
    assert (shown.exit_code, shown.stderr) == (1, f"dkim.key_file: {key_file} is open to others; chmod 0600 it\n")


def test_the_domain_is_a_setting(command_line, key_file):
    command_line.run("dkim", "new")
    shown = command_line.run("dkim", "show", NACCS_GATEWAY_DKIM__DOMAIN="Mail.Center.example")
    assert shown.stdout.startswith("naccs._domainkey.mail.center.example. IN TXT ")
    assert open_signer(DkimSection(key_file=key_file), NSS) is not None


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """A DNS on a loop of its own: the command runs one itself."""
    server, ready, done = DnsServer(), threading.Event(), threading.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    server.texts[KEY_NAME] = [record()]
    yield server
    done.set()
    thread.join()


def check(command_line: CommandLine, dns: DnsServer, file: Path, raw: bytes) -> tuple[int, dict[str, object]]:
    file.write_bytes(raw)
    environment = {"NACCS_GATEWAY_DKIM__NAMESERVERS": dns.nameserver, "NACCS_GATEWAY_DKIM__LOOKUP_TIMEOUT": "1"}
    done = command_line.run("dkim", "check", str(file), "--json", **environment)
    assert done.stdout == command_line.run("dkim", "check", str(file), "--json", **environment).stdout
    return done.exit_code, json.loads(done.stdout)


def test_a_mail_is_judged_as_the_listener_would(command_line, dns, tmp_path):
    file = tmp_path / "mail.eml"
    sound = {"signed_by": [DOMAIN], "temporary": False, "why": f"signed by {DOMAIN}, the author's domain"}
    assert check(command_line, dns, file, signed(mail())) == (0, sound)
    assert check(command_line, dns, file, signed(mail()).replace(b"\r\n", b"\n")) == (0, sound)
    unsigned = {"signed_by": [], "temporary": False, "why": "not signed"}
    assert check(command_line, dns, file, mail()) == (1, unsigned)
    dns.told[KEY_NAME] = SERVFAIL
    status, verdict = check(command_line, dns, file, signed(mail()))
    assert (status, verdict["signed_by"], verdict["temporary"]) == (1, [], True)


def test_as_text_the_reason_is_one_line(command_line, tmp_path):
    file = tmp_path / "mail.eml"
    file.write_bytes(mail())
    assert command_line.run("dkim", "check", str(file)).stdout == "not signed\n"
    missing = command_line.run("dkim", "check", str(tmp_path / "none.eml"))
    assert (missing.exit_code, "none.eml' does not exist" in missing.stderr) == (2, True)
