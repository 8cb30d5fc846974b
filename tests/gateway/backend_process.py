"""A delivering process with a backend, simulated or real, for the tests of the lane towards it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from math import inf
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.backend_endpoints import Endpoint
from gateway.backend_lane import BackendLane
from gateway.backend_parts import BackendLaneSettings, BackendParts
from gateway.backend_smtp import SmtpRoute
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
from tests.gateway.delivering import CENTER, PATIENCE, Process

BACKEND = "backend"
BACKEND_ADDRESS = "BACKEND@SMTP.CENTER.EXAMPLE"
TERMINAL = "terminal:60001S"
QUICK: dict[str, Any] = {
    # Longer than any test: a life is ended by moving the clock, a silent server by cutting its connection.
    "request_life": 300.0,
    "limits": TimeLimits(connect=600, command=600, block=600, dot=600),
    "probe_every": 0.05,
    "switch_after": 0.2,
    "switch_back_after": 0.2,
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
    """One process with the lane towards the backend, and what it would tell terminals and operators.

    Without `idle_probes` a server without a backup is not probed before it failed: what it does next, a request meets.
    """

    def __init__(
        self,
        url: str,
        primary: RecordingServer | Target | None = None,
        backup: RecordingServer | Target | None = None,
        *,
        simulator: HandOver | None = None,
        backend: dict[str, Any] | None = None,
        idle_probes: bool = False,
        **options: Any,
    ) -> None:
        self._unprobed = simulator is None and backup is None and not idle_probes
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

    async def start(self) -> Self:
        await super().start()
        if self._unprobed:
            self.active_endpoint.probe_at = inf
        return self

    @property
    def backend_lane(self) -> BackendLane:
        """The lane, as this process works it."""
        lane = self.delivery._lane(BACKEND)
        assert isinstance(lane, BackendLane)
        return lane

    @property
    def smtp_route(self) -> SmtpRoute:
        """The lane's way to a backend that speaks SMTP."""
        route = self.backend_lane._route
        assert isinstance(route, SmtpRoute)
        return route

    @property
    def active_endpoint(self) -> Endpoint:
        """The endpoint in use."""
        return self.smtp_route._endpoints.active

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

    def ages(self, seconds: float | None = None) -> None:
        """So much time passes on the wall clock; the whole life of a request where nothing is said."""
        self.clock.offset += timedelta(seconds=self.life + 1 if seconds is None else seconds)

    async def flush_backend(self) -> None:
        """An operator asks for everything to be tried at once."""
        await self.execute("UPDATE lanes SET flushed_at = :now WHERE lane = 'backend'", now=to_micros(self.clock.now()))
        await self.control.refresh()

    async def state(self, recipient_id: int) -> str:
        """The state of a hand-over."""
        return (await self.row(recipient_id)).state

    async def becomes(self, recipient_id: int, state: str, seconds: float = PATIENCE) -> None:
        """Wait until a hand-over is in that state."""
        await self._until(lambda row: row.state == state, recipient_id, seconds)

    async def claimed(self, recipient_id: int) -> bool:
        """Whether the store says that the hand-over may have arrived."""
        return (await self.request_row(recipient_id)).claimed_at is not None

    async def _until(self, condition: Callable[[Recipient], bool], recipient_id: int, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not condition(await self.row(recipient_id)):  # noqa: ASYNC110 - nothing announces a row
                await asyncio.sleep(0.005)


__all__ = ["BACKEND", "BackendProcess", "body_of", "until"]
