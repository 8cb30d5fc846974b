"""The message exchange: what a mail from a terminal or a result from the backend brings about.

Pure: (mail, view of the map) -> effects. A request is checked, then answered here (errors, TCC), carried out in
the store (SYG, as a unit of work) or queued for the backend with its bytes untouched; results: see `outputs`.
What only the store knows is decided in a unit of work too. What cannot be handled comes back as `Unhandled` and is
parked by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from handlers.calendar import JST
from handlers.naccs import eligibility, message, mime_message
from handlers.naccs.answers import Answers
from handlers.naccs.backend_results import Names
from handlers.naccs.common_items import InputCommonItems
from handlers.naccs.first_check import REFUSAL_CODE, REFUSAL_NOTE, FirstChecks
from handlers.naccs.message import Damage, Family, MailHeaders, Request
from handlers.naccs.outputs import NO_REQUEST, Outputs
from handlers.naccs.procedures import ANSWERED_HERE, HEARD, syg
from handlers.naccs.request_units import BACKEND_LANE, RequestUnits, forget, heard_from
from handlers.terminals import Binding, MapView
from storage.columns import to_micros
from storage.effects import (
    REQUEST_REFUSED,
    SECRET_FORGOTTEN,
    TERMINAL_CHECKED,
    Change,
    Unit,
)
from storage.mail_queue import Arrival, Outbound, handled
from storage.states import State
from storage.store import apply_within

__all__ = ["BACKEND_LANE", "NO_REQUEST", "Exchange", "ExchangeSettings", "InStore", "Unhandled"]

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
    refuse_before_tcc: bool = False  # other procedures of a terminal that owes its first TCC are answered A0002
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
class InStore:
    """A sound request that is carried out in a unit of work: what is to be done, the store alone can say.

    SYG reads and moves what waits there; another procedure asks whether its terminal owes its first TCC. `request` is
    None for a message of another family than NACCS EDI.
    """

    request: Request | None
    binding: Binding
    map_version: int

    @property
    def items(self) -> InputCommonItems:
        """The common items, blank where there are none."""
        return _BLANK_ITEMS if self.request is None else self.request.items


Decision = Unit | InStore | Unhandled


class Exchange:
    """The handler of both directions. `new_key` makes the keys of new rows."""

    def __init__(self, *, settings: ExchangeSettings, new_key: Callable[[], int]) -> None:
        self.settings = settings
        self._first_checks = FirstChecks()
        self._answers = Answers(
            new_key=new_key,
            center_address=settings.center_address,
            message_id_domain=settings.message_id_domain,
            content_type=settings.content_type,
            fill_terminal_name=settings.fill_terminal_name,
        )
        self._units = RequestUnits(
            new_key=new_key,
            answers=self._answers,
            backend_address=settings.backend_address,
            request_life=settings.request_life,
            repeat_window=settings.repeat_window,
            refuse_second=settings.refuse_second,
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
        return Unit(changes=(changed, forget(arrival.mail_id)))

    def carry_out(self, session: Session, arrival: Arrival, wanted: InStore, now: datetime) -> None:
        """Do what needs the store, and answer. StaleUnit where it must be decided again."""
        request = wanted.request
        if request is not None and request.items.procedure_code == syg.PROCEDURE_CODE:
            self._retrieve(session, arrival, request, wanted, now)
            return
        if self._first_checks.is_owed(session, wanted.binding.terminal_id):
            unit = self._units.refused(
                arrival, wanted.items, REFUSAL_CODE, wanted.binding, wanted.map_version, now, note=REFUSAL_NOTE
            )
        else:
            unit = self._to_backend(arrival, wanted, now)
        apply_within(session, unit)

    def _retrieve(self, session: Session, arrival: Arrival, request: Request, wanted: InStore, now: datetime) -> None:
        """SYG: list or fetch what could not be delivered."""
        binding, version = wanted.binding, wanted.map_version
        taken = (self._units.handled(arrival, syg.PROCEDURE_CODE, now), forget(arrival.mail_id))
        apply_within(session, Unit(changes=taken, map_version=version))
        served = syg.serve(session, arrival, request, binding, self.settings.syg, now)
        changes, notes = heard_from(binding, now)
        if served.answer is None:
            row = self._units.request_row(arrival, request.items, binding, answered_at=now)
            apply_within(session, Unit(changes=changes, inserts=(row,), notes=notes))
            return
        own = self._answers.own(served.answer, binding, arrival.recipient_id, version, now)
        row = self._units.request_row(arrival, request.items, binding, answered_at=now, result_mail_id=own.mail_id)
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
    ) -> Unit | InStore:
        headers, body = message.body_of(arrival.content)
        if message.family(headers, body) is not Family.NACCS_EDI:
            return self._other_request(arrival, headers, body, binding, view, now)
        found = message.examine(headers, body)
        if isinstance(found, Damage):
            return self._units.refused(arrival, found.items, found.code, binding, view.version, now)
        code = self._refusal(headers, found, binding, arrival, view)
        if code is None and busy and found.items.procedure_code not in HEARD:
            code = "A0011"
        if code is not None:
            return self._units.refused(arrival, found.items, code, binding, view.version, now)
        procedure = found.items.procedure_code
        if procedure == syg.PROCEDURE_CODE:
            return InStore(request=found, binding=binding, map_version=view.version)
        answered_here = ANSWERED_HERE.get(procedure)
        if answered_here is not None:
            answer = answered_here(
                found,
                address=binding.address,
                received_at_jst=arrival.received_at.astimezone(JST),
                terminal=self._answers.terminal_name(binding),
                codec=binding.codec,
            )
            checked = Change(TERMINAL_CHECKED, (binding.terminal_id, to_micros(now)), must=False)
            return self._units.answer(
                arrival, found.items, answer, binding, view.version, now, note=procedure, also=(checked,)
            )
        return self._onward(arrival, found, binding, view, now)

    def _other_request(
        self, arrival: Arrival, headers: MailHeaders, body: bytes, binding: Binding, view: MapView, now: datetime
    ) -> Unit | InStore:
        """EDIFACT and XML: routed by address, nothing in them is read; a fault is told in NACCS EDI form."""
        found = mime_message.examine_other(headers, arrival.content, body)
        if isinstance(found, Damage):
            return self._units.refused(arrival, found.items, found.code, binding, view.version, now)
        code = eligibility.check_other(
            header_from=headers.header_from,
            mail_from_key=arrival.mail_from.lower(),
            now=arrival.received_at,
            default_hours=self.settings.service_hours,
            left_to_backend=binding.left_to_backend,
        )
        if code is not None:
            return self._units.refused(arrival, _BLANK_ITEMS, code, binding, view.version, now)
        return self._onward(arrival, None, binding, view, now)

    def _onward(
        self, arrival: Arrival, request: Request | None, binding: Binding, view: MapView, now: datetime
    ) -> Unit | InStore:
        """To the backend; by the store where it must say first, once of each terminal, that no TCC is owed."""
        wanted = InStore(request=request, binding=binding, map_version=view.version)
        checks = self.settings.refuse_before_tcc and eligibility.Check.TCC not in binding.left_to_backend
        if checks and not self._first_checks.is_known_made(binding.terminal_id):
            return wanted
        return self._to_backend(arrival, wanted, now)

    def _to_backend(self, arrival: Arrival, wanted: InStore, now: datetime) -> Unit:
        return self._units.to_backend(
            arrival, wanted.items, wanted.binding, wanted.map_version, now, awaited=wanted.request is not None
        )

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
