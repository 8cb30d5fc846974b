"""A gateway between a fleet of terminals and recording backends, every part a real process or a real socket.

The servers and clients of the fleet run in the process of the test, so they outlive every `kill -9` of the gateway.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.engines import Engines, open_engines
from storage.models import Recipient
from storage.states import State
from tests.fakes.recording_backend import Control
from tests.scenarios.exchange.fleet import Fleet, contracts, terminals
from tests.scenarios.exchange.in_house import OperatorsMailbox, Terminal
from tests.scenarios.exchange.ledger import Ledger
from tests.scenarios.exchange.wire import Reception
from tests.scenarios.exchange.witnesses import (
    asked,
    executed_in,
    left_over_in,
    made_in,
    noted_in,
    queued_in,
    read_journal,
    received,
)
from tests.scenarios.gateway_process import ROOT, GatewayProcess
from tests.scenarios.outside import free_port
from tests.scenarios.site import move_clock_of

T = TypeVar("T")

Sections = dict[str, dict[str, object]]

_WAITING = (State.QUEUED, State.RECEIVED)
NOT_DONE = (*_WAITING, State.UNDELIVERED, State.PARKED)
_STOP_SECONDS = 15.0
_POLL = 0.1

FLEET = terminals(50)


class BackendProcess:
    """One recording backend as a process; `tell` changes how it behaves."""

    def __init__(self, directory: Path, name: str, gateway_port: int, *, discard_repeats: bool) -> None:
        self.name = name
        self.port = free_port()
        self.journal = directory / "journal"
        self._control = directory / f"{name}.control"
        self._arguments = [
            *("--port", str(self.port), "--name", name, "--journal", str(self.journal)),
            *("--control", str(self._control), "--gateway", f"127.0.0.1:{gateway_port}"),
            *(["--discard-repeats"] if discard_repeats else []),
        ]
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.recording_backend", *self._arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", self._log.read_text(encoding="utf-8")

    def tell(self, **behaviour: Any) -> None:
        """Behave so from now on; without words, normally."""
        Control(**behaviour).write(self._control)

    def stop(self) -> None:
        """End it, by its id."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a site is built. Times are seconds."""

    terminals: tuple[Terminal, ...] = FLEET
    offices: str = ""  # their office file; empty: that of the invented fleet
    discards_repeats: bool = True
    backup: bool = False
    request_life: float = 120.0
    patience: float = 120.0
    run: str = "A"
    store_url: str | None = None
    settings: Sections | None = None  # over what the site itself sets


class ExchangeSite:
    """Made by `exchange_site`; `kill` and `start` the gateway as often as wanted."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.plan = plan
        self.directory = directory
        self.terminal_port = free_port()
        self.naccs_port = free_port()
        names = ("primary", "backup") if plan.backup else ("primary",)
        self.backends = {
            name: BackendProcess(directory, name, self.naccs_port, discard_repeats=plan.discards_repeats)
            for name in names
        }
        self.mailbox = OperatorsMailbox()
        self.fleet = Fleet.make(
            plan.terminals,
            self.terminal_port,
            gateway=("127.0.0.1", self.naccs_port),
            run=plan.run,
            patience=plan.patience,
        )
        self.kills = 0
        self._smarthost_port = free_port()
        self.gateway = GatewayProcess(directory, self._settings())
        self._engines: Engines | None = None
        self._smarthost: asyncio.Server | None = None

    def _settings(self) -> Sections:
        plan, primary = self.plan, self.backends["primary"]
        backend: dict[str, object] = {
            "mode": "smtp",
            "host": "127.0.0.1",
            "port": primary.port,
            "discards_repeats": plan.discards_repeats,
            "request_life": plan.request_life,
            "overdue_after": plan.request_life * 1.5,
            "probe_every": 0.5,
            "switch_after": 0,
        }
        if plan.backup:
            backend |= {"backup_host": "127.0.0.1", "backup_port": self.backends["backup"].port}
        settings: Sections = {
            "public": {"port": 0},
            "naccs": {"port": self.naccs_port, "terminal_port": self.terminal_port},
            "smarthost": {"port": self._smarthost_port},
            "center": {"host_name": "center.scenario.example"},
            "backend": backend,
            "delivery": {"retry_first": 0.2, "retry_max": 1},
            "log": {"level": "warning"},
        }
        if plan.store_url is not None:
            settings["store"] = {"url": plan.store_url.replace("postgresql://", "postgresql+psycopg://")}
        for section, keys in (plan.settings or {}).items():
            settings[section] = settings.get(section, {}) | keys
        return settings

    # --- the gateway ---

    def import_contracts(self) -> None:
        """Bring the fleet into the map."""
        file = self.directory / "offices.toml"
        file.write_text(self.plan.offices or contracts(len(self.plan.terminals)), encoding="utf-8")
        done = self.gateway.command("office", "import", str(file))
        assert done.returncode == 0, done.stderr

    async def start(self) -> None:
        """Start the gateway."""
        await asyncio.to_thread(self.gateway.start)

    async def kill(self) -> None:
        """`kill -9` the gateway."""
        self.kills += 1
        await asyncio.to_thread(self.gateway.kill)

    async def command(self, *arguments: str) -> None:
        """Run one command; AssertionError with its words when it fails."""
        done = await asyncio.to_thread(self.gateway.command, *arguments)
        assert done.returncode == 0, done.stderr

    # --- the store ---

    @property
    def store_url(self) -> str:
        """Where the gateway's store is."""
        return self.plan.store_url or f"sqlite:///{self.directory / 'var' / 'gateway.db'}"

    async def move_clock(self, ahead: timedelta) -> None:
        """Move the clock of a site that is a sandbox with a movable one."""
        await asyncio.to_thread(move_clock_of, self.store_url, ahead)

    def read(self, work: Callable[[Session], T]) -> T:
        """Read the store beside the gateway."""
        if self._engines is None:
            self._engines = open_engines(self.store_url)
        with self._engines.reader.connect() as connection, Session(bind=connection) as session:
            return work(session)

    def count(self, *states: State, lanes: tuple[str, ...] = ()) -> int:
        """How many recipients are in one of the states, in these lanes or anywhere."""
        query = select(func.count()).select_from(Recipient).where(Recipient.state.in_(states))
        if lanes:
            query = query.where(Recipient.lane.in_(lanes))
        return self.read(lambda session: session.scalars(query).one())

    async def until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for something; AssertionError when it does not come."""
        ends_at = time.monotonic() + seconds
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < ends_at, f"waited {seconds:.0f} s: {what}"
            await asyncio.sleep(_POLL)

    def is_settled(self) -> bool:
        """Whether nothing waits in the store, and the backend has sent all it made."""
        return self.count(*_WAITING) == 0 and all(made.sent for made in made_in(self.journal()))

    async def settle(self, seconds: float = 90.0) -> None:
        """Wait until nothing waits any more."""
        await self.until(self.is_settled, "nothing to wait any more", seconds)

    # --- the ledger ---

    def journal(self) -> list[dict[str, Any]]:
        """What the backends wrote down."""
        return read_journal(self.backends["primary"].journal)

    def executed_by_endpoint(self) -> Counter[str]:
        """How many requests each backend has executed so far."""
        return Counter(entry["endpoint"] for entry in self.journal() if entry["what"] == "executed")

    def ledger(self, *, life: float | None = None, left_over: tuple[State, ...] = NOT_DONE) -> Ledger:
        """The book as of now; `left_over` are the states nothing may be in."""
        journal = self.journal()
        return Ledger(
            asked=tuple(asked(submission) for submission in self.fleet.submissions),
            executed=executed_in(journal),
            made=made_in(journal),
            received=tuple(received(arrival) for arrival in self.fleet.recorder.arrivals),
            queued=self.read(queued_in),
            noted=self.read(noted_in),
            terminal_of={
                address.lower(): terminal.name for terminal in self.fleet.terminals for address in terminal.addresses
            },
            life=life,
            left_over=self.read(lambda session: left_over_in(session, left_over)),
        )

    def close(self) -> None:
        """End everything that was started."""
        with ExitStack() as ends:  # each of them, whatever happens to the others
            if self._engines is not None:
                ends.callback(self._engines.dispose)
            if self._smarthost is not None:
                ends.callback(self._smarthost.close)
            ends.callback(self.fleet.close)
            for backend in self.backends.values():
                ends.callback(backend.stop)
            ends.callback(self.gateway.close)

    async def open(self, *but: str) -> None:
        """Start the servers, but those of the named terminals, the backends and the gateway."""
        loop = asyncio.get_running_loop()
        self._smarthost = await loop.create_server(lambda: Reception(self.mailbox), "127.0.0.1", self._smarthost_port)
        await self.fleet.open(*but)
        started = (asyncio.to_thread(backend.start) for backend in self.backends.values())
        await asyncio.gather(asyncio.to_thread(self.import_contracts), *started)
        await self.start()


@asynccontextmanager
async def exchange_site(directory: Path, plan: Plan, *dead: str) -> AsyncIterator[ExchangeSite]:
    """A site with everything running but the servers of the `dead` terminals, ended with the block."""
    site = ExchangeSite(directory, plan)
    try:
        await site.open(*dead)
        yield site
    finally:
        site.close()
