"""The data keys of issued passwords, in a file of their own outside the store and its backup.

A new key is on the disk before `make` returns; a destroyed one is off it before `destroy` does, overwritten where it
stood. Several processes share the file by a lock beside it. The file is 0600 or refused; what cannot be read or
written now is trouble of the store (`StoreBusy`, `StoreFull`): temporary, and nothing is issued or shown.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.key_file import KeyFileRefused
from handlers.issued_secrets import orphans
from storage.failures import StoreBusy, StoreFull

if TYPE_CHECKING:
    from storage.store import Store

_BYTES = 32
_WAIT = 2.0  # seconds another process may hold the lock, as the store's own
_PAUSE = 0.005
_ORPHAN_AFTER = timedelta(days=1)  # no transaction lasts that long
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the file: the key's name, when it was made, and the key in hexadecimal."""

    name: str
    made_at: int
    key: bytes = field(repr=False)

    def line(self) -> str:
        return f"{self.name} {self.made_at} {self.key.hex()}\n"


class PasswordKeys:
    """The key file at `path`; it is made with the first key. KeyFileRefused when others may read it."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._lock = path.with_name(f"{path.name}.lock")
        self._draft = path.with_name(f"{path.name}.draft")
        self._clock = clock
        if path.exists():
            _refuse_open_to_others(path, path.stat().st_mode)

    def make(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """New keys of 32 bytes by name, on the disk before this returns."""
        made_at = int(self._clock())
        entries = [_Entry(name, made_at, secrets.token_bytes(_BYTES)) for name in names]
        with self._locked():
            self._append("".join(entry.line() for entry in entries).encode("ascii"))
        return {entry.name: entry.key for entry in entries}

    def get(self, name: str) -> bytes | None:
        """The key of that name; None once it was destroyed."""
        with self._locked():
            return next((entry.key for entry in self._read() if entry.name == name), None)

    def destroy(self, names: Sequence[str]) -> None:
        """Delete keys, off the disk before this returns; one that is gone already is no error."""
        doomed = frozenset(names)
        with self._locked():
            entries = self._read()
            kept = [entry for entry in entries if entry.name not in doomed]
            if len(kept) < len(entries):
                self._replace("".join(entry.line() for entry in kept).encode("ascii"))

    def older_than(self, age: timedelta) -> list[str]:
        """The names of keys made longer ago than `age`, by the machine's clock."""
        before = self._clock() - age.total_seconds()
        with self._locked():
            return [entry.name for entry in self._read() if entry.made_at < before]

    def _read(self) -> list[_Entry]:
        try:
            with self._opened(os.O_RDONLY) as descriptor:
                content = _all_of(descriptor)
        except FileNotFoundError:
            return []
        found = (_entry(line) for line in content.decode("ascii", "replace").splitlines())
        return [entry for entry in found if entry is not None]

    def _append(self, lines: bytes) -> None:
        is_new = not self._path.exists()
        with self._opened(os.O_RDWR | os.O_CREAT) as descriptor:
            end = os.fstat(descriptor).st_size
            # A process that died over its line left half a key: of a password that was never committed.
            torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
            _write(descriptor, (b"\n" if torn else b"") + lines, end)
        if is_new:
            _sync_directory(self._path.parent)

    def _replace(self, content: bytes) -> None:
        """Put a new file in the place of the old one, and zeros where the old one's bytes stood."""
        draft = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            _write(draft, content, 0)
        finally:
            os.close(draft)
        with self._opened(os.O_RDWR) as old:
            self._draft.replace(self._path)
            _sync_directory(self._path.parent)
            _write(old, bytes(os.fstat(old).st_size), 0)

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        descriptor = os.open(self._path, flags | os.O_NOFOLLOW, 0o600)
        try:
            _refuse_open_to_others(self._path, os.fstat(descriptor).st_mode)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the file among all processes and threads."""
        try:
            if not self._path.parent.exists():
                self._path.parent.mkdir(parents=True, mode=0o700)
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                self._wait_for(lock)
                yield
            finally:
                os.close(lock)
        except KeyFileRefused as refused:
            raise StoreBusy(str(refused)) from refused
        except OSError as error:
            trouble = StoreFull if error.errno in _FULL else StoreBusy
            raise trouble(f"secrets.password_keys: {error}") from error

    def _wait_for(self, lock: int) -> None:
        give_up_at = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    raise
                time.sleep(_PAUSE)
            else:
                return


def sweep(store: Store, keys: PasswordKeys) -> int:
    """Destroy keys that have opened nothing for a day, such as those of rolled-back transactions; how many."""
    old = keys.older_than(_ORPHAN_AFTER)
    found = store.read(lambda session: orphans(session, old)) if old else []
    keys.destroy(found)
    return len(found)


def _entry(line: str) -> _Entry | None:
    """A line of the file as it was written; None for half a line."""
    try:
        name, made_at, key = line.split(" ")
        entry = _Entry(name, int(made_at), bytes.fromhex(key))
    except ValueError:
        return None
    return entry if len(entry.key) == _BYTES else None


def _all_of(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    content = b""
    while len(content) < size and (part := os.pread(descriptor, size - len(content), len(content))):
        content += part
    return content


def _write(descriptor: int, content: bytes, at: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written
    os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_open_to_others(path: Path, mode: int) -> None:
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileRefused(f"secrets.password_keys: {path} is open to others; chmod 0600 it")
