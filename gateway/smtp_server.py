"""The SMTP server: aiosmtpd's protocol, tuned, and the way to open a listener with it.

It promises: an envelope never outlives its mail; the commit behind a 250 is never cancelled by the connection;
our own trouble is always 4xx with a constant text; each reply is one line in one write, EHLO's lines in one write.
The commands of a session are served one after another; what arrives meanwhile waits in a bounded buffer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, cast

from aiosmtpd.smtp import SMTP

from gateway import smtp_replies as replies
from gateway.smtp_commands import SmtpCommands
from gateway.smtp_data import ContentReader, ContentReport
from gateway.smtp_hooks import checked, finish, incident
from gateway.smtp_listener import Listener
from gateway.smtp_replies import Reply
from gateway.smtp_session import Envelope, ListenerPolicy, Session, SmtpLimits

__all__ = [
    "ContentReport", "Envelope", "Listener", "ListenerPolicy", "Session", "SmtpLimits", "TunedSMTP",
    "create_listener",
]  # fmt: skip

_COMMANDS_PER_TURN = 64  # of one session, before the others get their turn
_LINGER_SECONDS = 10.0  # for the last reply of a closed connection to leave
_NEVER = float("inf")


class TunedSMTP(SmtpCommands, SMTP):  # type: ignore[misc]  # our own types in the library's places
    """One connection. Its input is served straight from `data_received`, without the library's reader task.

    A command that need not wait costs no task and no timer. The life cycle, the `smtp_VERB` methods, the
    session and envelope factories and the reset are aiosmtpd's.
    """

    # The library shares one table between all connections, and every new connection empties it.
    command_size_limits: ClassVar[dict[str, int]] = {}  # type: ignore[misc]

    def __init__(self, listener: Listener, template: dict[str, Any]) -> None:
        self.__dict__.update(template)
        self._listener = listener
        self._policy = listener.policy
        self._write: Callable[[bytes], object] = _nowhere
        self._input = bytearray()
        self._content: ContentReader | None = None
        self._command_task: asyncio.Task[None] | None = None
        self._data_task: asyncio.Task[Reply] | None = None
        self._late_task: asyncio.Task[Reply] | None = None
        self._admitted = False
        self._busy = False  # no command may start: one is being served, or the connection is closing
        self._stalled = False  # the client does not read its replies
        self._paused = False  # we do not read the client's input
        self._closing = False
        self._lost = False
        self._eof = False
        self._skipping = False  # inside a command line that is too long
        self._accepted = False  # a content was answered 2xx
        self._untold = False  # a content was taken and its 2xx could not be given
        self._overdue = False  # a data hook did not answer in its time
        self._arrived_before = False  # the input being served came before the last 2xx at the dot
        self._deadline = self._stall_deadline = self._content_deadline = _NEVER
        self._session_deadline = listener.deadline(listener.limits.session_seconds)

    # The life cycle, called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._link = cast(asyncio.Transport, transport)
        self._write = self._link.write
        self.session = self._create_session()
        self._reset_envelope()
        self._listener.live.add(self)
        self._await_command()
        try:
            refusal = self._listener.admit(self.session)
        except Exception as error:  # noqa: BLE001 - the policy's trouble is ours: temporary
            incident(error)
            refusal = replies.NOT_READY
        if refusal is None:
            self._admitted = True
            self._write(self._listener.greeting)
        else:
            self._close(refusal)

    def data_received(self, data: bytes) -> None:
        self._arrived_before = False
        if self._content is not None:
            self._take_content(data)
            if self._input:
                self._advance()
        elif self._busy or self._stalled or self._input or data.find(b"\n") + 1 != len(data):
            self._input += data
            self._advance()
        else:
            self._command(data)

    def eof_received(self) -> bool:
        self._eof = True
        self._advance()
        return not self._closing  # what is being served is answered first: the client may still read

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = self._closing = self._busy = True
        self._write = _nowhere
        self.transport = None
        self._input.clear()
        self._drop_content()
        if self._command_task is not None:
            self._command_task.cancel()
        self._listener.forget(self)
        if self._admitted:
            self._listener.leave(self.session)
        self._end_session()

    def pause_writing(self) -> None:
        self._stalled = True
        self._stall_deadline = self._listener.deadline(self._listener.limits.write_stall_seconds)

    def resume_writing(self) -> None:
        self._stalled = False
        self._stall_deadline = _NEVER
        self._advance()

    def _create_session(self) -> Session:  # type: ignore[override]
        peer = self._link.get_extra_info("peername") or ("", 0)  # nothing when it is gone already
        ip = str(peer[0])
        unmapped = ip[7:] if ip.startswith("::ffff:") and "." in ip else ip
        return Session(unmapped, peer[1], self._listener.port)

    def _create_envelope(self) -> Envelope:  # type: ignore[override]
        return Envelope()

    def _reset_envelope(self) -> None:
        self._set_rset_state()  # type: ignore[no-untyped-call]

    # Input.

    def _advance(self) -> None:
        """Serve the waiting input as far as it goes."""
        turns = _COMMANDS_PER_TURN
        while self._input and not self._busy and not self._stalled:
            if not turns:
                self._listener.loop.call_soon(self._advance)
                self._throttle()
                return
            turns -= 1
            if not self._take_input():
                break
        self._throttle()
        if self._eof and not self._busy and not self._stalled:
            self._close(None)

    def _take_input(self) -> bool:
        """One command line or piece of content out of the waiting input; False when no line is complete."""
        waiting = self._input
        if self._content is not None:
            data = bytes(waiting)
            waiting.clear()
            self._take_content(data)
            return True
        end = waiting.find(b"\n") + 1
        if not end:
            if len(waiting) > self._listener.limits.path_command_octets:
                self._skipping = True
                del waiting[:-1]
            return False
        line = bytes(waiting[:end])
        del waiting[:end]
        self._command(line)
        return True

    def _throttle(self) -> None:
        """Stop reading from a client that sends further ahead than we keep."""
        too_much = len(self._input) > self._listener.limits.waiting_octets
        if too_much != self._paused and not self._closing:
            self._paused = too_much
            if too_much:
                self._link.pause_reading()
            else:
                self._link.resume_reading()

    def _command(self, line: bytes) -> None:
        """Serve one command line; on return it is answered or a task is at work on it."""
        session, listener = self.session, self._listener
        self._await_command()
        if not self._arrived_before:
            session.commands_after_mail += 1
        if line[-2:] != b"\r\n":
            self._answer(replies.BARE_COMMAND_END)
            self._close(None)
            return
        verb, _, argument = line[:-2].rstrip(b" \t").partition(b" ")
        method = _COMMANDS.get(verb) or _COMMANDS.get(verb.upper())
        if listener.draining or session.errors >= listener.limits.errors:
            self._close_unless_quit(method)
        elif self._skipping or len(line) > listener.limits.command_octets:
            self._serve_long(line, method, argument)
        elif method is None:
            self._answer(replies.UNKNOWN_COMMAND)
        else:
            self._start(method(self, argument.decode("latin-1")))

    def _serve_long(self, line: bytes, method: _Command | None, argument: bytes) -> None:
        """A line beyond 512 octets is served only where an over-long path is to be judged as a path."""
        skipped, self._skipping = self._skipping, False
        has_path = method is TunedSMTP.smtp_MAIL or method is TunedSMTP.smtp_RCPT
        if skipped or len(line) > self._listener.limits.path_command_octets or not (method and has_path):
            self._answer(replies.COMMAND_TOO_LONG)
        else:
            self._start(method(self, argument.decode("latin-1")))

    def _close_unless_quit(self, method: _Command | None) -> None:
        if method is TunedSMTP.smtp_QUIT:
            self._close(replies.BYE)
        else:
            self._close(replies.SHUTTING_DOWN if self._listener.draining else replies.TOO_MANY_ERRORS)

    def _start(self, command: Coroutine[Any, Any, None]) -> None:
        """Run the command in place up to its first wait; only one that waits becomes a task."""
        try:
            waiting = command.send(None)
        except StopIteration:
            return
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever fails is our trouble: 451
            self._answer(incident(error))
            return
        self._busy = True
        self._deadline = self._listener.deadline(self._listener.limits.hook_seconds)
        self._command_task = self._listener.loop.create_task(finish(command, waiting))
        self._command_task.add_done_callback(self._command_done)

    def _command_done(self, task: asyncio.Task[None]) -> None:
        self._command_task = None
        error = TimeoutError("a hook was overdue") if task.cancelled() else task.exception()
        if self._closing:
            return
        self._busy = False
        self._await_command()
        if error is not None:
            self._answer(incident(error))
        self._advance()

    # Output and time.

    def _answer(self, reply: Reply) -> None:
        if reply.code == 421:  # RFC 5321 §3.8: said when the channel is closed, and only then
            self._close(reply)
            return
        if reply.code >= 500:
            self.session.errors += 1
        self._write(reply.wire)

    def _close(self, reply: Reply | None) -> None:
        if self._closing:
            return
        self._closing = self._busy = True
        self._drop_content()
        if reply is not None:
            self._write(reply.wire)
        self._deadline = self._listener.deadline(_LINGER_SECONDS)
        self._link.close()

    def _await_command(self) -> None:
        listener = self._listener
        limits = listener.limits
        self._deadline = listener.deadline(limits.drain_seconds if listener.draining else limits.command_seconds)

    def check(self, now: float) -> None:
        """Called at every tick of the listener: act on what is overdue."""
        if now >= self._stall_deadline:
            self.abort()
        elif now >= self._deadline:
            self._act_on_deadline()
        elif now >= self._session_deadline and self._may_end(now):
            self._close(replies.SESSION_OVER)

    def _may_end(self, now: float) -> bool:
        """Between mails at once; a mail that was begun gets the time of one more command to reach its DATA."""
        if self._busy or self._content is not None:
            return False
        grace = self._listener.limits.command_seconds
        return self.envelope.mail_from is None or now >= self._session_deadline + grace

    def _act_on_deadline(self) -> None:
        if self._closing:
            self.abort()
        elif self._data_task is not None:
            # Whether the mail was stored shows later; until then this session takes no other.
            self._data_task, self._late_task = None, self._data_task
            self._overdue = True
            self._busy = False
            self._await_command()
            self._answer(incident(TimeoutError("a data hook was overdue")))
            self._advance()
        elif self._command_task is not None:
            self._command_task.cancel()
        else:
            self._close(replies.SHUTTING_DOWN if self._listener.draining else replies.TIMED_OUT)

    def drain(self) -> None:
        """The listener stops: end the session now if no mail is under way."""
        if self._content is None and not self._busy:
            self._close(replies.SHUTTING_DOWN)

    def abort(self) -> None:
        """Drop the connection with whatever is still to be written."""
        self._closing = self._busy = True
        self._drop_content()
        self._link.abort()

    def _end_session(self) -> None:
        """Tell the policy, once the connection and every data hook of it are over."""
        if not self._admitted or self._data_task is not None or self._late_task is not None:
            return
        unclean = self._untold or (self._accepted and not self.session.commands_after_mail)
        try:
            self._policy.ended(self.session, unclean)
        except Exception as error:  # noqa: BLE001 - the transport cannot answer for it
            incident(error)

    # Content.

    def _begin_content(self, content: ContentReader) -> None:
        limits = self._listener.limits
        self._content = content
        self._content_deadline = self._listener.deadline(limits.content_seconds)
        self._deadline = self._listener.deadline(limits.content_read_seconds)

    def _take_content(self, data: bytes) -> None:
        content, listener = cast(ContentReader, self._content), self._listener
        rest = content.feed(data)
        if rest is not None:
            self._content = None
            self._input += rest
            self._content_ended(content)
        elif content.received > listener.discard_after:
            self._close(replies.TOO_LARGE)
        else:
            limits = listener.limits
            earned = content.received / limits.content_bytes_per_second
            self._deadline = min(listener.deadline(limits.content_read_seconds), self._content_deadline + earned)

    def _content_ended(self, content: ContentReader) -> None:
        """At the dot: refuse, or hand over. Whatever happens, the envelope is no longer this mail's."""
        envelope, refuses_damage = self.envelope, self._policy.refuse_bare_line_ends
        self._reset_envelope()
        self.session.messages += 1
        self._await_command()
        report = content.report(self._policy.max_message_bytes)
        if content.no_room:
            self._answer(replies.NO_ROOM)
        elif content.over:
            self._answer(replies.TOO_LARGE)
            if not refuses_damage:
                self._close(None)
        elif refuses_damage and report.bare:
            self._answer(replies.BARE_LINE_END)
            self._close(None)  # what follows such a content may be smuggled
        else:
            self._hand_over(envelope, content, report)
            return
        content.release()

    def _hand_over(self, envelope: Envelope, content: ContentReader, report: ContentReport) -> None:
        """Start the data hook. Nobody awaits its task, and nothing of the connection cancels it."""
        listener = self._listener
        self._busy = True
        self._deadline = listener.deadline(listener.limits.hook_seconds)
        task = listener.loop.create_task(self._run_data_hook(envelope, content, report))
        self._data_task = task
        listener.data_tasks.add(task)
        task.add_done_callback(self._data_done)

    async def _run_data_hook(self, envelope: Envelope, content: ContentReader, report: ContentReport) -> Reply:
        try:
            return checked(await self._policy.data(self.session, envelope, content.content, report))
        except Exception as error:  # noqa: BLE001 - whatever fails here is our trouble: 451
            return incident(error)
        finally:
            content.release()

    def _data_done(self, task: asyncio.Task[Reply]) -> None:
        self._listener.data_ended(task)
        reply = incident(asyncio.CancelledError("data hook")) if task.cancelled() else task.result()
        late = task is self._late_task
        self._data_task = self._late_task = None
        if late or self._closing:
            self._untold = self._untold or reply.accepts
            if self._lost:
                self._end_session()
            return
        self._busy = False
        self._await_command()
        if reply.accepts:
            self._accepted = True
            self._arrived_before = bool(self._input)
            self.session.commands_after_mail = 0
        self._answer(reply)
        if self._input or self._eof:
            self._advance()

    def _drop_content(self) -> None:
        if self._content is not None:
            self._content.release()
            self._content = None


_Command = Callable[[TunedSMTP, str], Coroutine[Any, Any, None]]
_COMMANDS: dict[bytes, _Command] = {
    name.removeprefix("smtp_").encode("ascii"): getattr(TunedSMTP, name)
    for name in dir(TunedSMTP)
    if name.startswith("smtp_")
}


def _nowhere(data: bytes) -> None:
    """Where a lost connection writes."""


async def create_listener(
    loop: asyncio.AbstractEventLoop,
    policy: ListenerPolicy,
    host: str,
    port: int,
    *,
    hostname: str,
    limits: SmtpLimits | None = None,
) -> Listener:
    """Listen on `host:port` (0: any free port) and serve until `stop`. Raises OSError when it cannot be bound.

    `hostname` is what the greeting and HELO say; it is never looked up.
    """
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # the library's: a line for every command
    # The library's constructor scans classes for 0.1 ms; what it finds is the same for every connection.
    template = vars(SMTP(None, hostname=hostname, loop=loop))
    listener = Listener(loop, policy, hostname, limits or SmtpLimits())
    await listener.open(host, port, partial(TunedSMTP, listener, template))
    return listener
