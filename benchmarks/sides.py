"""The two kinds of load put on a side: smtp-source for accepting, the load client for the whole way."""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import dataclass

from benchmarks.comparison import Measurement
from benchmarks.fleet import CENTER_ADDRESS, MESSAGE_BYTES, Station
from benchmarks.load_client import LoadClient
from benchmarks.processes import InstanceFailed, cpu_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpSourceSide:
    """A listener loaded by Postfix's own generator, from 127.0.0.1."""

    name: str
    pid: int
    port: int
    program: str
    sender: Station
    connections: int
    keeps_connections: bool

    async def run(self, messages: int) -> Measurement:
        """Send so many messages; raises InstanceFailed when one was refused."""
        command = [self.program, "-s", str(self.connections), "-m", str(messages), "-l", str(MESSAGE_BYTES)]
        command += ["-d"] if self.keeps_connections else []
        command += ["-f", self.sender.mail_address, "-t", CENTER_ADDRESS, "-M", self.sender.terminal]
        cpu, started = cpu_seconds(self.pid), time.perf_counter()
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, f"127.0.0.1:{self.port}"],
            capture_output=True,
            check=False,
            timeout=300,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise InstanceFailed(f"smtp-source: {done.stderr.decode(errors='replace').strip()}")
        return Measurement(messages=messages, seconds=seconds, cpu_seconds=cpu_seconds(self.pid) - cpu)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadClientSide:
    """A side loaded by the load client."""

    name: str
    pid: int
    client: LoadClient

    async def run(self, messages: int) -> Measurement:
        """Send so many requests and wait for what each must bring; raises LoadFailed."""
        cpu = cpu_seconds(self.pid)
        phase = await self.client.phase(messages)
        return Measurement(
            messages=messages,
            seconds=phase.seconds,
            cpu_seconds=cpu_seconds(self.pid) - cpu,
            client_cpu_seconds=phase.client_cpu_seconds,
            median_latency=phase.median_latency,
            p99_latency=phase.p99_latency,
        )
