from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import password_keys
from gateway.key_file import KeyFileRefused
from gateway.password_keys import PasswordKeys, sweep
from handlers import issued_secrets
from storage.failures import StoreBusy, StoreFull
from storage.models import Application
from tests.handlers.review_cases import CALENDAR, DESK, receive, take_contracts

WRITER = """
import sys
from pathlib import Path
from gateway import password_keys
from gateway.password_keys import PasswordKeys
password_keys._WAIT = 60.0  # the two others may be slow
keys, start = PasswordKeys(Path(sys.argv[1])), int(sys.argv[2])
for number in range(start, start + 20):
    keys.make([f"{number}", f"{number}x"])
    keys.destroy([f"{number}x"])
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "passwords.key"


def test_a_key_is_there_until_it_is_destroyed(path):
    keys = PasswordKeys(path)
    made = keys.make(["1", "2"])
    assert {len(key) for key in made.values()} == {32}
    assert made["1"] != made["2"]
    again = PasswordKeys(path)
    assert (again.get("1"), again.get("2"), again.get("3")) == (made["1"], made["2"], None)
    again.destroy(["1", "3"])
    assert (keys.get("1"), keys.get("2")) == (None, made["2"])
    keys.destroy(["1"])


def test_without_a_file_there_is_no_key_and_nothing_to_destroy(path):
    keys = PasswordKeys(path)
    assert keys.get("1") is None
    keys.destroy(["1"])
    assert keys.older_than(timedelta(0)) == []
    assert not path.exists()


def test_file_and_directory_are_for_the_owner_alone(path):
    keys = PasswordKeys(path)
    keys.make(["1", "2"])
    keys.destroy(["1"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_open_to_others_is_refused_and_while_it_is_used_temporary_trouble(path):
    keys = PasswordKeys(path)
    keys.make(["1"])
    path.chmod(0o640)
    with pytest.raises(KeyFileRefused, match="chmod 0600"):
        PasswordKeys(path)
    for use in (lambda: keys.get("1"), lambda: keys.make(["2"]), lambda: keys.destroy(["1"])):
        with pytest.raises(StoreBusy, match="chmod 0600"):
            use()


def test_a_symbolic_link_in_its_place_is_not_followed(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    keys = PasswordKeys(path)
    (tmp_path / "elsewhere").write_text("", encoding="ascii")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreBusy):
        keys.make(["1"])


def test_a_destroyed_key_is_overwritten_where_it_stood(path):
    keys = PasswordKeys(path)
    made = keys.make(["1", "2"])
    with path.open("rb") as before:  # the old file, however it is called by now
        keys.destroy(["1"])
        assert before.read().strip(b"\0") == b""
    assert made["1"].hex() not in path.read_text(encoding="ascii")
    assert [file.name for file in path.parent.iterdir() if file.name.endswith(".draft")] == []


def test_half_a_line_of_a_process_that_died_harms_no_other_key(path):
    keys = PasswordKeys(path)
    first = keys.make(["1"])
    with path.open("a", encoding="ascii") as file:
        file.write("2 1700000000 00ff")
    second = keys.make(["3"])
    assert (keys.get("1"), keys.get("2"), keys.get("3")) == (first["1"], None, second["3"])
    keys.destroy(["2"])
    assert keys.get("3") == second["3"]


def test_several_processes_share_the_file(path):
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(start)], cwd=Path(__file__).parents[2])
        for start in (0, 100, 200)
    ]
    try:
        assert [process.wait(120) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    keys = PasswordKeys(path)
    kept = [str(number) for start in (0, 100, 200) for number in range(start, start + 20)]
    assert all(keys.get(name) is not None for name in kept)
    assert len(path.read_text(encoding="ascii").splitlines()) == len(kept)


def test_a_lock_that_is_not_given_back_is_temporary_trouble(path, monkeypatch):
    monkeypatch.setattr(password_keys, "_WAIT", 0.05)
    keys = PasswordKeys(path)
    keys.make(["1"])
    holder = os.open(path.with_name("passwords.key.lock"), os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy):
            keys.get("1")
    finally:
        os.close(holder)
    assert keys.get("1") is not None


def test_a_full_disk_is_told_as_the_stores_is(path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    keys = PasswordKeys(path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull):
        keys.make(["1"])


def test_keys_that_have_opened_nothing_for_a_day_are_swept(path, store, now):
    hour = 3600
    clock = [1_000_000.0]
    keys = PasswordKeys(path, clock=lambda: clock[0])
    keys.make(["rolled-back"])
    take_contracts(store, now)
    receive(store, now, start_date=now.date())

    def issue(session):
        desk, application = desk_with(keys), session.query(Application).one()
        application.passwords_until = now.date()
        issued_secrets._seal_new(session, desk, application, [None], now)

    store.run(issue)
    clock[0] += 23 * hour
    keys.make(["rolled-back-later"])
    assert sweep(store, keys) == 0
    clock[0] += 2 * hour
    assert sweep(store, keys) == 1
    assert (keys.get("rolled-back"), keys.get("rolled-back-later") is None) == (None, False)

    def reveal(session):
        application = session.query(Application).one()
        return issued_secrets.reveal(session, desk_with(keys), application, "os:tester", now, CALENDAR)

    assert len(store.run(reveal)) == 1


def desk_with(keys):
    from dataclasses import replace

    return replace(DESK, data_keys=keys)
