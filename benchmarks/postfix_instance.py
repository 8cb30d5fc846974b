"""A Postfix of our own: its configuration, queue and data below one folder, loopback high ports, no log.

The system's Postfix is neither read nor touched; the programs and the two accounts of the Debian package are used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.comparison import POSTFIX
from benchmarks.fleet import is_request
from benchmarks.processes import InstanceFailed, accepts, end, free_port, last_lines, process_tree, wait_until_gone
from benchmarks.spreading import spread_below

_HERE = Path(__file__).parent / "postfix"
_START_SECONDS = 30.0


def why_not() -> str | None:
    """Why no Postfix can be started here, or None."""
    if _program("postfix") is None:
        return "Postfix is not installed (Debian package `postfix`)"
    if os.geteuid() != 0:
        return "Postfix starts as root only"
    return None


def version() -> str:
    """Such as `3.7.11`."""
    return _postconf("-d", "mail_version")


def smtp_source() -> str | None:
    """The path of the load generator that comes with Postfix, or None."""
    return _program("smtp-source")


class PostfixInstance:
    """Puts what comes to `accept_port` on HOLD and relays what comes to `relay_port` to the sink."""

    name = POSTFIX

    def __init__(self, folder: Path, *, sink_port: int) -> None:
        """`folder` is made here; its parents must be open to the account `postfix`."""
        self.accept_port = free_port()
        self.relay_port = free_port()
        self._folder = folder
        self._sink_port = sink_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until both ports answer; raises InstanceFailed."""
        self._write_configuration()
        with (self._folder / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                [*self._command, "start-fg"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not all(accepts("127.0.0.1", port) for port in (self.accept_port, self.relay_port)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise InstanceFailed(f"Postfix did not start:\n{last_lines(self._folder / 'stderr')}")
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        """The master's process id."""
        if self._process is None:
            raise InstanceFailed("Postfix is not running")
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The master and its daemons, at this moment."""
        return process_tree(self.pid)

    def is_expected(self, body: bytes) -> bool:
        """The request itself, passed on."""
        return is_request(body)

    @property
    def _command(self) -> list[str]:
        return [_program("postfix") or "postfix", "-c", str(self._folder / "config")]

    def _write_configuration(self) -> None:
        config, data = self._folder / "config", self._folder / "data"
        for folder in (self._folder, config, data, self._folder / "queue"):
            folder.mkdir(mode=0o755)
        shutil.chown(data, "postfix")
        spread_below(self._folder / "queue")
        own = {
            "queue_directory": self._folder / "queue",
            "data_directory": data,
            "relayhost": f"[127.0.0.1]:{self._sink_port}",
            # As the package was built; a configuration folder of its own does not inherit them.
            "daemon_directory": _postconf("-d", "daemon_directory"),
            "command_directory": _postconf("-d", "command_directory"),
        }
        lines = "".join(f"{key} = {value}\n" for key, value in own.items())
        (config / "main.cf").write_text((_HERE / "main.cf").read_text() + lines)
        master = (_HERE / "master.cf").read_text()
        ports = {"@HOLD_PORT@": self.accept_port, "@RELAY_PORT@": self.relay_port}
        for mark, port in ports.items():
            master = master.replace(mark, str(port).ljust(len(mark)))
        (config / "master.cf").write_text(master)

    def stop(self) -> None:
        """Stop it in good order; its processes are gone when this returns."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        daemons = process_tree(process.pid)
        # What it answers does not matter: every process is waited for below.
        subprocess.run([*self._command, "stop"], capture_output=True, check=False, timeout=60)
        end(process, patience_seconds=10)
        wait_until_gone(daemons, patience_seconds=20)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _postconf(*arguments: str) -> str:
    done = subprocess.run(
        [_program("postconf") or "postconf", "-h", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
