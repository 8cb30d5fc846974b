"""What the public listener asks of a mail's author at the dot (semantics §9), through real sockets and a real DNS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy.orm import Session

from gateway.health import Health
from gateway.listeners import PublicPolicy
from gateway.sender_auth import SenderAuth
from gateway.sender_gate import HeldRoom, SenderGate
from gateway.setting_desk import DkimSection
from gateway.smtp_server import Listener
from handlers import case_tokens
from handlers.applications.held_mails import held_bytes
from storage.clock import Clock
from storage.database import Database
from storage.mail_queue import load_arrival
from storage.models import Mail, Recipient
from tests.fakes.dns_server import CUT_OFF, GARBAGE, LOOP, REFUSED, SERVFAIL, SILENT, DnsServer
from tests.fakes.in_house_server import until
from tests.fakes.raw_client import connected, listening
from tests.gateway.loop_clock import LoopClock
from tests.gateway.signed_mails import AUTHOR, DOMAIN, KEY_NAME, crafted, mail, record, signed
from tests.gateway.test_health import only_sqlite
from tests.gateway.test_listeners import STRANGER, mails, recipients, send
from tests.handlers.review_cases import DESK
from tests.storage.test_database import running

NSS = "nss.center.example"
APPLY, FORM, SCHEDULE, POSTMASTER = (f"{local}@{NSS}" for local in ("apply", "form", "schedule", "postmaster"))
CASE = f"{case_tokens.case_local_part(DESK.token_key, '260001A', AUTHOR)}@{NSS}"
BOUNCE = f"{case_tokens.bounce_local_part(DESK.token_key, 17)}@{NSS}"
TRUSTED = "127.9.9.10"
LONGEST_LOOKUP = 10.0
TAKEN, LATER, REFUSED_HERE, FULL = "250 2.0.0", "451 4.4.3", "550 5.7.1", "452 4.3.1"


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        server.texts[KEY_NAME] = [record()]
        yield server


@pytest.fixture
async def database(store_url) -> AsyncIterator[Database]:
    async with running(store_url) as opened:
        yield opened


@asynccontextmanager
async def desk(database: Database, dns: DnsServer | None, **room: Any) -> AsyncIterator[Listener]:
    """The public listener with its gate; without a DNS no signature is judged."""
    auth = None
    if dns is not None:
        auth = SenderAuth(DkimSection(nameservers=(dns.nameserver,), lookup_timeout=LONGEST_LOOKUP))
    gate = SenderGate(database, auth, (ip_network(f"{TRUSTED}/32"),), HeldRoom(**room) if room else None)
    knows: Callable[[str], bool] = lambda local: True  # noqa: E731 - whatever the desk takes today
    policy = PublicPolicy(database, Health(database), Clock(), knows, NSS, 1_000_000, gate)
    async with listening(policy) as listener:
        yield listener


async def reply_to(listener: Listener, raw: bytes, *to: str, sender: str = AUTHOR, source: str = STRANGER) -> str:
    """Code and enhanced code at the dot."""
    async with connected(listener, source) as client:
        await client.say("HELO x", f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in to), "DATA")
        client.send(raw.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        return " ".join((await client.reply()).split()[:2])


async def stored(database: Database) -> list[Mail]:
    return await asyncio.to_thread(mails, database.store)


def sound() -> bytes:
    return signed(mail())


def unsound() -> bytes:
    return signed(mail()) + b"more\r\n"


# D7 and fault 23, at the socket.


@pytest.mark.parametrize("told", [SERVFAIL, REFUSED, SILENT, GARBAGE, LOOP, CUT_OFF])
@only_sqlite
async def test_trouble_with_the_dns_is_451_and_nothing_is_stored(database, dns, told):
    dns.told = {KEY_NAME: told}
    async with desk(database, dns) as listener:
        clock, answered = LoopClock(), asyncio.create_task(reply_to(listener, sound(), APPLY))
        await until(lambda: dns.asked)
        if told in (SILENT, GARBAGE):
            clock.move(LONGEST_LOOKUP)
        assert await answered == LATER
        assert await stored(database) == []
        dns.told = {}
        assert await reply_to(listener, sound(), APPLY) == TAKEN
    assert [each.signed_by for each in await stored(database)] == [DOMAIN]


async def test_what_signed_a_mail_is_stored_with_it_and_the_desk_believes_it(database, dns):
    async with desk(database, dns) as listener:
        assert await reply_to(listener, sound(), APPLY) == TAKEN
        assert await reply_to(listener, unsound(), APPLY) == TAKEN
        assert await reply_to(listener, mail(), APPLY) == TAKEN
    assert [each.signed_by for each in await stored(database)] == [DOMAIN, "", ""]
    rows: list[Recipient] = await asyncio.to_thread(recipients, database.store)

    def arrived(session: Session) -> list[str]:
        return [arrival.signed_by for row in rows if (arrival := load_arrival(session, row.id)) is not None]

    assert await database.read(arrived) == [DOMAIN, "", ""]


# Who is given what: (mail, recipients, envelope sender, peer) -> reply.
DECISIONS: dict[str, tuple[Callable[[], bytes], tuple[str, ...], str, str, str]] = {
    "form, signed": (sound, (FORM,), AUTHOR, STRANGER, TAKEN),
    "schedule, signed": (sound, (SCHEDULE,), AUTHOR, STRANGER, TAKEN),
    "form, unsigned": (mail, (FORM,), AUTHOR, STRANGER, REFUSED_HERE),
    "schedule, unsigned": (mail, (SCHEDULE,), AUTHOR, STRANGER, REFUSED_HERE),
    "form and schedule, unsigned": (mail, (FORM, SCHEDULE), AUTHOR, STRANGER, REFUSED_HERE),
    "form in capitals, unsigned": (mail, (FORM.upper(),), AUTHOR, STRANGER, REFUSED_HERE),
    "form, unsound": (unsound, (FORM,), AUTHOR, STRANGER, REFUSED_HERE),
    "form, by a domain above": (
        lambda: signed(mail(From=f"hanako@tokyo.{DOMAIN}")),
        (FORM,),
        AUTHOR,
        STRANGER,
        REFUSED_HERE,
    ),
    "form, from a trusted network": (mail, (FORM,), AUTHOR, TRUSTED, TAKEN),
    "form, trusted but relayed": (lambda: b"Received: from x\r\n" + mail(), (FORM,), AUTHOR, TRUSTED, REFUSED_HERE),
    "form, trusted, relayed, signed": (lambda: b"Received: from x\r\n" + sound(), (FORM,), AUTHOR, TRUSTED, TAKEN),
    "form, trusted but with a broken header": (
        lambda: b"no field\r\n" + mail(),
        (FORM,),
        AUTHOR,
        TRUSTED,
        REFUSED_HERE,
    ),
    "form, trusted but of nobody": (lambda: mail(without=["From"]), (FORM,), AUTHOR, TRUSTED, REFUSED_HERE),
    "form, with a huge header": (
        lambda: b"X: " + b"x" * 70_000 + b"\r\n" + mail(),
        (FORM,),
        AUTHOR,
        TRUSTED,
        REFUSED_HERE,
    ),
    "form, automatic": (mail, (FORM,), "", STRANGER, TAKEN),
    "form and an application, unsigned": (mail, (FORM, APPLY), AUTHOR, STRANGER, TAKEN),
    "form and the postmaster, unsigned": (mail, (FORM, POSTMASTER), AUTHOR, STRANGER, TAKEN),
    "an application, unsigned": (mail, (APPLY,), AUTHOR, STRANGER, TAKEN),
    "a case, unsigned": (mail, (CASE,), AUTHOR, STRANGER, TAKEN),
    "the postmaster, unsigned": (mail, (POSTMASTER,), AUTHOR, STRANGER, TAKEN),
}


@pytest.mark.parametrize("name", DECISIONS)
@only_sqlite
async def test_information_goes_to_verified_authors_and_everything_else_is_taken(database, dns, name):
    raw, to, sender, peer, expected = DECISIONS[name]
    async with desk(database, dns) as listener:
        reply = await reply_to(listener, raw(), *to, sender=sender, source=peer)
    assert reply == expected
    assert len(await stored(database)) == (1 if expected == TAKEN else 0)
    rows = await asyncio.to_thread(recipients, database.store)
    assert len(rows) == (len(to) if expected == TAKEN else 0)


@only_sqlite
async def test_nothing_is_asked_of_the_dns_where_nothing_rests_on_the_answer(database, dns):
    dns.told = {KEY_NAME: SERVFAIL}
    async with desk(database, dns) as listener:
        assert await reply_to(listener, sound(), APPLY, sender="") == TAKEN
        assert await reply_to(listener, sound(), POSTMASTER) == TAKEN
        assert await reply_to(listener, sound(), BOUNCE) == TAKEN
        assert await reply_to(listener, sound(), APPLY, source=TRUSTED) == TAKEN
        assert await reply_to(listener, mail(), APPLY) == TAKEN
        foreign = crafted(mail(), d=b"evil.example")
        assert await reply_to(listener, foreign, APPLY) == TAKEN
    assert dns.asked == []
    assert {each.signed_by for each in await stored(database)} == {""}


@only_sqlite
async def test_where_signatures_are_not_verified_only_the_network_counts(database):
    async with desk(database, None) as listener:
        assert await reply_to(listener, sound(), FORM) == REFUSED_HERE
        assert await reply_to(listener, mail(), FORM, source=TRUSTED) == TAKEN
        assert await reply_to(listener, sound(), APPLY) == TAKEN
    assert {each.signed_by for each in await stored(database)} == {""}


@only_sqlite
async def test_a_listener_without_a_gate_believes_nobody(database):
    knows: Callable[[str], bool] = lambda local: True  # noqa: E731 - whatever the desk takes today
    policy = PublicPolicy(database, Health(database), Clock(), knows, NSS, 1_000_000)
    async with listening(policy) as listener:
        assert await reply_to(listener, sound(), FORM, source=TRUSTED) == REFUSED_HERE
        assert await reply_to(listener, mail(), APPLY) == TAKEN


@only_sqlite
async def test_several_mails_of_one_connection_are_judged_each_for_itself(database, dns):
    async with desk(database, dns) as listener, connected(listener, STRANGER) as client:
        assert (await send(client, AUTHOR, FORM, mail())).startswith(REFUSED_HERE)
        assert (await send(client, AUTHOR, FORM, sound())).startswith(TAKEN)
        assert (await send(client, AUTHOR, FORM, unsound())).startswith(REFUSED_HERE)
    assert len(await stored(database)) == 1


@only_sqlite
async def test_the_verdict_is_logged_with_the_mail(database, dns, caplog):
    caplog.set_level("INFO", "gateway.listeners")
    async with desk(database, dns) as listener:
        await reply_to(listener, sound(), APPLY)
        await reply_to(listener, unsound(), APPLY)
    one, other = await stored(database)
    assert [entry.getMessage() for entry in caplog.records if entry.name == "gateway.listeners"] == [
        f"mail {one.id} by DKIM: signed by {DOMAIN}, the author's domain",
        f"mail {other.id} by DKIM: permerror: ValidationError",
    ]


# The room for held mail.


async def test_beyond_the_room_for_held_mail_more_of_it_is_452(database, dns):
    asked = []

    def taken(session: Session) -> int:
        asked.append(session)
        return held_bytes(session) + 10_000

    async with desk(database, dns, most=10_000 + 3 * len(mail()), taken=taken) as listener:
        replies = [await reply_to(listener, mail(), to) for to in (APPLY, CASE, APPLY, CASE)]
        assert replies == [TAKEN, TAKEN, FULL, FULL]  # a content has its line end, too
        for raw, to, sender, peer in (
            (sound(), APPLY, AUTHOR, STRANGER),
            (mail(), APPLY, AUTHOR, TRUSTED),
            (mail(), APPLY, "", STRANGER),
            (mail(), POSTMASTER, AUTHOR, STRANGER),
        ):
            assert await reply_to(listener, raw, to, sender=sender, source=peer) == TAKEN
    assert len(asked) == 1  # the store is asked now and then, not for each mail


@only_sqlite
async def test_the_store_is_asked_again_for_the_room(database, monkeypatch):
    monkeypatch.setattr("gateway.sender_gate._ASK_EVERY", 0.0)
    held = [10_000, 0]
    async with desk(database, None, most=5_000, taken=lambda _: held.pop(0)) as listener:
        assert await reply_to(listener, mail(), APPLY) == FULL
        assert await reply_to(listener, mail(), APPLY) == TAKEN


@only_sqlite
async def test_a_store_that_cannot_say_how_much_is_held_is_451(database):
    def broken(_: Session) -> int:
        raise OSError("gone")

    async with desk(database, None, most=5_000, taken=broken) as listener:
        assert await reply_to(listener, mail(), APPLY) == "451 4.3.0"
    assert await stored(database) == []


@only_sqlite
async def test_a_mail_written_last_week_is_held_not_believed(database, dns):
    old = signed(mail(Date=(datetime.now(UTC) - timedelta(days=7)).strftime("%a, %d %b %Y %H:%M:%S +0000")))
    async with desk(database, dns) as listener:
        assert await reply_to(listener, old, APPLY) == TAKEN
        assert await reply_to(listener, old, FORM) == REFUSED_HERE
    assert [each.signed_by for each in await stored(database)] == [""]
