"""`naccs-gateway` as an operator runs it: a settings file, `serve` as a process, commands beside it.

Nothing is left running: who makes one closes it. Only processes started here are ever ended, by their id.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 30.0  # what `serve` may take to end after SIGTERM
COMMAND_SECONDS = 120.0

Address = tuple[str, int]
Sections = Mapping[str, Mapping[str, object]]


class GatewayProcess:
    """One settings file in a directory of its own, and at most one `serve` on it at a time.

    `sections` go into the settings file; what they do not name has its default. Relative paths of the
    settings are below the directory, where every process runs.
    """

    def __init__(self, directory: Path, sections: Sections) -> None:
        self.directory = directory
        self.sections = sections
        self.addresses: dict[str, Address] = {}
        self._process: subprocess.Popen[bytes] | None = None
        write_settings(directory / "gateway.toml", sections)

    @property
    def public(self) -> Address:
        """Where the application desk listens."""
        return self.addresses["public"]

    @property
    def naccs(self) -> Address:
        """Where the message exchange listens."""
        return self.addresses["naccs"]

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What every `serve` of this directory wrote to standard error."""
        return (self.directory / "serve.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start `serve` and read where it listens; AssertionError with its log when it does not get ready."""
        assert not self.running
        self._process = self._popen()
        ready = _first_line(self._process, START_SECONDS)
        assert ready.startswith("ready "), f"{ready!r}\n{self.log}"
        for part in ready.split()[1:]:
            name, _, place = part.partition("=")
            host, _, port = place.rpartition(":")
            self.addresses[name] = (host, int(port))

    def _popen(self) -> subprocess.Popen[bytes]:
        with (self.directory / "serve.log").open("ab") as log:
            return subprocess.Popen(
                _command_line("serve"), cwd=self.directory, env=_environment(), stdout=subprocess.PIPE, stderr=log
            )

    def kill(self) -> None:
        """`kill -9`, whatever it is doing."""
        assert self._process is not None
        self._process.kill()
        self._gone(STOP_SECONDS)

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit status and the seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._gone(2 * STOP_SECONDS), time.monotonic() - began

    def _gone(self, seconds: float) -> int:
        process = self._process
        assert process is not None
        status = process.wait(seconds)
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        return status

    def close(self) -> None:
        """End whatever of it still runs."""
        if self._process is not None:
            self._process.kill()
            self._gone(STOP_SECONDS)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command beside the service, in English."""
        return subprocess.run(
            _command_line("--lang", "en", *arguments),
            cwd=self.directory,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What a command that succeeds prints as JSON."""
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def write_settings(file: Path, sections: Sections) -> None:
    """Write a settings file; values are text, numbers and truth values, which TOML and JSON write alike."""
    lines: list[str] = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
    file.write_text("\n".join(lines), encoding="utf-8")


def _command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "--settings", "gateway.toml", *arguments]


def _environment() -> dict[str, str]:
    """The environment without a word to the gateway in it."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("NACCS_GATEWAY_")}
    kept.pop("SUDO_UID", None)
    return kept | {"PYTHONPATH": str(ROOT)}


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    """The first line on standard output; what there was of it when the process ended or the time was over."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    ends_at = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, ends_at - time.monotonic()))
        data = os.read(descriptor, 4096) if ready else b""
        if not data:
            break
        line += data
    return line.decode("utf-8", "replace").rstrip("\n")
