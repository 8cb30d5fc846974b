"""A whole gateway in this process: what it starts, in which order, and how it stops (semantics §2, §3, §14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway import derived, health
from gateway import service as service_module
from gateway.key_file import KeyFileRefused
from gateway.sandbox.sample_mails import wished_start
from gateway.service import ALL_ROLES, Role, Service
from gateway.settings import Settings
from handlers.calendar import jst_date
from handlers.contracts import import_contracts, read_contracts
from storage.clock import move_clock
from storage.failures import StoreRefused
from storage.models import Application, DeskJob, Lane, Mail, Node, Recipient
from storage.store import Store
from tests.fakes.in_house_server import InHouseServer, until
from tests.fakes.raw_client import RawClient, code_of
from tests.fakes.smarthost import Smarthost
from tests.gateway.test_current_map import IP, other_process
from tests.gateway.test_health import only_postgresql, only_sqlite
from tests.gateway.test_listeners import CENTER, edi_mail, end
from tests.handlers.applications.application_mails import mail_with
from tests.handlers.applications.receipt_cases import CONTACT
from tests.handlers.naccs.sound_request import BODY
from tests.handlers.review_cases import WITH_SMTP_SERVER, receive
from tests.handlers.test_terminals import ADDRESS


class Installation:
    """Settings, key file and the sample office on one store."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.key_file = directory / "keys" / "secret.key"
        self.terminal_port = 1
        self.smarthost_port = 1

    def settings(self, **sections: Any) -> Settings:
        tree: dict[str, Any] = {
            "store": {"url": self.url},
            "public": {"port": 0},
            "naccs": {"port": 0, "terminal_port": self.terminal_port},
            "smarthost": {"port": self.smarthost_port},
            "secrets": {"key_file": str(self.key_file)},
            "center": {"host_name": "gateway.example"},
            "delivery": {"retry_first": 0.1, "retry_max": 0.2},
        }
        for section, values in sections.items():
            tree[section] = {**tree.get(section, {}), **values}
        return Settings.model_validate(tree)

    @asynccontextmanager
    async def running(self, roles: Iterable[Role] = ALL_ROLES, **sections: Any) -> AsyncIterator[Service]:
        service = Service(self.settings(**sections), frozenset(roles))
        await service.start()
        try:
            yield service
        finally:
            await service.stop()

    async def import_offices(self) -> None:
        """The sample office with its SMTP server, as the command imports it."""

        def work() -> None:
            store = Store.open(self.url, "command")
            keys = derived.keys_of(self.settings(), store)
            desk = derived.desk_settings(self.settings(), keys)
            text = WITH_SMTP_SERVER.replace("port = 2525\n", "")
            hashes = {"CT0001": "not-hashed-here"}
            since = datetime.now(UTC) - timedelta(days=2)
            store.run(lambda s: import_contracts(s, read_contracts(text), desk, since, password_hashes=hashes))
            store.close()

        await asyncio.to_thread(work)


@pytest.fixture(autouse=True)
def _a_slow_store_turns_nobody_away(monkeypatch):
    """A pause of the machine during a commit is no reason to refuse a mail: other tests are about that."""
    monkeypatch.setattr(health, "MOST_SECONDS_BEHIND", 60.0)


@pytest.fixture
def installation(store_url, tmp_path):
    return Installation(store_url, tmp_path)


async def deliver(service: Service, plane: str, sender: str, to: str, content: bytes, *, source: str = IP) -> str:
    """One mail to a listener of the service; the reply at the dot."""
    reader, writer = await asyncio.open_connection(*service.addresses[plane], local_addr=(source, 0))
    client = RawClient(reader, writer)
    try:
        assert code_of(await client.reply()) == "220"
        codes = await client.say("HELO x", f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>", "DATA")
        assert codes[-1] == "354", codes
        reply = await end(client, content)
        await client.say("QUIT")
    finally:
        await client.close()
    return reply


def inbound(url: str) -> list[str]:
    """The states of what came in, read as another process reads it."""
    store = Store.open(url, "command")
    query = select(Recipient.state).where(Recipient.direction == "inbound").order_by(Recipient.id)
    found = list(store.read(lambda session: session.scalars(query).all()))
    store.close()
    return found


def wish() -> bytes:
    """The sample application, its date a business day far enough ahead of today."""
    date = wished_start(jst_date(datetime.now(UTC)) + timedelta(days=28))
    text = (Path(__file__).parents[1] / "mails" / "application-add-smtp-server.txt").read_text(encoding="utf-8")
    return mail_with(text.replace("20261214", f"{date:%Y%m%d}"))


async def test_a_mail_to_either_listener_comes_out_at_the_right_server(installation):
    async with InHouseServer(IP) as in_house, Smarthost() as smarthost:
        installation.terminal_port, installation.smarthost_port = in_house.port, smarthost.port
        await installation.import_offices()
        async with installation.running() as service:
            assert (await deliver(service, "naccs", ADDRESS, CENTER, edi_mail())).startswith("250 2.0.0 queued")
            ota = edi_mail(BODY.replace(b"TCC  ", b"OTA  ", 1))
            assert (await deliver(service, "naccs", ADDRESS, CENTER, ota)).startswith("250 2.0.0 queued")
            reply = await deliver(service, "public", CONTACT, "apply@nss.center.example", wish(), source="127.0.0.1")
            assert reply.startswith("250 2.0.0 queued")
            await until(lambda: len(in_house.mails) == 2 and len(smarthost.mails) >= 2)
        results = [content.partition(b"\r\n\r\n")[2] for content in in_house.contents]
        assert [(result[8:13], result[400:415]) for result in results] == [
            (b"*CTCC", b"00000-0000-0000"),
            (b"*SOTA", b"00000-0000-0000"),
        ]
        assert {mail.rcpt_to for mail in in_house.mails} == {ADDRESS}
        assert CONTACT in {mail.rcpt_to for mail in smarthost.mails}


# What it says, and what it listens on.


@only_sqlite
async def test_the_ready_line_names_every_bound_address(installation):
    async with installation.running() as service:
        public, naccs = service.addresses["public"], service.addresses["naccs"]
        assert service.ready_line == f"ready public=127.0.0.1:{public[1]} naccs=127.0.0.1:{naccs[1]}"
        assert 0 not in (public[1], naccs[1])


@only_sqlite
async def test_a_process_does_what_its_roles_say(installation):
    await installation.import_offices()
    async with installation.running([Role.LISTENER]) as service:
        await deliver(service, "naccs", ADDRESS, CENTER, edi_mail())
        await asyncio.sleep(0.3)
        assert inbound(installation.url) == ["received"]
    async with installation.running([Role.WORKER]) as service:
        assert service.ready_line == "ready"
        await until(lambda: inbound(installation.url) == ["handled"])
        assert queued(service.database.store) == ["queued"]
    async with InHouseServer(IP) as in_house:
        installation.terminal_port = in_house.port
        async with installation.running([Role.DELIVERY]) as service:
            assert service.addresses == {}
            await until(lambda: len(in_house.mails) == 1)


def queued(store: Store) -> list[str]:
    query = select(Recipient.state).where(Recipient.lane == "terminal:60777S")
    return list(store.read(lambda session: session.scalars(query).all()))


# One serve per SQLite file.


@only_sqlite
async def test_a_second_serve_on_the_same_file_is_refused_until_the_first_has_ended(installation):
    async with installation.running():
        second = Service(installation.settings())
        with pytest.raises(StoreRefused, match="another serve"):
            await second.start()
        async with other_process(installation.url):
            pass  # commands run beside it
    async with installation.running() as third:
        assert third.ready_line.startswith("ready public=")


@only_postgresql
async def test_on_postgresql_two_accept_one_handles_and_the_other_takes_over_when_it_ends(installation, monkeypatch):
    monkeypatch.setattr(service_module, "_LEASE_POLL", 0.05)
    await installation.import_offices()
    first = Service(installation.settings())
    await first.start()
    async with installation.running() as second:
        for service in (first, second, first, second):
            assert (await deliver(service, "naccs", ADDRESS, CENTER, edi_mail())).startswith("250 2.0.0 queued")
        await until(lambda: inbound(installation.url) == ["handled"] * 4)
        await first.stop()
        await deliver(second, "naccs", ADDRESS, CENTER, edi_mail())
        await until(lambda: inbound(installation.url) == ["handled"] * 5)
        assert len(queued(second.database.store)) == 5  # each was answered once


# How it stops.


async def test_what_was_accepted_before_it_stops_is_handled_or_waits_in_the_store(installation):
    await installation.import_offices()
    accepted: list[str] = []

    async def keep_sending(service: Service) -> None:
        while True:
            accepted.append(await deliver(service, "naccs", ADDRESS, CENTER, edi_mail()))

    async with installation.running() as service:
        senders = [asyncio.create_task(keep_sending(service)) for _ in range(3)]
        await until(lambda: len(accepted) >= 10)
    assert all(
        isinstance(error, OSError | EOFError | AssertionError)
        for error in await asyncio.gather(*senders, return_exceptions=True)
    )
    store = await asyncio.to_thread(Store.open, installation.url, "command")
    states = store.read(lambda s: s.scalars(select(Recipient.state).where(Recipient.direction == "inbound")).all())
    ids = {str(mail_id) for mail_id in store.read(lambda s: s.scalars(select(Mail.id)).all())}
    assert {reply.rpartition(" ")[2] for reply in accepted} <= ids
    assert set(states) <= {"handled", "received"}
    # Nothing is held by it any more: no lane, and the node's lease has ended.
    assert (
        store.read(lambda s: s.scalar(select(func.count()).select_from(Lane).where(Lane.lease_token.is_not(None)))) == 0
    )
    leases = store.read(lambda s: s.scalars(select(Node.lease_until).where(Node.owner == "serve")).all())
    assert all(until_ < datetime.now(UTC) for until_ in leases)
    await asyncio.to_thread(store.close)


@only_sqlite
async def test_a_stopped_gateway_refuses_connections(installation):
    async with installation.running() as service:
        addresses = dict(service.addresses)
    for address in addresses.values():
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


@only_sqlite
async def test_a_client_that_is_idle_is_told_when_it_stops(installation):
    async with installation.running() as service:
        reader, writer = await asyncio.open_connection(*service.addresses["public"])
        assert (await reader.readline()).startswith(b"220 gateway.example ")
    assert (await reader.read()).startswith(b"421 4.3.2 ")
    writer.close()


@only_sqlite
async def test_stopping_goes_on_after_an_error_and_may_be_asked_for_twice(installation, caplog):
    async with installation.running() as service:

        async def fail() -> None:
            raise LookupError("in the middle of it")

        service._ending.append(fail)
        await service.stop()
        assert "stopping goes on" in caplog.text
        await service.stop()
    async with installation.running():
        pass  # the store was given back


# How it fails to start.


@only_sqlite
async def test_a_start_that_fails_stops_what_it_had_started(installation):
    # At an address of its own nobody else can be given the port in between.
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.20.15.15", 0)
    address = taken.sockets[0].getsockname()
    naccs = {"host": address[0], "port": address[1]}
    before = asyncio.all_tasks()
    try:
        with pytest.raises(OSError, match="in use"):
            await Service(installation.settings(naccs=naccs)).start()
        assert asyncio.all_tasks() == before
    finally:
        taken.close()
        await taken.wait_closed()
    async with installation.running(naccs=naccs) as service:
        assert service.addresses["naccs"] == address


async def test_it_does_not_start_without_its_key_file_beside_passwords(installation):
    await installation.import_offices()
    installation.key_file.unlink()
    with pytest.raises(KeyFileRefused, match="restore it"):
        await Service(installation.settings()).start()
    assert not installation.key_file.exists()


@only_sqlite
async def test_it_does_not_start_on_a_store_that_is_open_to_others(installation, tmp_path):
    tmp_path.chmod(0o755)
    with pytest.raises(StoreRefused, match="chmod 0700"):
        await Service(installation.settings()).start()


# Its clock.


@only_sqlite
async def test_the_clock_moves_in_the_sandbox_only_and_a_new_day_begins_at_once(installation):
    await installation.import_offices()
    ahead = timedelta(days=20)
    sandbox = {"enabled": True, "movable_clock": True}
    async with other_process(installation.url) as other:
        start = jst_date(datetime.now(UTC)) + timedelta(days=10)
        await asyncio.to_thread(receive, other, datetime.now(UTC), state="ids_issued", start_date=start)
        async with installation.running(sandbox=sandbox) as moved:
            await until(lambda: other.read(lambda s: s.scalar(select(DeskJob.id))) is not None)
            await asyncio.to_thread(other.run, lambda session: move_clock(session, ahead))
            await until(lambda: other.read(lambda s: s.scalar(select(Application.state))) == "in_use")
            assert moved.clock.offset == ahead
    async with installation.running(sandbox=sandbox) as moved:
        assert moved.clock.offset == ahead  # it starts where it is
    async with installation.running() as fixed:
        assert fixed.clock.offset == timedelta()


async def test_an_application_whose_day_has_come_is_in_use(installation):
    await installation.import_offices()
    store = await asyncio.to_thread(Store.open, installation.url, "command")
    now = datetime.now(UTC)
    for number, days in ((1, -1), (2, 0), (3, 2)):  # the last one not at this midnight, either
        start = jst_date(now) + timedelta(days=days)
        receive(store, now, f"26000{number}A", state="ids_issued", start_date=start)
    query = select(Application.state).order_by(Application.receipt_number)
    async with installation.running():
        expected = ["in_use", "in_use", "ids_issued"]
        await until(lambda: store.read(lambda s: s.scalars(query).all()) == expected)
    await asyncio.to_thread(store.close)
