"""Facts about the machine that a figure is worthless without; no host name, no path."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks import postfix_instance


def facts(folder: Path) -> dict[str, object]:
    """As JSON will hold them; the file system is the one that `folder` is on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postfix": None if postfix_instance.why_not() else postfix_instance.version(),
        "file_system": file_system(folder),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """The type of the file system, such as `ext4`."""
    status = folder.stat()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == device:
            return source.split()[0]
    return "unknown"
