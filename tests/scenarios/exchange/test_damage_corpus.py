"""Every mail of the damage corpus through a real gateway: one notification each, with its code, and it goes on."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from handlers.naccs.message import Family, body_of, family
from storage.models import Recipient, Request
from storage.states import Direction, State
from tests.handlers.naccs.damage_corpus import corpus
from tests.handlers.naccs.sound_request import ADDRESS
from tests.scenarios.exchange.fleet import CENTER, Client
from tests.scenarios.exchange.in_house import Arrival
from tests.scenarios.exchange.sample_office import NEIGHBOUR, SAMPLE, offices
from tests.scenarios.exchange.site import ExchangeSite, Plan, exchange_site
from tests.scenarios.exchange.wire import Speaker, stuffed

CONNECTIONS = 4
NORMAL_END = "00000"
_QUEUED_AS = re.compile(rb"250 2\.0\.0 queued as (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A mail as it goes over the wire, ended by a line end, and the code it must be answered with."""

    name: str
    mail: bytes
    code: str


def cases() -> Iterator[Case]:
    """The corpus; a sound mail of a family that is passed on whole has no answer of ours, so it is left out."""
    seen: dict[bytes, str] = {}
    for name, content, expected in corpus():
        mail = content if content.endswith(b"\r\n") else content + b"\r\n"
        if expected is None and family(*body_of(mail)) is not Family.NACCS_EDI:
            continue
        code = expected or NORMAL_END
        if mail not in seen:
            seen[mail] = code
            yield Case(name=name, mail=mail, code=code)


async def send(site: ExchangeSite, todo: list[Case], accepted: dict[int, Case]) -> None:
    """Send one case after the other over a kept connection, as the sample's terminal."""
    speaker = await Speaker.connect("127.0.0.1", site.naccs_port, source=SAMPLE.ip)
    try:
        await speaker.say(b"HELO 60777S\r\n")
        while todo:
            case = todo.pop()
            for command in (f"MAIL FROM:{ADDRESS}", f"RCPT TO:<{CENTER}>", "DATA"):
                reply = await speaker.say(command.encode() + b"\r\n")
                assert reply[:1] in b"23", (case.name, reply)
            speaker.write(stuffed(case.mail))
            taken = _QUEUED_AS.fullmatch(await speaker.say(b".\r\n"))
            assert taken is not None, case.name
            accepted[int(taken[1])] = case
        await speaker.say(b"QUIT\r\n")
    finally:
        speaker.close()


def results_by_mail(site: ExchangeSite) -> dict[int, int | None]:
    """By the mail of each request the mail of its result."""
    query = (
        select(Recipient.mail_id, Request.result_mail_id)
        .join(Request, Request.id == Recipient.id)
        .where(Recipient.direction == Direction.INBOUND)
    )
    return {row.mail_id: row.result_mail_id for row in site.read(lambda session: session.execute(query).all())}


def faults(site: ExchangeSite, accepted: dict[int, Case]) -> Iterator[str]:
    """Every case that was not answered by exactly one notification with its code."""
    came: dict[int, list[Arrival]] = defaultdict(list)
    for arrival in site.fleet.recorder.arrivals:
        came[arrival.mail_id].append(arrival)
    results = results_by_mail(site)
    for mail_id, case in accepted.items():
        answers = came.pop(results.get(mail_id) or 0, [])
        codes = [answer.code[:5] for answer in answers if answer.kind == "R" and answer.terminal == SAMPLE.name]
        if codes != [case.code]:
            yield f"{case.name}: {codes} instead of {case.code}"
    yield from (f"an answer to nothing: {mails}" for mails in came.values())


async def test_every_damaged_mail_gets_exactly_one_notification_with_its_code(tmp_path: Path):
    plan = Plan(terminals=(SAMPLE, NEIGHBOUR), offices=offices(), patience=60.0)
    todo = list(cases())
    assert len(todo) >= 500
    accepted: dict[int, Case] = {}
    async with exchange_site(tmp_path, plan) as site:
        await asyncio.gather(*(send(site, todo, accepted) for _ in range(CONNECTIONS)))
        await site.settle(120.0)
        assert list(faults(site, accepted)) == []
        assert site.count(State.PARKED) == 0
        for client in site.fleet.clients:
            await assert_it_goes_on(client)
        assert "Traceback" not in site.gateway.log


async def assert_it_goes_on(client: Client) -> None:
    answer = await client.request()
    assert answer is not None
    assert answer.code[:5] == NORMAL_END


@pytest.mark.parametrize("code", ["A0008", "A0009", "A0013", "A0016"])
def test_the_corpus_has_cases_of_the_commonest_codes(code):
    assert sum(case.code == code for case in cases()) >= 10
