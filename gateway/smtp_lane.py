"""A lane that ends at an SMTP server: one kept connection, one mail at a time, in order.

What fails up to MAIL is the destination's: the lane backs off and no mail is blamed. What fails at RCPT or
later is the mail's. Towards terminals (in-house servers) nothing passes the head; towards the smarthost a
deferred notice lets later ones pass.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from gateway.failures import Failure, FailureClass, Sent, Stage, Unsendable, Withheld
from gateway.lane_holder import Attempt, Gone, Lane, Shared, log
from gateway.lanes import Verdict, Waiting, notice_verdict, terminal_verdict
from gateway.smtp_out import Connection, Result, Target, connect
from storage.lane_leases import LaneLease
from storage.mail_queue import Outbound
from storage.states import State

_LEASE_PAUSE = 1.0  # the node's lease is renewed every few seconds


class SmtpLane(Lane):
    """The lane of a terminal, or one of the smarthost's."""

    def __init__(self, name: str, shared: Shared, *, terminal: bool) -> None:
        super().__init__(name, shared, strict=terminal)
        settings = shared.settings
        self._terminal = terminal
        self._limits = settings.terminal_limits if terminal else settings.smarthost_limits
        self._life = timedelta(seconds=settings.terminal_life if terminal else settings.notice_life)
        self._connection: Connection | None = None
        self._connecting = False
        self._aborted = False
        self._used_at = 0.0
        self._failures = 0  # of the destination, in a row
        self._last_failure = "never tried"

    def idle_connection(self, before: float) -> Connection | None:
        """Take the kept connection away when nothing has used it since then, or its peer closed it."""
        connection = self._connection
        if connection is None or self._sleeper is None:
            return None
        if connection.usable and self._used_at > before:
            return None
        self._connection = None
        self.wake()
        return connection

    def stop(self) -> None:
        if self._connecting and self._task is not None:
            self._task.cancel()
        else:
            self.wake()

    def abort(self) -> None:
        self._aborted = True
        if self._connection is not None:
            self._connection.abort()

    async def leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _step(self) -> bool:
        if not await self._prepare():
            return True
        if self._head_is_over_age():
            await self._give_up()
            return True
        now = self._loop.time()
        item = self.order.take(now) if now >= self._not_before else None
        if item is not None:
            await self._deliver(item)
            return True
        if self.order.idle and self._connection is None:
            return False
        await self._rest(self._wake_at(now))
        return True

    def _wake_at(self, now: float) -> float | None:
        due = self.order.next_due()
        if due is None:
            return None
        until = max(due, self._not_before)
        head = self.order.head
        if head is None:
            return until
        life_left = head.outbound.created_at + self._life - self._shared.clock.now()
        return min(until, now + max(0.0, life_left.total_seconds()))

    def _head_is_over_age(self) -> bool:
        head = self.order.head
        return head is not None and self._shared.clock.now() - head.outbound.created_at >= self._life

    async def _give_up(self) -> None:
        """What waited longer than its life leaves, all of it at once."""
        over_age = self.order.take_created_before(self._shared.clock.now() - self._life)
        state = State.UNDELIVERED if self._terminal else State.EXPIRED
        reply = f"waited {self._life.total_seconds():.0f} s; {self._last_failure}"
        await asyncio.gather(*(self._end(item, state, reply) for item in over_age))

    async def _doubt_the_head(self, lease: LaneLease) -> None:
        head = self.order.take(self._loop.time())
        if head is not None and not lease.doubts(head.outbound.recipient_id):
            self.order.put_back(head, 0.0)
        elif head is not None:
            head.in_doubt += 1
            reply = "the process that was sending ended"
            await self._stay(head, reply, Attempt(FailureClass.IN_DOUBT, Stage.DOT, reply))

    async def _deliver(self, item: Waiting) -> None:
        outbound = item.outbound
        try:
            if not await self._still_waits(item):
                self.order.done(item)
                return
            wire = outbound.wire_bytes(await self._content(item))
            target = self._shared.where(self.name, outbound)
            if target is None:
                target = Gone("its binding is no longer effective")
            result = target if isinstance(target, Gone) else await self._try(target, outbound, wire)
        except Unsendable as poison:
            await self._park(item, str(poison))
            return
        except BaseException:
            self.order.put_back(item, 0.0)
            raise
        if isinstance(result, Gone):
            await self._end(item, State.UNDELIVERED, result.reason)
        else:
            self._used_at = self._loop.time()
            await self._settle(item, result)

    async def _park(self, item: Waiting, reason: str) -> None:
        log.error("recipient %s is parked: %s", item.outbound.recipient_id, reason)
        attempt = Attempt(FailureClass.PERMANENT, Stage.MAIL, reason)
        await self._end(item, State.PARKED, reason, attempt)

    async def _try(self, target: Target, outbound: Outbound, wire: bytes) -> Result:
        while True:
            connection = await self._connected(target)
            if not isinstance(connection, Connection):
                return connection
            kept = connection.mails > 0
            result = await connection.send(outbound.sender, outbound.rcpt_to, wire, self._may_go_on)
            # A server may close a connection that was idle; that says nothing of a new one.
            if kept and isinstance(result, Failure) and result.stage is Stage.MAIL and not connection.usable:
                continue
            return result

    async def _connected(self, target: Target) -> Connection | Failure:
        kept = self._connection
        if kept is not None:
            if kept.usable and kept.target == target:
                return kept
            await self.leave()
        self._connecting = True
        try:
            opened = await connect(target, self._shared.settings.name, self._limits)
        finally:
            self._connecting = False
        if isinstance(opened, Connection):
            self._connection = opened
        return opened

    def _may_go_on(self) -> bool:
        return not self._aborted and self._shared.database.lease_remaining() >= self._shared.settings.lease_margin

    async def _settle(self, item: Waiting, result: Result) -> None:
        if isinstance(result, Sent):
            self._destination_answers()
            item.attempts += 1
            await self._end(item, State.DELIVERED, result.reply)
        elif isinstance(result, Withheld):
            log.warning("lane %s pauses: %s", self.name, result.reason)
            self.order.put_back(item, 0.0)
            self._not_before = self._loop.time() + _LEASE_PAUSE
        else:
            await self._failed(item, result)

    async def _failed(self, item: Waiting, failure: Failure) -> None:
        stage, reply = failure.stage, failure.reply
        attempt = Attempt(failure.failure_class, stage, reply)
        log.debug("recipient %s: %s at %s: %s", item.outbound.recipient_id, attempt.failure_class, stage, reply)
        self._last_failure = f"last failure at {stage}: {reply}"
        verdict = self._verdict(item, failure)
        if verdict.of_the_lane:
            self._failures += 1
            self._not_before = self._loop.time() + self._shared.wait(self._failures)
            await self._stay(item, reply, attempt)
            return
        self._destination_answers()
        item.attempts += 1
        item.in_doubt += failure.failure_class is FailureClass.IN_DOUBT
        if verdict.state is State.QUEUED:
            await self._stay(item, reply, attempt, verdict.wait)
        else:
            await self._end(item, verdict.state, reply, attempt)

    def _verdict(self, item: Waiting, failure: Failure) -> Verdict:
        settings = self._shared.settings
        if not self._terminal:
            return notice_verdict(failure, item.attempts + 1, settings)
        item.tries += not failure.stage.is_the_destinations
        return terminal_verdict(failure, item.tries, settings)

    def _destination_answers(self) -> None:
        self._failures = 0
        self._not_before = 0.0

    async def _stay(self, item: Waiting, reply: str, attempt: Attempt, wait: float = 0.0) -> None:
        """The mail remains queued, to be tried again after `wait`."""
        if wait:
            item.due_at = self._shared.clock.now() + timedelta(seconds=wait)
        try:
            await self._write(item, State.QUEUED, reply, attempt)
        finally:
            self.order.put_back(item, self._loop.time() + wait if wait else 0.0)

    async def _end(self, item: Waiting, state: State, reply: str, attempt: Attempt | None = None) -> None:
        """The mail leaves the lane; where that cannot be written, it keeps its place."""
        try:
            await self._write(item, state, reply, attempt)
        except BaseException:
            self.order.put_back(item, 0.0)
            raise
        self.order.done(item)
