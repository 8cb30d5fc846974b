"""Postfix's smtp-source as an in-house system: another program's client, many sessions, a result for each mail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sandbox.in_house_client import known_mail
from tests.fakes.in_house_server import ReceivedMail, RecordingServer
from tests.scenarios.mails import body_of, handover_of, item_of, request
from tests.scenarios.outside import mails_that, wait_until
from tests.scenarios.site import CENTER, FIRST, Site, site_in

_PROGRAM = shutil.which("smtp-source", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))

pytestmark = pytest.mark.skipif(_PROGRAM is None, reason="Postfix's smtp-source is not installed (Debian: postfix)")

SESSIONS, MAILS = 10, 100
LONGEST = 120.0  # seconds for all of them, on a slow machine


@pytest.fixture(scope="module")
def site(place: tuple[Path, str | None]) -> Iterator[Site]:
    """The program chooses no source address, so the terminal is known by its network."""
    directory, store_url = place
    naccs: dict[str, object] = {"peer_check": "networks", "peer_networks": ["127.0.0.0/8"]}
    with site_in(directory, store_url, naccs=naccs) as site:
        site.process.start()
        site.import_office(FIRST)
        yield site


@pytest.fixture(scope="module")
def in_house(site: Site) -> RecordingServer:
    """The terminal's own server."""
    return site.outside.in_house(FIRST.ip)


def run(site: Site, directory: Path, body: bytes, sender: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Let the program mail a message; it ends with 0 when each of its mails had a 250 at the dot."""
    file = directory / "mail"
    # It splits the file at LF and ends each line by CRLF itself.
    file.write_bytes(known_mail(body, mail_from=sender, rcpt_to=CENTER).replace(b"\r\n", b"\n"))
    host, port = site.process.naccs
    assert _PROGRAM is not None
    command = [_PROGRAM, *options, "-M", FIRST.name, "-F", str(file), "-f", sender, "-t", CENTER]
    return subprocess.run(
        [*command, f"inet:{host}:{port}"], capture_output=True, text=True, timeout=LONGEST, check=False
    )


@pytest.mark.parametrize("options", [(), ("-d",)], ids=["a connection each", "kept connections"])
def test_every_mail_of_many_sessions_at_once_has_its_result(site, in_house, tmp_path, options):
    body = request()
    sent = run(site, tmp_path, body, FIRST.address, "-s", str(SESSIONS), "-m", str(MAILS), *options)
    assert sent.returncode == 0, sent.stderr

    def results() -> list[ReceivedMail]:
        return mails_that(in_house, lambda mail: handover_of(body_of(mail)) == handover_of(body))

    # The same TCC again and again, each with a 250 that was read: none is a repeat.
    wait_until(lambda: len(results()) >= MAILS, f"{MAILS} results", LONGEST)
    assert len(results()) == MAILS
    assert {item_of(body_of(mail), "subject") for mail in results()} == {b"00000-0000-0000"}
    assert {mail.rcpt_to for mail in results()} == {FIRST.address}


def test_a_sender_nobody_knows_is_refused_and_the_program_says_so(site, tmp_path):
    refused = run(site, tmp_path, request(), FIRST.address.replace("3A0001", "3A9999"))
    assert refused.returncode != 0
    assert "550 5.1.1" in refused.stderr
