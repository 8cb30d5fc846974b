"""The scenarios of the message exchange, at any size; each returns its figures and every broken promise."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.states import State
from tests.scenarios.exchange.fleet import terminals, with_patience
from tests.scenarios.exchange.ledger import NOT_IN_TIME, Ledger, Violation
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
_GIVEN_UP_AFTER = 1.0
_PATIENCE = 60.0
_MOST_RETURNS = 10

Tell = Callable[[str], None]


def nobody_listens(_line: str) -> None:
    """For a run nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How big a run is. Times are seconds."""

    terminals: int = 50
    requests: int = 10_000
    rounds: int = 13  # an odd number
    more_rounds: int = 0  # an even number; as many more, two by two, as long as the ratio is not `least_ratio`
    least_ratio: float = 0.0
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
    return await fetch_all(site, FETCHES) + await _nothing_is_left(site)


async def _nothing_is_left(site: ExchangeSite) -> int:
    """Settle, and fetch what was given up though its server was there: a slow one lets its messages die as well."""
    fetched = 0
    for _ in range(_MOST_RETURNS):
        await site.settle()
        if site.count(State.UNDELIVERED, lanes=(f"terminal:{FETCHES}",)) == 0:
            break
        fetched += await fetch_all(site, FETCHES)
    return fetched


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
        while _is_another_round(sizes, rounds):
            number = len(rounds)
            down = number % 2 == 1
            if down:
                await _they_die(site, silently=number % 4 == 3)
            rounds.append(await load_round(site, sizes.requests // sizes.rounds, DEAD, down=down))
            tell(f"round {number + 1} of {sizes.rounds}, {2 * down} servers dead: {rounds[-1].rate:.0f}/s")
            fetched += await (_they_return(site) if down else _nothing_is_left(site))
        return _report(
            site.ledger(life=sizes.life),
            started,
            ratio=round(paired_ratio(rounds), 3),
            rates=[round(one.rate) for one in rounds],
            fetched=fetched,
        )


def _is_another_round(sizes: Sizes, rounds: Sequence[Round]) -> bool:
    """A machine that stands still for a moment may spoil a round, but not the median of many."""
    done = len(rounds)
    if done < sizes.rounds or done % 2 == 0:
        return True
    return done < sizes.rounds + sizes.more_rounds and paired_ratio(rounds) < sizes.least_ratio


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
        await _all_are_told(site, sizes)
        return _report(site.ledger(life=sizes.life), started, kills=site.kills, fetched=fetched)


async def _all_are_told(site: ExchangeSite, sizes: Sizes) -> None:
    def told() -> bool:
        return all(noted.overdue or noted.answered for noted in site.ledger().noted if noted.in_doubt)

    await site.until(told, "requests in doubt to be told", sizes.life + _PATIENCE)


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
        await _works(site, "primary")
        # It ends with requests at their dots: some are executed and the reply is cut off, some are lost.
        _tell_all(site, reply_after=0.4, words="LOSE", every=5)
        await site.until(lambda: _lost(site) > 0, "requests to be lost at the dot", _PATIENCE)
        _tell_all(site, refuse=True)
        tell(f"the backend is away for {sizes.outage:.0f} s")
        await asyncio.sleep(sizes.outage)
        await site.until(lambda: _refused(site) > 0, "requests to be answered A0011", _PATIENCE)
        _tell_all(site)
        tell("the backend is back")
        await asyncio.sleep(2.0)
        over.set()
        await load
        await site.settle(sizes.life + _PATIENCE)
        await _all_are_told(site, sizes)
        return _report(site.ledger(life=sizes.life), started, outage=sizes.outage)


def _lost(site: ExchangeSite) -> int:
    return sum(entry.get("how") == "LOSE" for entry in site.journal())


def _refused(site: ExchangeSite) -> int:
    return sum(arrival.code.startswith(NOT_IN_TIME) for arrival in list(site.fleet.recorder.arrivals))


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
        return _report(site.ledger(life=sizes.life), started, executed_by=shares)


async def _works(site: ExchangeSite, endpoint: str) -> None:
    before = site.executed_by_endpoint()[endpoint]
    await site.until(lambda: site.executed_by_endpoint()[endpoint] > before + 50, f"{endpoint} to work", _PATIENCE)
