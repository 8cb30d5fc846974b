"""An in-house system's SMTP client (自社システム), as the known one speaks.

It says HELO with a short name, writes MAIL FROM without brackets, puts no Date or Message-ID on its mail,
ends the body with one CRLF too many, stuffs no dots, is silent for a while before the final dot, and takes as
a reply whatever one read brings. It blocks, as the real one does: run it in a thread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.sandbox.dialogue import FINAL_DOT, Dialogue, Exchange, Listener, nobody_listens

# How long the known client polls for a reply, and how long it says nothing before the dot.
PATIENCE_SECONDS = 3.0
PAUSE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One mail with its envelope; `mail` is sent byte for byte."""

    mail_from: str
    rcpt_to: str
    mail: bytes


def known_mail(body: bytes, *, mail_from: str, rcpt_to: str) -> bytes:
    """An EDI message as the known client mails it, with its one CRLF too many and without the final dot."""
    header = (
        f"From:{mail_from}",
        f"To:{rcpt_to}",
        "Mime-Version:1.0",
        'Content-Type:Text/xml;charset="EUC-JP"',
        "Content-Transfer-Encoding:8bit",
        "",
        "",
    )
    return "\r\n".join(header).encode("ascii") + body + b"\r\n"


class KnownClient:
    """Sends mails to one listener, each `send` over a connection of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        bind: str | None = None,
        helo: str = "60777S",
        pause: float = PAUSE_SECONDS,
        patience: float = PATIENCE_SECONDS,
        listener: Listener = nobody_listens,
    ) -> None:
        """`bind` is the IP the connection comes from; `pause` and `patience` are seconds."""
        self._address = (host, port)
        self._source = (bind, 0) if bind else None
        self._helo = helo
        self._pause = pause
        self._patience = patience
        self._listener = listener

    def send(self, *parcels: Parcel) -> Dialogue:
        """Send the mails over one connection, stopping where the known client would.

        Raises OSError when no connection can be had; everything after that is in the dialogue.
        """
        with socket.create_connection(self._address, self._patience, source_address=self._source) as connection:
            session = _Session(connection, self._pause, self._listener)
            session.run(self._helo, parcels)
        return Dialogue(exchanges=tuple(session.exchanges))


class _Session:
    def __init__(self, connection: socket.socket, pause: float, listener: Listener) -> None:
        self.exchanges: list[Exchange] = []
        self._connection = connection
        self._pause = pause
        self._listener = listener

    def run(self, helo: str, parcels: Iterable[Parcel]) -> None:
        greeted = self._hear("").startswith("220") and self._say(f"HELO {helo}").startswith("250")
        if greeted and all(self._transaction(parcel) for parcel in parcels):
            self._say("QUIT")

    def _transaction(self, parcel: Parcel) -> bool:
        """One mail; False where the client gives up. The reply to the dot is heard, not judged."""
        if not self._say(f"MAIL FROM:{parcel.mail_from}").startswith("250"):
            return False
        if not self._say(f"RCPT TO:<{parcel.rcpt_to}>").startswith("250"):
            return False
        if self._say("DATA")[:3] not in {"354", ""}:
            return False
        if not self._write(parcel.mail):
            return False
        time.sleep(self._pause)
        self._say(FINAL_DOT)
        return True

    def _say(self, line: str) -> str:
        self._write(line.encode("ascii") + b"\r\n")
        return self._hear(line)

    def _write(self, data: bytes) -> bool:
        try:
            self._connection.sendall(data)
        except OSError:
            return False
        return True

    def _hear(self, said: str) -> str:
        """Whatever one read brings within the patience; the empty string where nothing came."""
        try:
            reply = self._connection.recv(4096).decode("ascii", "replace").rstrip("\r\n")
        except OSError:
            reply = ""
        exchange = Exchange(said=said, reply=reply)
        self.exchanges.append(exchange)
        self._listener(exchange)
        return reply
