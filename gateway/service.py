"""The composition root: opens the store, starts what the roles ask for in order, and stops it in reverse.

Nothing accepts before everything behind it runs; on the way down listeners close first, so that what was accepted is
still handled or left in the store for the next start.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from gateway import derived, password_keys
from gateway.backend_parts import BackendParts
from gateway.clock_guard import ClockGuard
from gateway.current_map import CurrentMap
from gateway.delivery import Delivery
from gateway.desk_clock import DeskClock
from gateway.desk_work import DeskWork, tell_parked
from gateway.document_pdf import DocumentWriter
from gateway.health import Health
from gateway.lane_control import LaneControl
from gateway.listeners import NaccsPolicy, PublicPolicy
from gateway.routes import Routes
from gateway.sandbox.simulator import Simulator
from gateway.sender_auth import SenderAuth
from gateway.sender_gate import HeldRoom, SenderGate
from gateway.setting_destinations import BackendMode
from gateway.settings import Settings
from gateway.signing import open_signer
from gateway.smtp_server import SmtpLimits, create_listener
from gateway.watch import Watch
from gateway.worker import Worker
from handlers import desk_mail, notice_templates
from handlers.applications.held_mails import held_bytes
from handlers.business_days import calendar_of, fill_in
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.naccs.common_items import MAX_MESSAGE_BYTES
from handlers.naccs.exchange import Exchange
from handlers.naccs.handover_mail import HandoverMail
from storage.clock import Clock
from storage.database import Database
from storage.effects import Unit
from storage.engines import FileLock, parse_url
from storage.lane_leases import lease_lane
from storage.mail_queue import Outbound
from storage.store import Store
from storage.unclean_ends import mark_after_kill

log = logging.getLogger(__name__)

GRACE = 25.0  # seconds what is under way may take when the service stops, all together
_LISTENERS_GRACE = 10.0  # of them, for a mail that is being received
_WORKER_LEASE = "worker"  # a lane nothing is ever queued in
_LEASE_POLL = 2.0
_CONNECTIONS_PER_PEER = 100
_SWITCH_INTERVAL = 0.0005  # a commit thread beside a busy loop waits an interval for the interpreter
_MAIL_AROUND_THE_MESSAGE = 64 * 1024


class Role(StrEnum):
    """What a process may do; a process with all of them is a whole gateway."""

    LISTENER = "listener"
    WORKER = "worker"
    DELIVERY = "delivery"


ALL_ROLES = frozenset(Role)


class Service:
    """One gateway process on one event loop."""

    def __init__(self, settings: Settings, roles: frozenset[Role] = ALL_ROLES) -> None:
        self.settings = settings
        self.roles = roles
        self.clock = Clock(movable=settings.sandbox.movable_clock)
        self.guard = ClockGuard()
        self.addresses: dict[str, tuple[str, int]] = {}
        self._ending: list[Callable[[], Awaitable[None]]] = []
        self._stop_by = 0.0
        self.database: Database
        self.map: CurrentMap
        self.desk: DeskSettings

    async def start(self) -> None:
        """Start everything; whatever fails, what was started is stopped again."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop accepting, let what is under way end, and give the store back."""
        self._stop_by = asyncio.get_running_loop().time() + GRACE
        while self._ending:
            end = self._ending.pop()
            try:
                await end()
            except Exception:
                log.exception("stopping goes on after an error")

    @property
    def ready_line(self) -> str:
        """`ready` and every bound address."""
        bound = (f"{name}={host}:{port}" for name, (host, port) in self.addresses.items())
        return " ".join(["ready", *bound])

    async def _start(self) -> None:
        url = parse_url(self.settings.store.url)
        if url.get_backend_name() == "sqlite":
            lock = FileLock(url)
            lock.acquire()
            self._ending.append(_called(lock.release))
        store = await asyncio.to_thread(Store.open, self.settings.store.url, "serve")
        self.database = Database(store)
        self._ending.append(self.database.close)
        keys = await asyncio.to_thread(derived.keys_of, self.settings, store)
        self.desk = derived.desk_settings(self.settings, keys)
        await self.database.read(self.clock.refresh)
        if self.clock.movable:
            self._run_in_background(self._follow_clock())
        self.database.start()
        self.map = CurrentMap(self.database)
        await self.map.start()
        self._ending.append(self.map.stop)
        exchange = Exchange(settings=derived.exchange_settings(self.settings, keys), new_key=self.database.new_key)
        # No unit of work waits for the compilation of a template.
        await asyncio.to_thread(notice_templates.preload)
        today = jst_date(self.clock.now())
        await self.database.run(lambda session: fill_in(session, today))
        if Role.DELIVERY in self.roles:
            await self._start_delivery(exchange)
        if Role.WORKER in self.roles:
            await self._start_worker(exchange)
        if Role.LISTENER in self.roles:
            await self._start_listeners()

    async def _start_delivery(self, exchange: Exchange) -> None:
        control = LaneControl(self.database, self.clock)
        self._ending.append(control.stop)
        await control.start()
        delivery = Delivery(
            self.database,
            Routes(self.map, self.clock, self.settings).where,
            self._backend(exchange),
            self.clock,
            derived.delivery_settings(self.settings),
            control=control,
            guard=self.guard,
        )
        signer = await asyncio.to_thread(open_signer, self.settings.dkim, self.settings.support.domain)
        if signer is not None:
            delivery.sign_with(signer)
        await delivery.start()
        self._ending.append(partial(self._within_grace, delivery.stop, GRACE))

    def _backend(self, exchange: Exchange) -> BackendParts:
        """What the backend's lane is lent: the way to it, and how a request is answered that does not get there."""
        section = self.settings.backend
        simulator = Simulator(section.address, self.clock, self.database.new_key)
        mails = HandoverMail(
            host=self.settings.center.host_name.lower(),
            terminal_of=self._terminal_of,
            stamp_terminal=section.stamp_terminal,
            stamp_address=section.stamp_address,
        )

        def refuse(outbound: Outbound, content: bytes, code: str, now: datetime) -> Unit | None:
            return exchange.refused_later(outbound, content, code, self.map.view, now)

        async def park(outbound: Outbound, reason: str) -> None:
            now = self.clock.now()
            await self.database.run(lambda session: tell_parked(session, self.desk, outbound, reason, now))

        return BackendParts(
            settings=derived.backend_settings(self.settings),
            refuse=refuse,
            refresh_map=self.map.refresh,
            park=park,
            simulator=simulator.hand_over if section.mode is BackendMode.SIMULATOR else None,
            write=mails.write,
        )

    def _terminal_of(self, outbound: Outbound) -> str:
        binding = self.map.view.binding_of(outbound.address_id)
        return "" if binding is None else binding.terminal

    async def _start_worker(self, exchange: Exchange) -> None:
        papers = DocumentWriter(self.settings.documents)
        work = DeskWork(self.desk, self.settings.public.trusted_networks, papers.parts)
        worker = Worker(self.database, self.map, self.clock, exchange, work.handle, work.park, work)
        self._ending.append(worker.stop)
        desk_clock = DeskClock(self.database, self.clock, self.guard, self.desk, calendar_of)
        self._ending.append(desk_clock.stop)
        watch = Watch(
            self.database,
            self.clock,
            self.guard,
            self.desk,
            late_after=timedelta(seconds=self.settings.backend.request_life),
            overdue_after=timedelta(seconds=self.settings.backend.overdue_after),
            alarm_after=timedelta(seconds=self.settings.delivery.alarm_after),
        )
        self._ending.append(watch.stop)
        self._run_in_background(self._work_alone(worker, watch, desk_clock))

    async def _start_listeners(self) -> None:
        settings = self.settings
        window, alone = timedelta(seconds=settings.naccs.repeat_window), self.database.store.engines.on_sqlite
        now = datetime.now(UTC)  # keys go by the host's clock, wherever the sandbox's was moved
        marked = await self.database.run(lambda session: mark_after_kill(session, window, now, alone=alone))
        if marked:
            log.warning("after an unclean end %s mails may be sent again; their repeats are known", marked)
        health = Health(self.database)
        naccs = NaccsPolicy(
            self.database,
            self.map,
            health,
            self.clock,
            derived.naccs_rules(settings),
            MAX_MESSAGE_BYTES + _MAIL_AROUND_THE_MESSAGE,
        )
        public = PublicPolicy(
            self.database,
            health,
            self.clock,
            lambda local: desk_mail.knows(local, self.desk),
            settings.support.domain,
            settings.public.max_message_bytes,
            self._gate(),
        )
        for policy, section in ((public, settings.public), (naccs, settings.naccs)):
            limits = SmtpLimits(
                connections=section.max_connections,
                connections_per_peer=min(section.max_connections, _CONNECTIONS_PER_PEER),
                command_seconds=section.idle_timeout,
            )
            listener = await create_listener(
                asyncio.get_running_loop(),
                policy,
                section.host,
                section.port,
                hostname=settings.center.host_name,
                limits=limits,
            )
            self.addresses[policy.name] = listener.address
            self._ending.append(partial(self._within_grace, listener.stop, _LISTENERS_GRACE / 2))

    def _gate(self) -> SenderGate:
        """What the public listener asks of a mail's author."""
        dkim = self.settings.dkim
        auth = SenderAuth(dkim) if dkim.verify else None
        room = HeldRoom(most=self.desk.most_held_bytes, taken=held_bytes)
        return SenderGate(self.database, auth, self.settings.public.trusted_networks, room)

    async def _work_alone(self, worker: Worker, watch: Watch, desk_clock: DeskClock) -> None:
        """Start them once this process holds the worker's lease: mails of one key must not be handled by two."""
        store = self.database.store
        lease = partial(
            lease_lane,
            lane=_WORKER_LEASE,
            node=store.claim.node,
            token=store.lease_token,
            alone=store.engines.on_sqlite,
        )
        while True:
            try:
                if await self.database.run(lease) is not None:
                    break
            except Exception:
                log.exception("the worker's lease is asked for again")
            await asyncio.sleep(_LEASE_POLL)
        await worker.start()
        watch.start()
        desk_clock.start()
        await asyncio.to_thread(self._sweep_password_keys)

    def _sweep_password_keys(self) -> None:
        try:
            password_keys.sweep(self.database.store, password_keys.PasswordKeys(self.settings.secrets.password_keys))
        except Exception:
            log.exception("keys that open nothing stay in secrets.password_keys until the next start")

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)

        async def cancel() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._ending.append(cancel)

    async def _within_grace(self, stop: Callable[[float], Awaitable[None]], most: float) -> None:
        await stop(max(0.0, min(most, self._stop_by - asyncio.get_running_loop().time())))

    async def _follow_clock(self) -> None:
        """Read the movable clock whenever another process has committed something."""
        moved = asyncio.Event()
        self.database.subscribe("foreign", lambda _: moved.set())
        while True:
            await moved.wait()
            moved.clear()
            try:
                await self.database.read(self.clock.refresh)
            except Exception:
                log.exception("the clock's offset was not read")


def _called(function: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        function()

    return call
