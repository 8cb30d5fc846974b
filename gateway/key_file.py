"""The service's secret, in a file of its own outside the store, and the keys made from it."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

_BYTES = 32


class KeyFileRefused(Exception):
    """The key file cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Keys:
    """One key for each use, so that none can stand in for another."""

    edi_passwords: bytes = field(repr=False)
    tokens: bytes = field(repr=False)


def read_keys(path: Path, *, may_make: bool) -> Keys:
    """The keys of the file at `path`, 0600 and made when it is absent and `may_make` (an empty store).

    Beside a store with passwords in it a missing file is refused: a new key would turn every password away.
    """
    if not path.exists():
        if not may_make:
            raise KeyFileRefused(f"secrets.key_file: {path} is missing; restore it from its backup")
        with contextlib.suppress(FileExistsError):
            write_new(path, secrets.token_hex(_BYTES) + "\n")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeyFileRefused(f"secrets.key_file: {path} is open to others; chmod 0600 it")
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise KeyFileRefused(f"secrets.key_file: {path} holds no key of {_BYTES} bytes in hexadecimal")
    return Keys(hmac.digest(secret, b"edi passwords", "sha256"), hmac.digest(secret, b"tokens", "sha256"))


def write_new(path: Path, text: str) -> None:
    """A file of its owner's alone, whole on the disk before it has its name. Raises FileExistsError."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, mode=0o700)
    # Written whole before it gets its name, so that no other process ever reads half a key.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # of a process of that number that died over it
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
