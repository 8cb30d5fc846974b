"""What the gateway sends to a terminal: its header block, and the gateway's own answers as effects.

An own answer is a mail of ours in the terminal's lane; the request it belongs to is final with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from handlers.naccs import results
from handlers.naccs.common_items import InputCommonItems
from handlers.naccs.result_codes import result_code
from handlers.terminals import Binding
from storage.columns import to_micros
from storage.effects import Enqueue, Insert, NewRecipient
from storage.mail_queue import Origin, hash_of, mail_inserts
from storage.states import Direction, State


class OwnAnswer(NamedTuple):
    """The rows of an own answer, and its place in the terminal's lane."""

    mail_id: int
    inserts: tuple[Insert, ...]
    queued: Enqueue
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Writes what goes to terminals. `new_key` makes the keys of new rows."""

    new_key: Callable[[], int]
    center_address: str
    message_id_domain: str
    content_type: str = "Text/plain"
    fill_terminal_name: bool = False

    def refusal(self, items: InputCommonItems, code: str, binding: Binding, received_at_jst: datetime) -> bytes:
        """The processing result notification with one code."""
        return results.result_notification(
            items,
            [result_code(code)],
            address=binding.address,
            received_at_jst=received_at_jst,
            terminal=self.terminal_name(binding),
            codec=binding.codec,
        )

    def terminal_name(self, binding: Binding) -> str:
        """What our own messages carry as logical terminal (45/6): nothing unless the settings say so."""
        return binding.terminal if self.fill_terminal_name else ""

    def own(self, answer: bytes, binding: Binding, request_id: int, map_version: int, now: datetime) -> OwnAnswer:
        """The answer as a new mail in the lane of the terminal behind `binding`."""
        mail_id = self.new_key()
        content = self.header(binding.address, mail_id) + answer
        origin = Origin(listener="gateway", mail_from=self.center_address, map_version=map_version)
        micros = to_micros(now)
        recipient = NewRecipient(
            id=self.new_key(),
            mail_id=mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=binding.address,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            sender=self.center_address,
            address_id=binding.address_id,
            output_code=results.output_code_of(answer),
            map_version=map_version,
            request_id=request_id,
        )
        inserts = mail_inserts(mail_id, Direction.OUTBOUND, origin, content, hash_of(content), None, now)
        return OwnAnswer(mail_id, inserts, Enqueue(binding.lane, recipient, content), len(content))

    def header(self, address: str, mail_id: int, content_fields: str | None = None) -> bytes:
        """The header block towards an in-house system; its Message-ID is the same at every attempt.

        `content_fields`: the MIME fields, each with its line end; None writes those of a NACCS EDI message.
        """
        mime = (
            content_fields
            if content_fields is not None
            else (
                "Mime-Version: 1.0\r\n"
                f'Content-Type: {self.content_type};charset="EUC-JP"\r\n'
                "Content-Transfer-Encoding: 8bit\r\n"
            )
        )
        return (
            f"From: {self.center_address}\r\n"
            f"To: {address}\r\n"
            f"Message-ID: <{mail_id}@{self.message_id_domain}>\r\n"
            f"{mime}"
            "\r\n"
        ).encode("latin-1")
