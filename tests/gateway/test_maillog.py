"""The operator's log: one line per event, no secrets, and it never makes the service wait (semantics §9, §11, §15)."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO, cast

import pytest

from gateway import maillog
from gateway.maillog import LogWriter
from handlers import case_tokens

KEY = b"k" * 32
BOUNCE = f"{case_tokens.bounce_local_part(KEY, 382880064385060864)}@nss.center.example"
CASE = f"{case_tokens.case_local_part(KEY, '260001A', 'a@x.example')}@nss.center.example"
TOKENS = [BOUNCE.partition(".")[2].partition("@")[0], CASE.partition(".")[2].partition("@")[0]]


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("mail.log", "alembic"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def end(writer: LogWriter) -> None:
    """Close it; on a slow machine what is queued may need longer than a close waits."""
    writer.close()
    writer._thread.join(60)


def logged(level: str = "info", log_format: str = "text", *, write: Any) -> list[str]:
    """The lines that `write` brings about."""
    stream = io.StringIO()
    writer = maillog.start(level, log_format, stream)
    write()
    maillog.stop(writer)
    end(writer)
    return stream.getvalue().splitlines()


def a_life() -> None:
    maillog.received(17, "naccs", "127.20.13.13", "A@X.EXAMPLE", ["C@X.EXAMPLE", "D@X.EXAMPLE"], 512)
    maillog.decided(17, "C@X.EXAMPLE", "handled", "")
    maillog.attempted(18, "terminal:60777S", "A@X.EXAMPLE", "delivered", "250 ok")


def test_a_mails_life_is_one_line_per_event_beginning_with_its_id():
    lines = logged(write=a_life)
    assert [re.sub(r"^\S+ ", "", line) for line in lines] == [
        "17 received listener=naccs peer=127.20.13.13 from=A@X.EXAMPLE to=C@X.EXAMPLE,D@X.EXAMPLE size=512",
        "17 handled to=C@X.EXAMPLE",
        "18 delivered lane=terminal:60777S to=A@X.EXAMPLE reply=250 ok",
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 ", line) for line in lines)


def test_as_json_each_line_is_one_document_and_ids_are_strings():
    documents = [json.loads(line) for line in logged(log_format="json", write=a_life)]
    assert [(document["mail"], document["event"]) for document in documents] == [
        ("17", "received"),
        ("17", "handled"),
        ("18", "delivered"),
    ]
    assert documents[0]["to"] == "C@X.EXAMPLE,D@X.EXAMPLE"
    assert documents[1]["note"] == ""


def test_modules_and_libraries_log_through_the_same_lines():
    def write() -> None:
        logging.getLogger("gateway.worker").warning("mail %s waits", 17)
        logging.getLogger("gateway.worker").debug("not at this level")
        logging.getLogger("mail.log").info("every command of every client")

    (line,) = logged(write=write)
    assert line.endswith(" warning gateway.worker: mail 17 waits")
    (as_json,) = [json.loads(each) for each in logged(log_format="json", write=write)]
    assert (as_json["level"], as_json["from"], as_json["text"]) == ("WARNING", "gateway.worker", "mail 17 waits")


def test_above_info_the_events_of_mails_are_left_out():
    assert logged("warning", write=a_life) == []
    assert len(logged("debug", write=a_life)) == 3


def test_without_a_started_log_events_are_no_matter():
    a_life()
    maillog._event(17, "received")
    assert maillog._state.writer is None


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_tokens_of_case_and_bounce_addresses_are_masked(log_format):
    def write() -> None:
        maillog.received(1, "public", "127.0.0.1", BOUNCE, [CASE, CASE.upper()], 1)
        maillog.decided(1, CASE, "parked", "")
        maillog.attempted(2, "smarthost:0", "a@x.example", "failed", f"550 <{BOUNCE}> unknown, {CASE}")

    text = "\n".join(logged(log_format=log_format, write=write))
    assert not [token for token in TOKENS if token in text.lower()]
    assert "bounce+382880064385060864.***@nss.center.example" in text
    assert text.lower().count("case+260001a.***@nss.center.example") == 4


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (BOUNCE, "bounce+382880064385060864.***@nss.center.example"),
        (CASE.upper(), "CASE+260001A.***@NSS.CENTER.EXAMPLE"),
        ("apply@nss.center.example", "apply@nss.center.example"),
        ("hanako+case.naccs@x.example", "hanako+case.naccs@x.example"),
        ("", ""),
    ],
)
def test_an_address_is_masked_for_lists_too(address, shown):
    assert maillog.masked_address(address) == shown


def test_what_a_peer_says_cannot_make_a_line_of_its_own():
    forged = "250 ok\r\n2026-01-01T00:00:00.000+00:00 99 delivered \x1b[31m"
    (line,) = logged(write=lambda: maillog.attempted(18, "terminal:60777S", "A@X.EXAMPLE", "failed", forged))
    assert line.isprintable()
    assert " 18 failed " in line


def test_a_value_of_any_length_makes_a_short_line():
    (line,) = logged(write=lambda: maillog.decided(17, "A@X.EXAMPLE", "parked", "x" * 100_000))
    assert len(line) < 500


class Stalled(io.StringIO):
    """A terminal that stands still until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.go_on.wait(60)
        return super().write(text)


def test_a_stalled_terminal_stops_nobody_and_what_is_lost_is_counted_and_told(monkeypatch):
    monkeypatch.setattr(maillog, "_MOST_LINES", 100)
    stream = Stalled()
    writer = LogWriter(stream)
    writer.put("first")
    assert stream.reached.wait(60)
    for number in range(1000):
        writer.put(f"line {number}")
    assert stream.getvalue() == "", "all of them were put while the terminal stood still"
    assert writer.dropped == 900
    stream.go_on.set()
    end(writer)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["first", "line 0"]
    assert lines[100:] == ["line 99", "log overflow: 900 lines were dropped"]


def test_overflow_is_told_once_each_time(monkeypatch):
    monkeypatch.setattr(maillog, "_MOST_LINES", 2)
    stream = io.StringIO()
    writer = LogWriter(stream)
    for burst in range(2):
        before = stream.getvalue().count("overflow")
        while stream.getvalue().count("overflow") == before:
            writer.put(f"burst {burst}")
    end(writer)
    told = [int(number) for number in re.findall(r"overflow: (\d+) lines", stream.getvalue())]
    assert sum(told) == writer.dropped
    assert len(told) >= 2


def test_a_full_pipe_is_left_behind_at_the_end():
    reader, other_end = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(other_end, "w", encoding="utf-8") as stream:
        writer = LogWriter(stream)
        writer.put("x" * 200_000)  # more than a pipe holds, and nobody reads
        began = time.monotonic()
        writer.close()
        assert 1.5 < time.monotonic() - began < 30
        assert writer._thread.is_alive()
        while writer._thread.is_alive():
            with suppress(BlockingIOError):
                os.read(reader, 65_536)
            writer._thread.join(0.01)
    os.close(reader)


def test_a_closed_terminal_is_survived_and_its_lines_are_counted():
    stream = io.StringIO()
    stream.close()
    writer = LogWriter(stream)
    writer.put("one\ntwo")
    writer.put("three")
    end(writer)
    assert not writer._thread.is_alive()
    assert writer.dropped == 3


def test_a_pipe_whose_reader_has_gone_is_survived():
    reader, other_end = os.pipe()
    os.close(reader)
    with os.fdopen(other_end, "wb", buffering=0) as raw:
        writer = LogWriter(cast("TextIO", codecs.getwriter("utf-8")(raw)))
        writer.put("one")
        end(writer)
        assert not writer._thread.is_alive()
        assert writer.dropped == 1


def test_lines_come_in_the_order_they_were_put_from_any_thread():
    stream = io.StringIO()
    writer = LogWriter(stream)

    def put_many(name: str) -> None:
        for number in range(500):
            writer.put(f"{name} {number}")

    threads = [threading.Thread(target=put_many, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end(writer)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2000
    for name in "abcd":
        assert [line for line in lines if line.startswith(name)] == [f"{name} {n}" for n in range(500)]


def test_after_its_end_no_event_is_written():
    stream = io.StringIO()
    writer = maillog.start("info", "text", stream)
    maillog.stop(writer)
    a_life()
    assert stream.getvalue() == ""
