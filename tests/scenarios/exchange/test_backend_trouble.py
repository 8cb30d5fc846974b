"""What the gateway makes of each thing a backend can do at the dot, and of odd results, one request at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from storage.models import Mail, Recipient
from storage.states import State
from tests.scenarios.exchange.fleet import terminals
from tests.scenarios.exchange.in_house import Arrival
from tests.scenarios.exchange.site import ExchangeSite, Plan, exchange_site

SECONDS = 60.0
LIFE = timedelta(minutes=5)  # of a request; nothing here takes so long, but the clock can be moved
WAITING = (State.QUEUED, State.RECEIVED, State.UNDELIVERED)


def plan(*, discards: bool) -> Plan:
    return Plan(
        terminals=terminals(4),
        patience=SECONDS,
        request_life=LIFE.total_seconds(),
        discards_repeats=discards,
        settings={
            "sandbox": {"enabled": True, "movable_clock": True},
            "delivery": {"retry_first": 0.1, "retry_max": 0.2},
        },
    )


Answers = dict[str, asyncio.Task[Arrival | None]]


async def ask(site: ExchangeSite, *words: str) -> Answers:
    """One request with each of these words, of another address each, all at once; and its first result to come."""
    pairs = zip(site.fleet.clients, words, strict=False)
    answers = {word: asyncio.create_task(client.request(word)) for client, word in pairs}
    await asyncio.sleep(0)  # each is begun
    return answers


async def codes_of(answers: Answers) -> dict[str, str]:
    """The code of each first result, once all are there."""
    came = zip(answers, await asyncio.gather(*answers.values()), strict=True)
    return {words: "none" if answer is None else answer.code[:5] for words, answer in came}


def handover_of(site: ExchangeSite, words: str) -> str:
    """The handover of the request with these words."""
    (found,) = (one.handover for one in site.fleet.submissions if one.body[263:363].strip() == words.encode())
    return found


def happened(site: ExchangeSite, words: str) -> Counter[str]:
    """What the backend's journal says of the request with these words."""
    handover = handover_of(site, words)
    return Counter(entry["what"] for entry in site.journal() if entry["handover"] == handover)


def came_for(site: ExchangeSite, words: str) -> list[str]:
    """The types and codes of all that came for the request with these words, in order."""
    handover = handover_of(site, words)
    mails = (arrival for arrival in site.fleet.recorder.arrivals if arrival.handover == handover)
    return [arrival.kind + (arrival.code[:5] if arrival.kind == "R" else arrival.output_code) for arrival in mails]


def parked(site: ExchangeSite) -> list[str]:
    """Whom the parked mails are for."""
    query = select(Recipient.rcpt_to).where(Recipient.state == State.PARKED).order_by(Recipient.rcpt_to)
    return [address.upper() for address in site.read(lambda session: session.scalars(query).all())]


def told(site: ExchangeSite) -> Counter[str]:
    """The operators' mails, by template."""
    query = select(Mail.template).where(Mail.template.like("operator/%"))
    return Counter(name.partition("@")[0] for name in site.read(lambda session: session.scalars(query).all()))


async def test_a_backend_that_discards_repeats_executes_each_request_once_and_all_it_mails_is_delivered(tmp_path: Path):
    outputs = "OUT=CSAD4011 OUT=PSAD4031"
    async with exchange_site(tmp_path, plan(discards=True)) as site:
        site.backends["primary"].tell(holds_results=True)  # a request whose result came is not handed over again
        came = await ask(site, "R451", "R554", "DROP", "LOSE", outputs, "TWO", "UNKNOWN")
        await site.until(lambda: happened(site, "DROP")["repeat"] >= 1, "the repeat", SECONDS)
        site.backends["primary"].tell()
        assert await codes_of(came) == dict.fromkeys(came, "00000") | {"R554": "A0007"}
        await site.settle(SECONDS)
        await site.until(lambda: told(site)["operator/mail-parked"] >= 2, "the operator to be told", SECONDS)
        ledger = site.ledger(left_over=WAITING)
        assert [happened(site, words)["executed"] for words in came] == [1, 0, 1, 1, 1, 1, 1]
        assert came_for(site, outputs) == ["R00000", "CSAD4011", "PSAD4031"]
        assert came_for(site, "TWO") == ["R00000", "R00000"]
        assert came_for(site, "UNKNOWN") == ["R00000"]
        assert parked(site) == ["BACKEND@SMTP.CENTER.EXAMPLE", "NOBODY@SMTP.NOWHERE.EXAMPLE"]
        assert told(site)["operator/mail-parked"] == 2
    assert ledger.violations == []


async def test_a_backend_that_executes_repeats_is_never_sent_one_and_the_operator_is_told(tmp_path: Path):
    async with exchange_site(tmp_path, plan(discards=False)) as site:
        came = await ask(site, "R451", "R554", "DROP", "LOSE")
        unanswered = came.pop("LOSE")
        assert await codes_of(came) == {"R451": "00000", "R554": "A0007", "DROP": "00000"}
        came["LOSE"] = unanswered
        await site.until(lambda: happened(site, "LOSE")["refused"] > 0, "the request to be lost", SECONDS)
        await site.settle(SECONDS)
        await site.move_clock(2 * LIFE)
        await site.until(lambda: told(site)["operator/request-overdue"] >= 1, "the operator to be told", SECONDS)
        await site.settle(SECONDS)
        ledger = site.ledger(left_over=WAITING)
        assert not unanswered.done()
        unanswered.cancel()
        assert [happened(site, words)["executed"] for words in came] == [1, 0, 1, 0]
        assert happened(site, "DROP")["taken"] == happened(site, "LOSE")["refused"] == 1
        lost = handover_of(site, "LOSE")
        assert [noted.overdue for noted in ledger.noted if noted.handover == lost] == [True]
    assert ledger.violations == []
