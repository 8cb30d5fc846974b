"""The mail that hands a request over to the business backend: the request's own bytes below a few more fields.

The same request gives the same bytes at each attempt, also after a restart, so that a backend may know a repeat by
them. What the sender wrote stays as it is, fields of the same name included: the first one of each is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from handlers.naccs import message
from handlers.naccs.common_items import OUTPUT_PLACES, WIDTH
from handlers.naccs.message import Family, MailHeaders
from storage.mail_queue import Outbound

_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:", re.MULTILINE | re.IGNORECASE)
_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})  # encodings that leave the bytes as they are (RFC 2045 §6.2)
# Where a request has blanks, the items of an output stand (NACCS EDI 5.1, 5.2).
_TERMINAL = OUTPUT_PLACES["logical_terminal_name"]
_ADDRESS = OUTPUT_PLACES["mail_address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverMail:
    """Writes hand-over mails. `terminal_of` names the logical terminal of a request, "" where the map has none.

    `host` is the right side of the Message-ID that a mail without one is given. `stamp_terminal` and
    `stamp_address` fill bytes 45-50 and 51-114 of a NACCS EDI request that is not encoded for transfer.
    """

    host: str
    terminal_of: Callable[[Outbound], str]
    stamp_terminal: bool = False
    stamp_address: bool = False

    def write(self, outbound: Outbound, content: bytes) -> bytes:
        """The mail for the backend. `content` is the request as it was received."""
        headers, body = message.body_of(content)
        terminal = self.terminal_of(outbound)
        offset = headers.body_offset
        fields = self._fields(outbound, terminal, content[:offset])
        if offset == 0:
            fields += b"\r\n"  # there was no header: the blank line is ours too
        return fields + self._stamped(outbound, terminal, headers, content, body)

    def _fields(self, outbound: Outbound, terminal: str, header: bytes) -> bytes:
        identity = outbound.recipient_id if outbound.request_id is None else outbound.request_id
        fields = {
            "X-NACCS-Request-Id": str(identity),
            "X-NACCS-Logical-Terminal": terminal,
            "X-NACCS-Mail-Address": outbound.sender,
            "X-NACCS-Map-Version": "" if outbound.map_version is None else str(outbound.map_version),
            "Message-ID": "" if _MESSAGE_ID.search(header) else f"<{identity}@{self.host}>",
        }
        lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value]
        return "".join(lines).encode("ascii", "replace")

    def _stamped(self, outbound: Outbound, terminal: str, headers: MailHeaders, content: bytes, body: bytes) -> bytes:
        stamps = []
        if self.stamp_terminal:
            stamps.append((_TERMINAL, terminal))
        if self.stamp_address:
            stamps.append((_ADDRESS, outbound.sender.upper()))
        if not stamps or headers.transfer_encoding not in _IDENTITY or len(body) < WIDTH:
            return content
        if message.family(headers, body) is not Family.NACCS_EDI:
            return content
        stamped = bytearray(content)
        for place, text in stamps:
            width = place.stop - place.start
            if text.isascii() and len(text) <= width:
                at = headers.body_offset + place.start
                stamped[at : at + width] = text.encode("ascii").ljust(width)
        return bytes(stamped)


def awaits_result(content: bytes) -> bool:
    """Whether the backend answers the message, so that its address waits for that: NACCS EDI, no other family."""
    headers, body = message.body_of(content)
    return message.family(headers, body) is Family.NACCS_EDI
