"""The scenarios of the message exchange, at any size; each returns its figures and every broken promise."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.scenarios.exchange.fleet import terminals, with_patience
from tests.scenarios.exchange.ledger import Ledger, Violation
from tests.scenarios.exchange.load import (
    Budget,
    Round,
    come_back,
    fetch_all,
    kill_at_random,
    load_round,
    paired_ratio,
)
from tests.scenarios.exchange.site import ExchangeSite, Plan, Sections, exchange_site

RETURNS, FETCHES = "61007S", "61018S"  # the two with dead servers: one comes back in time, one must fetch by SYG
DEAD = (RETURNS, FETCHES)
CLAIM_TO_DOT = 1.0  # seconds that may pass between the beginning of a hand-over, in the request's life, and its dot
_GIVEN_UP_AFTER = 1.0

Tell = Callable[[str], None]


def nobody_listens(_line: str) -> None:
    """For a run nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How big a run is. Times are seconds."""

    terminals: int = 50
    requests: int = 10_000
    rounds: int = 13
    kills: int = 50
    kill_within: float = 2.0  # of each start
    seed: int = 1
    life: float = 120.0
    outage: float = 300.0
    discards_repeats: bool = True
    store_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a scenario found."""

    figures: dict[str, Any]
    violations: list[Violation] = field(default_factory=list)


def _report(ledger: Ledger, started: float, **figures: Any) -> Report:
    seconds = round(time.monotonic() - started, 1)
    return Report(figures=figures | ledger.figures() | {"seconds": seconds}, violations=ledger.violations)


def _dead_servers() -> Sections:
    """The messages of one of the two are soon undelivered, silent as it may be; the other one's wait."""
    return {f"delivery.destinations.{FETCHES}": {"terminal_life": _GIVEN_UP_AFTER, "reply_timeout": 0.5}}


async def _they_die(site: ExchangeSite, *, silently: bool) -> None:
    """Nothing listens; or one of them takes connections and says nothing."""
    for name in DEAD:
        site.fleet.servers[name].close()
    if silently:
        await site.fleet.servers[FETCHES].fall_silent()


async def _they_return(site: ExchangeSite) -> int:
    await come_back(site, RETURNS)
    return await fetch_all(site, FETCHES)


async def dead_servers(directory: Path, sizes: Sizes, tell: Tell = nobody_listens) -> Report:
    """Two of fifty servers are dead every other round; live ones must not feel it, and nothing is left in the end."""
    started = time.monotonic()
    plan = Plan(
        terminals=terminals(sizes.terminals),
        request_life=sizes.life,
        patience=sizes.life,
        run="D",
        settings=_dead_servers(),
        store_url=sizes.store_url,
    )
    rounds: list[Round] = []
    fetched = 0
    async with exchange_site(directory, plan) as site:
        await load_round(site, len(site.fleet.clients), DEAD, down=False)  # connections, caches, lanes
        for number in range(sizes.rounds):
            down = number % 2 == 1
            if down:
                await _they_die(site, silently=number % 4 == 3)
            rounds.append(await load_round(site, sizes.requests // sizes.rounds, DEAD, down=down))
            tell(f"round {number + 1} of {sizes.rounds}, {2 * down} servers dead: {rounds[-1].rate:.0f}/s")
            if down:
                fetched += await _they_return(site)
            await site.settle()
        return _report(
            site.ledger(life=sizes.life + CLAIM_TO_DOT),
            started,
            ratio=round(paired_ratio(rounds), 3),
            rates=[round(one.rate) for one in rounds],
            fetched=fetched,
        )


async def kills(directory: Path, sizes: Sizes, tell: Tell = nobody_listens) -> Report:
    """The load of `dead_servers`, with the gateway killed again and again."""
    started = time.monotonic()
    plan = Plan(
        terminals=terminals(sizes.terminals),
        request_life=sizes.life,
        patience=sizes.life,
        run="K",
        discards_repeats=sizes.discards_repeats,
        settings=_dead_servers(),
        store_url=sizes.store_url,
    )
    async with exchange_site(directory, plan, *DEAD) as site:
        killing = asyncio.create_task(
            kill_at_random(site, sizes.kills, sizes.kill_within, random.Random(sizes.seed), tell)
        )
        budget = Budget(sizes.requests)
        clients = [*site.fleet.clients_but(*DEAD), *with_patience(site.fleet.clients_of(*DEAD), 1.0)]
        await asyncio.gather(*(client.keep_on(lambda: budget() or not killing.done()) for client in clients))
        await killing
        fetched = await _they_return(site)
        await site.settle()
        await site.until(lambda: _all_told(site), "requests in doubt to be told", sizes.life)
        return _report(site.ledger(life=sizes.life + CLAIM_TO_DOT), started, kills=site.kills, fetched=fetched)


def _all_told(site: ExchangeSite) -> bool:
    return all(noted.overdue or noted.answered for noted in site.ledger().noted if noted.in_doubt)


async def outage(directory: Path, sizes: Sizes, tell: Tell = nobody_listens) -> Report:
    """Both endpoints of the backend are away under load for longer than a request lives."""
    started = time.monotonic()
    plan = Plan(
        terminals=terminals(sizes.terminals),
        request_life=sizes.life,
        patience=sizes.life * 1.5,
        run="O",
        backup=True,
        discards_repeats=sizes.discards_repeats,
        store_url=sizes.store_url,
    )
    async with exchange_site(directory, plan) as site:
        over = asyncio.Event()
        load = asyncio.gather(*(client.keep_on(lambda: not over.is_set()) for client in site.fleet.clients))
        await asyncio.sleep(1.0)
        # It ends with requests at their dots: some are executed and the reply is cut off, some are lost.
        _tell_all(site, reply_after=0.4, words="LOSE", every=5)
        await asyncio.sleep(0.8)
        _tell_all(site, refuse=True)
        tell(f"the backend is away for {sizes.outage:.0f} s")
        await asyncio.sleep(sizes.outage)
        _tell_all(site)
        tell("the backend is back")
        await asyncio.sleep(2.0)
        over.set()
        await load
        await site.settle(sizes.life + 60.0)
        await site.until(lambda: _all_told(site), "requests in doubt to be told", sizes.life)
        return _report(site.ledger(life=sizes.life + CLAIM_TO_DOT), started, outage=sizes.outage)


def _tell_all(site: ExchangeSite, **behaviour: Any) -> None:
    for backend in site.backends.values():
        backend.tell(**behaviour)


async def drill(directory: Path, sizes: Sizes, tell: Tell = nobody_listens) -> Report:
    """Primary, backup, primary, by an operator's command under load."""
    started = time.monotonic()
    plan = Plan(
        terminals=terminals(sizes.terminals),
        request_life=sizes.life,
        patience=sizes.life,
        run="S",
        backup=True,
        discards_repeats=sizes.discards_repeats,
        store_url=sizes.store_url,
    )
    async with exchange_site(directory, plan) as site:
        over = asyncio.Event()
        load = asyncio.gather(*(client.keep_on(lambda: not over.is_set()) for client in site.fleet.clients))
        shares: list[dict[str, int]] = []
        for endpoint in ("primary", "backup", "primary"):
            if shares:
                await site.command("destination", "switch", "backend", "--to", endpoint)
                tell(f"switched to {endpoint}")
            await _works(site, endpoint)
            await asyncio.sleep(sizes.outage / 10)
            shares.append(site.executed_by_endpoint())
        over.set()
        await load
        await site.settle()
        return _report(site.ledger(life=sizes.life + CLAIM_TO_DOT), started, executed_by=shares)


async def _works(site: ExchangeSite, endpoint: str) -> None:
    before = site.executed_by_endpoint()[endpoint]
    await site.until(lambda: site.executed_by_endpoint()[endpoint] > before + 50, f"{endpoint} to work", 30.0)
