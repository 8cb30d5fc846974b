"""The cases of the corpus that end at the listener, and some that do not, over real sockets to a whole gateway."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import select

from gateway.key_file import read_keys
from gateway.service import Service
from storage.models import Application, Recipient
from storage.store import Store
from tests.desk_corpus.corpus import AT_SMTP, STATES, Case, case, cases
from tests.desk_corpus.store_desk import TRUSTED_PEER
from tests.fakes.in_house_server import until
from tests.fakes.raw_client import RawClient, code_of
from tests.gateway.test_service import Installation

OVER_SMTP = [each for each in cases() if each.smtp or each.expected.outcome == AT_SMTP]
PEERS = {TRUSTED_PEER: "127.0.0.1"}
STRANGER = "127.9.9.9"
_QUEUED_AS = re.compile(r"250 2\.0\.0 queued as (\d+)")


async def deliver(service: Service, chosen: Case) -> str:
    """Send a case's mail; the first refusal, or the reply at the dot."""
    envelope, raw = chosen.envelope, chosen.mail
    source = PEERS.get(envelope.peer, STRANGER)
    reader, writer = await asyncio.open_connection(*service.addresses["public"], local_addr=(source, 0))
    client = RawClient(reader, writer)
    size = f" SIZE={len(raw)}" if chosen.announce_size else ""
    try:
        await client.reply()
        client.send(b"EHLO client.applicant.example\r\n")
        while (await client.reply())[3] == "-":
            pass
        for command in (f"MAIL FROM:<{envelope.mail_from}>{size}", f"RCPT TO:<{envelope.to}>", "DATA"):
            client.send(command.encode() + b"\r\n")
            reply = await client.reply()
            if code_of(reply)[0] not in "23":
                return reply
        client.send(raw.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        return await client.reply()
    finally:
        await client.close()


async def end_of(store: Store, reply: str) -> tuple[str, str]:
    """Wait until the mail of a 250 was handled; its state, and why."""
    found = _QUEUED_AS.fullmatch(reply)
    assert found is not None, reply
    query = select(Recipient.state, Recipient.last_reply).where(Recipient.mail_id == int(found[1]))
    rows: list[tuple[str, str]] = []

    def finished() -> bool:
        rows[:] = [(row.state, row.last_reply) for row in store.read(lambda session: session.execute(query).all())]
        return rows[0][0] != "received"

    await until(finished)
    return rows[0]


async def problems(service: Service, store: Store, chosen: Case) -> str | None:
    """What came otherwise than the case's file says."""
    reply = await deliver(service, chosen)
    if chosen.expected.outcome == AT_SMTP:
        return None if reply.startswith(chosen.expected.reply) else f"{chosen.name}: {reply}"
    state, why = await end_of(store, reply)
    return None if state == STATES[chosen.expected.outcome] else f"{chosen.name}: {state}: {why}"


@pytest.mark.parametrize("settings", [{}, {"most_held_bytes": 1}], ids=["as set", "no room for held mail"])
async def test_the_listener_answers_each_case_as_its_file_says(store_file, tmp_path, settings):
    installation = Installation(f"sqlite:///{store_file}", tmp_path)
    read_keys(
        installation.key_file, may_make=True
    )  # the offices' passwords are under another one; nobody asks for them
    chosen = [each for each in OVER_SMTP if each.settings == settings]
    sections: Mapping[str, Any] = {"public": {"trusted_networks": ["127.0.0.1/32"]}, "desk": settings}
    async with installation.running(**sections) as service:
        store = Store.open(installation.url, "command")
        try:
            found = [await problems(service, store, each) for each in chosen]
            assert [problem for problem in found if problem] == []
            if settings:
                assert await problems(service, store, case("start-far-ahead")) is None
            assert receipts(store) == ["260001A"]
        finally:
            store.close()


def receipts(store: Store) -> list[str]:
    return store.read(lambda session: list(session.scalars(select(Application.receipt_number)).all()))


def test_at_least_fifteen_cases_are_sent_over_a_socket():
    assert len(OVER_SMTP) >= 15


def test_every_case_at_the_listener_says_its_reply():
    assert [each.name for each in OVER_SMTP if each.expected.outcome == AT_SMTP and each.expected.reply[0] == "2"] == []
