"""What the SMTP server and the policy of a plane say to each other, and the limits a listener keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway.smtp_data import ContentReport
from gateway.smtp_paths import Path
from gateway.smtp_replies import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpLimits:
    """What one listener gives its clients. Seconds and octets."""

    backlog: int = 4096
    connections: int = 800
    connections_per_peer: int = 200
    messages_per_connection: int = 10_000
    recipients: int = 100
    errors: int = 20
    """Replies of the 5xx class; the command after so many is answered 421."""
    command_octets: int = 512
    """RFC 5321 §4.5.3.1.4, CR LF included."""
    path_command_octets: int = 1024
    """MAIL and RCPT: room to judge an over-long path as a path."""
    waiting_octets: int = 65_536
    """Input taken ahead while a command is being served."""
    content_in_flight: int = 256 * 1024 * 1024
    """Content in memory, all sessions together; from half of it on, MAIL is answered 452."""
    damaged_message_bytes: int = 2 * 1024 * 1024
    """Up to here a policy that answers damage itself is given over-long content."""
    discarded_bytes: int = 64 * 1024 * 1024
    """Beyond this an over-long content is not even read to its end."""
    command_seconds: float = 300.0
    content_read_seconds: float = 180.0
    content_seconds: float = 600.0
    """For a whole content, and a second more for every `content_bytes_per_second` that came."""
    content_bytes_per_second: int = 500
    hook_seconds: float = 30.0
    session_seconds: float = 3600.0
    """After this the session ends at the next moment no mail is under way."""
    write_stall_seconds: float = 30.0
    """How long a client may leave its replies unread."""
    drain_seconds: float = 2.0
    """Left to a client for its QUIT when the listener stops after its mail."""
    tick_seconds: float = 1.0
    """How coarse all these times are."""


@dataclass(slots=True)
class Session:
    """One connection. `last_mail_id` and `context` belong to the policy."""

    peer_ip: str
    """An IPv4-mapped address (::ffff:0:0/96) is given as IPv4."""
    peer_port: int
    local_port: int
    helo: str = ""
    esmtp: bool = False
    tls: bool = False
    last_mail_id: int | None = None
    commands_after_mail: int = 0
    """Commands that arrived after the last 250 at the dot was written."""
    errors: int = 0
    messages: int = 0
    context: object | None = None


@dataclass(slots=True)
class Envelope:
    """One mail transaction, a new object for every MAIL. `context` belongs to the policy."""

    mail_from: Path | None = None
    recipients: list[Path] = field(default_factory=list)
    context: object | None = None


class ListenerPolicy(Protocol):
    """What one plane decides. An exception, an overdue hook or a wrong type is answered 451 and logged.

    `mail_from` and `rcpt_to` are started in place, outside any task: what needs one (`asyncio.timeout`) comes
    after their first wait. They are cancelled when overdue or when the connection ends; `data` never is: it
    runs in a task of its own, and its result counts even when nobody is left to be told.
    """

    name: str
    tolerant_paths: bool
    """Take `MAIL FROM:address` without brackets."""
    max_message_bytes: int
    refuse_bare_line_ends: bool
    """True: damaged content is refused at the dot. False: `data` is given it and answers for it."""

    def connected(self, session: Session) -> Reply | None:
        """A reply (421) refuses the connection; `ended` is called for the others only."""
        ...

    async def mail_from(self, session: Session, path: Path) -> Reply | None:
        """None or a 2xx accepts the sender."""
        ...

    async def rcpt_to(self, session: Session, envelope: Envelope, path: Path) -> Reply | None:
        """None or a 2xx accepts the recipient."""
        ...

    async def data(self, session: Session, envelope: Envelope, content: bytes, report: ContentReport) -> Reply:
        """The reply at the dot: 250 only after the commit."""
        ...

    def ended(self, session: Session, unclean: bool) -> None:
        """Once, after the connection and its last `data`. Unclean: it may not know its mail was taken."""
        ...
