"""The message exchange: what a mail from a terminal or a result from the backend brings about.

Pure: (mail, view of the map) -> effects. A request is checked, then answered here (errors, TCC) or queued
for the backend with its bytes untouched; a result is queued for the terminal behind its address. What
cannot be handled comes back as `Unhandled` and is parked by the caller, who also tells the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from handlers.calendar import JST, jst_date
from handlers.naccs import eligibility, message, results
from handlers.naccs.common_items import InputCommonItems
from handlers.naccs.message import Damage, Family, MailHeaders, Request
from handlers.naccs.procedures import ANSWERED_HERE
from handlers.naccs.result_codes import result_code
from handlers.terminals import Binding, MapView
from storage.columns import to_micros
from storage.effects import (
    RECIPIENT_HANDLED,
    REQUEST,
    REQUEST_ANSWERED,
    SECRET_FORGOTTEN,
    Change,
    Enqueue,
    Insert,
    NewRecipient,
    Unit,
)
from storage.mail_queue import Arrival, Origin, hash_of, mail_inserts
from storage.states import Direction, State

BACKEND_LANE = "backend"
# Procedures of the gateway itself that this version does not carry out: refused for now, not passed on, because the
# backend's plain result would be taken for an answer of another type.
_NOT_YET = frozenset({"SYG"})
_NEVER = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """What the exchange is told of the settings. `repeat_window` in seconds, 0 switches repeats off."""

    center_address: str
    backend_address: str
    message_id_domain: str
    password_key: bytes
    repeat_window: float


@dataclass(frozen=True, slots=True)
class Unhandled:
    """The exchange has no way to deal with the mail; `reason` is for the operator."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The handler of both directions. `new_key` makes the keys of new rows."""

    settings: ExchangeSettings
    new_key: Callable[[], int]

    def handle(self, arrival: Arrival, view: MapView, now: datetime) -> Unit | Unhandled:
        """Decide on a mail by the version of the map in `view`; the unit is checked against it when it commits."""
        if arrival.listener == "backend":
            return self._result(arrival, view, now)
        binding = view.binding_of_row(arrival.mail_from.lower(), arrival.address_id)
        if binding is None:
            return Unhandled("the sender's address row is not in the map any more")
        return self._request(arrival, binding, view, now)

    def duplicate(self, arrival: Arrival, now: datetime) -> Unit:
        """The same mail again, after our 250 may have been lost: no second effect."""
        changes = (self._handled(arrival, State.DUPLICATE, now, "repeat of an earlier mail", repeats=False),)
        return Unit(changes=(*changes, _forget(arrival.mail_id)))

    def _request(self, arrival: Arrival, binding: Binding, view: MapView, now: datetime) -> Unit | Unhandled:
        headers, body = message.body_of(arrival.content)
        if message.family(headers, body) is not Family.NACCS_EDI:
            return Unhandled("only NACCS EDI messages are handled so far, this one is of another family")
        found = message.examine(headers, body)
        if isinstance(found, Damage):
            answer = self._error(found.items, found.code, binding, arrival)
            return self._answer(arrival, found.items, answer, binding, view, now, note=found.code)
        code = self._refusal(headers, found, binding, arrival, view)
        if code is not None:
            answer = self._error(found.items, code, binding, arrival)
            return self._answer(arrival, found.items, answer, binding, view, now, note=code)
        procedure = found.items.procedure_code
        answered_here = ANSWERED_HERE.get(procedure)
        if answered_here is not None:
            answer = answered_here(found, address=binding.address, received_at_jst=_jst(arrival))
            return self._answer(arrival, found.items, answer, binding, view, now, note=procedure)
        return self._to_backend(arrival, found, binding, view, now)

    def _refusal(
        self, headers: MailHeaders, request: Request, binding: Binding, arrival: Arrival, view: MapView
    ) -> str | None:
        code = eligibility.check(
            request,
            header_from=headers.header_from,
            mail_from_key=arrival.mail_from.lower(),
            address_office_code=binding.office_code,
            view=view,
            key=self.settings.password_key,
        )
        if code is None and request.items.procedure_code in _NOT_YET:
            return "A0002"
        return code

    def _error(self, items: InputCommonItems, code: str, binding: Binding, arrival: Arrival) -> bytes:
        return results.result_notification(
            items, [result_code(code)], address=binding.address, received_at_jst=_jst(arrival)
        )

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
    ) -> Unit:
        """The gateway's own answer: a mail of our own in the terminal's lane; the request is final with it."""
        mail_id = self.new_key()
        content = self._header(binding.address, mail_id) + answer
        origin = Origin(listener="gateway", mail_from=self.settings.center_address, map_version=view.version)
        micros = to_micros(now)
        recipient = NewRecipient(
            id=self.new_key(),
            mail_id=mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=binding.address,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            sender=self.settings.center_address,
            address_id=binding.address_id,
            output_code=answer[8:15].decode("ascii", "replace"),
            map_version=view.version,
        )
        mail = mail_inserts(mail_id, Direction.OUTBOUND, origin, content, hash_of(content), None, now)
        request = self._request_row(arrival, items, binding, now, result_mail_id=mail_id)
        return Unit(
            changes=(self._handled(arrival, State.HANDLED, now, note), _forget(arrival.mail_id)),
            inserts=(*mail, request),
            queued=(Enqueue(binding.lane, recipient, content),),
            map_version=view.version,
            size=len(content),
        )

    def _to_backend(self, arrival: Arrival, request: Request, binding: Binding, view: MapView, now: datetime) -> Unit:
        """Hand the request on: another recipient of the same mail, so that its bytes are stored once."""
        micros = to_micros(now)
        recipient = NewRecipient(
            id=self.new_key(),
            mail_id=arrival.mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=self.settings.backend_address,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            sender=binding.address,
            address_id=binding.address_id,
            map_version=view.version,
        )
        procedure = request.items.procedure_code
        return Unit(
            changes=(self._handled(arrival, State.HANDLED, now, procedure),),
            inserts=(self._request_row(arrival, request.items, binding, now),),
            queued=(Enqueue(BACKEND_LANE, recipient, arrival.content),),
            map_version=view.version,
        )

    def _result(self, arrival: Arrival, view: MapView, now: datetime) -> Unit | Unhandled:
        key = arrival.rcpt_to.lower()
        # A result that carries its requester's row stays that owner's, whoever has the address now.
        bound = arrival.address_id is not None
        binding = view.binding_of_row(key, arrival.address_id) if bound else view.binding(key, jst_date(now))
        if binding is None:
            return Unhandled(f"the map has no terminal for {arrival.rcpt_to} today")
        headers, body = message.body_of(arrival.content)
        output = results.read_output(body)
        if output is None:
            return Unhandled("the backend's mail holds no output common items")
        handover, input_number = results.correlation(output)
        micros = to_micros(now)
        recipient = NewRecipient(
            id=self.new_key(),
            mail_id=arrival.mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=binding.address,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            sender=self.settings.center_address,
            header=self._header(binding.address, arrival.mail_id),
            body_offset=headers.body_offset,
            address_id=binding.address_id,
            output_code=output.output_information_code[:7],
            map_version=view.version,
        )
        changes = [self._handled(arrival, State.HANDLED, now, "", repeats=False)]
        if output.message_type in results.ENDING_TYPES:
            answered = (arrival.mail_id, binding.address_id, handover, input_number, micros)
            changes.append(Change(REQUEST_ANSWERED, answered, must=False))
        return Unit(
            changes=tuple(changes),
            queued=(Enqueue(binding.lane, recipient, arrival.content),),
            map_version=view.version,
        )

    def _request_row(
        self,
        arrival: Arrival,
        items: InputCommonItems,
        binding: Binding,
        now: datetime,
        *,
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
                None if result_mail_id is None else to_micros(now),
                result_mail_id,
            ),
        )

    def _handled(self, arrival: Arrival, state: State, now: datetime, note: str, *, repeats: bool = True) -> Change:
        window = self.settings.repeat_window
        look = repeats and window > 0
        repeat_after = to_micros(arrival.received_at) - int(window * 1_000_000) if look else _NEVER
        return Change(
            RECIPIENT_HANDLED,
            (arrival.recipient_id, str(state), to_micros(now), note, arrival.content_hash, repeat_after),
        )

    def _header(self, address: str, mail_id: int) -> bytes:
        """The header block towards an in-house system; its Message-ID is the same at every attempt."""
        return (
            f"From: {self.settings.center_address}\r\n"
            f"To: {address}\r\n"
            f"Message-ID: <{mail_id}@{self.settings.message_id_domain}>\r\n"
            "Mime-Version: 1.0\r\n"
            'Content-Type: Text/plain;charset="EUC-JP"\r\n'
            "Content-Transfer-Encoding: 8bit\r\n"
            "\r\n"
        ).encode("ascii")


def _forget(mail_id: int) -> Change:
    return Change(SECRET_FORGOTTEN, (mail_id,))


def _jst(arrival: Arrival) -> datetime:
    return arrival.received_at.astimezone(JST)
