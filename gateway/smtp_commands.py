# ruff: noqa: N802, N815 - smtp_VERB is aiosmtpd's name for the method that serves a command
"""What each SMTP command does (RFC 5321 §4.1): its own checks, then the policy's word, then one reply.

Nothing is offered that is not served: AUTH, STARTTLS, BDAT and EXPN are 502. No reply repeats what the client sent.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable

from gateway import smtp_replies as replies
from gateway.smtp_data import ContentReader
from gateway.smtp_hooks import checked
from gateway.smtp_listener import Listener
from gateway.smtp_paths import PathError, parse_mail, parse_rcpt
from gateway.smtp_replies import Reply
from gateway.smtp_session import Envelope, ListenerPolicy, Session

_LONGEST_NAME = 255  # octets of a domain (RFC 5321 §4.5.3.1.2); what is kept of anything longer
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class SmtpCommands(ABC):
    """The commands of one session, over whatever carries its input and output."""

    session: Session
    envelope: Envelope
    _listener: Listener
    _policy: ListenerPolicy
    _write: Callable[[bytes], object]
    _overdue: bool
    """A data hook did not answer in its time, so whether its mail was stored is not known."""

    @abstractmethod
    def _answer(self, reply: Reply) -> None:
        """Send one reply; a 421 closes."""

    @abstractmethod
    def _close(self, reply: Reply | None) -> None:
        """Send the last reply and end the session."""

    @abstractmethod
    def _reset_envelope(self) -> None:
        """Begin a new, empty envelope."""

    @abstractmethod
    def _begin_content(self, content: ContentReader) -> None:
        """From now on the input is content, until its end."""

    async def smtp_HELO(self, hostname: str) -> None:
        if self._greet(hostname):
            self.session.esmtp = False
            self._write(self._listener.hello)

    async def smtp_EHLO(self, hostname: str) -> None:
        if self._greet(hostname):
            self.session.esmtp = True
            self._write(self._listener.extended_hello)

    def _greet(self, hostname: str) -> bool:
        # In-house clients send a company or terminal name, so it is not judged as a domain.
        if not hostname or _CONTROL.search(hostname):
            self._answer(replies.HELO_SYNTAX)
            return False
        self._reset_envelope()
        self.session.helo = hostname.encode("ascii", "backslashreplace").decode("ascii")[:_LONGEST_NAME]
        return True

    async def smtp_MAIL(self, arg: str | None) -> None:
        refusal = self._refusal_of_another_mail()
        if refusal is not None:
            self._answer(refusal)
            return
        try:
            path, size = parse_mail(arg or "", tolerant=self._policy.tolerant_paths, esmtp=self.session.esmtp)
        except PathError as error:
            self._answer(error.reply)
            return
        if size > self._listener.kept_bytes:
            self._answer(replies.TOO_LARGE)
        elif not self._listener.budget.admits(size):
            self._answer(replies.NO_ROOM)
        elif self._allows(await self._policy.mail_from(self.session, path), replies.SENDER_OK):
            self._reset_envelope()
            self.envelope.mail_from = path

    def _refusal_of_another_mail(self) -> Reply | None:
        if not self.session.helo:
            return replies.NEED_HELO
        if self.envelope.mail_from is not None:
            return replies.NESTED_MAIL
        if self._overdue:
            return replies.NOT_READY
        if self.session.messages >= self._listener.limits.messages_per_connection:
            return replies.SESSION_OVER
        return None

    async def smtp_RCPT(self, arg: str | None) -> None:
        envelope = self.envelope
        if envelope.mail_from is None:
            self._answer(replies.NEED_MAIL)
            return
        try:
            path = parse_rcpt(arg or "")
        except PathError as error:
            self._answer(error.reply)
            return
        if len(envelope.recipients) >= self._listener.limits.recipients:
            self._answer(replies.TOO_MANY_RECIPIENTS)
        elif self._allows(await self._policy.rcpt_to(self.session, envelope, path), replies.RECIPIENT_OK):
            again = any(path.key == other.key for other in envelope.recipients)
            envelope.recipients += [] if again else [path]  # the same recipient twice is one delivery

    def _allows(self, verdict: Reply | None, accepted: Reply) -> bool:
        reply = accepted if verdict is None else checked(verdict)
        self._answer(reply)
        return reply.accepts

    async def smtp_DATA(self, arg: str) -> None:
        if arg:
            self._answer(replies.NO_ARGUMENT)
        elif not self.envelope.recipients:
            self._answer(replies.NEED_RCPT if self.envelope.mail_from else replies.NEED_MAIL)
        else:
            self._begin_content(ContentReader(self._listener.kept_bytes, self._listener.budget))
            self._answer(replies.START_CONTENT)

    async def smtp_RSET(self, arg: str) -> None:
        if arg:
            self._answer(replies.NO_ARGUMENT)
        else:
            self._reset_envelope()
            self._answer(replies.OK)

    async def smtp_QUIT(self, arg: str) -> None:
        if arg:
            self._answer(replies.NO_ARGUMENT)
        else:
            self._close(replies.BYE)

    async def smtp_NOOP(self, arg: str) -> None:
        self._answer(replies.OK)

    async def smtp_VRFY(self, arg: str) -> None:
        self._answer(replies.CANNOT_VERIFY)

    async def smtp_HELP(self, arg: str) -> None:
        self._answer(replies.HELP)

    async def _not_implemented(self, arg: str) -> None:
        self._answer(replies.NOT_IMPLEMENTED)

    smtp_AUTH = smtp_BDAT = smtp_EXPN = smtp_STARTTLS = _not_implemented
