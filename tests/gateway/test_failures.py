"""What errors and reply codes mean."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest
from aiosmtplib.errors import SMTPConnectResponseError, SMTPDataError, SMTPServerDisconnected

from gateway.failures import FailureClass, Lost, Refused, Stage, from_error, from_reply, peer_words


@pytest.mark.parametrize(
    ("code", "stage", "expected"),
    [
        (421, Stage.CONNECT, FailureClass.TEMPORARY),
        (450, Stage.RCPT, FailureClass.TEMPORARY),
        (452, Stage.DOT, FailureClass.TEMPORARY),
        (499, Stage.DOT, FailureClass.TEMPORARY),
        (500, Stage.HELO, FailureClass.PERMANENT),
        (550, Stage.RCPT, FailureClass.PERMANENT),
        (599, Stage.DOT, FailureClass.PERMANENT),
    ],
)
def test_a_reply_is_classified_by_its_first_digit(code, stage, expected):
    failure = from_reply(stage, code, "words")
    assert failure == Refused(stage, code, f"{code} words")
    assert failure.failure_class is expected


@pytest.mark.parametrize("code", [-1, 0, 199, 250, 354, 600, 999])
@pytest.mark.parametrize("stage", list(Stage))
def test_a_reply_that_fits_no_command_leaves_doubt_only_after_the_dot(code, stage):
    failure = from_reply(stage, code, "?")
    assert isinstance(failure, Lost)
    expected = FailureClass.IN_DOUBT if stage is Stage.DOT else FailureClass.TEMPORARY
    assert failure.failure_class is expected


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError(errno.ENETUNREACH, "x"), "Network is unreachable"),
        (socket.gaierror(-2, "Name or service not known"), "[Errno -2] Name or service not known"),
        (OSError("several addresses failed"), "several addresses failed"),
        (OSError(), "OSError"),
        (TimeoutError(), "timed out"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "TLS: certificate verify failed"),
        (SMTPServerDisconnected("Connection lost"), "Connection lost"),
    ],
)
def test_an_error_of_the_socket_is_a_loss_in_plain_words(error, words):
    failure = from_error(Stage.CONNECT, error)
    assert isinstance(failure, Lost)
    assert words in failure.reply
    assert failure.failure_class is FailureClass.TEMPORARY


def test_a_response_the_library_raises_is_read_as_the_reply_it_is():
    assert from_error(Stage.DOT, SMTPDataError(552, "too big")) == Refused(Stage.DOT, 552, "552 too big")
    assert from_error(Stage.CONNECT, SMTPConnectResponseError(-1, "x")) == Lost(Stage.CONNECT, "-1 x")


@pytest.mark.parametrize("stage", list(Stage))
def test_only_what_fails_before_rcpt_says_something_of_the_destination(stage):
    assert stage.is_the_destinations is (stage in (Stage.CONNECT, Stage.HELO, Stage.MAIL))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("250 OK", "250 OK"),
        ("250-a\n250 b", "250-a 250 b"),
        ("a\x00\x07\tb", "a b"),
        ("受付不可", "受付不可"),
        ("caf\udce9", "caf\ufffd"),
        ("x" * 2000, "x" * 500),
    ],
)
def test_what_a_peer_said_becomes_one_line_any_store_takes(said, kept):
    assert peer_words(said) == kept
