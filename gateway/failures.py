"""How one try to deliver ended, and the one place that maps errors and reply codes to a class and a stage.

A failure is temporary, permanent or in doubt: in doubt means that the peer may hold the mail, because the
final dot was sent and no readable reply to it came. What is not known is temporary; our own trouble is
never the peer's.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from enum import StrEnum

from aiosmtplib.errors import SMTPException, SMTPResponseException

_LONGEST_REPLY = 500  # characters kept of what a peer said; the store's columns hold 512


class Stage(StrEnum):
    """How far the dialogue had come (attempts.stage)."""

    CONNECT = "connect"  # TCP and the greeting
    HELO = "helo"  # HELO or EHLO, and TLS
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # the command and the content, the final dot not sent
    DOT = "dot"  # the final dot was sent
    HAND_OVER = "hand_over"  # to a backend inside this process

    @property
    def is_the_destinations(self) -> bool:
        """Whether the failure says something of the destination and nothing of this one mail."""
        return self in _BEFORE_THE_MAIL


_BEFORE_THE_MAIL = frozenset({Stage.CONNECT, Stage.HELO, Stage.MAIL})


class FailureClass(StrEnum):
    """What a failure means for the mail (attempts.outcome)."""

    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Sent:
    """The peer answered 2xx after the final dot."""

    reply: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer answered 4xx or 5xx."""

    stage: Stage
    code: int
    reply: str

    @property
    def failure_class(self) -> FailureClass:
        return FailureClass.PERMANENT if 500 <= self.code <= 599 else FailureClass.TEMPORARY


@dataclass(frozen=True, slots=True)
class Lost:
    """No reply, none that can be read, or one that does not belong there; `reply` says what happened."""

    stage: Stage
    reply: str

    @property
    def failure_class(self) -> FailureClass:
        return FailureClass.IN_DOUBT if self.stage is Stage.DOT else FailureClass.TEMPORARY


@dataclass(frozen=True, slots=True)
class Withheld:
    """We stopped before the peer could take the mail, for a reason of our own. It counts against nobody."""

    reason: str


Failure = Refused | Lost


class Unsendable(ValueError):
    """The envelope or the bytes can never be sent as they are: an operator must look at them."""


class NotSigned(Exception):
    """No signature that holds could be made: the mail waits, for it never leaves without."""


def from_reply(stage: Stage, code: int, text: str) -> Failure:
    """The failure that an unwelcome reply means; one that fits no command there is as good as none."""
    words = peer_words(f"{code} {text}")
    return Refused(stage, code, words) if 400 <= code <= 599 else Lost(stage, words)


def from_error(stage: Stage, error: OSError | SMTPException) -> Failure:
    """The failure that an error of the socket or of the library means."""
    if isinstance(error, SMTPResponseException):
        return from_reply(stage, error.code, error.message)
    if isinstance(error, ssl.SSLError):
        return Lost(stage, peer_words(f"TLS: {error}"))
    if isinstance(error, TimeoutError):
        return Lost(stage, "timed out")
    if isinstance(error, SMTPException):
        return Lost(stage, peer_words(str(error.message)))
    # asyncio words a refused connection its own way; the number says it as everybody knows it.
    words = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return Lost(stage, peer_words(words or type(error).__name__))


def peer_words(text: str) -> str:
    """What a peer said as one line that any store takes: no control characters, no halves of characters."""
    if not (text.isascii() and text.isprintable()):
        whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        text = " ".join("".join(sign if sign.isprintable() else " " for sign in whole).split())
    return text[:_LONGEST_REPLY]
