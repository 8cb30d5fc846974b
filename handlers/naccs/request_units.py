"""What becomes of a terminal's request, as effects: the gateway's own answer, or its way to the backend.

Each unit marks the mail handled and writes the row of the request, so that a mail has one of them or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from handlers.calendar import JST
from handlers.naccs import results
from handlers.naccs.answers import Answers
from handlers.naccs.common_items import InputCommonItems
from handlers.naccs.procedures import HEARD
from handlers.terminals import Binding
from storage.columns import to_micros
from storage.effects import (
    ADDRESS_FREE,
    LANE_HEARD,
    REQUEST,
    SECRET_FORGOTTEN,
    Change,
    Enqueue,
    Insert,
    NewRecipient,
    Note,
    Unit,
)
from storage.mail_queue import Arrival, handled
from storage.states import Direction, State

BACKEND_LANE = "backend"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestUnits:
    """Writes the units of requests. `new_key` makes the keys of new rows; `repeat_window` in seconds, 0: off."""

    new_key: Callable[[], int]
    answers: Answers
    backend_address: str
    request_life: timedelta
    repeat_window: float
    refuse_second: bool

    def refused(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        code: str,
        binding: Binding,
        map_version: int,
        now: datetime,
        *,
        note: str = "",
    ) -> Unit:
        """The answer with one code; `note` is what operators read beside the mail, the code where none is given."""
        answer = self.answers.refusal(items, code, binding, arrival.received_at.astimezone(JST))
        return self.answer(arrival, items, answer, binding, map_version, now, note=note or code)

    def answer(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        answer: bytes,
        binding: Binding,
        map_version: int,
        now: datetime,
        *,
        note: str,
        also: tuple[Change, ...] = (),
    ) -> Unit:
        """The gateway's own answer; the request is final with it."""
        own = self.answers.own(answer, binding, arrival.recipient_id, map_version, now)
        request = self.request_row(arrival, items, binding, answered_at=now, result_mail_id=own.mail_id)
        heard, notes = heard_from(binding, now) if items.procedure_code in HEARD else ((), ())
        return Unit(
            changes=(self.handled(arrival, note, now), forget(arrival.mail_id), *heard, *also),
            inserts=(*own.inserts, request),
            queued=(own.queued,),
            map_version=map_version,
            size=own.size,
            notes=notes,
        )

    def to_backend(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        binding: Binding,
        map_version: int,
        now: datetime,
        *,
        awaited: bool,
    ) -> Unit:
        """Hand the request on: another recipient of the same mail, so that its bytes are stored once."""
        micros = to_micros(now)
        recipient = NewRecipient(
            id=self.new_key(),
            mail_id=arrival.mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=self.backend_address,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            waiting_since=to_micros(arrival.received_at),
            sender=binding.address,
            address_id=binding.address_id,
            map_version=map_version,
            request_id=arrival.recipient_id,
        )
        changes: tuple[Change, ...] = (self.handled(arrival, items.procedure_code, now),)
        if awaited and self.refuse_second:
            changes = (Change(ADDRESS_FREE, (arrival.recipient_id, binding.address_id, micros)), *changes)
        until = arrival.received_at + self.request_life if awaited else None
        return Unit(
            changes=changes,
            inserts=(self.request_row(arrival, items, binding, outstanding_until=until),),
            queued=(Enqueue(BACKEND_LANE, recipient, arrival.content),),
            map_version=map_version,
        )

    def request_row(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        binding: Binding,
        *,
        outstanding_until: datetime | None = None,
        answered_at: datetime | None = None,
        result_mail_id: int | None = None,
    ) -> Insert:
        """The row of the request; outstanding until then where a result is awaited."""
        handover, input_number = results.correlation(items)
        return Insert(
            REQUEST,
            (
                arrival.recipient_id,
                binding.address_id,
                items.procedure_code,
                handover,
                input_number,
                to_micros(arrival.received_at),
                None if outstanding_until is None else to_micros(outstanding_until),
                None if answered_at is None else to_micros(answered_at),
                result_mail_id,
            ),
        )

    def handled(self, arrival: Arrival, note: str, now: datetime) -> Change:
        """The mail's own mark; it finds something else where the mail is a repeat."""
        return handled(arrival, State.HANDLED, now, note, repeat_window=self.repeat_window)


def heard_from(binding: Binding, now: datetime) -> tuple[tuple[Change, ...], tuple[Note, ...]]:
    """The terminal speaks, so its server is worth a try at once."""
    return (Change(LANE_HEARD, (binding.lane, to_micros(now)), must=False),), (Note("heard", binding.lane),)


def forget(mail_id: int) -> Change:
    """Blank the password kept beside the mail: its request is final."""
    return Change(SECRET_FORGOTTEN, (mail_id,))
