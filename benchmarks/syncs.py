"""How often a side waits for the disk: its sync system calls, counted by strace in a run of their own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison import Side
from benchmarks.processes import InstanceFailed

_SYNCS = "fsync,fdatasync,sync_file_range,msync,syncfs,sync"
# strace's summary: % time, seconds, usecs/call, calls, errors (may be blank), syscall
_SUMMARY_LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(?P<calls>\d+)\s+(?:\d+\s+)?(?P<name>[a-z_]+)$")
_ATTACH_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncCount:
    """Sync calls by name over a run of so many messages."""

    messages: int
    calls: dict[str, int]

    @property
    def per_message(self) -> float:
        """Sync calls of any kind per message."""
        return sum(self.calls.values()) / self.messages


def why_not() -> str | None:
    """Why nothing can be counted here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    if os.geteuid() != 0:
        return "strace attaches to other processes as root only"
    return None


def read_summary(text: str) -> dict[str, int]:
    """The calls by name in what `strace -c` wrote."""
    found = (_SUMMARY_LINE.match(line) for line in text.splitlines())
    return {match["name"]: int(match["calls"]) for match in found if match and match["name"] != "total"}


async def count_syncs(side: Side, pids: Iterable[int], messages: int, folder: Path) -> SyncCount:
    """Attach to the running side, let it carry the messages, detach; raises InstanceFailed."""
    pids = list(pids)
    summary = folder / f"strace-{side.name}"
    attached = [argument for pid in pids for argument in ("-p", str(pid))]
    command = ["strace", "-f", "-c", "-e", f"trace={_SYNCS}", "-o", str(summary), *attached]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await _until_traced(process, pids)
        await side.run(messages)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # detaches, and writes the summary
        await process.wait()
    return SyncCount(messages=messages, calls=read_summary(summary.read_text()))


async def _until_traced(process: asyncio.subprocess.Process, pids: Iterable[int]) -> None:
    async with asyncio.timeout(_ATTACH_SECONDS):
        while not all(map(_is_traced, pids)):
            if process.returncode is not None:
                raise InstanceFailed("strace could not attach")
            await asyncio.sleep(0.05)


def _is_traced(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True  # it has ended meanwhile: nothing to wait for
    return "TracerPid:\t0\n" not in status
