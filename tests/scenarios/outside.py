"""The outside world of a gateway, served in a thread: its smarthost, and in-house systems at their own IPs."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from handlers.calendar import JST, jst_date
from tests.fakes.in_house_server import ReceivedMail, RecordingServer
from tests.fakes.smarthost import Smarthost

T = TypeVar("T")

PATIENCE = 30.0  # seconds; far more than any step needs

_given: set[int] = set()


def wait_until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Wait for something other processes bring about and return it; AssertionError when it does not come."""
    ends_at = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends_at, f"waited {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """A port that is free on every address, and that no connection is given on its way out (those are higher).

    No port is given twice: who asked for the first may not listen yet when the next is asked for.
    """
    for port in random.sample(sorted(set(range(20_000, 30_000)) - _given), 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            _given.add(port)
            return port
    raise AssertionError("no free port")


def today_in_japan(left: timedelta = timedelta(minutes=3)) -> date:
    """The day it is in Japan. It has so much time left: shortly before midnight, midnight is waited for."""
    if jst_date(datetime.now(JST) + left) != jst_date(datetime.now(JST)):
        time.sleep(left.total_seconds())
    return jst_date(datetime.now(JST))


class Outside:
    """Recording servers on an event loop of their own; `mails` of each may be read from any thread."""

    def __init__(self) -> None:
        self.terminal_port = free_port()
        self._loop = asyncio.new_event_loop()
        self._servers: list[RecordingServer] = []
        self.in_house_servers: list[RecordingServer] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="outside", daemon=True)
        self._thread.start()
        self.smarthost = Smarthost()
        self._open(self.smarthost)

    def in_house(self, ip: str) -> RecordingServer:
        """Open the SMTP server of an in-house system at its terminal's IP and port."""
        server = RecordingServer(ip, self.terminal_port)
        self._open(server)
        self.in_house_servers.append(server)
        return server

    def _open(self, server: RecordingServer) -> None:
        self._wait_for(server.open())
        self._servers.append(server)

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(PATIENCE)

    def close(self) -> None:
        """Close every server and end the thread."""
        with contextlib.ExitStack() as ends:  # each of them, whatever happens to the others
            ends.callback(self._end_loop)
            ends.callback(lambda: self._wait_for(_cancel_the_rest()))
            for server in self._servers:
                ends.callback(self._shut, server)

    def _shut(self, server: RecordingServer) -> None:
        self._wait_for(server.close())

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def mails_that(server: RecordingServer, is_meant: Callable[[ReceivedMail], bool]) -> list[ReceivedMail]:
    """The mails of that kind that have come so far."""
    return [mail for mail in list(server.mails) if is_meant(mail)]


def await_mails(
    server: RecordingServer, count: int, is_meant: Callable[[ReceivedMail], bool], what: str
) -> list[ReceivedMail]:
    """The mails of that kind once there are so many, or more."""
    wait_until(lambda: len(mails_that(server, is_meant)) >= count, f"{count} of {what}")
    return mails_that(server, is_meant)
