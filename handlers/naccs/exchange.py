"""The message exchange: what a mail from a terminal or a result from the backend brings about.

Pure: (mail, view of the map) -> effects. A request is checked, then answered here (errors, TCC), carried out in
the store (SYG, as a unit of work) or queued for the backend with its bytes untouched; results: see `outputs`.
What cannot be handled comes back as `Unhandled` and is parked by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from handlers.calendar import JST
from handlers.naccs import eligibility, message, mime_message, results
from handlers.naccs.answers import Answers
from handlers.naccs.backend_results import Names
from handlers.naccs.common_items import InputCommonItems
from handlers.naccs.message import Damage, Family, MailHeaders, Request
from handlers.naccs.outputs import NO_REQUEST, Outputs
from handlers.naccs.procedures import ANSWERED_HERE, HEARD, syg
from handlers.terminals import Binding, MapView
from storage.columns import to_micros
from storage.effects import (
    ADDRESS_FREE,
    LANE_HEARD,
    REQUEST,
    REQUEST_REFUSED,
    SECRET_FORGOTTEN,
    TERMINAL_CHECKED,
    Change,
    Enqueue,
    Insert,
    NewRecipient,
    Note,
    Unit,
)
from storage.mail_queue import Arrival, Outbound, handled
from storage.states import Direction, State
from storage.store import apply_within

__all__ = ["BACKEND_LANE", "NO_REQUEST", "Exchange", "ExchangeSettings", "Retrieval", "Unhandled"]

BACKEND_LANE = "backend"
_BLANK_ITEMS = InputCommonItems.readable_part(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """What the exchange is told of the settings. `repeat_window` in seconds, 0 switches repeats off."""

    center_address: str
    backend_address: str
    message_id_domain: str
    password_key: bytes
    repeat_window: float
    terminals_domain: str = ""
    request_life: timedelta = timedelta(seconds=120)
    refuse_second: bool = False  # a second request of an address is answered A0011 instead of waiting
    service_hours: str = ""
    stopped_procedures: frozenset[str] = frozenset()
    content_type: str = "Text/plain"
    fill_terminal_name: bool = False
    syg: syg.SygSettings = field(default_factory=syg.SygSettings)


@dataclass(frozen=True, slots=True)
class Unhandled:
    """The exchange has no way to deal with the mail; `reason` is for the operator."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """A sound SYG request: carried out in a unit of work, since it reads and moves what waits in the store."""

    request: Request
    binding: Binding
    map_version: int


Decision = Unit | Retrieval | Unhandled


class Exchange:
    """The handler of both directions. `new_key` makes the keys of new rows."""

    def __init__(self, *, settings: ExchangeSettings, new_key: Callable[[], int]) -> None:
        self.settings = settings
        self._new_key = new_key
        self._answers = Answers(
            new_key=new_key,
            center_address=settings.center_address,
            message_id_domain=settings.message_id_domain,
            content_type=settings.content_type,
            fill_terminal_name=settings.fill_terminal_name,
        )
        self._outputs = Outputs(
            new_key=new_key,
            answers=self._answers,
            names=Names(center=settings.center_address.lower(), terminals_domain=settings.terminals_domain.lower()),
            repeat_window=settings.repeat_window,
        )

    def handle(self, arrival: Arrival, view: MapView, now: datetime, *, busy: bool = False) -> Decision:
        """Decide on a mail by the version of the map in `view`; the unit is checked against it when it commits.

        `busy`: its address has an outstanding request, and a second one is to be refused.
        """
        if arrival.listener == "backend":
            passed_on = self._outputs.pass_on(arrival, view, now)
            return Unhandled(passed_on) if isinstance(passed_on, str) else passed_on
        binding = view.binding_of_row(arrival.mail_from.lower(), arrival.address_id)
        if binding is None:
            return Unhandled("the sender's address row is not in the map any more")
        return self._request(arrival, binding, view, now, busy=busy)

    def duplicate(self, arrival: Arrival, now: datetime) -> Unit:
        """The same mail again, after our 250 may have been lost: no second effect."""
        changed = handled(arrival, State.DUPLICATE, now, "repeat of an earlier mail")
        return Unit(changes=(changed, _forget(arrival.mail_id)))

    def carry_out(self, session: Session, arrival: Arrival, retrieval: Retrieval, now: datetime) -> None:
        """SYG: list or fetch what could not be delivered, and answer. StaleUnit where it must be decided again."""
        binding, request = retrieval.binding, retrieval.request
        taken = (self._handled(arrival, syg.PROCEDURE_CODE, now), _forget(arrival.mail_id))
        apply_within(session, Unit(changes=taken, map_version=retrieval.map_version))
        served = syg.serve(session, arrival, request, binding, self.settings.syg, now)
        changes, notes = _heard(binding, now)
        if served.answer is None:
            row = self._request_row(arrival, request.items, binding, answered_at=now)
            apply_within(session, Unit(changes=changes, inserts=(row,), notes=notes))
            return
        own = self._answers.own(served.answer, binding, arrival.recipient_id, retrieval.map_version, now)
        row = self._request_row(arrival, request.items, binding, answered_at=now, result_mail_id=own.mail_id)
        apply_within(session, Unit(changes=changes, inserts=(*own.inserts, row), queued=(own.queued,), notes=notes))

    def refused_later(self, outbound: Outbound, content: bytes, code: str, view: MapView, now: datetime) -> Unit | None:
        """The answer to a request that was queued for the backend and never handed over; None without its address.

        It fails as stale when the hand-over has begun meanwhile: what may have arrived is never answered here.
        """
        binding = view.binding_of(outbound.address_id)
        if binding is None or outbound.request_id is None:
            return None
        headers, body = message.body_of(content)
        found = message.examine(headers, body) if message.family(headers, body) is Family.NACCS_EDI else None
        items = _BLANK_ITEMS if found is None else found.items
        answer = self._answers.refusal(items, code, binding, outbound.waiting_since.astimezone(JST))
        own = self._answers.own(answer, binding, outbound.request_id, view.version, now)
        refused = Change(REQUEST_REFUSED, (outbound.request_id, to_micros(now), own.mail_id))
        return Unit(
            changes=(refused, Change(SECRET_FORGOTTEN, (outbound.mail_id,), must=False)),
            inserts=own.inserts,
            queued=(own.queued,),
            map_version=view.version,
            size=own.size,
        )

    def _request(
        self, arrival: Arrival, binding: Binding, view: MapView, now: datetime, *, busy: bool
    ) -> Unit | Retrieval:
        headers, body = message.body_of(arrival.content)
        if message.family(headers, body) is not Family.NACCS_EDI:
            return self._other_request(arrival, headers, body, binding, view, now)
        found = message.examine(headers, body)
        if isinstance(found, Damage):
            return self._refused(arrival, found.items, found.code, binding, view, now)
        code = self._refusal(headers, found, binding, arrival, view)
        if code is None and busy and found.items.procedure_code not in HEARD:
            code = "A0011"
        if code is not None:
            return self._refused(arrival, found.items, code, binding, view, now)
        procedure = found.items.procedure_code
        if procedure == syg.PROCEDURE_CODE:
            return Retrieval(request=found, binding=binding, map_version=view.version)
        answered_here = ANSWERED_HERE.get(procedure)
        if answered_here is not None:
            answer = answered_here(
                found,
                address=binding.address,
                received_at_jst=_jst(arrival),
                terminal=self._answers.terminal_name(binding),
                codec=binding.codec,
            )
            checked = Change(TERMINAL_CHECKED, (binding.terminal_id, to_micros(now)), must=False)
            return self._answer(arrival, found.items, answer, binding, view, now, note=procedure, also=(checked,))
        return self._to_backend(arrival, found.items, binding, view, now, awaited=True)

    def _other_request(
        self, arrival: Arrival, headers: MailHeaders, body: bytes, binding: Binding, view: MapView, now: datetime
    ) -> Unit:
        """EDIFACT and XML: routed by address, nothing in them is read; a fault is told in NACCS EDI form."""
        found = mime_message.examine_other(headers, arrival.content, body)
        if isinstance(found, Damage):
            return self._refused(arrival, found.items, found.code, binding, view, now)
        code = eligibility.check_other(
            header_from=headers.header_from,
            mail_from_key=arrival.mail_from.lower(),
            now=arrival.received_at,
            default_hours=self.settings.service_hours,
            left_to_backend=binding.left_to_backend,
        )
        if code is not None:
            return self._refused(arrival, _BLANK_ITEMS, code, binding, view, now)
        return self._to_backend(arrival, _BLANK_ITEMS, binding, view, now, awaited=False)

    def _refusal(
        self, headers: MailHeaders, request: Request, binding: Binding, arrival: Arrival, view: MapView
    ) -> str | None:
        return eligibility.check(
            request,
            header_from=headers.header_from,
            mail_from_key=arrival.mail_from.lower(),
            address_office_code=binding.office_code,
            view=view,
            key=self.settings.password_key,
            now=arrival.received_at,
            default_hours=self.settings.service_hours,
            stopped=self.settings.stopped_procedures,
            left_to_backend=binding.left_to_backend,
        )

    def _refused(
        self, arrival: Arrival, items: InputCommonItems, code: str, binding: Binding, view: MapView, now: datetime
    ) -> Unit:
        answer = self._answers.refusal(items, code, binding, _jst(arrival))
        return self._answer(arrival, items, answer, binding, view, now, note=code)

    def _answer(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        answer: bytes,
        binding: Binding,
        view: MapView,
        now: datetime,
        *,
        note: str,
        also: tuple[Change, ...] = (),
    ) -> Unit:
        """The gateway's own answer; the request is final with it."""
        own = self._answers.own(answer, binding, arrival.recipient_id, view.version, now)
        request = self._request_row(arrival, items, binding, answered_at=now, result_mail_id=own.mail_id)
        heard, notes = _heard(binding, now) if items.procedure_code in HEARD else ((), ())
        return Unit(
            changes=(self._handled(arrival, note, now), _forget(arrival.mail_id), *heard, *also),
            inserts=(*own.inserts, request),
            queued=(own.queued,),
            map_version=view.version,
            size=own.size,
            notes=notes,
        )

    def _to_backend(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        binding: Binding,
        view: MapView,
        now: datetime,
        *,
        awaited: bool,
    ) -> Unit:
        """Hand the request on: another recipient of the same mail, so that its bytes are stored once."""
        micros = to_micros(now)
        recipient = NewRecipient(
            id=self._new_key(),
            mail_id=arrival.mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=self.settings.backend_address,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            waiting_since=to_micros(arrival.received_at),
            sender=binding.address,
            address_id=binding.address_id,
            map_version=view.version,
            request_id=arrival.recipient_id,
        )
        changes: tuple[Change, ...] = (self._handled(arrival, items.procedure_code, now),)
        if awaited and self.settings.refuse_second:
            changes = (Change(ADDRESS_FREE, (arrival.recipient_id, binding.address_id, micros)), *changes)
        until = arrival.received_at + self.settings.request_life if awaited else None
        return Unit(
            changes=changes,
            inserts=(self._request_row(arrival, items, binding, outstanding_until=until),),
            queued=(Enqueue(BACKEND_LANE, recipient, arrival.content),),
            map_version=view.version,
        )

    def _request_row(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        binding: Binding,
        *,
        outstanding_until: datetime | None = None,
        answered_at: datetime | None = None,
        result_mail_id: int | None = None,
    ) -> Insert:
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

    def _handled(self, arrival: Arrival, note: str, now: datetime) -> Change:
        return handled(arrival, State.HANDLED, now, note, repeat_window=self.settings.repeat_window)


def _heard(binding: Binding, now: datetime) -> tuple[tuple[Change, ...], tuple[Note, ...]]:
    """The terminal speaks, so its server is worth a try at once."""
    return (Change(LANE_HEARD, (binding.lane, to_micros(now)), must=False),), (Note("heard", binding.lane),)


def _forget(mail_id: int) -> Change:
    return Change(SECRET_FORGOTTEN, (mail_id,))


def _jst(arrival: Arrival) -> datetime:
    return arrival.received_at.astimezone(JST)
