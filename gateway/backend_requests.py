"""What becomes of a request on its way to the backend, as the store is told.

A hand-over is claimed before anything is sent, so the store knows what may have arrived even after a kill. What may
have arrived is never answered by the gateway, and what was answered is never handed over: the conditions of
the store decide both, not this process's memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from gateway import maillog
from gateway.backend_parts import AT_ONCE, LEFT, BackendParts, Held, Next
from gateway.backend_reads import Seen, look
from gateway.failures import FailureClass, Stage, Unsendable, peer_words
from gateway.lane_holder import Attempt, Lane, Shared
from gateway.lanes import WINDOW
from storage.columns import to_micros
from storage.effects import (
    REQUEST_CLAIMED,
    REQUEST_IN_DOUBT,
    REQUEST_UNCLAIMED,
    SECRET_FORGOTTEN,
    Change,
    Stale,
    Unit,
)
from storage.states import State

log = logging.getLogger("gateway.delivery")

LIFE_OVER = "A0011"
REFUSED_FOR_GOOD = "A0007"

_MOST_STALE = 3
_SHORTLY = 0.05
_ENDED_BEFORE = "the process that was handing it over ended"


class RequestLane(Lane):
    """The records of the lane towards the backend; what is tried, and when, is the business of others."""

    def __init__(self, name: str, shared: Shared, backend: BackendParts) -> None:
        super().__init__(name, shared, strict=False, window=10 * WINDOW)
        self._backend = backend
        self._life = timedelta(seconds=backend.settings.request_life)

    # --- the life of a request ---

    def over_at(self, held_since: float, age: float) -> float:
        """When a request of that age is over, on the loop's clock. An age below zero is a clock set back."""
        return held_since + self._life.total_seconds() - max(0.0, age)

    def is_over(self, held: Held) -> bool:
        """Whether the life of a request has passed, by the wall clock as long as that can be trusted."""
        if self._loop.time() >= held.over_at:
            return True
        return not self._shared.guard.suspended() and self._is_over_age(held)

    def _is_over_age(self, held: Held) -> bool:
        return self._shared.clock.now() - held.item.outbound.waiting_since >= self._life

    # --- beginning ---

    async def still_waits(self, held: Held) -> bool:
        """Whether the store still has it queued; asked once after another process has committed."""
        return await self._still_waits(held.item)

    async def settle_doubt(self, held: Held) -> Next | None:
        """What to do with a request that may have arrived; None: send it again."""
        if not held.claimed:
            return None
        seen = await self._look(held)
        if not (seen.ours and seen.queued) or seen.answered:
            return await self.sort_out(held)
        if not seen.claimed:
            held.claimed = held.counted = False  # somebody found out that it did not arrive
            return None
        if not held.counted:
            return await self.in_doubt(held, Attempt(FailureClass.IN_DOUBT, Stage.DOT, _ENDED_BEFORE))
        if self.is_over(held) or not self._backend.settings.discards_repeats:
            return await self._end_in_doubt(held, "it is not sent again", None)
        return None

    async def claim(self, held: Held) -> Next | None:
        """Write that the hand-over begins; None when it may. Its life was not over when that was committed."""
        values = (held.item.outbound.request_id, self._shared.token, to_micros(self._shared.clock.now()))
        # The outcome says nothing new: it makes sure that nobody has taken the request out of the lane.
        changes, _ = self._outcome(held.item, State.QUEUED, "")
        outcome = await self._shared.database.apply(Unit(changes=(*changes, Change(REQUEST_CLAIMED, values))))
        if isinstance(outcome, Stale):
            return await self.sort_out(held)
        held.claimed = True
        return await self.came_back(held) if self.is_over(held) else None

    # --- how a try ended ---

    async def handed_over(self, held: Held, reply: str, unit: Unit | None = None) -> Next:
        """The backend has it. `unit` is committed with the outcome, and the claim where it was not made before."""
        item, outbound = held.item, held.item.outbound
        item.attempts += 1
        claim: tuple[Change, ...] = ()
        if not held.claimed and outbound.request_id is not None:
            now = to_micros(self._shared.clock.now())
            claim = (Change(REQUEST_CLAIMED, (outbound.request_id, self._shared.token, now)),)
        changes, _ = self._outcome(item, State.DELIVERED, reply)
        with_it = Unit() if unit is None else unit
        whole = Unit(
            # Handed over, the request needs its password no more.
            changes=(*changes, *claim, self._forget(held)),
            inserts=with_it.inserts,
            notes=with_it.notes,
            size=with_it.size,
        )
        # Where the unit is the execution itself, it must not be written late; what was sent must be written whenever.
        give_up = None if unit is None else partial(self.is_over, held)
        try:
            taken = await self._committed(held, State.DELIVERED, reply, whole, give_up)
        except Exception:
            item.attempts -= 1
            raise
        if taken:
            held.claimed = True
            return LEFT
        item.attempts -= 1
        if unit is None:
            # Whoever took the request out of the lane must be able to learn that it arrived.
            doubt = Attempt(FailureClass.IN_DOUBT, Stage.DOT, reply)
            await self._until_written(Unit(inserts=(self._attempt_row(item, doubt),)))
        return await self.sort_out(held)

    async def came_back(self, held: Held, attempt: Attempt | None = None, wait: float = 0.0) -> Next:
        """This try surely did not arrive: the request remains queued, and its claim is given up."""
        unclaim = self._unclaim(held)
        if not unclaim and attempt is None:
            return Next(wait=wait)
        reply = "" if attempt is None else attempt.reply
        changes, inserts = self._outcome(held.item, State.QUEUED, reply, attempt)
        if await self._committed(held, State.QUEUED, reply, Unit(changes=(*changes, *unclaim), inserts=inserts)):
            held.claimed = held.claimed and not unclaim
            return Next(wait=wait)
        found = await self.sort_out(held)
        if found.left and unclaim and self._leased:
            # Somebody took it out of the lane meanwhile; it has not arrived all the same.
            await self._until_written(Unit(changes=(Change(REQUEST_UNCLAIMED, unclaim[0].values, must=False),)))
        return found

    async def failed(self, held: Held, attempt: Attempt) -> Next:
        """A failure of this request or its address alone: it waits, and its address with it."""
        held.item.tries += 1
        held.item.attempts += 1
        return await self.came_back(held, attempt, self._shared.wait(held.item.tries))

    async def in_doubt(self, held: Held, attempt: Attempt) -> Next:
        """It may have arrived: it is sent again where the backend discards repeats, otherwise never."""
        item = held.item
        item.in_doubt += 1
        held.claimed = held.counted = True
        if not self._backend.settings.discards_repeats or self.is_over(held):
            return await self._end_in_doubt(held, attempt.reply, attempt)
        item.tries += 1
        item.attempts += 1
        changes, inserts = self._outcome(item, State.QUEUED, attempt.reply, attempt)
        if await self._committed(held, State.QUEUED, attempt.reply, Unit(changes=changes, inserts=inserts)):
            return Next(wait=self._shared.wait(item.tries))
        return await self.sort_out(held)

    async def refused(
        self, held: Held, reason: str, stage: Stage, failure_class: FailureClass = FailureClass.PERMANENT
    ) -> Next:
        """It can never be handed over: it is parked, its sender gets A0007 and the operator is told."""
        reply = peer_words(reason)
        attempt = Attempt(failure_class, stage, reply)
        content = await self._content_or_none(held)
        held.item.tries += 1
        held.item.attempts += 1
        if held.counted:
            return await self._end_in_doubt(held, reply, attempt)
        log.error("recipient %s is parked: %s", held.item.outbound.recipient_id, reply)
        found = await self._answer(held, State.PARKED, REFUSED_FOR_GOOD, content, attempt)
        if found.left:
            try:
                await self._backend.park(held.item.outbound, reply)
            except Exception:
                log.exception("the operator was not told of recipient %s", held.item.outbound.recipient_id)
        return found

    async def expire(self, held: Held) -> Next:
        """Its life is over: A0011, unless it may have arrived."""
        if held.claimed:
            held.item.in_doubt += not held.counted
            held.counted = True
            return await self._end_in_doubt(held, _ENDED_BEFORE, None)
        reply = f"not handed over within {self._life.total_seconds():.0f} s"
        return await self._answer(held, State.EXPIRED, LIFE_OVER, await self._content_or_none(held), None, reply)

    # --- what the store found otherwise ---

    async def sort_out(self, held: Held) -> Next:
        """The store did not find what was expected: look at what there is, and go by it."""
        seen = await self._look(held)
        if not seen.ours:
            log.warning("lane %s was taken by another process", self.name)
            self._leased = False
            return AT_ONCE
        if not seen.queued:
            return LEFT
        if seen.answered:
            return await self._end_answered(held, arrived=seen.claimed and seen.has_result)
        if not seen.known:
            return await self._end(held, State.PARKED, "it belongs to no request", None)
        if seen.claimed:
            held.claimed = True
            return AT_ONCE
        if seen.outstanding_until is not None:
            return Next(outstanding_until=seen.outstanding_until)
        return Next(wait=_SHORTLY)

    async def _end_answered(self, held: Held, *, arrived: bool) -> Next:
        """It has its answer, so it is never handed over again."""
        if arrived:
            return await self._end(held, State.DELIVERED, "its result has come", None)
        return await self._end(held, State.EXPIRED, "it was answered already", None)

    async def _end_in_doubt(self, held: Held, reply: str, attempt: Attempt | None) -> Next:
        return await self._end(
            held, State.EXPIRED, reply, attempt, Change(REQUEST_IN_DOUBT, (held.item.outbound.request_id,), must=False)
        )

    async def _end(self, held: Held, state: State, reply: str, attempt: Attempt | None, *extra: Change) -> Next:
        """It leaves the lane without an answer of ours."""
        changes, inserts = self._outcome(held.item, state, reply, attempt)
        unit = Unit(changes=(*changes, *extra, self._forget(held)), inserts=inserts)
        if await self._committed(held, state, reply, unit):
            return LEFT
        seen = await self._look(held)
        self._leased = self._leased and seen.ours
        return LEFT if seen.ours and not seen.queued else Next(wait=_SHORTLY)

    async def _answer(
        self,
        held: Held,
        state: State,
        code: str,
        content: bytes | None,
        attempt: Attempt | None,
        reply: str = "",
    ) -> Next:
        """It leaves the lane with the gateway's own answer, both in one unit."""
        reply = reply if attempt is None else attempt.reply
        changes, inserts = self._outcome(held.item, state, reply, attempt)
        changes = (*changes, *self._unclaim(held))
        for tried in range(_MOST_STALE):
            answer = self._refusal(held, content, code)
            if answer is None:
                # Our own view of the map may be what is behind.
                await self._backend.refresh_map()
                answer = self._refusal(held, content, code)
            if answer is None:
                log.error("recipient %s is not answered %s: nobody to answer", held.item.outbound.recipient_id, code)
                return await self._end(held, state, reply, attempt, *self._unclaim(held))
            outcome = await self._until_written(
                Unit(
                    changes=(*changes, *answer.changes),
                    inserts=(*inserts, *answer.inserts),
                    queued=answer.queued,
                    map_version=answer.map_version,
                    size=answer.size,
                    notes=answer.notes,
                )
            )
            if not isinstance(outcome, Stale):
                held.claimed = False
                self._log(held, state, reply)
                return LEFT
            if outcome.reason != "map":
                return await self.sort_out(held)
            log.debug("the map moved under recipient %s, try %s", held.item.outbound.recipient_id, tried)
            await self._backend.refresh_map()
        return Next(wait=_SHORTLY)

    def _refusal(self, held: Held, content: bytes | None, code: str) -> Unit | None:
        if content is None:
            return None
        try:
            return self._backend.refuse(held.item.outbound, content, code, self._shared.clock.now())
        except Exception:
            log.exception("no answer %s could be made for recipient %s", code, held.item.outbound.recipient_id)
            return None

    # --- writing ---

    async def _committed(
        self, held: Held, state: State, reply: str, unit: Unit, give_up: Callable[[], bool] | None = None
    ) -> bool:
        """Whether the store took the unit; tried until it is either taken or stale, or `give_up` says so."""
        if isinstance(await self._until_written(unit, give_up), Stale):
            log.warning("lane %s: outcome of recipient %s is stale", self.name, held.item.outbound.recipient_id)
            return False
        held.item.is_written()
        self._log(held, state, reply)
        return True

    def _log(self, held: Held, state: State, reply: str) -> None:
        outbound = held.item.outbound
        maillog.attempted(outbound.mail_id, self.name, outbound.rcpt_to, state, reply)

    async def _content_or_none(self, held: Held) -> bytes | None:
        try:
            return await self._content(held.item)
        except Unsendable:
            return None

    async def _look(self, held: Held) -> Seen:
        shared = self._shared
        work = partial(look, outbound=held.item.outbound, token=shared.token, now=shared.clock.now())
        return await shared.database.read(work)

    def _unclaim(self, held: Held) -> tuple[Change, ...]:
        """Gives the claim up, as long as no try before this one may have arrived."""
        if not held.claimed or held.counted:
            return ()
        return (Change(REQUEST_UNCLAIMED, (held.item.outbound.request_id,)),)

    @staticmethod
    def _forget(held: Held) -> Change:
        return Change(SECRET_FORGOTTEN, (held.item.outbound.mail_id,), must=False)
