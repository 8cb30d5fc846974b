"""An applicant's mail program towards the public listener: EHLO, one transaction, QUIT; every reply kept."""

from __future__ import annotations

import smtplib
from collections.abc import Callable

from gateway.sandbox.dialogue import FINAL_DOT, Dialogue, Exchange, Listener, nobody_listens

TIMEOUT_SECONDS = 30

Answer = tuple[int, bytes]


class ApplicantClient:
    """Sends mails to one listener, each over a connection of its own."""

    def __init__(self, host: str, port: int, *, bind: str | None = None, listener: Listener = nobody_listens) -> None:
        self._host = host
        self._port = port
        self._source = (bind, 0) if bind else None
        self._listener = listener

    def send(self, mail: bytes, *, mail_from: str, rcpt_to: str) -> Dialogue:
        """Send one mail, stopping at the first refusal. OSError when the connection fails or breaks."""
        exchanges: list[Exchange] = []

        def keep(said: str, answer: Answer) -> bool:
            code, text = answer
            exchange = Exchange(said=said, reply=f"{code} {text.decode('utf-8', 'replace')}")
            exchanges.append(exchange)
            self._listener(exchange)
            return code < 400

        with smtplib.SMTP(timeout=TIMEOUT_SECONDS, source_address=self._source) as connection:
            steps: tuple[tuple[str, Callable[[], Answer]], ...] = (
                ("", lambda: connection.connect(self._host, self._port)),
                ("EHLO", connection.ehlo),
                (f"MAIL FROM:<{mail_from}>", lambda: connection.mail(mail_from)),
                (f"RCPT TO:<{rcpt_to}>", lambda: connection.rcpt(rcpt_to)),
                (FINAL_DOT, lambda: connection.data(mail)),
            )
            all(keep(said, step()) for said, step in steps)
        return Dialogue(exchanges=tuple(exchanges))
