"""Delivery to Postfix's smtp-sink: another program as the mail server, normal and misbehaving by its own options."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.smtp_out import Protocol, Target, TimeLimits
from tests.fakes.smtp_sink import SmtpSink, needs_smtp_sink
from tests.gateway.delivering import LANE, Process

pytestmark = needs_smtp_sink

MAILS = [
    b"From: NACCS@SMTP.CENTER.EXAMPLE\r\n\r\n..dots\r\n.\r\n",
    "From: NACCS@SMTP.CENTER.EXAMPLE\r\n\r\n処理結果通知\r\n".encode("euc_jp"),
    b"From: NACCS@SMTP.CENTER.EXAMPLE\r\n\r\n" + b"x" * 900 + b"\r\n" + b"last\r\n",
]


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """SQLite alone: what a peer does is the same to either store."""
    tmp_path.chmod(0o700)
    return f"sqlite:///{tmp_path / 'gateway.db'}"


@pytest.fixture
async def process(store_url: str) -> AsyncIterator[Process]:
    limits = TimeLimits(connect=60, command=60, block=60, dot=60)
    made = await Process(store_url, retry_first=3600.0, retry_max=3600.0, terminal_limits=limits).start()
    try:
        yield made
    finally:
        await made.stop()


def lead(process: Process, sink: SmtpSink, protocol: Protocol = Protocol.HELO) -> None:
    process.targets[LANE] = Target(host=sink.host, port=sink.port, protocol=protocol)


def as_written(mails: list[bytes]) -> list[bytes]:
    return [mail.replace(b"\r\n", b"\n") for mail in mails]


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ((), Protocol.HELO),
        (("-e", "-8", "-E", "-p"), Protocol.HELO),
        (("-h", "in-house.example", "-P"), Protocol.HELO),
        ((), Protocol.ESMTP),
        (("-W", ".:1"), Protocol.HELO),
        (("-T", "1024"), Protocol.HELO),
    ],
)
async def test_mails_arrive_once_in_order_and_whole(process, tmp_path, options, protocol):
    async with SmtpSink(tmp_path, *options) as sink:
        lead(process, sink, protocol)
        ids = await process.queue(LANE, *MAILS)
        await process.idle()
        assert await process.states(ids) == ["delivered"] * 3
        assert sink.contents == as_written(MAILS)


@pytest.mark.parametrize(
    ("options", "outcome", "stage", "last_failure"),
    [
        (("-f", "CONNECT"), "permanent", "connect", "connect: 500 5.3.0 Error: command failed"),
        (("-r", "CONNECT"), "temporary", "connect", "connect: 450 4.3.0 Error: command failed"),
        (("-Q", "CONNECT"), "temporary", "connect", "connect: 421 "),
        (("-q", "CONNECT"), "temporary", "connect", "connect: "),
        (("-f", "HELO"), "permanent", "helo", "helo: 500 5.3.0 Error: command failed"),
        (("-r", "MAIL"), "temporary", "mail", "mail: 450 4.3.0 Error: command failed"),
        (("-f", "MAIL"), "permanent", "mail", "mail: 500 5.3.0 Error: command failed"),
        (("-q", "MAIL"), "temporary", "mail", "mail: "),
        (("-Q", "MAIL"), "temporary", "mail", "mail: 421 "),
    ],
)
async def test_what_fails_up_to_mail_holds_the_lane_until_the_terminal_speaks(
    process, tmp_path, options, outcome, stage, last_failure
):
    async with SmtpSink(tmp_path, *options) as sink:
        lead(process, sink)
        ids = await process.queue(LANE, *MAILS)
        row = await process.down()
        assert row.last_failure.startswith(last_failure)
        assert [attempt[:2] for attempt in await process.attempts(ids[0])] == [(outcome, stage)]
        port = sink.port
    async with SmtpSink(tmp_path, port=port) as mended:
        await process.hear()
        await process.idle()
        assert mended.contents == as_written(MAILS)
    assert await process.states(ids) == ["delivered"] * 3


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        (("-r", "RCPT"), [("temporary", "rcpt")] * 3),
        (("-f", "RCPT"), [("permanent", "rcpt")]),
        (("-q", "RCPT"), [("temporary", "rcpt")] * 3),
        (("-r", "DATA"), [("temporary", "data")] * 3),
        (("-f", "DATA"), [("permanent", "data")]),
        (("-q", "DATA"), [("temporary", "data")] * 3),
        (("-Q", "DATA"), [("temporary", "data")] * 3),
        (("-r", "."), [("temporary", "dot")] * 3),
        (("-f", "."), [("permanent", "dot")]),
        (("-q", "."), [("in_doubt", "dot")] * 3),
        (("-Q", "."), [("temporary", "dot")] * 3),
        (("-A", "1"), [("permanent", "dot")]),
    ],
)
async def test_what_fails_at_rcpt_or_later_is_the_mails_and_ends_undelivered(process, tmp_path, options, attempts):
    async with SmtpSink(tmp_path, *options) as sink:
        lead(process, sink)
        (first,) = await process.queue(LANE, MAILS[0])
        await process.idle()
        assert [attempt[:2] for attempt in await process.attempts(first)] == attempts
        row = await process.row(first)
        assert (row.state, row.in_doubt) == ("undelivered", sum(each[0] == "in_doubt" for each in attempts))
        assert (await process.lane()).down_since is None
