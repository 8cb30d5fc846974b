"""The backend's mails on their way to terminals: which request a result ends, and in which lanes it is queued.

Pure: (mail, view of the map) -> effects, or the reason why nobody is to have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from handlers.calendar import jst_date
from handlers.naccs import backend_results, results
from handlers.naccs.answers import Answers
from handlers.naccs.backend_results import BackendMail, Names
from handlers.terminals import Binding, MapView
from storage.columns import to_micros
from storage.effects import REQUEST_ANSWERED, RESULT_CORRELATED, Change, Enqueue, NewRecipient, Note, Unit
from storage.mail_queue import Arrival, handled
from storage.states import Direction, State

NO_REQUEST = "matches no request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The direction backend to terminal. `new_key` makes the keys of new rows; `repeat_window` in seconds."""

    new_key: Callable[[], int]
    answers: Answers
    names: Names
    repeat_window: float

    def pass_on(self, arrival: Arrival, view: MapView, now: datetime) -> Unit | str:
        """Queue the mail for the terminals it is for; a reason where it is for none."""
        found = backend_results.read(arrival.content)
        if isinstance(found, str):
            return found
        bindings = self._destinations(arrival, found, view, now)
        if not bindings:
            return self._why_nowhere(arrival, found)
        note = NO_REQUEST if found.answers_somebody else ""
        taken = handled(arrival, State.HANDLED, now, note, repeat_window=self.repeat_window)
        correlated, notes = _correlated(arrival, found, bindings[0], now)
        return Unit(
            changes=(taken, *correlated),
            queued=tuple(self._to_terminal(arrival, found, binding, view, now) for binding in bindings),
            map_version=view.version,
            notes=notes,
        )

    def _why_nowhere(self, arrival: Arrival, found: BackendMail) -> str:
        key = arrival.rcpt_to.lower()
        if key == self.names.center:
            code = found.output_code or "no output code"
            return f"neither item 51/64 nor a registered output destination says where {code} goes today"
        if key.endswith(f"@{self.names.terminals_domain}"):
            return f"{arrival.rcpt_to} has no mail address today, or several and item 51/64 names none of them"
        return f"the map has no terminal for {arrival.rcpt_to} today"

    def _destinations(self, arrival: Arrival, found: BackendMail, view: MapView, now: datetime) -> list[Binding]:
        # A result is bound to its address row when it is taken: it stays that owner's, whoever has the address now.
        if arrival.address_id is not None:
            bound = view.binding_of(arrival.address_id)
            return [] if bound is None else [bound]
        today = jst_date(now)
        bound = backend_results.bound_address(arrival.rcpt_to, self.names, arrival.content, view, today)
        if bound is not None:
            return [bound]
        to_center = arrival.rcpt_to.lower() == self.names.center
        return backend_results.third_parties(found, view, today) if to_center else []

    def _to_terminal(
        self, arrival: Arrival, found: BackendMail, binding: Binding, view: MapView, now: datetime
    ) -> Enqueue:
        """Another recipient of the backend's mail, its bytes under a header block of our own."""
        micros = to_micros(now)
        recipient = NewRecipient(
            id=self.new_key(),
            mail_id=arrival.mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=binding.address,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            sender=self.answers.center_address,
            header=self.answers.header(binding.address, arrival.mail_id, found.content_fields),
            body_offset=found.headers.body_offset,
            address_id=binding.address_id,
            output_code=found.output_code,
            map_version=view.version,
        )
        return Enqueue(binding.lane, recipient, arrival.content)


def _correlated(
    arrival: Arrival, found: BackendMail, binding: Binding, now: datetime
) -> tuple[tuple[Change, ...], tuple[Note, ...]]:
    """What joins a result to its request, and ends the request where nothing more of it is to come."""
    if found.output is None or not found.answers_somebody:
        return (), ()
    key = (binding.address_id, *results.correlation(found.output), to_micros(now))
    belongs = Change(RESULT_CORRELATED, (arrival.recipient_id, *key), must=False)
    if not found.ends_a_request:
        return (belongs,), ()
    ends = Change(REQUEST_ANSWERED, (arrival.mail_id, *key), must=False)
    return (belongs, ends), (Note("answered", binding.address_id),)
