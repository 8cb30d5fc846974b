"""A delivering process on a real store, for the tests of delivery and its lanes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from gateway.backend_parts import BackendLaneSettings, BackendParts
from gateway.clock_guard import ClockGuard
from gateway.delivery import Delivery, DeliverySettings, Gone
from gateway.lane_control import LaneControl
from gateway.smtp_out import Protocol, Target, TimeLimits
from storage.clock import Clock
from storage.columns import to_micros
from storage.database import Database
from storage.effects import LANE_HEARD, Applied, Change, Enqueue, Insert, NewRecipient, Note, Unit
from storage.mail_queue import Origin, Outbound, Secret, hash_of, mail_inserts
from storage.models import Attempt, Lane, Recipient
from storage.states import Direction, State
from storage.store import Store, note
from tests.fakes.in_house_server import Dialogue, InHouseServer, RecordingServer, until

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"
IN_HOUSE = "3A0001@SMTP.TST01.CENTER.EXAMPLE"
LANE = "terminal:60001S"
BRISK: dict[str, Any] = {
    "retry_first": 0.05,
    "retry_max": 0.1,
    "mail_tries_within": 0.15,
    "notice_retry_first": 0.2,
    "notice_retry_max": 0.4,
    "scan_every": 0.5,
    # No test waits for them to run out, and a machine that stands still for a while does not make them.
    "terminal_limits": TimeLimits(connect=600, command=600, block=600, dot=600),
    "smarthost_limits": TimeLimits(connect=600, command=600, block=600, dot=600),
}
PATIENCE = 30.0
"""Seconds a test waits for what must happen; it costs nothing where it does."""


async def takes_nothing(_outbound: Outbound, _content: bytes) -> tuple[tuple[Insert, ...], tuple[Note, ...]]:
    """A backend that has nothing to say."""
    return (), ()


async def nobody_cares(*_: object) -> None:
    """Nothing is told and nothing refreshed."""


SILENT_BACKEND = BackendParts(
    settings=BackendLaneSettings(discards_repeats=True),
    refuse=lambda *_: None,
    refresh_map=nobody_cares,
    park=nobody_cares,
    simulator=takes_nothing,
)


class HeldDialogue(Dialogue):
    """One connection to a server that keeps replies back."""

    server: HoldingServer

    async def push(self, status: str | bytes) -> None:
        text = status.decode() if isinstance(status, bytes) else status
        verb = self.server.last_verb(self)
        await self.server.let_go("DOT" if verb == "DATA" and not text.startswith("354") else verb)
        await super().push(status)


class HoldingServer(InHouseServer):
    """Keeps its replies to a verb back for as long as it is told, so that what happens meanwhile surely does."""

    dialogue = HeldDialogue

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, asyncio.Event] = {}

    @contextmanager
    def holding(self, verb: str) -> Iterator[None]:
        """Nobody gets a reply to the verb in here; `DOT` is the reply to the mail."""
        event = self._held[verb] = asyncio.Event()
        try:
            yield
        finally:
            del self._held[verb]
            event.set()

    async def let_go(self, verb: str) -> None:
        """Wait until a reply to the verb may be given."""
        if verb in self._held:
            await self._held[verb].wait()


class Process:
    """`targets` says where each lane leads; change it as you like."""

    made: ClassVar[list[Process]] = []

    def __init__(
        self,
        url: str,
        *,
        backend: BackendParts = SILENT_BACKEND,
        lease: float = 30.0,
        renew: bool = True,
        guard: ClockGuard | None = None,
        **settings: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.targets: dict[str, Target | Gone] = {}
        self.clock = Clock()
        self.database = Database(Store.open(url, "serve", lease=timedelta(seconds=lease)))
        if renew:
            self.database.start()
        self.control = LaneControl(self.database, self.clock)
        self.delivery = Delivery(
            self.database,
            self._where,
            backend,
            self.clock,
            DeliverySettings(name="center.example", **{**BRISK, **settings}),
            control=self.control,
            guard=ClockGuard() if guard is None else guard,
        )
        self.made.append(self)

    async def _where(self, lane: str, _outbound: Outbound) -> Target | Gone:
        return self.targets[lane]

    async def start(self) -> Self:
        await self.control.start()
        await self.delivery.start()
        return self

    async def stop(self, grace: float = 20.0) -> None:
        await self.delivery.stop(grace)
        await self.control.stop()
        await self.database.close()
        self.forget()

    def forget(self) -> None:
        """It has ended."""
        if self in self.made:
            self.made.remove(self)

    async def dies(self) -> None:
        """End like a killed process: nothing is written any more, nothing is given back."""
        self.delivery._shared.stopping = True
        tasks = [task for lane in self.delivery._lanes.values() for task in lane.tasks()]
        for task in (*tasks, *self.delivery._tasks):
            task.cancel()
        await asyncio.gather(*tasks, *self.delivery._tasks, return_exceptions=True)
        await self.control.stop()
        await self.database.close()
        self.forget()

    @classmethod
    async def end_all(cls) -> None:
        """End what a test that failed has left running, however it stands."""
        left = [process for process in cls.made if process.loop is asyncio.get_running_loop()]
        cls.made.clear()
        for process in left:
            for ends in (process.delivery.stop(0.0), process.control.stop(), process.database.close()):
                with suppress(Exception):
                    await asyncio.wait_for(ends, PATIENCE)

    async def held_dead(self) -> None:
        """Its lease ends now, for itself and for other processes, as after half a minute without a renewal."""
        self.database.store.lease_ends_at = time.monotonic()
        ended = text("UPDATE nodes SET lease_until = :now WHERE id = :node")
        values = {"node": self.database.store.claim.node, "now": to_micros(datetime.now(UTC)) - 1}
        await asyncio.to_thread(self.database.store.run, lambda session: session.execute(ended, values))

    def lead(self, lane: str, server: RecordingServer) -> None:
        """The lane leads to that server."""
        protocol = Protocol.ESMTP if lane.startswith("smarthost") else Protocol.HELO
        self.targets[lane] = Target(host=server.host, port=server.port, protocol=protocol)

    def unit(
        self,
        lane: str,
        content: bytes,
        *,
        sender: str = CENTER,
        rcpt_to: str = IN_HOUSE,
        age: float = 0.0,
        remember: bool = True,
        secret: Secret | None = None,
        **more: Any,
    ) -> tuple[int, Unit]:
        """A mail of our own on its way into a lane, and its recipient's id."""
        now = self.clock.now() - timedelta(seconds=age)
        mail_id, recipient_id = self.database.new_key(), self.database.new_key()
        origin = Origin(listener="gateway", mail_from=sender)
        recipient = NewRecipient(
            id=recipient_id,
            mail_id=mail_id,
            direction=Direction.OUTBOUND,
            rcpt_to=rcpt_to,
            state=State.QUEUED,
            created_at=to_micros(now),
            due_at=to_micros(now),
            sender=sender,
            **more,
        )
        rows = mail_inserts(mail_id, Direction.OUTBOUND, origin, content, hash_of(content), secret, now)
        kept = content if remember else None
        return recipient_id, Unit(inserts=rows, queued=(Enqueue(lane, recipient, kept),), size=len(content))

    async def queue(self, lane: str, *contents: bytes, **options: Any) -> list[int]:
        """Commit mails to a lane, in order; their recipients' ids."""
        ids = []
        for content in contents:
            recipient_id, unit = self.unit(lane, content, **options)
            assert isinstance(await self.database.apply(unit), Applied)
            ids.append(recipient_id)
        return ids

    async def queue_one(self, content: bytes, *lanes: str) -> list[int]:
        """Commit one mail with a recipient in each lane; the recipients' ids."""
        _, unit = self.unit(lanes[0], content)
        queued = [unit.queued[0]]
        for lane in lanes[1:]:
            recipient = replace(unit.queued[0].recipient, id=self.database.new_key())
            queued.append(Enqueue(lane, recipient, content))
        assert isinstance(await self.database.apply(replace(unit, queued=tuple(queued))), Applied)
        return [enqueue.recipient.id for enqueue in queued]

    async def row(self, recipient_id: int) -> Recipient:
        """The recipient as the store has it."""

        def work(session: Session) -> Recipient:
            return session.scalars(select(Recipient).where(Recipient.id == recipient_id)).one()

        return await self.database.read(work)

    async def states(self, ids: list[int]) -> list[str]:
        """The states of recipients."""
        return [(await self.row(recipient_id)).state for recipient_id in ids]

    async def attempts(self, recipient_id: int) -> list[tuple[str, str, str]]:
        """(outcome, stage, reply) of the tries that were no plain success, in order."""

        def work(session: Session) -> list[tuple[str, str, str]]:
            wanted = select(Attempt).where(Attempt.recipient_id == recipient_id).order_by(Attempt.id)
            return [(row.outcome, row.stage, row.reply) for row in session.scalars(wanted)]

        return await self.database.read(work)

    async def attempted(self, recipient_id: int, times: int = 1) -> None:
        """Wait until so many tries of a recipient failed."""
        async with asyncio.timeout(PATIENCE):
            while len(await self.attempts(recipient_id)) < times:  # noqa: ASYNC110 - nothing announces a row
                await asyncio.sleep(0.02)

    async def finished(self, recipient_id: int) -> None:
        """Wait until a recipient has left its lane, however."""
        async with asyncio.timeout(PATIENCE):
            while (await self.row(recipient_id)).finished_at is None:  # noqa: ASYNC110 - nothing announces a row
                await asyncio.sleep(0.02)

    async def lane(self, name: str = LANE) -> Lane:
        """The lane's row."""

        def work(session: Session) -> Lane:
            return session.scalars(select(Lane).where(Lane.lane == name)).one()

        return await self.database.read(work)

    async def execute(self, sql: str, **values: Any) -> None:
        """Change the store as somebody else would."""
        await self.database.run(lambda session: session.execute(text(sql), values))

    async def command(self, sql: str, **values: Any) -> None:
        """Change the store as a command does, and let this process notice it."""

        def work(session: Session) -> None:
            session.execute(text(sql), values)
            note(session, "foreign", None)

        await self.database.run(work)

    async def pause(self, lane: str = LANE, *, ago: float = 0.0) -> None:
        """Pause a lane as an operator does."""
        await self.command(
            "INSERT INTO lane_pauses (id, lane, paused_at, actor, reason) VALUES (:id, :lane, :at, 'ops', '')",
            id=self.database.new_key(),
            lane=lane,
            at=to_micros(self.clock.now() - timedelta(seconds=ago)),
        )
        await until(lambda: self.control.paused(lane), PATIENCE)

    async def resume(self, lane: str = LANE) -> None:
        """End the pause of a lane."""
        ended = to_micros(self.clock.now())
        await self.command("UPDATE lane_pauses SET resumed_at = :at WHERE lane = :lane", at=ended, lane=lane)

    async def flush(self, lane: str = LANE) -> None:
        """Ask a lane to try at once."""
        now = to_micros(self.clock.now())
        await self.command("UPDATE lanes SET flushed_at = :at WHERE lane = :lane", at=now, lane=lane)

    async def hear(self, lane: str = LANE) -> None:
        """A terminal speaks: what the worker commits when SYG or TCC comes."""
        heard = Change(LANE_HEARD, (lane, to_micros(self.clock.now())), must=False)
        await self.database.apply(Unit(changes=(heard,), notes=(Note("heard", lane),)))

    async def down(self, failures: int = 1, lane: str = LANE) -> Lane:
        """Wait until the store has so many failures of the lane in a row."""
        async with asyncio.timeout(PATIENCE):
            while (row := await self.lane(lane)).failures < failures:  # noqa: ASYNC110 - nothing announces a row
                await asyncio.sleep(0.02)
            return row

    async def idle(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing waits any more."""
        await until(self.delivery.idle, seconds)
