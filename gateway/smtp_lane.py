"""A lane that ends at an SMTP server: one kept connection, one mail at a time, in order.

What fails up to MAIL is the destination's: the breaker opens, one mail probes, and no mail is blamed. What fails at
RCPT or later is the mail's. Towards terminals (in-house servers) nothing passes the head; towards the smarthost a
deferred notice lets later ones pass. A paused lane sends nothing, and the pause ages no mail. A notice that is ours to
sign is signed once, and the signed header committed, before it is first tried: every attempt has the same bytes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf

from gateway.breaker import Breaker, words_of
from gateway.failures import Failure, FailureClass, NotSigned, Sent, Stage, Unsendable, Withheld
from gateway.lane_holder import Attempt, Gone, Lane, Shared, log
from gateway.lanes import Waiting
from gateway.smtp_out import Connection, Result, Target, connect
from gateway.verdicts import Verdict, doubled, notice_verdict, terminal_verdict
from storage.effects import RECIPIENT_HEADER, Change, Stale, Unit
from storage.lane_leases import LaneLease
from storage.mail_queue import Outbound
from storage.states import State

_LEASE_PAUSE = 1.0  # the node's lease is renewed every few seconds


class SmtpLane(Lane):
    """The lane of a terminal, or one of the smarthost's."""

    def __init__(self, name: str, shared: Shared, *, terminal: bool) -> None:
        super().__init__(name, shared, strict=terminal)
        self._settings = settings = shared.settings.of(name)
        self._terminal = terminal
        self._limits = settings.terminal_limits if terminal else settings.smarthost_limits
        self._life = timedelta(seconds=settings.terminal_life if terminal else settings.notice_life)
        self._connection: Connection | None = None
        self._connecting = False
        self._aborted = False
        self._used_at = 0.0
        self._breaker = Breaker(name, shared.token)
        self._last_failure = "never tried"
        self._was_heard = False  # since the destination failed the last time
        self._flushed_at = shared.control.flushed_at(name)

    def idle_connection(self) -> Connection | None:
        """Take the kept connection away when nothing has used it for long, or its peer closed it."""
        connection = self._connection
        if connection is None or self._sleeper is None:
            return None
        if connection.usable and self._loop.time() - self._used_at < self._settings.idle_close:
            return None
        self._connection = None
        self.wake()
        return connection

    def heard(self) -> None:
        """A terminal that speaks to us is there: its breaker closes, whatever the back-off."""
        self._was_heard = True
        self._try_now()

    def asked(self) -> None:
        """Take note of a pause, its end, or a flush: everything is tried at once, deferred mail too."""
        flushed_at = self._shared.control.flushed_at(self.name)
        if flushed_at is not None and flushed_at != self._flushed_at:
            self._flushed_at = flushed_at
            self.order.make_due()
            self._try_now()
        else:
            self.wake()

    def _try_now(self) -> None:
        self._breaker.failures = 0
        self._not_before = 0.0
        self.wake()

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
        if self._shared.control.paused(self.name):
            await self._hold_still()
            return True
        now = self._loop.time()
        head = self.order.head
        if head is not None and self._life_is_over(head):
            await self._give_up(self.order.take_while(self._life_is_over))
            return True
        if head is not None and head.due > now and head.generation != self._shared.generation:
            await self._still_waits(head)  # others have committed: it may be due now, or gone
            return True
        item = self.order.take(now) if now >= self._not_before else None
        if item is not None:
            # A deferred notice comes straight from where it waited.
            await (self._give_up([item]) if self._life_is_over(item) else self._deliver(item))
            return True
        if self.order.idle and self._connection is None:
            return await self._close_breaker()
        await self._rest(self._wake_at(now))
        return True

    async def _hold_still(self) -> None:
        if self._connection is not None:
            await self.leave()
        else:
            await self._rest(None)

    async def _close_breaker(self) -> bool:
        """A destination that spoke to us and has nothing waiting is up. False when there was nothing to write."""
        if not (self._was_heard and self._breaker.is_open):
            return False
        if isinstance(await self._until_written(Unit(changes=self._breaker.answered())), Stale):
            self._leased = False
        return True

    def _wake_at(self, now: float) -> float | None:
        due = self.order.next_due()
        if due is None:
            return None
        until = max(due, self._not_before)
        head = self.order.head
        if head is None:
            return until
        life_left = self._life - self._age(head, self._shared.clock.now())
        return min(until, now + max(0.0, life_left.total_seconds(), self._shared.guard.remaining()))

    def _age(self, item: Waiting, now: datetime) -> timedelta:
        """How long it waits, pauses of the lane left out."""
        since = item.outbound.waiting_since
        return now - since - self._shared.control.paused_time(self.name, since, now)

    def _life_is_over(self, item: Waiting) -> bool:
        now = self._shared.clock.now()
        # Most are younger even with the pauses, which need not be looked up then.
        if now - item.outbound.waiting_since < self._life or self._age(item, now) < self._life:
            return False
        return not self._shared.guard.suspended()

    async def _give_up(self, over_age: list[Waiting]) -> None:
        """What waited longer than its life leaves: up to a window of mails in one commit."""
        state = State.UNDELIVERED if self._terminal else State.EXPIRED
        reply = f"waited {self._life.total_seconds():.0f} s; {self._last_failure}"
        try:
            remaining = await self._still_waiting(over_age)
        except BaseException:
            for item in reversed(over_age):
                self.order.put_back(item, 0.0)
            raise
        given_up = []
        for item in remaining:
            if self._life_is_over(item):
                given_up.append(self._end(item, state, reply))
            else:
                self.order.put_back(item, item.due)
        outcomes = await asyncio.gather(*given_up, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _taken_over(self, lease: LaneLease) -> None:
        self._breaker.restore(lease)
        if lease.last_failure:
            self._last_failure = f"last failure at {lease.last_failure}"

    async def _doubt_the_head(self, lease: LaneLease) -> None:
        # Of a smarthost's lane this is the first that is due: a deferred notice may have been under way instead.
        # After a flush one that was put off may have been, too.
        flushed = self._shared.control.flushed_at(self.name) is not None
        head = self.order.take(inf if flushed else self._loop.time())
        if head is not None and not lease.doubts(head.outbound.recipient_id):
            self.order.put_back(head, 0.0)
        elif head is not None:
            head.in_doubt += 1
            reply = "the process that was sending ended"
            await self._stay(head, reply, Attempt(FailureClass.IN_DOUBT, Stage.DOT, reply))

    async def _deliver(self, item: Waiting) -> None:
        try:
            if not await self._still_waits(item):
                return
            content = await self._content(item)
            if not await self._signed(item, content):
                await self._rest(self._loop.time() + _LEASE_PAUSE)
                self.order.put_back(item, 0.0)
                return
            outbound = item.outbound
            wire = outbound.wire_bytes(content)
            target = await self._shared.where(self.name, outbound)
            result = target if isinstance(target, Gone) else await self._try(target, outbound, wire)
        except Unsendable as poison:
            await self._park(item, str(poison))
            return
        except NotSigned as fault:
            await self._wait_for_signature(item, str(fault))
            return
        except BaseException:
            self.order.put_back(item, 0.0)
            raise
        if isinstance(result, Gone):
            await self._end(item, State.UNDELIVERED, result.reason)
        else:
            self._used_at = self._loop.time()
            await self._settle(item, result)

    async def _signed(self, item: Waiting, content: bytes) -> bool:
        """Whether the mail can go as it is: it needs no signature, or has one that is committed. Raises NotSigned.

        False when the store knows the mail otherwise: it is looked up again.
        """
        outbound = item.outbound
        if self._terminal or outbound.header is not None:
            return True
        signed = await self._shared.signing.header(content)
        if signed is None:
            return True
        values = (outbound.recipient_id, self._shared.token, signed.header, signed.body_offset)
        written = await self._until_written(Unit(changes=(Change(RECIPIENT_HEADER, values),)))
        if isinstance(written, Stale):
            log.warning("lane %s: recipient %s was changed while it was signed", self.name, outbound.recipient_id)
            self._leased = False
            return False
        item.outbound = replace(outbound, header=signed.header, body_offset=signed.body_offset)
        return True

    async def _wait_for_signature(self, item: Waiting, reason: str) -> None:
        item.attempts += 1
        settings = self._settings
        wait = doubled(settings.notice_retry_first, settings.notice_retry_max, item.attempts)
        await self._stay(item, reason, Attempt(FailureClass.TEMPORARY, Stage.MAIL, reason), wait)

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
            item.attempts += 1
            await self._end(item, State.DELIVERED, result.reply, also=self._destination_answers())
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
        self._last_failure = f"last failure at {words_of(failure)}"
        verdict = self._verdict(item, failure)
        if verdict.of_the_lane:
            await self._stay(item, reply, attempt, also=(self._back_off(failure),))
            return
        also = self._destination_answers()
        item.attempts += 1
        item.in_doubt += failure.failure_class is FailureClass.IN_DOUBT
        if verdict.state is State.QUEUED:
            await self._stay(item, reply, attempt, verdict.wait, also)
        else:
            await self._end(item, verdict.state, reply, attempt, also)

    def _verdict(self, item: Waiting, failure: Failure) -> Verdict:
        if not self._terminal:
            return notice_verdict(failure, item.attempts + 1, self._settings)
        item.tries += not failure.stage.is_the_destinations
        return terminal_verdict(failure, item.tries, self._settings)

    def _back_off(self, failure: Failure) -> Change:
        self._was_heard = False
        self._breaker.failures += 1
        wait = self._shared.wait(self._breaker.failures, self._settings)
        self._not_before = self._loop.time() + wait
        return self._breaker.failed(failure, self._shared.clock.now(), wait)

    def _destination_answers(self) -> tuple[Change, ...]:
        """What is to be written beside the outcome: nothing, unless the destination was down."""
        self._not_before = 0.0
        return self._breaker.answered()

    async def _stay(
        self, item: Waiting, reply: str, attempt: Attempt, wait: float = 0.0, also: tuple[Change, ...] = ()
    ) -> None:
        """The mail remains queued, to be tried again after `wait`."""
        if wait:
            item.due_at = self._shared.clock.now() + timedelta(seconds=wait)
        try:
            await self._write(item, State.QUEUED, reply, attempt, also)
        finally:
            self.order.put_back(item, self._loop.time() + wait if wait else 0.0)

    async def _end(
        self,
        item: Waiting,
        state: State,
        reply: str,
        attempt: Attempt | None = None,
        also: tuple[Change, ...] = (),
    ) -> None:
        """The mail leaves the lane; where that cannot be written, it keeps its place."""
        try:
            await self._write(item, state, reply, attempt, also)
        except BaseException:
            self.order.put_back(item, 0.0)
            raise
        self.order.done(item)
