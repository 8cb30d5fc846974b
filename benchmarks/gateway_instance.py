"""A gateway of our own: the embedded default (SQLite, synchronous=FULL) below one folder, loopback high ports.

It is driven as an operator drives it, by the command line: settings file, `office import`, `serve`, SIGTERM.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison import GATEWAY
from benchmarks.contracts import contract_file
from benchmarks.fleet import CENTER_ADDRESS, Station, is_normal_result
from benchmarks.processes import InstanceFailed, end, free_port, last_lines, process_tree

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class GatewayInstance:
    """Serves the fleet; terminals are reached at their IP on `terminal_port`."""

    name = GATEWAY

    def __init__(
        self, folder: Path, *, stations: Sequence[Station], terminal_port: int, listener_only: bool = False
    ) -> None:
        """`folder` is made here, open to its owner alone."""
        self.accept_port = self.relay_port = free_port()
        self._folder = folder
        self._stations = stations
        self._terminal_port = terminal_port
        self._roles = ["--roles", "listener"] if listener_only else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Import the contracts, start, and wait for the ready line; raises InstanceFailed."""
        self._folder.mkdir(mode=0o700)
        (self._folder / "gateway.toml").write_text(self._settings(), encoding="utf-8")
        offices = self._folder / "offices.toml"
        offices.write_text(contract_file(self._stations), encoding="utf-8")
        self._run("office", "import", str(offices))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "serve", *self._roles],
                cwd=self._folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the comparison, which then ends this in good order
            )
        try:
            self._wait_for_ready(self._process)
        except InstanceFailed:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        """The process id of `serve`."""
        if self._process is None:
            raise InstanceFailed("the gateway is not running")
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """Its processes at this moment."""
        return process_tree(self.pid)

    def is_expected(self, body: bytes) -> bool:
        """The result notification of a procedure that ended well."""
        return is_normal_result(body)

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", "gateway", "--settings", str(self._folder / "gateway.toml")]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=self._folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise InstanceFailed(f"naccs-gateway {' '.join(arguments[:2])}: {done.stderr.strip()}")

    def _settings(self) -> str:
        return (
            f'[store]\nurl = "sqlite:///{self._folder / "gateway.db"}"\n'
            f'[secrets]\nkey_file = "{self._folder / "secret.key"}"\n'
            f'password_keys = "{self._folder / "passwords.key"}"\n'
            f'[center]\naddress = "{CENTER_ADDRESS}"\nhost_name = "center.bench.example"\n'
            f'[naccs]\nhost = "127.0.0.1"\nport = {self.accept_port}\nterminal_port = {self._terminal_port}\n'
            f'[public]\nhost = "127.0.0.1"\nport = {free_port()}\n'
            f'[portal]\nhost = "127.0.0.1"\nport = {free_port()}\n'
            f'[smarthost]\nhost = "127.0.0.1"\nport = {self._terminal_port}\n'
        )

    def _wait_for_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - it was opened with a pipe
        os.set_blocking(process.stdout.fileno(), False)
        deadline, said = time.monotonic() + _START_SECONDS, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if selector.select(0.2):
                    data = process.stdout.read()
                    if data == b"":
                        break
                    said += data or b""
                if any(line.startswith(b"ready") for line in said.splitlines()):
                    return
        raise InstanceFailed(f"the gateway did not become ready:\n{last_lines(self._folder / 'log')}")

    def stop(self) -> None:
        """Stop it in good order; its processes are gone when this returns."""
        process, self._process = self._process, None
        if process is not None:
            end(process, patience_seconds=_STOP_SECONDS)
            if process.stdout is not None:
                process.stdout.close()


def _environment() -> dict[str, str]:
    """Ours without settings of another gateway, and with this checkout first on the module path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NACCS_GATEWAY_")}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}
