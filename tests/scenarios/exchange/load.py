"""What a scenario does to a site: rounds of requests, kills, outages, and the return of dead servers."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.fleet import IDENTIFICATION_NUMBER
from handlers.naccs.common_items import CRLF, WIDTH_WITH_LINE_END, InputCommonItems
from storage.states import State
from tests.scenarios.exchange.fleet import Client, with_patience
from tests.scenarios.exchange.in_house import Arrival
from tests.scenarios.exchange.site import ExchangeSite

LIST = "REF"
_CODES_END = WIDTH_WITH_LINE_END + 77
_IMPATIENCE = 0.3  # seconds a client of a dead server waits: its result cannot come
_NOTICED_AFTER = 60.0
_LIST_AFTER = 5.0  # seconds; a list that the server was too slow to take is asked for again
_MOST_LISTS = 10


class Budget:
    """So many requests, shared by all who ask."""

    def __init__(self, requests: int) -> None:
        self.left = requests

    def __call__(self) -> bool:
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of load: how many live terminals' results came a second while all clients were busy."""

    dead: bool
    results: int
    rate: float


async def load_round(site: ExchangeSite, requests: int, dead: Sequence[str], *, down: bool) -> Round:
    """So many requests over all addresses. `down`: the servers of `dead` do not answer, and their clients know."""
    before = len(site.fleet.recorder.arrivals)
    live, theirs = site.fleet.clients_but(*dead), site.fleet.clients_of(*dead)
    if down:
        share = requests * len(theirs) // len(site.fleet.clients)
        groups = [(live, Budget(requests - share)), (with_patience(theirs, _IMPATIENCE), Budget(share))]
    else:
        groups = [([*live, *theirs], Budget(requests))]
    await asyncio.gather(*(client.keep_on(budget) for clients, budget in groups for client in clients))
    came = sorted(
        arrival.at
        for arrival in site.fleet.recorder.arrivals[before:]
        if arrival.kind == "R" and arrival.terminal not in dead
    )
    # The first and the last tenth are the start and the end of the round, when not everybody is busy.
    first, last = len(came) // 10, len(came) * 9 // 10
    return Round(dead=down, results=len(came), rate=(last - first) / (came[last] - came[first]))


def paired_ratio(rounds: Sequence[Round]) -> float:
    """The rate of each round with dead servers by the mean of the rounds around it; the median of these."""
    return statistics.median(
        here.rate * 2 / (before.rate + after.rate)
        for before, here, after in zip(rounds, rounds[1:], rounds[2:], strict=False)
        if here.dead
    )


async def come_back(site: ExchangeSite, terminal: str) -> None:
    """The terminal's server starts, and the gateway finds that out by itself."""
    await site.fleet.servers[terminal].open()
    await _runs_dry(site, terminal)


async def fetch_all(site: ExchangeSite, terminal: str) -> int:
    """All that waits is given up; then the server starts, and SYG fetches it; how many messages that were."""
    await _runs_dry(site, terminal)
    await site.fleet.servers[terminal].open()
    clients = with_patience(site.fleet.clients_of(terminal), _LIST_AFTER)
    return sum(await asyncio.gather(*(_fetch_kinds(site, client) for client in clients)))


async def _runs_dry(site: ExchangeSite, terminal: str) -> None:
    """Wait until nothing waits for the terminal: it is delivered, or given up."""
    lane = f"terminal:{terminal}"
    await site.until(lambda: site.count(State.QUEUED, lanes=(lane,)) == 0, f"{lane} to run dry", _NOTICED_AFTER)


async def _fetch_kinds(site: ExchangeSite, client: Client) -> int:
    """Fetch until the list is empty: where messages are given up soon, some may be again on their way, or the list."""
    fetched = 0
    for _ in range(_MOST_LISTS):
        listed = await syg(client, LIST)
        kinds = None if listed is None else stuck(listed)
        if kinds == []:
            return fetched
        for code, count in kinds or ():
            await syg(client, code)
            fetched += count
        await _runs_dry(site, client.terminal.name)
    raise AssertionError(f"the list of {client.address} is never empty")


async def syg(client: Client, code: str) -> Arrival | None:
    """Ask for the list (`REF`) and return its reply, or fetch what is stuck under a code; nothing comes back then."""
    body = syg_body(client, code)
    if code == LIST:
        return await client.request(procedure="SYG", body=body)
    submission = client.make(procedure="SYG", body=body)
    submission.awaits_result = False
    await client.submit(submission)
    return None


def syg_body(client: Client, code: str) -> bytes:
    """The 409 bytes of a SYG request."""
    items = InputCommonItems.of(
        procedure_code="SYG",
        user_code=client.terminal.user,
        identification_number=IDENTIFICATION_NUMBER,
        password=client.terminal.password,
        handover=client.next_handover("SYG"),
        input_information_number="SYG",
        system_identification="2",
        message_length=409,
    )
    return items.encode() + code.ljust(7).encode() + CRLF


def stuck(reply: Arrival | None) -> list[tuple[str, int]]:
    """What a list reply names: output information codes and how many messages of each."""
    assert reply is not None, "no list came"
    count, *pairs = reply.body[_CODES_END:].split(CRLF)[:-1]
    pairs = pairs[: 2 * int(count)]
    return [(code.decode().strip(), int(number)) for code, number in zip(pairs[::2], pairs[1::2], strict=True)]


async def kill_at_random(
    site: ExchangeSite, kills: int, longest: float, chance: random.Random, tell: Callable[[str], None]
) -> None:
    """`kill -9` and start again, so many times, each at a random moment of a busy gateway."""
    for number in range(kills):
        after = chance.uniform(0.0, longest)
        await asyncio.sleep(after)
        await site.kill()
        await site.start()
        tell(
            f"kill {number + 1} of {kills}, {after:.2f} s after the start; {len(site.fleet.recorder.arrivals)} received"
        )
