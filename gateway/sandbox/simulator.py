"""The built-in business backend: answers every request it is handed with a normal result.

It discards repeats in effect, because its answer enters the store in the transaction that records the hand-over: either
both are committed or the request is handed over again.
"""

from __future__ import annotations

from collections.abc import Callable

from handlers.calendar import JST
from handlers.naccs import message, results
from handlers.naccs.message import Damage, Family
from handlers.naccs.result_codes import NORMAL_END
from storage.clock import Clock
from storage.effects import Insert, Note
from storage.mail_queue import Origin, Outbound, arrival


class Simulator:
    """A backend that accepts whatever passed the gateway's checks. `new_key` makes the keys of its mails."""

    def __init__(self, address: str, clock: Clock, new_key: Callable[[], int]) -> None:
        self._address = address
        self._clock = clock
        self._new_key = new_key

    async def hand_over(self, outbound: Outbound, content: bytes) -> tuple[tuple[Insert, ...], tuple[Note, ...]]:
        """The rows and notes of the result mail, to be committed with the hand-over's outcome.

        EDIFACT and XML are taken without a result: nobody waits for one. ValueError for what cannot be read.
        """
        headers, body = message.body_of(content)
        if message.family(headers, body) is not Family.NACCS_EDI:
            return (), ()
        request = message.examine(headers, body)
        if isinstance(request, Damage):
            raise ValueError("a request that passed the checks cannot be read any more")
        now = self._clock.now()
        answer = results.result_notification(
            request.items,
            [NORMAL_END],
            address=outbound.sender,
            received_at_jst=now.astimezone(JST),
        )
        header = (
            f"From: {self._address}\r\nTo: {outbound.sender}\r\n"
            'Mime-Version: 1.0\r\nContent-Type: Text/plain;charset="EUC-JP"\r\n'
            "Content-Transfer-Encoding: 8bit\r\n\r\n"
        )
        origin = Origin(listener="backend", mail_from=self._address, address_id=outbound.address_id)
        recipients = [(outbound.sender, outbound.sender.lower())]
        _, unit = arrival(self._new_key, origin, recipients, header.encode("ascii") + answer, now)
        return unit.inserts, unit.notes
