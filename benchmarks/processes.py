"""Child processes of the comparison: what they cost, and their end. Linux only (/proc)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

_TICKS = os.sysconf("SC_CLK_TCK")


class InstanceFailed(Exception):
    """A side of the comparison did not start, did not end, or refused what it must take; the text says why."""


class Instance(Protocol):
    """One side of the comparison as a running service."""

    name: str
    accept_port: int
    relay_port: int

    def start(self) -> None:
        """Return when it accepts mail; raises InstanceFailed, leaving nothing running."""
        ...

    def stop(self) -> None:
        """Return when all its processes are gone; raises InstanceFailed."""
        ...

    @property
    def pid(self) -> int:
        """The process that all its others descend from."""
        ...

    @property
    def pids(self) -> list[int]:
        """Its processes at this moment."""
        ...

    def is_expected(self, body: bytes) -> bool:
        """Whether this is what must come to the sink for a request."""
        ...


def process_tree(root: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, fields in _processes():
        children[int(fields[1])].append(pid)
    tree, todo = [], [root]
    while todo:
        pid = todo.pop()
        tree.append(pid)
        todo.extend(children[pid])
    return tree


def cpu_seconds(root: int) -> float:
    """Processor time, user and system, that the process and its descendants have used, the ended ones included."""
    tree = set(process_tree(root))
    # utime, stime, and those of children that were waited for (proc(5), fields 14 to 17).
    return sum(sum(map(int, fields[11:15])) for pid, fields in _processes() if pid in tree) / _TICKS


class OtherWork:
    """How much of the machine everybody else uses, from the making of this object on."""

    def __init__(self) -> None:
        self._before = self._now()

    def share(self) -> float:
        """0 to 1 of all cores. The kernel's own threads count as others, though they may work for us."""
        busy, total, ours = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return max(0.0, (busy - ours) / total) if total else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        # user nice system idle iowait irq softirq steal (proc(5), /proc/stat)
        ticks = [int(field) for field in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS, sum(ticks) / _TICKS, cpu_seconds(os.getpid())


def _processes() -> Iterable[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The command name stands in parentheses and may hold anything: the fields begin after the last one.
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()


def free_port(*hosts: str) -> int:
    """A port nobody listens on, outside the range that outgoing connections take their ports from."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        if all(_is_free(host, port) for host in hosts or ("127.0.0.1",)):
            return port
    raise InstanceFailed("no free port found between 20000 and 32000")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there now."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def end(process: subprocess.Popen[bytes], *, patience_seconds: float) -> None:
    """SIGTERM, then SIGKILL when that was not enough; raises InstanceFailed in the second case."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise InstanceFailed(f"had to be killed: it did not end {patience_seconds:.0f} s after SIGTERM") from None


def wait_until_gone(pids: Iterable[int], *, patience_seconds: float) -> None:
    """Wait for processes that are no children of ours and end by themselves; raises InstanceFailed."""
    waiting, deadline = set(pids), time.monotonic() + patience_seconds
    while waiting := waiting & {pid for pid, fields in _processes() if fields[0] != "Z"}:
        if time.monotonic() > deadline:
            raise InstanceFailed(f"{len(waiting)} processes did not end in {patience_seconds:.0f} s")
        time.sleep(0.05)


def last_lines(file: Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
