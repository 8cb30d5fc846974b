"""What a recording backend reads of a hand-over, and its results and outputs, byte for byte from the request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from handlers.calendar import JST
from handlers.naccs import message
from handlers.naccs.common_items import CRLF, WIDTH, WIDTH_WITH_LINE_END, InputCommonItems, OutputCommonItems
from handlers.naccs.result_codes import NORMAL_END
from handlers.naccs.results import correlation, result_notification
from tests.scenarios.exchange.wire import TakenMail

ADDRESS = "BACKEND@SMTP.CENTER.EXAMPLE"
NOBODY = "NOBODY@SMTP.NOWHERE.EXAMPLE"
ADDED_FIELDS = (b"x-naccs-", b"message-id:")  # what the gateway puts above a request's own header


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A request as it came: what the gateway says of it, and the message."""

    request_id: str
    mail_from: str
    address: str
    fields: dict[str, str]
    body: bytes  # as it came over the wire
    message: bytes  # its transfer encoding taken off
    mail_digest: str  # of the mail without what the gateway put above it

    @classmethod
    def of(cls, mail: TakenMail) -> HandedOver:
        """Read a mail of the gateway."""
        header, _, body = mail.content.partition(b"\r\n\r\n")
        added: dict[str, str] = {}
        own: list[bytes] = []
        for line in header.split(b"\r\n"):
            if line.lower().startswith(ADDED_FIELDS):
                name, _, value = line.decode("ascii").partition(":")
                added.setdefault(name.lower(), value.strip())  # the first of each is the gateway's
            else:
                own.append(line)
        return cls(
            request_id=added.get("x-naccs-request-id", ""),
            mail_from=mail.mail_from,
            address=added.get("x-naccs-mail-address", mail.mail_from),
            fields=added,
            body=body,
            message=message.body_of(mail.content)[1],
            mail_digest=digest(b"\r\n".join(own) + b"\r\n\r\n" + body),
        )

    @property
    def items(self) -> InputCommonItems:
        return InputCommonItems(raw=self.message[:WIDTH])

    def entry(self, what: str) -> dict[str, Any]:
        """A line of the journal about it."""
        handover, number = correlation(self.items)
        about = {"what": what, "request": self.request_id, "handover": handover, "number": number}
        return about | {
            "from": self.mail_from,
            "address": self.address,
            "terminal": self.fields.get("x-naccs-logical-terminal", ""),
            "map": self.fields.get("x-naccs-map-version", ""),
            "digest": digest(self.body),
            "mail": self.mail_digest,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultMail:
    """One mail for the gateway; every try sends the same bytes."""

    serial: str
    request_id: str
    handover: str
    kind: str
    rcpt_to: str
    body: bytes

    def content(self) -> bytes:
        header = (
            f"From: {ADDRESS}\r\nTo: {self.rcpt_to}\r\nMessage-ID: <{self.serial}@backend.center.example>\r\n"
            'Mime-Version: 1.0\r\nContent-Type: Text/plain;charset="EUC-JP"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
        )
        return header.encode("ascii") + self.body

    def entry(self, what: str) -> dict[str, Any]:
        """A line of the journal about it."""
        about = {"what": what, "serial": self.serial, "request": self.request_id, "handover": self.handover}
        return about | {"kind": self.kind, "rcpt_to": self.rcpt_to, "digest": digest(self.body)}


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def results_of(request: HandedOver, words: list[str]) -> Iterator[tuple[str, str, bytes]]:
    """What a request brings about: message type, mail address and bytes, in the order they go out."""
    now = datetime.now(UTC).astimezone(JST)
    if "ONLY" not in words:
        result = result_notification(request.items, [NORMAL_END], address=request.address, received_at_jst=now)
        yield from [("R", request.address, result)] * (2 if "TWO" in words else 1)
        if "UNKNOWN" in words:
            yield "R", NOBODY, result
    address = request.address
    for number, word in enumerate(words):
        if word.startswith("TO="):
            address = word[3:]
        elif word.startswith("OUT="):
            mark = f"OUTPUT {number} OF {request.request_id}".encode()
            yield word[4], address, output(request, word[4], word[5:], address, now, mark)


def output(request: HandedOver, kind: str, code: str, address: str, now: datetime, mark: bytes) -> bytes:
    """An output of the request in one part, told apart from every other by its mark."""
    items, data = request.items, mark.ljust(60) + CRLF
    common = OutputCommonItems(
        procedure_code=items.procedure_code,
        output_information_code=code,
        received_at=now,
        user_code=items.user_code,
        mail_address=address.upper(),
        handover=items.handover,
        division_serial_number=1,
        final_indicator="E",
        message_type=kind,
        input_information_number=items.input_information_number,
        index_handover=items.index_handover,
        destination_control_type="Q" if address == request.address else "C",
        message_length=WIDTH_WITH_LINE_END + len(data),
    )
    return common.encode() + data
