"""`serve` and `migrate` as an operator runs them: processes of their own, signals, exit status."""

from __future__ import annotations

import logging
import os
import queue
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from gateway.cli import build
from handlers.terminals import load
from storage.engines import FileLock, parse_url
from storage.store import opened
from tests.gateway.test_health import only_postgresql, only_sqlite
from tests.handlers.review_cases import take_contracts

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0


@pytest.fixture
def environment(store_url, tmp_path):
    """What the command finds in its environment; ports are free ones."""
    return {
        "NACCS_GATEWAY_STORE__URL": store_url,
        "NACCS_GATEWAY_SECRETS__KEY_FILE": str(tmp_path / "keys" / "secret.key"),
        "NACCS_GATEWAY_PUBLIC__PORT": "0",
        "NACCS_GATEWAY_NACCS__PORT": "0",
        "NACCS_GATEWAY_CENTER__HOST_NAME": "gateway.example",
        "LANG": "C.UTF-8",
    }


class Served:
    """A gateway process."""

    def __init__(self, environment: dict[str, str], directory: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", *arguments],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = ""

    def wait_until_ready(self) -> None:
        """Its first line says so."""
        lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        read = self.process.stdout.readline
        threading.Thread(target=lambda: lines.put(read()), daemon=True).start()
        self.ready = lines.get(timeout=PATIENCE).rstrip()

    def address(self, plane: str) -> tuple[str, int]:
        host, port = dict(word.split("=") for word in self.ready.split()[1:])[plane].split(":")
        return host, int(port)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; its exit status and its log."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, log = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, log


@contextmanager
def served(environment: dict[str, str], directory: Path, *arguments: str) -> Iterator[Served]:
    """A gateway process that has said it is ready; it does not outlive the test."""
    gateway = Served(environment, directory, *arguments)
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.communicate()


def run(environment: dict[str, str], *arguments: str, lang: str = "en"):
    """The command in this process, for what ends at once."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return CliRunner().invoke(build(), ["--lang", lang, *arguments], env=environment, catch_exceptions=False)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@only_sqlite
def test_it_says_ready_takes_mail_and_ends_at_sigterm(environment, tmp_path):
    with served(environment, tmp_path) as gateway:
        assert gateway.ready.startswith("ready public=127.0.0.1:")
        with smtplib.SMTP(*gateway.address("public"), timeout=PATIENCE) as client:
            refused = client.sendmail("a@x.example", ["postmaster@nss.center.example"], "Subject: s\r\n\r\nx")
        assert refused == {}
        status, log = gateway.end()
        assert status == 0
    assert " received listener=public peer=127.0.0.1 from=a@x.example to=postmaster@nss.center.example" in log
    assert "Traceback" not in log
    with opened(environment["NACCS_GATEWAY_STORE__URL"]) as store:
        states = store.read(lambda s: s.execute(text("SELECT state FROM recipients WHERE direction='inbound'")).all())
    assert states in ([("parked",)], [("received",)])


@only_sqlite
def test_sigint_ends_it_too_also_on_the_standard_loop(environment, tmp_path):
    with served(environment, tmp_path, "--stdlib-loop", "--roles", "worker, delivery") as gateway:
        assert gateway.ready == "ready"
        assert gateway.end(signal.SIGINT)[0] == 0


@only_postgresql
def test_a_store_it_must_not_write_to_any_more_ends_it_with_status_1(environment, tmp_path, store_url):
    with served(environment, tmp_path) as gateway:
        with opened(store_url) as store, smtplib.SMTP(*gateway.address("public"), timeout=PATIENCE) as client:
            client.ehlo("x")
            client.mail("a@x.example")
            client.rcpt("postmaster@nss.center.example")
            store.run(lambda s: s.execute(text("UPDATE nodes SET boot_id = boot_id + 1 WHERE owner = 'serve'")))
            try:
                code, said = client.data("Subject: s\r\n\r\nx")
            except (smtplib.SMTPServerDisconnected, smtplib.SMTPDataError) as ended:
                # The renewal of the lease, every five seconds, may be the first to find it out: the service ends then.
                assert getattr(ended, "smtp_code", 421) == 421  # noqa: PT017 - and otherwise it does not raise
            else:
                assert (code, said.split()[0]) == (451, b"4.3.0")
        status, log = gateway.wait()
        assert status == 1
        assert "the store cannot be written to, so the service ends: " in log
    with opened(store_url) as store:
        assert store.read(lambda s: s.execute(text("SELECT count(*) FROM mails")).scalar()) == 0


@only_sqlite
def test_a_second_serve_is_refused_with_its_reason(environment, store_url):
    lock = FileLock(parse_url(store_url))
    with opened(store_url):
        lock.acquire()
        try:
            result = run(environment, "serve")
        finally:
            lock.release()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "another serve holds gateway.db.serve-lock" in result.stderr


@only_sqlite
def test_an_unknown_role_is_wrong_usage(environment):
    result = run(environment, "serve", "--roles", "listener,portal")
    assert result.exit_code == 2
    assert "listener, worker, delivery" in result.stderr


@only_sqlite
def test_a_missing_key_file_beside_passwords_is_refused(environment, store, now):
    take_contracts(store, now)
    result = run(environment, "serve")
    assert result.exit_code == 1
    assert "secrets.key_file" in result.stderr


@only_sqlite
def test_a_wrong_setting_is_refused_by_its_name(environment):
    result = run({**environment, "NACCS_GATEWAY_NACCS__HOST": "0.0.0.0"}, "serve")
    assert result.exit_code == 1
    assert "backend.mode" in result.stderr


@only_sqlite
def test_a_port_that_is_taken_is_refused(environment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run({**environment, "NACCS_GATEWAY_PUBLIC__PORT": port}, "serve", "--stdlib-loop")
    assert result.exit_code == 1
    assert "in use" in result.stderr


def test_an_empty_store_is_brought_to_the_newest_schema(environment, empty_store_url):
    environment = environment | {"NACCS_GATEWAY_STORE__URL": empty_store_url}
    for _ in range(2):
        result = run(environment, "migrate")
        assert (result.exit_code, result.stdout) == (0, "schema version 0003\n")
    with opened(empty_store_url) as store:
        assert store.read(load).version == 0


@only_sqlite
def test_a_store_of_another_version_is_not_served_until_it_is_migrated(environment, store_url):
    with opened(store_url) as store:
        store.run(lambda s: s.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    result = run(environment, "serve")
    assert result.exit_code == 1
    assert "naccs-gateway migrate" in result.stderr


@only_sqlite
def test_a_store_open_to_others_is_neither_served_nor_migrated(environment, tmp_path):
    tmp_path.chmod(0o755)
    for command in ("serve", "migrate"):
        result = run(environment, command)
        assert result.exit_code == 1
        assert "chmod 0700" in result.stderr
