"""Files beside an SQLite store that cannot be made or written: the same trouble as with the store's own.

A small file system of our own is filled, or made read-only, in a mount namespace of a child process.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.engines import FileLock, open_engines, parse_url
from storage.failures import StoreBroken, StoreBusy, StoreFull, StoreRefused, StoreTrouble
from storage.store import Store

UNSHARE = shutil.which("unshare")

NO_INODES = """
import os, sys
from pathlib import Path
from sqlalchemy import text
from storage.failures import StoreFull
from storage.store import Store

directory = Path(sys.argv[1])
directory.chmod(0o700)
store = Store.open(f"sqlite:///{directory}/gateway.db", "test")
(directory / "gateway.db.write-line").unlink()
fillers = []
try:
    while True:
        filler = directory / f"filler-{len(fillers)}"
        filler.touch()
        fillers.append(filler)
except OSError:
    pass
touch = lambda session: session.execute(text("UPDATE nodes SET owner = owner"))
for work in (lambda: store.run(touch), store.probe, store.renew):
    try:
        work()
    except StoreFull:
        print("full")
try:
    Store.open(f"sqlite:///{directory}/gateway.db", "test")
except StoreFull:
    print("full")
fillers[0].unlink()
store.run(touch)
store.close()
print("written")
"""

READ_ONLY = """
import subprocess, sys
from storage.failures import StoreRefused
from storage.store import Store

url = f"sqlite:///{sys.argv[1]}/var/gateway.db"
Store.open(url, "test").close()
subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
try:
    Store.open(url, "test")
except StoreRefused as refused:
    print(refused)
"""


def on_small_disk(script: str, directory: Path) -> list[str]:
    """What a script prints that works on a file system of twenty files and 8 MiB; skipped where none is to be had."""
    if UNSHARE is None:
        pytest.skip("no unshare here")
    mount = 'mount -t tmpfs -o size=8m,nr_inodes=20 none "$1" || exit 77; shift; exec "$@"'
    command = [UNSHARE, "-rm", "sh", "-c", mount, "sh", str(directory), sys.executable, "-c", script, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_disk_too_full_for_the_writers_line_is_a_full_disk(tmp_path: Path) -> None:
    assert on_small_disk(NO_INODES, tmp_path) == ["full"] * 4 + ["written"]


def test_a_file_system_that_is_read_only_is_named_at_the_start(tmp_path: Path) -> None:
    (said,) = on_small_disk(READ_ONLY, tmp_path)
    assert "gateway.db.write-line cannot be written to (Read-only file system)" in said


@pytest.mark.parametrize(
    ("number", "trouble"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EMFILE, StoreBusy),
        (errno.ENFILE, StoreBusy),
        (errno.EACCES, StoreBroken),
        (errno.EROFS, StoreBroken),
        (errno.EIO, StoreBroken),
    ],
)
def test_what_the_system_says_of_the_line_is_what_sqlite_would_say_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, trouble: type[StoreTrouble]
) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/private/gateway.db", "test")

    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("storage.write_line.os.open", fails)
        with pytest.raises(trouble, match=r"gateway\.db\.write-line"):
            store.run(lambda session: session.execute(text("UPDATE nodes SET owner = owner")))
    store.close()


def test_a_line_that_cannot_be_a_file_is_refused_at_the_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/private/gateway.db"
    open_engines(url).dispose()
    line = tmp_path / "private" / "gateway.db.write-line"
    line.unlink()
    line.mkdir()
    with pytest.raises(StoreRefused, match="take turns"):
        open_engines(url)


def test_a_lock_that_the_system_does_not_give_is_not_taken_for_another_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = parse_url(f"sqlite:///{tmp_path}/private/gateway.db")

    def fails(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fails)
    with pytest.raises(StoreRefused, match="cannot be locked"):
        FileLock(url).acquire()
