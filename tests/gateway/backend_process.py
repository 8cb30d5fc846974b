"""A delivering process with a backend, simulated or real, for the tests of the lane towards it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.backend_parts import BackendLaneSettings, BackendParts
from gateway.lane_holder import Effects, Gone
from gateway.smtp_out import Target, TimeLimits
from handlers.naccs.handover_mail import HandoverMail
from storage.columns import to_micros
from storage.effects import (
    RECIPIENT,
    REQUEST,
    REQUEST_ANSWERED,
    REQUEST_REFUSED,
    SECRET_FORGOTTEN,
    Applied,
    Change,
    Enqueue,
    Insert,
    NewRecipient,
    Note,
    Unit,
)
from storage.mail_queue import Origin, Outbound, hash_of, mail_inserts
from storage.models import MailContent, Recipient, Request
from storage.states import Direction, State
from tests.fakes.in_house_server import RecordingServer, until
from tests.gateway.delivering import CENTER, Process

BACKEND = "backend"
BACKEND_ADDRESS = "BACKEND@SMTP.CENTER.EXAMPLE"
TERMINAL = "terminal:60001S"
QUICK: dict[str, Any] = {
    "request_life": 30.0,
    "probe_every": 0.05,
    "switch_after": 0.2,
    "switch_back_after": 0.2,
    "limits": TimeLimits(connect=2, command=2, block=2, dot=2),
}
HEADER = b"From: a\r\n\r\n"

HandOver = Callable[[Outbound, bytes], Awaitable[Effects]]


def target_of(server: RecordingServer) -> Target:
    """Where a fake backend listens."""
    return Target(host=server.host, port=server.port)


def body_of(mail: bytes) -> bytes:
    """What a request said, without any header."""
    return mail.rpartition(b"\r\n\r\n")[2]


class BackendProcess(Process):
    """One process with the lane towards the backend, and what it would tell terminals and operators."""

    def __init__(
        self,
        url: str,
        primary: RecordingServer | Target | None = None,
        backup: RecordingServer | Target | None = None,
        *,
        simulator: HandOver | None = None,
        backend: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.map_version: int | None = None
        self.refreshed = 0
        self.answerable = True
        self.parked: list[tuple[int, str]] = []
        settings = BackendLaneSettings(
            primary=target_of(primary) if isinstance(primary, RecordingServer) else primary,
            backup=target_of(backup) if isinstance(backup, RecordingServer) else backup,
            **{**QUICK, **(backend or {})},
        )
        parts = BackendParts(
            settings=settings,
            refuse=self._refuse,
            refresh_map=self._refresh_map,
            park=self._park,
            simulator=simulator,
            write=HandoverMail(host="center.example", terminal_of=lambda _: "60001S").write,
        )
        super().__init__(url, backend=parts, **options)
        self.targets[TERMINAL] = Gone("no test looks at the terminal")
        self.life = settings.request_life

    def _refuse(self, outbound: Outbound, content: bytes, code: str, now: datetime) -> Unit | None:
        """The gateway's own answer, as small as one can be."""
        if not self.answerable or outbound.request_id is None:
            return None
        mail_id, micros = self.database.new_key(), to_micros(now)
        answer = code.encode("ascii") + b" " + body_of(content)
        recipient = NewRecipient(
            id=self.database.new_key(),
            mail_id=mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=outbound.sender,
            state=State.QUEUED,
            created_at=micros,
            due_at=micros,
            sender=CENTER,
            request_id=outbound.request_id,
        )
        origin = Origin(listener="gateway", mail_from=CENTER)
        refused = Change(REQUEST_REFUSED, (outbound.request_id, micros, mail_id))
        return Unit(
            changes=(refused, Change(SECRET_FORGOTTEN, (outbound.mail_id,), must=False)),
            inserts=mail_inserts(mail_id, Direction.OUTBOUND, origin, answer, hash_of(answer), None, now),
            queued=(Enqueue(TERMINAL, recipient, answer),),
            map_version=self.map_version,
        )

    async def _refresh_map(self) -> None:
        self.refreshed += 1
        self.map_version = None

    async def _park(self, outbound: Outbound, reason: str) -> None:
        self.parked.append((outbound.recipient_id, reason))

    async def request(
        self,
        text: bytes,
        *,
        address: int = 1,
        age: float = 0.0,
        awaited: bool = True,
        remember: bool = True,
        claimed: bool = False,
    ) -> int:
        """Commit a request on its way to the backend, as the exchange does; its hand-over's recipient id."""
        new_key, now = self.database.new_key, self.clock.now()
        received = now - timedelta(seconds=age)
        content = HEADER + (b"" if awaited else b"<xml>") + text + b"\r\n"
        mail_id, request_id, recipient_id = new_key(), new_key(), new_key()
        sender = f"{address}@x.example"
        origin = Origin(listener="naccs", mail_from=sender, address_id=address)
        inbound = NewRecipient(
            id=request_id,
            mail_id=mail_id,
            direction=Direction.INBOUND,
            rcpt_to=CENTER,
            state=State.HANDLED,
            created_at=to_micros(received),
            due_at=to_micros(received),
            address_id=address,
        )
        handed = NewRecipient(
            id=recipient_id,
            mail_id=mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=BACKEND_ADDRESS,
            state=State.QUEUED,
            created_at=to_micros(now),
            due_at=to_micros(now),
            waiting_since=to_micros(received),
            sender=sender,
            address_id=address,
            request_id=request_id,
        )
        ends = to_micros(received + timedelta(seconds=self.life)) if awaited else None
        row = (request_id, address, "ABC01", text.decode()[:26], "", to_micros(received), ends, None, None)
        mail = mail_inserts(mail_id, Direction.INBOUND, origin, content, hash_of(content), None, received)
        unit = Unit(
            inserts=(*mail, Insert(RECIPIENT, inbound.values()), Insert(REQUEST, row)),
            queued=(Enqueue(BACKEND, handed, content if remember else None),),
        )
        assert isinstance(await self.database.apply(unit), Applied)
        if claimed:
            await self.execute("UPDATE requests SET claimed_at = :at WHERE id = :id", at=to_micros(now), id=request_id)
        return recipient_id

    async def requests(self, *texts: bytes, **options: Any) -> list[int]:
        """Several requests, in order."""
        return [await self.request(text, **options) for text in texts]

    async def result(self, recipient_id: int, *, told: bool = True) -> None:
        """The backend's result of a request enters; `told`: by this very process."""
        row = await self.request_row(recipient_id)
        values = (row.id, row.address_id, row.handover, row.input_number, to_micros(self.clock.now()))
        notes = (Note("answered", row.address_id),) if told else ()
        await self.database.apply(Unit(changes=(Change(REQUEST_ANSWERED, values),), notes=notes))

    async def request_row(self, recipient_id: int) -> Request:
        """The request behind a hand-over, as the store has it."""

        def work(session: Session) -> Request:
            wanted = select(Request).join(Recipient, Recipient.request_id == Request.id)
            return session.scalars(wanted.where(Recipient.id == recipient_id)).one()

        return await self.database.read(work)

    async def answers(self) -> list[bytes]:
        """What the gateway answered itself, in order."""

        def work(session: Session) -> list[bytes]:
            found = select(MailContent.content).join(Recipient, Recipient.mail_id == MailContent.mail_id)
            return list(session.scalars(found.where(Recipient.lane == TERMINAL).order_by(Recipient.id)))

        return [bytes(answer).rstrip(b"\r\n") for answer in await self.database.read(work)]

    async def state(self, recipient_id: int) -> str:
        """The state of a hand-over."""
        return (await self.row(recipient_id)).state

    async def becomes(self, recipient_id: int, state: str, seconds: float = 5.0) -> None:
        """Wait until a hand-over is in that state."""
        await self._until(lambda row: row.state == state, recipient_id, seconds)

    async def claimed(self, recipient_id: int) -> bool:
        """Whether the store says that the hand-over may have arrived."""
        return (await self.request_row(recipient_id)).claimed_at is not None

    async def _until(self, condition: Callable[[Recipient], bool], recipient_id: int, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not condition(await self.row(recipient_id)):  # noqa: ASYNC110 - nothing announces a row
                await asyncio.sleep(0.005)

    async def dies(self) -> None:
        """End like a killed process: nothing is written any more, nothing is given back."""
        self.delivery._shared.stopping = True
        tasks = [task for lane in self.delivery._lanes.values() for task in lane.tasks()]
        for task in (*tasks, *self.delivery._tasks):
            task.cancel()
        await asyncio.gather(*tasks, *self.delivery._tasks, return_exceptions=True)
        await self.control.stop()
        await self.database.close()


__all__ = ["BACKEND", "BackendProcess", "body_of", "until"]
