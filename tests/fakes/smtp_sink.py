"""Postfix's smtp-sink as a receiving server: a real program, in a directory of its own, ended by its process id."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from tests.scenarios.outside import free_port

_PATHS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/libexec/postfix"])
_PROGRAM = shutil.which("smtp-sink", path=_PATHS)

_ABOVE_EACH = b"X-Client-Addr:"

needs_smtp_sink = pytest.mark.skipif(_PROGRAM is None, reason="Postfix's smtp-sink is not installed (Debian: postfix)")


class SmtpSink:
    """`async with` it; `options` are smtp-sink's own. The mails it takes are in one file of `directory`."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self._directory = directory / "sink"
        self._mails = self._directory / "mails"
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        assert _PROGRAM is not None
        self._directory.mkdir(exist_ok=True)
        # Root must name a user to become; anybody else is what he is.
        user = ["-u", "root"] if os.geteuid() == 0 else []
        command = [*user, "-D", str(self._mails), *self._options, f"{self.host}:{self.port}", "100"]
        self._process = await asyncio.create_subprocess_exec(
            _PROGRAM, *command, cwd=self._directory, stderr=asyncio.subprocess.DEVNULL
        )
        await self._until_listening()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    @property
    def contents(self) -> list[bytes]:
        """The mails in the order they came, lines ended by LF as the program writes them."""
        if not self._mails.exists():
            return []
        return [_unwrapped(mail) for mail in self._mails.read_bytes().split(_ABOVE_EACH)[1:]]

    async def _until_listening(self) -> None:
        async with asyncio.timeout(30):
            while True:
                assert self._process is not None
                assert self._process.returncode is None, "smtp-sink ended at once"
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(self.host, self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)


def _unwrapped(mail: bytes) -> bytes:
    """Above each mail stand the program's own X- lines and a Received field, below it an empty line."""
    lines = mail.split(b"\n")[1:-2]
    while lines and lines[0].startswith((b"X-", b"Received:", b"\t")):
        lines.pop(0)
    return b"\n".join(lines) + b"\n"
