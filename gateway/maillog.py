"""The operator's log: one line per event of a mail, `<mail id> <event> key=value …`, so that a mail's life is one grep.

Lines go through a bounded queue to a thread that writes them to standard error: a stalled terminal or pipe never stops
the event loop. What does not fit is counted and told. Never in a line: bodies, passwords, case tokens.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

_MOST_LINES = 20_000
_LEVELS_WITH_EVENTS = frozenset({"debug", "info"})
_GATHER = 0.05  # seconds lines are gathered for one write
_TOKEN = re.compile(r"\b((?:case|bounce)\+[0-9a-z]+)\.[0-9a-z]+@", re.IGNORECASE)


class LogWriter:
    """Writes lines to a stream on a thread of its own; `put` never blocks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._wake = threading.Event()
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue a line; it is dropped and counted when twenty thousand are waiting."""
        if len(self._lines) >= _MOST_LINES:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what is queued and end the thread; a stream that stands still is left after two seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        told = 0
        while not (self._closing and not self._lines):
            self._wake.wait()
            if not self._closing:
                threading.Event().wait(_GATHER)
            self._wake.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if self.dropped > told:
                lines.append(f"log overflow: {self.dropped - told} lines were dropped")
                told = self.dropped
            if lines:
                self._write("\n".join(lines) + "\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += text.count("\n")


class _Handler(logging.Handler):
    """Library and module loggers, through the same queue."""

    def __init__(self, writer: LogWriter, *, as_json: bool) -> None:
        super().__init__()
        self._writer = writer
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if self._as_json:
            text = json.dumps({"at": _now(), "level": record.levelname, "from": record.name, "text": text})
        else:
            text = f"{_now()} {record.levelname.lower()} {record.name}: {text}"
        self._writer.put(text)


class _State:
    writer: LogWriter | None = None  # None: events of mails are not written
    as_json = False


_state = _State()


def start(level: str = "info", log_format: str = "text", stream: TextIO | None = None) -> LogWriter:
    """Send every log line through one writer; returns it, for `stop`."""
    writer = LogWriter(stream or sys.stderr)
    _state.writer = writer if level in _LEVELS_WITH_EVENTS else None
    _state.as_json = log_format == "json"
    root = logging.getLogger()
    root.handlers[:] = [_Handler(writer, as_json=_state.as_json)]
    root.setLevel(level.upper())
    # aiosmtpd logs every command at INFO, and DATA lines and AUTH at DEBUG.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return writer


def stop(writer: LogWriter) -> None:
    """Write what is queued; later events are not logged."""
    _state.writer = None
    writer.close()


def received(mail_id: int, listener: str, peer: str, mail_from: str, rcpt_to: Iterable[str], size: int) -> None:
    """A mail was committed, before its 250."""
    if _state.writer is not None:
        _event(
            mail_id, "received", listener=listener, peer=peer, **{"from": mail_from}, to=",".join(rcpt_to), size=size
        )


def decided(mail_id: int, rcpt_to: str, state: str, note: str) -> None:
    """An inbound recipient was handled, refused, held, parked or recognised as a repeat."""
    if _state.writer is not None:
        _event(mail_id, state, to=rcpt_to, note=note)


def attempted(mail_id: int, lane: str, rcpt_to: str, state: str, reply: str) -> None:
    """An outbound recipient was tried, in the peer's own words."""
    if _state.writer is not None:
        _event(mail_id, state, lane=lane, to=rcpt_to, reply=reply)


def _event(mail_id: int, event: str, **fields: object) -> None:
    writer = _state.writer
    if writer is None:
        return
    if _state.as_json:
        shown = {key: _masked(value) for key, value in fields.items()}
        writer.put(json.dumps({"at": _now(), "mail": str(mail_id), "event": event, **shown}))
        return
    words = " ".join(f"{key}={_masked(value)!s:.300}" for key, value in fields.items() if value != "")
    writer.put(f"{_now()} {mail_id} {event} {words}")


def masked_address(address: str) -> str:
    """A case or bounce address without its token: whoever sees a list or a log must not act with it."""
    return _TOKEN.sub(r"\1.***@", address)


def _masked(value: object) -> object:
    """Printable, one line, and without the token of a case or bounce address."""
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else repr(value)
    return masked_address(text) if "+" in text else text


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
