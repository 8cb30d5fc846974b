"""The business backend as a process of its own: takes requests over SMTP, writes each one down, mails results back.

Every request is in the journal, synced, before its 250. The journal is JSON, one line for each thing that happened:
`taken` (a request came), `executed`, `repeat` (came again and was discarded), `result` (a mail for the gateway was
made), `doubt` (its connection was lost after the dot), `sent` (the gateway answered 250), `refused`. What it does
otherwise than normal is told by a control file, or by words in the request's index handover:
`DROP` cut after the dot, executed all the same; `LOSE` cut at the dot, nothing taken; `R451`, `R554` that reply to
the first try; `TWO` the result twice; `UNKNOWN` one more result, for an address nobody has; `OUT=PSAD4031` an output
of that type and code as well; `TO=address` where the outputs after it go; `ONLY` no result, outputs alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import time
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import uvloop

from handlers.naccs.results import correlation
from tests.fakes.backend_mails import ADDRESS, HandedOver, ResultMail, results_of
from tests.scenarios.exchange.wire import Reception, Speaker, TakenMail, stuffed

_SENDERS = 8
_RETRY_AFTER = 0.1
_POLL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the control file says; `words` are put to every `every`-th request. Times are seconds."""

    refuse: bool = False  # nothing listens
    reply_after: float = 0.0  # before the reply at the dot
    holds_results: bool = False  # until it is told otherwise
    words: str = ""
    every: int = 1

    @classmethod
    def read(cls, text: str) -> Control:
        """The control in a file's text; unknown keys are a mistake of the test."""
        return cls(**json.loads(text))

    def write(self, file: Path) -> None:
        """Tell whoever reads the file, within its next poll."""
        new = file.with_suffix(".new")
        new.write_text(json.dumps({field.name: getattr(self, field.name) for field in fields(self)}), encoding="utf-8")
        new.replace(file)


class Journal:
    """A file of lines that several backends may append to; a line is on disk when `write` returns."""

    def __init__(self, file: Path, endpoint: str) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._reading = file.open("rb")
        self._unread = b""
        self._endpoint = endpoint
        self._executed: set[str] = set()

    def write(self, *entries: dict[str, Any], sync: bool = True) -> None:
        """Append the entries, each with the time and whose it is."""
        stamp = {"at": time.time(), "endpoint": self._endpoint}
        os.write(self._descriptor, b"".join(json.dumps(entry | stamp).encode() + b"\n" for entry in entries))
        if sync:
            os.fdatasync(self._descriptor)

    def executed(self, request_id: str) -> bool:
        """Whether any backend of this journal has executed the request."""
        *lines, self._unread = (self._unread + self._reading.read()).split(b"\n")
        for line in lines:
            entry = json.loads(line)
            if entry["what"] == "executed":
                self._executed.add(entry["request"])
        return request_id in self._executed


class RecordingBackend:
    """One endpoint: a listener, the journal, and the connections that results go out by."""

    extended = True
    silent = False

    def __init__(self, options: argparse.Namespace) -> None:
        self.sessions: set[Reception] = set()
        self._options = options
        self._journal = Journal(options.journal, options.name)
        self._control = Control()
        self._control_text = ""
        self._count = 0
        self._refused: set[str] = set()
        self._held: list[ResultMail] = []
        self._queues: list[deque[ResultMail]] = [deque() for _ in range(_SENDERS)]
        self._more = [asyncio.Event() for _ in range(_SENDERS)]
        self._server: asyncio.Server | None = None
        self._serial = 0

    async def run(self) -> None:
        """Serve until the process that started this is gone or SIGTERM comes."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, over.set)
        senders = [loop.create_task(self._send_results(number)) for number in range(_SENDERS)]
        parent = os.getppid()
        await self._obey()
        os.write(1, b"ready\n")
        while not over.is_set() and os.getppid() == parent:
            await self._obey()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await over.wait()
        for sender in senders:
            sender.cancel()
        await self._close()

    # --- requests ---

    def take(self, session: Reception, mail: TakenMail) -> None:
        """A request at its dot."""
        self._read_control()
        request = HandedOver.of(mail)
        words = self._words_for(request)
        refusal = next((word for word in words if word in {"R451", "R554"}), None)
        if "LOSE" in words and request.request_id not in self._refused:
            self._refuse(request, "LOSE")
            session.drop()
        elif refusal is not None and request.request_id not in self._refused:
            self._refuse(request, refusal)
            session.reply(f"{refusal[1:]} as the test says".encode())
        else:
            self._execute(request, words)
            asyncio.get_running_loop().call_later(
                self._control.reply_after, session.drop if "DROP" in words else lambda: session.reply(b"250 taken")
            )

    def _words_for(self, request: HandedOver) -> list[str]:
        words = request.items.index_handover.split()
        self._count += 1
        return words + (self._control.words.split() if self._count % self._control.every == 0 else [])

    def _refuse(self, request: HandedOver, how: str) -> None:
        self._refused.add(request.request_id)
        self._journal.write(request.entry("refused") | {"how": how})

    def _execute(self, request: HandedOver, words: list[str]) -> None:
        if self._options.discard_repeats and self._journal.executed(request.request_id):
            self._journal.write(request.entry("taken"), request.entry("repeat"))
            return
        handover, _ = correlation(request.items)
        mails = [
            ResultMail(
                serial=self._next_serial(),
                request_id=request.request_id,
                handover=handover,
                kind=kind,
                rcpt_to=rcpt_to,
                body=body,
            )
            for kind, rcpt_to, body in results_of(request, words)
        ]
        self._journal.write(
            request.entry("taken"), request.entry("executed"), *(mail.entry("result") for mail in mails)
        )
        self._held += mails
        asyncio.get_running_loop().call_soon(self._release)

    def _next_serial(self) -> str:
        self._serial += 1
        return f"{self._options.name}.{os.getpid()}.{self._serial}"

    # --- results ---

    def _release(self) -> None:
        if self._control.holds_results:
            return
        mails, self._held = self._held, []
        for mail in mails:
            number = sum(mail.rcpt_to.encode()) % _SENDERS  # one address, one connection: its results keep their order
            self._queues[number].append(mail)
            self._more[number].set()

    async def _send_results(self, number: int) -> None:
        queue, more = self._queues[number], self._more[number]
        speaker: Speaker | None = None
        while True:
            while not queue:
                more.clear()
                await more.wait()
            mail, dotted = queue[0], False
            try:
                if speaker is None or speaker.lost:
                    speaker = await self._connect()
                dotted = await self._until_dot(speaker, mail)
                if (await speaker.say(b".\r\n")).startswith(b"250"):
                    self._journal.write(mail.entry("sent"), sync=False)
                    queue.popleft()
                    continue
            except OSError:
                if dotted:
                    self._journal.write(mail.entry("doubt"), sync=False)
            speaker = self._left(speaker)
            await asyncio.sleep(_RETRY_AFTER)

    async def _connect(self) -> Speaker:
        speaker = await Speaker.connect(*self._options.gateway)
        await _expect(speaker, b"HELO backend.center.example\r\n", b"250")
        return speaker

    @staticmethod
    async def _until_dot(speaker: Speaker, mail: ResultMail) -> bool:
        await _expect(speaker, f"MAIL FROM:<{ADDRESS}>\r\n".encode(), b"250")
        await _expect(speaker, f"RCPT TO:<{mail.rcpt_to}>\r\n".encode(), b"250")
        await _expect(speaker, b"DATA\r\n", b"354")
        speaker.write(stuffed(mail.content()))
        return True

    @staticmethod
    def _left(speaker: Speaker | None) -> None:
        if speaker is not None:
            speaker.close()

    # --- what it is told ---

    def _read_control(self) -> None:
        file: Path = self._options.control
        text = file.read_text(encoding="utf-8") if file.exists() else "{}"
        if text != self._control_text:
            self._control, self._control_text = Control.read(text), text

    async def _obey(self) -> None:
        self._read_control()
        self._release()
        if self._control.refuse:
            await self._close()
        elif self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Reception(self), self._options.host, self._options.port, backlog=256
            )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            for session in list(self.sessions):
                session.drop()


async def _expect(speaker: Speaker, command: bytes, code: bytes) -> None:
    reply = await speaker.say(command)
    if not reply.startswith(code):
        raise ConnectionAbortedError(reply.decode("ascii", "replace"))


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="recording_backend", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True, help="may be missing; read again when it changes")
    parser.add_argument("--gateway", type=_place, required=True, help="host:port of its NACCS listener")
    parser.add_argument("--name", default="primary", help="who writes in the journal")
    parser.add_argument("--discard-repeats", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    uvloop.run(RecordingBackend(options_of()).run())
