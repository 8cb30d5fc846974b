"""Who may talk to whom, and what is in the store when we say 250 (semantics §7 to §11).

Real listeners on 127.0.0.1; clients come from other addresses of the loopback network, as terminals do.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from sqlalchemy import select, text, update

from gateway import health as health_module
from gateway.health import Health
from gateway.listeners import NaccsPolicy, NaccsRules, PublicPolicy, in_networks, message_id
from gateway.smtp_server import Listener, TunedSMTP
from handlers import case_tokens, desk_mail
from handlers.naccs.common_items import MAX_MESSAGE_BYTES
from storage import committer
from storage.clock import Clock
from storage.database import Database
from storage.mail_queue import content_of, load_arrival, waiting_inbound
from storage.models import Mail, MailAddress, Recipient
from storage.store import Store
from tests.fakes.in_house_server import until
from tests.fakes.raw_client import RawClient, connected, listening
from tests.gateway.test_current_map import IP, OTHER_IP, OnMap, on_map, other_process, today, until_noon
from tests.gateway.test_health import fill_disk, held, make_room, only_sqlite
from tests.handlers.naccs.sound_request import BODY
from tests.handlers.naccs.test_exchange import content_of_result
from tests.handlers.review_cases import DESK
from tests.handlers.test_terminals import ADDRESS, KEY, OFFICES_WITH_TWO_SERVERS, reissue, set_terminal
from tests.storage.test_database import running

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"
BACKEND = "BACKEND@SMTP.CENTER.EXAMPLE"
BACKEND_PEER = "127.0.0.1"
STRANGER = "127.9.9.9"
ON_THE_LAN = "127.20.13.50"
OTHER = "3B0001@SMTP.CT0001.CENTER.EXAMPLE"
OFFICES = OFFICES_WITH_TWO_SERVERS.replace(f'"{OTHER_IP}"', f'"{OTHER_IP}"\nmail_addresses = ["{OTHER}"]')
RULES = NaccsRules(
    center_key=CENTER.lower(),
    terminals_domain="terminals.center.example",
    peer_check="terminal",
    peer_networks=(),
    backend_networks=(ip_network("127.0.0.1/32"), ip_network("::1/128")),
    backend_senders=frozenset({BACKEND.lower()}),
)
NOT_PERMITTED, UNKNOWN, TAKEN = "550 5.7.1", "550 5.1.1", "250 2.1.0"
RECIPIENT_TAKEN = "250 2.1.5"


def edi_mail(body: bytes = BODY, address: str = ADDRESS) -> bytes:
    """An EDI message as the known client mails it, from the sample office's address."""
    return f"From:{address}\r\nTo:{CENTER}\r\nContent-Transfer-Encoding:8bit\r\n\r\n".encode() + body


@asynccontextmanager
async def naccs_listener(on: OnMap, clock: Clock | None = None, **rules: Any) -> AsyncIterator[Listener]:
    """The NACCS listener on that store and map."""
    policy = NaccsPolicy(
        on.database,
        on.map,
        Health(on.database),
        clock or Clock(),
        replace(RULES, **rules),
        MAX_MESSAGE_BYTES + 65_536,
    )
    async with listening(policy) as listener:
        yield listener


@asynccontextmanager
async def public_listener(database: Database) -> AsyncIterator[Listener]:
    """The listener of the application desk."""
    policy = PublicPolicy(
        database,
        Health(database),
        Clock(),
        lambda local: desk_mail.knows(local, DESK),
        "NSS.center.example",
        100_000,
    )
    async with listening(policy) as listener:
        yield listener


async def send(client: RawClient, sender: str, recipient: str, content: bytes) -> str:
    """One mail from greeted to its last reply, which is given back."""
    codes = await client.say("HELO 60777S", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA")
    assert codes == ["250", TAKEN, RECIPIENT_TAKEN, "354"]
    return await end(client, content)


async def end(client: RawClient, content: bytes) -> str:
    client.send(content.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
    return await client.reply()


async def deliver(listener: Listener, content: bytes | None = None, *, source: str = IP) -> str:
    """A mail of the terminal in a session of its own, ended by QUIT; the reply at the dot."""
    async with connected(listener, source) as client:
        reply = await send(client, ADDRESS, CENTER, edi_mail() if content is None else content)
        assert await client.say("QUIT") == ["221 2.0.0"]
    return reply


async def asked(listener: Listener, peer: str, sender: str, *recipients: str) -> list[str]:
    """The replies to MAIL and each RCPT, up to the first refusal of MAIL."""
    async with connected(listener, peer) as client:
        codes = await client.say("HELO x", f"MAIL FROM:{sender}")
        if codes[1] != TAKEN:
            return codes[1:]
        return [*codes[1:], *await client.say(*(f"RCPT TO:<{recipient}>" for recipient in recipients))]


def mails(store: Store) -> list[Mail]:
    return list(store.read(lambda session: session.scalars(select(Mail).order_by(Mail.id)).all()))


def recipients(store: Store) -> list[Recipient]:
    return list(store.read(lambda session: session.scalars(select(Recipient).order_by(Recipient.id)).all()))


# Who may talk to whom: peer, sender, recipients -> replies.

MATRIX = {
    "a terminal to the center": (IP, f"<{ADDRESS}>", [CENTER], [TAKEN, RECIPIENT_TAKEN]),
    "without brackets": (IP, ADDRESS, [CENTER], [TAKEN, RECIPIENT_TAKEN]),
    "in lower case": (IP, f"<{ADDRESS.lower()}>", [CENTER.lower()], [TAKEN, RECIPIENT_TAKEN]),
    "another terminal to the center": (OTHER_IP, f"<{OTHER}>", [CENTER], [TAKEN, RECIPIENT_TAKEN]),
    "the center twice": (IP, f"<{ADDRESS}>", [CENTER, CENTER], [TAKEN, RECIPIENT_TAKEN, NOT_PERMITTED]),
    "to another address": (IP, f"<{ADDRESS}>", [OTHER], [TAKEN, NOT_PERMITTED]),
    "to itself": (IP, f"<{ADDRESS}>", [ADDRESS], [TAKEN, NOT_PERMITTED]),
    "to a terminal": (IP, f"<{ADDRESS}>", ["60778s@terminals.center.example"], [TAKEN, NOT_PERMITTED]),
    "to a terminal of no map": (IP, f"<{ADDRESS}>", ["25131M@terminals.center.example"], [TAKEN, UNKNOWN]),
    "to nobody": (IP, f"<{ADDRESS}>", ["nobody@x.example"], [TAKEN, UNKNOWN]),
    "to the application desk": (IP, f"<{ADDRESS}>", ["apply@nss.center.example"], [TAKEN, UNKNOWN]),
    "refused, then to the center": (IP, f"<{ADDRESS}>", [OTHER, CENTER], [TAKEN, NOT_PERMITTED, RECIPIENT_TAKEN]),
    "another terminal's address": (IP, f"<{OTHER}>", [], [NOT_PERMITTED]),
    "from another terminal": (OTHER_IP, f"<{ADDRESS}>", [], [NOT_PERMITTED]),
    "from its LAN": (ON_THE_LAN, f"<{ADDRESS}>", [], [NOT_PERMITTED]),
    "from elsewhere": (STRANGER, f"<{ADDRESS}>", [], [NOT_PERMITTED]),
    "from the backend's peer": (BACKEND_PEER, f"<{ADDRESS}>", [], [NOT_PERMITTED]),
    "a terminal as the backend": (IP, f"<{BACKEND}>", [], [NOT_PERMITTED]),
    "a stranger as the backend": (STRANGER, f"<{BACKEND}>", [], [NOT_PERMITTED]),
    "a terminal as the center": (IP, f"<{CENTER}>", [], [NOT_PERMITTED]),
    "a terminal as nobody": (IP, "<>", [], [NOT_PERMITTED]),
    "a stranger as nobody": (STRANGER, "<>", [], [NOT_PERMITTED]),
    "to the backend": (IP, f"<{ADDRESS}>", [BACKEND], [TAKEN, NOT_PERMITTED]),
    "an address of no map": (IP, "<nobody@x.example>", [], [UNKNOWN]),
    "the backend to an address": (BACKEND_PEER, f"<{BACKEND}>", [ADDRESS], [TAKEN, RECIPIENT_TAKEN]),
    "the backend to many": (BACKEND_PEER, f"<{BACKEND}>", [ADDRESS, OTHER], [TAKEN, RECIPIENT_TAKEN, RECIPIENT_TAKEN]),
    "the backend to an unknown address": (BACKEND_PEER, BACKEND, ["nobody@x.example"], [TAKEN, RECIPIENT_TAKEN]),
    "the backend to a terminal": (BACKEND_PEER, BACKEND, ["25130M@terminals.center.example"], [TAKEN, RECIPIENT_TAKEN]),
    "the backend with the null sender": (BACKEND_PEER, "<>", [ADDRESS], [TAKEN, RECIPIENT_TAKEN]),
    "the backend's peer as nobody known": (BACKEND_PEER, "<nobody@x.example>", [], [UNKNOWN]),
}


@only_sqlite
async def test_the_naccs_listener_lets_a_terminal_write_to_the_center_and_the_backend_to_terminals(store_url):
    async with on_map(store_url, offices=OFFICES) as on, naccs_listener(on) as listener:
        replies = {name: await asked(listener, peer, sender, *to) for name, (peer, sender, to, _) in MATRIX.items()}
    assert replies == {name: expected for name, (*_, expected) in MATRIX.items()}


PEERS = (IP, OTHER_IP, ON_THE_LAN, STRANGER)
PEER_CHECKS = {
    "terminal": [TAKEN, NOT_PERMITTED, NOT_PERMITTED, NOT_PERMITTED],
    "line": [TAKEN, TAKEN, TAKEN, NOT_PERMITTED],
    "networks": [NOT_PERMITTED, NOT_PERMITTED, NOT_PERMITTED, TAKEN],
}


@only_sqlite
async def test_how_closely_the_peer_must_match_is_a_setting(store_url):
    async with on_map(store_url, offices=OFFICES) as on:
        for check, expected in PEER_CHECKS.items():
            networks = (ip_network("127.9.0.0/16"), ip_network("2001:db8::/32"))
            async with naccs_listener(on, peer_check=check, peer_networks=networks) as listener:
                assert [(await asked(listener, peer, ADDRESS))[0] for peer in PEERS] == expected, check


@only_sqlite
async def test_a_line_without_a_subnet_has_no_peers(store_url):
    async with on_map(store_url) as on:
        await asyncio.to_thread(on.store.run, lambda s: s.execute(text("UPDATE lines SET lan_subnet = ''")))
        await asyncio.to_thread(set_terminal, on.store)
        await on.map.refresh()
        async with naccs_listener(on, peer_check="line") as listener:
            assert await asked(listener, IP, ADDRESS) == [NOT_PERMITTED]


@only_sqlite
async def test_a_peer_of_a_dual_stack_socket_is_compared_as_ipv4(store_url):
    loop = asyncio.get_running_loop()
    async with (
        on_map(store_url) as on,
        naccs_listener(on) as listener,
        AsyncExitStack() as open_sockets,
    ):
        accepting = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        open_sockets.callback(accepting.close)
        accepting.setblocking(False)
        template = vars(SMTP(None, hostname="gateway.example", loop=loop))
        for source, expected in ((IP, TAKEN), (STRANGER, NOT_PERMITTED)):
            calling = asyncio.open_connection("127.0.0.1", accepting.getsockname()[1], local_addr=(source, 0))
            (link, peer), streams = await asyncio.gather(loop.sock_accept(accepting), calling)
            assert peer[0] == f"::ffff:{source}"
            await loop.connect_accepted_socket(lambda: TunedSMTP(listener, template), link)
            client = RawClient(*streams)
            assert (await client.reply()).startswith("220 ")
            assert (await client.say("HELO x", f"MAIL FROM:<{ADDRESS}>"))[1] == expected
            await client.close()


def test_networks_of_one_family_hold_no_address_of_the_other():
    networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    assert in_networks("10.1.2.3", networks)
    assert in_networks("2001:db8::1", networks)
    assert not in_networks("11.1.2.3", networks)
    assert not in_networks("2001:db9::1", networks)
    assert not in_networks("10.1.2.3", ())
    assert not in_networks("10.1.2.3", networks[1:])


# Effective dates and our own staleness.


@only_sqlite
async def test_an_address_is_a_sender_on_the_days_it_is_in_force(store_url):
    clock = Clock()
    async with on_map(store_url) as on, naccs_listener(on, clock) as listener:
        begins = today()
        ends = begins + timedelta(days=1)
        await asyncio.to_thread(set_terminal, on.store, effective_from=begins, effective_until=ends)
        await on.map.refresh()
        replies = []
        for days in (-1, 0, 1):
            clock.offset = until_noon(begins + timedelta(days=days))
            replies += await asked(listener, IP, ADDRESS)
        assert replies == [NOT_PERMITTED, TAKEN, NOT_PERMITTED]


async def test_our_own_staleness_is_never_a_permanent_error(store_url):
    async with on_map(store_url, follow=False) as on, naccs_listener(on) as listener:
        assert await asked(listener, STRANGER, ADDRESS) == [NOT_PERMITTED]
        async with other_process(store_url) as other:
            await asyncio.to_thread(set_terminal, other, ip_address=STRANGER)
            assert await asked(listener, STRANGER, ADDRESS, CENTER) == [TAKEN, RECIPIENT_TAKEN]

            def register(session: Any) -> None:
                session.execute(update(MailAddress).values(address=OTHER, address_key=OTHER.lower()))

            await asyncio.to_thread(other.run, register)
            await asyncio.to_thread(set_terminal, other)
            assert await asked(listener, STRANGER, OTHER, CENTER) == [TAKEN, RECIPIENT_TAKEN]


@only_sqlite
async def test_a_recipient_registered_a_moment_ago_is_known(store_url):
    async with (
        on_map(store_url, follow=False, offices=OFFICES) as on,
        other_process(store_url) as other,
        naccs_listener(on) as listener,
        connected(listener, IP) as client,
    ):
        await client.say("HELO x", f"MAIL FROM:<{ADDRESS}>")
        assert await client.say("RCPT TO:<60788S@terminals.center.example>") == [UNKNOWN]

        def rename(session: Any) -> None:
            session.execute(text("UPDATE logical_terminals SET name = '60788S' WHERE name = '60778S'"))

        await asyncio.to_thread(other.run, rename)
        await asyncio.to_thread(set_terminal, other)
        assert await client.say("RCPT TO:<60788S@terminals.center.example>") == [NOT_PERMITTED]


@only_sqlite
async def test_a_sender_that_lost_its_address_after_mail_is_asked_to_come_again(store_url):
    async with (
        on_map(store_url, follow=False) as on,
        naccs_listener(on) as listener,
        connected(listener, IP) as client,
    ):
        await client.say("HELO x", f"MAIL FROM:<{ADDRESS}>")
        await asyncio.to_thread(set_terminal, on.store, ip_address="127.20.13.20")
        await on.map.refresh()
        assert await client.say(f"RCPT TO:<{CENTER}>") == ["451 4.3.0"]
        assert await client.say("RSET", f"MAIL FROM:<{ADDRESS}>") == ["250 2.0.0", NOT_PERMITTED]


# What is committed.


async def test_a_250_at_the_dot_names_a_mail_that_is_in_the_store(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, other_process(store_url) as other:
        reply = await deliver(listener)
        (mail,) = await asyncio.to_thread(mails, other)
        assert reply == f"250 2.0.0 queued as {mail.id}"
        assert (mail.direction, mail.listener, mail.peer, mail.helo_name) == ("inbound", "naccs", IP, "60777S")
        assert (mail.mail_from, mail.damage, mail.unclean_end_at) == (ADDRESS, "", None)
        assert (mail.address_id, mail.map_version) == (on.address_id, 1)
        (recipient,) = await asyncio.to_thread(recipients, other)
        assert (recipient.rcpt_to, recipient.state, recipient.order_key) == (
            "NACCS@smtp.center.example",
            "received",
            KEY,
        )
        assert (recipient.address_id, recipient.map_version) == (on.address_id, 1)


@only_sqlite
async def test_a_mail_is_bound_to_the_address_row_it_was_accepted_from(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        row = on.address_id
        async with connected(listener, IP) as client:
            assert await client.say("HELO x", f"MAIL FROM:<{ADDRESS}>", f"RCPT TO:<{CENTER}>", "DATA")
            await asyncio.to_thread(reissue, on.store, today=today())
            await on.map.refresh()
            assert on.address_id != row
            assert (await end(client, edi_mail())).startswith("250 2.0.0 queued")
        (mail,) = mails(on.store)
        assert (mail.address_id, mail.map_version) == (row, 1)


@only_sqlite
async def test_a_result_is_taken_for_each_recipient_under_its_own_order_key(store_url):
    async with on_map(store_url, offices=OFFICES) as on, naccs_listener(on) as listener:
        async with connected(listener, BACKEND_PEER) as client:
            await client.say("HELO b", f"MAIL FROM:<{BACKEND}>", f"RCPT TO:<{ADDRESS}>", f"RCPT TO:<{OTHER}>", "DATA")
            assert (await end(client, edi_mail())).startswith("250 2.0.0 queued")
        (mail,) = mails(on.store)
        assert (mail.listener, mail.mail_from.lower(), mail.secret) == ("backend", BACKEND.lower(), None)
        waiting = on.store.read(lambda session: waiting_inbound(session, 10))
        assert [order_key for _, order_key, _ in waiting] == [KEY, OTHER.lower()]


async def results_taken(listener: Listener, *taken: tuple[str, bytes]) -> None:
    """The backend sends these, each to one recipient."""
    async with connected(listener, BACKEND_PEER) as client:
        for rcpt_to, content in taken:
            assert (await send(client, BACKEND, rcpt_to, content)).startswith("250 2.0.0 queued")
        await client.say("QUIT")


def bound(store: Store) -> list[tuple[int | None, str]]:
    """Of each recipient the address row it is bound to, and its order key."""
    return [(row.address_id, row.order_key) for row in recipients(store)]


async def test_a_result_is_bound_to_the_row_it_is_for_and_waits_behind_the_others_of_that_row(store_url):
    async with on_map(store_url, offices=OFFICES) as on, naccs_listener(on) as listener:
        (other,) = on.map.view.by_address[OTHER.lower()]
        own = (on.address_id, KEY)
        requester = content_of_result(mail_address=ADDRESS)
        third_parties = content_of_result("C", destination_control_type="C", mail_address=ADDRESS)
        expected = {
            (ADDRESS.lower(), b"x"): own,
            ("60777s@Terminals.Center.example", b"x"): own,
            (OTHER, requester): (other.address_id, OTHER.lower()),
            (CENTER, requester): own,
            # Decided by the worker: registered destinations, or nobody.
            (CENTER, third_parties): (None, CENTER.lower()),
            (CENTER, b"x"): (None, CENTER.lower()),
            ("nobody@x.example", requester): (None, "nobody@x.example"),
            ("60799S@terminals.center.example", requester): (None, "60799s@terminals.center.example"),
        }
        await results_taken(listener, *expected)
        assert bound(on.store) == list(expected.values())
        assert {mail.map_version for mail in mails(on.store)} == {1}


@only_sqlite
async def test_of_a_terminal_with_several_addresses_a_result_is_bound_to_the_one_it_names(store_url):
    second = "3A0002@SMTP.CT0001.CENTER.EXAMPLE"
    offices = OFFICES.replace('["3A0001@smtp', f'["{second}", "3A0001@smtp')
    async with on_map(store_url, offices=offices) as on, naccs_listener(on) as listener:
        (row,) = on.map.view.by_address[second.lower()]
        terminal = "60777S@terminals.center.example"
        await results_taken(listener, *((terminal, content_of_result(mail_address=name)) for name in (second, "")))
        assert bound(on.store) == [(row.address_id, second.lower()), (None, terminal.lower())]


@only_sqlite
async def test_a_result_is_bound_by_the_map_of_its_250_and_the_day_in_japan(store_url):
    clock = Clock()
    async with on_map(store_url) as on, naccs_listener(on, clock) as listener:
        before, day = on.address_id, today()
        await asyncio.to_thread(reissue, on.store, today=day + timedelta(days=1))
        await on.map.refresh()
        for days in (0, 1):
            clock.offset = until_noon(day + timedelta(days=days))
            await results_taken(listener, (ADDRESS, b"x"))
        (_, after) = on.map.view.by_address[KEY]
        assert bound(on.store) == [(before, KEY), (after.address_id, KEY)]
        assert before != after.address_id


@only_sqlite
async def test_the_same_recipient_twice_is_one_delivery(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, public_listener(on.database) as desk:
        for each, peer, recipient in (
            (listener, BACKEND_PEER, ADDRESS),
            (desk, STRANGER, "apply@nss.center.example"),
        ):
            async with connected(each, peer) as client:
                twice = [f"RCPT TO:<{recipient}>", f"RCPT TO:<{recipient.lower()}>"]
                assert await client.say("HELO x", f"MAIL FROM:<{BACKEND}>", *twice, "DATA") == [
                    "250", TAKEN, RECIPIENT_TAKEN, RECIPIENT_TAKEN, "354",
                ]  # fmt: skip
                await end(client, b"Subject: s\r\n\r\nx")
        assert len(recipients(on.store)) == 2


DAMAGES = {
    b"bare LF\n in it\r\n": "bare_lf",
    b"bare CR\r in it\r\n": "bare_cr",
    b"a NUL \0\r\n": "nul",
    b"\r \n \0": "bare_cr,bare_lf,nul",
    b"x" * (MAX_MESSAGE_BYTES + 65_536): "too_long",
}


@only_sqlite
async def test_damage_is_taken_at_the_dot_stored_as_it_came_and_noted(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        for damaged in DAMAGES:
            assert (await deliver(listener, edi_mail(damaged))).startswith("250 2.0.0 queued")
        stored = mails(on.store)
        assert [mail.damage for mail in stored] == list(DAMAGES.values())
        for mail, damaged in zip(stored, DAMAGES, strict=True):
            raw = on.store.read(partial(content_of, mail_id=mail.id, unmasked=True))
            assert raw == edi_mail(damaged) + b"\r\n"


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_store_that_is_locked_gives_451_at_the_dot_and_keeps_nothing(store_url, monkeypatch):
    monkeypatch.setattr(committer, "BUSY_FOR_AT_MOST", 0.1)
    async with on_map(store_url) as on, naccs_listener(on) as listener, public_listener(on.database) as desk:
        await asyncio.to_thread(on.store.run, lambda s: s.execute(text("PRAGMA busy_timeout=50")).scalar())
        async with connected(listener, IP) as terminal, connected(desk) as applicant:
            with held(store_url):
                assert (await send(terminal, ADDRESS, CENTER, edi_mail())).startswith("451 4.3.0 ")
                reply = await send(applicant, "a@x.example", "apply@nss.center.example", b"Subject: s\r\n\r\nx")
                assert reply.startswith("451 4.3.0 ")
            assert mails(on.store) == []
            assert (await send(terminal, ADDRESS, CENTER, edi_mail())).startswith("250 2.0.0 queued")
        assert len(mails(on.store)) == 1


@only_sqlite
async def test_a_full_disk_gives_452_at_the_dot_then_at_mail_until_there_is_room(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener, public_listener(on.database) as desk:
        await asyncio.to_thread(fill_disk, on.store)
        async with connected(listener, IP) as client:
            assert (await send(client, ADDRESS, CENTER, edi_mail(b"x" * 500_000))).startswith("452 4.3.1 ")
        assert await asked(listener, IP, ADDRESS) == ["452 4.3.1"]
        assert await asked(desk, STRANGER, "<a@x.example>") == ["452 4.3.1"]
        assert mails(on.store) == []
        await asyncio.to_thread(make_room, on.store)
        await until(lambda: not on.database.full)
        assert (await deliver(listener)).startswith("250 2.0.0 queued")


@only_sqlite
async def test_a_store_that_is_behind_is_told_at_connect_and_at_mail(store_url, monkeypatch):
    monkeypatch.setattr(health_module, "MOST_SECONDS_BEHIND", 0.05)
    async with (
        on_map(store_url) as on,
        naccs_listener(on) as listener,
        public_listener(on.database) as desk,
        connected(listener, IP) as waiting,
        connected(listener, IP) as greeted,
    ):
        with held(store_url):
            await waiting.say("HELO x", f"MAIL FROM:<{ADDRESS}>", f"RCPT TO:<{CENTER}>", "DATA")
            waiting.send(edi_mail() + b"\r\n.\r\n")
            await until(lambda: on.database.behind() > 0.05)
            assert await greeted.say("HELO x", f"MAIL FROM:<{ADDRESS}>") == ["250", "451 4.3.0"]
            for each in (listener, desk):
                refused = await RawClient.connect(each, IP)
                assert (await refused.reply()).startswith("421 4.3.0 ")
                await refused.close()
        assert (await waiting.reply()).startswith("250 2.0.0 queued")


# The end of a session.


async def unclean_ends(on: OnMap, count: int) -> list[bool]:
    """For each of so many mails whether the end of its session was written on it."""
    await until(lambda: len(mails(on.store)) == count)
    await asyncio.sleep(0.1)
    return [mail.unclean_end_at is not None for mail in mails(on.store)]


async def test_a_session_that_ends_right_after_our_250_is_written_on_its_last_mail(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        async with connected(listener, IP) as client:
            for _ in range(2):
                await send(client, ADDRESS, CENTER, edi_mail())
        await until(lambda: any(mail.unclean_end_at for mail in mails(on.store)))
        assert await unclean_ends(on, 2) == [False, True]


@only_sqlite
async def test_any_command_after_our_250_shows_that_the_client_has_read_it(store_url):
    commands = ("QUIT", "RSET", "NOOP", "BOGUS")
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        for command in commands:
            async with connected(listener, IP) as client:
                await send(client, ADDRESS, CENTER, edi_mail())
                await client.say(command)
        await until(lambda: listener.connections == 0)
        assert await unclean_ends(on, len(commands)) == [False] * len(commands)


@only_sqlite
async def test_a_client_that_is_gone_before_the_commit_has_its_mail_stored_and_marked(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        with held(store_url):
            async with connected(listener, IP) as client:
                await client.say("HELO x", f"MAIL FROM:<{ADDRESS}>", f"RCPT TO:<{CENTER}>", "DATA")
                client.send(edi_mail() + b"\r\n.\r\n")
                await until(lambda: on.database.behind() > 0)
                client.drop()
            await until(lambda: listener.connections == 0)
        await until(lambda: any(mail.unclean_end_at for mail in mails(on.store)))
        assert len(mails(on.store)) == 1


@only_sqlite
async def test_a_session_that_sent_nothing_leaves_nothing(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        async with connected(listener, IP) as client:
            await client.say("HELO x", f"MAIL FROM:<{ADDRESS}>")
        await until(lambda: listener.connections == 0)
        assert await unclean_ends(on, 0) == []


@only_sqlite
async def test_an_unclean_end_that_cannot_be_recorded_is_logged(store_url, monkeypatch, caplog):
    monkeypatch.setattr(committer, "BUSY_FOR_AT_MOST", 0.1)
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        await asyncio.to_thread(on.store.run, lambda s: s.execute(text("PRAGMA busy_timeout=50")).scalar())
        async with connected(listener, IP) as client:
            await send(client, ADDRESS, CENTER, edi_mail())
            with held(store_url):
                client.drop()
                await until(lambda: "was not recorded" in caplog.text)
        assert await unclean_ends(on, 1) == [False]


# Secrets.


async def test_a_password_is_nowhere_in_the_store_but_beside_its_mail(store_url):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        reply = await deliver(listener)
        (mail,) = mails(on.store)
        assert (mail.secret, mail.size) == (b"PASSWD01", len(edi_mail()) + 2)
        shown = on.store.read(lambda session: content_of(session, mail.id))
        assert b"PASSWD01" not in shown
        assert len(shown) == mail.size
        (row,) = on.store.read(lambda session: waiting_inbound(session, 10))
        loaded = on.store.read(lambda session: load_arrival(session, row[0]))
        assert loaded is not None
        assert loaded.content == edi_mail() + b"\r\n"
        assert "PASSWD01" not in reply


@only_sqlite
async def test_our_own_trouble_is_a_constant_text_and_shows_no_password_in_the_log(store_url, caplog):
    async with on_map(store_url) as on, naccs_listener(on) as listener:
        trigger = "CREATE TRIGGER refuse BEFORE INSERT ON mails BEGIN SELECT RAISE(ABORT, 'no'); END"
        await asyncio.to_thread(on.store.run, lambda session: session.execute(text(trigger)))
        async with connected(listener, IP) as client:
            reply = await send(client, ADDRESS, CENTER, edi_mail())
        assert re.fullmatch(r"451 4\.3\.0 Local trouble, try later, incident [0-9a-f]{8}", reply)
        assert reply.split()[-1] in caplog.text
        assert "PASSWD01" not in caplog.text
        assert mails(on.store) == []


# The public listener.


def bounce(key: bytes = DESK.token_key) -> str:
    return f"{case_tokens.bounce_local_part(key, 17)}@nss.center.example"


PUBLIC = {
    "apply@nss.center.example": RECIPIENT_TAKEN,
    "APPLY@NSS.Center.Example": RECIPIENT_TAKEN,
    "postmaster@nss.center.example": RECIPIENT_TAKEN,
    "PostMaster": RECIPIENT_TAKEN,  # RFC 5321 §4.5.1
    f"{case_tokens.case_local_part(DESK.token_key, '260001A', 'a@x.example')}@nss.center.example": RECIPIENT_TAKEN,
    bounce(): RECIPIENT_TAKEN,
    bounce(b"x" * 32): UNKNOWN,
    "nss@nss.center.example": UNKNOWN,
    "apply@center.example": UNKNOWN,
    "apply@sub.nss.center.example": UNKNOWN,
    CENTER: UNKNOWN,
    ADDRESS: UNKNOWN,
    "25130M@terminals.center.example": UNKNOWN,
}


@only_sqlite
async def test_the_public_listener_takes_any_sender_to_the_addresses_of_the_desk(store_url):
    async with running(store_url) as database, public_listener(database) as listener:
        for sender in ("<a@x.example>", "<>", f"<{ADDRESS}>"):
            replies = await asked(listener, STRANGER, sender, *PUBLIC)
            assert dict(zip(PUBLIC, replies[1:], strict=True)) == PUBLIC
        assert (await asked(listener, STRANGER, "a@x.example"))[0].startswith("501")  # brackets are due here


@only_sqlite
async def test_a_mail_to_the_desk_is_stored_for_each_recipient_with_what_the_listener_saw(store_url):
    async with running(store_url) as database, public_listener(database) as listener:
        async with connected(listener, STRANGER) as client:
            await client.say("HELO pc.x.example", "MAIL FROM:<Hanako@X.EXAMPLE>")
            await client.say("RCPT TO:<apply@nss.center.example>", "RCPT TO:<postmaster@nss.center.example>", "DATA")
            reply = await end(client, b"Subject: s\r\n\r\nPASSWD01")
        (mail,) = mails(database.store)
        assert reply == f"250 2.0.0 queued as {mail.id}"
        assert (mail.listener, mail.peer, mail.helo_name) == ("public", STRANGER, "pc.x.example")
        assert (mail.address_id, mail.map_version, mail.secret) == (None, None, None)
        rows = recipients(database.store)
        assert [row.rcpt_to for row in rows] == ["apply@nss.center.example", "postmaster@nss.center.example"]
        assert {row.order_key for row in rows} == {"public:hanako@x.example"}
        await until(lambda: listener.connections == 0)
        await asyncio.sleep(0.05)
        # However a session ended, a repeat is known by its Message-ID here.
        assert mails(database.store)[0].unclean_end_at is None


@only_sqlite
async def test_the_null_sender_is_stored_as_none(store_url):
    async with running(store_url) as database, public_listener(database) as listener:
        async with connected(listener) as client:
            assert (await send(client, "", "apply@nss.center.example", b"x: y\r\n\r\n")).startswith("250")
        assert [
            (mail.mail_from, row.order_key)
            for mail, row in zip(mails(database.store), recipients(database.store), strict=True)
        ] == [("", "public:")]


@only_sqlite
async def test_the_public_listener_refuses_damage_and_what_is_too_large(store_url):
    async with running(store_url) as database, public_listener(database) as listener:
        for content, expected in ((b"bare\nLF", "550 5.5.2"), (b"x" * 100_001, "552 5.3.4")):
            async with connected(listener) as client:
                reply = await send(client, "a@x.example", "apply@nss.center.example", content)
                assert reply.startswith(expected)
        assert mails(database.store) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"From:a\r\nMessage-ID:<1@x.example>\r\n\r\nbody", "<1@x.example>"),
        (b"message-id : \t<a.b@x.example>\r\nTo:b\r\n\r\n", "<a.b@x.example>"),
        (b"From:a\r\n\r\nMessage-ID: <1@x.example>\r\n", ""),
        (b"Message-ID: <a\0b@x.example>\r\n\r\n", ""),
        (b"Message-ID:\r\n <1@x.example>\r\n\r\n", ""),
        (b"", ""),
    ],
)
def test_the_message_id_of_a_mail_is_kept_for_those_who_look_for_it(content, found):
    assert message_id(content) == found
