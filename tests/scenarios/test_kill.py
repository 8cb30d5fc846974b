"""`kill -9` of `serve` right after a 250, then a restart: what was accepted has its effects, once.

A mail that was on its way out when the process died may come twice; the store then says that it was in doubt.
After SIGTERM nothing is in doubt.
"""

from __future__ import annotations

import contextlib
import smtplib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import ColumnElement, func, select

from storage.models import Application, Lane, Mail, MailContent, Recipient, Request
from storage.states import Direction, State
from tests.conftest import make_postgresql_database
from tests.fakes.in_house_server import SILENCE, RecordingServer
from tests.scenarios.conversation import Conversation
from tests.scenarios.mails import mail_id_in, nothing, request, send_application, send_request, swaks_mail
from tests.scenarios.outside import wait_until
from tests.scenarios.site import (
    ADMINISTRATOR,
    APPLICANT,
    APPLY,
    FIRST,
    REVIEWER,
    SECOND,
    THIRD,
    Site,
    mail_id_of,
    site_in,
)

# PostgreSQL cannot tell that the old process is dead: its lanes are free when its lease of 30 s is over.
WITH_THE_LEASE = 150.0
LOAD = 40  # mails accepted before SIGTERM
WAITING = (State.RECEIVED, State.QUEUED)

Send = Callable[[Site, Callable[[], None]], str]


def _application(site: Site, at_reply: Callable[[], None] = nothing) -> str:
    return send_application(site.process.public, swaks_mail(declared=False), at_reply=at_reply)


def _tcc(site: Site, at_reply: Callable[[], None] = nothing) -> str:
    return send_request(site.process.naccs, FIRST, request("TCC"), at_reply=at_reply)


def _ota(site: Site, at_reply: Callable[[], None] = nothing) -> str:
    return send_request(site.process.naccs, FIRST, request("OTA"), at_reply=at_reply)


KINDS: dict[str, Send] = {"an application": _application, "a TCC request": _tcc, "an OTA request": _ota}


# --- what is in the store, and what came out ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A recipient of a mail that went out."""

    mail_id: int
    rcpt_to: str
    state: str
    in_doubt: int


def outgoing(site: Site, *which: ColumnElement[bool]) -> list[Outgoing]:
    """The outbound recipients of some mails; the hand-over to the built-in backend is none."""
    query = (
        select(Recipient.mail_id, Recipient.rcpt_to, Recipient.state, Recipient.in_doubt)
        .join(Mail, Mail.id == Recipient.mail_id)
        .where(Recipient.direction == Direction.OUTBOUND, Recipient.lane != "backend", *which)
        .order_by(Recipient.rcpt_to)
    )
    return [Outgoing(*row) for row in site.read(lambda session: session.execute(query).all())]


def count(site: Site, *which: ColumnElement[bool]) -> int:
    query = select(func.count()).where(*which)
    return site.read(lambda session: session.scalars(query).one())


def settle(site: Site, seconds: float = 60.0) -> None:
    """Wait until nothing that was accepted waits any more: every move from one wait to the next is one commit."""
    wait_until(lambda: count(site, Recipient.state.in_(WAITING)) == 0, "everything to have its effects", seconds)


def assert_it_came_once(server: RecordingServer, sent: Outgoing, *, doubts: bool = True) -> None:
    copies = sum(mail_id_in(mail) == sent.mail_id for mail in server.mails)
    assert sent.state == State.DELIVERED
    assert 1 <= copies <= 1 + (sent.in_doubt if doubts else 0)


def assert_effects_once(site: Site, mail_id: int, *, doubts: bool = True) -> None:
    """What one accepted mail brought about, in the store and outside."""
    (recipient,) = site.read(
        lambda session: session.execute(
            select(Recipient.id, Recipient.rcpt_to, Recipient.state).where(
                Recipient.mail_id == mail_id, Recipient.direction == Direction.INBOUND
            )
        ).all()
    )
    assert recipient.state == State.HANDLED
    if recipient.rcpt_to == APPLY:
        _assert_received_once(site, mail_id, doubts=doubts)
    else:
        _assert_answered_once(site, recipient.id, doubts=doubts)


def _assert_received_once(site: Site, mail_id: int, *, doubts: bool) -> None:
    query = select(Application.id, Application.receipt_number).where(Application.mail_id == mail_id)
    (application,) = site.read(lambda session: session.execute(query).all())
    sent = outgoing(site, Mail.application_id == application.id)
    assert [each.rcpt_to for each in sent] == sorted([APPLICANT, ADMINISTRATOR, REVIEWER])
    for each in sent:
        assert_it_came_once(site.outside.smarthost, each, doubts=doubts)


def _assert_answered_once(site: Site, recipient_id: int, *, doubts: bool) -> None:
    query = select(Request.result_mail_id, Request.handover).where(Request.id == recipient_id)
    (answered,) = site.read(lambda session: session.execute(query).all())
    (sent,) = outgoing(site, Recipient.mail_id == answered.result_mail_id)
    (server,) = [server for server in site.outside.in_house_servers if sent.rcpt_to == _address_at(server)]
    assert_it_came_once(server, sent, doubts=doubts)
    about_it = {mail_id_in(mail) for mail in server.mails if answered.handover.encode() in mail.content}
    assert about_it == {answered.result_mail_id}


def _address_at(server: RecordingServer) -> str:
    return next(terminal.address for terminal in (FIRST, SECOND, THIRD) if terminal.ip == server.host)


def assert_receipt_numbers_have_no_gap(site: Site) -> None:
    query = select(Application.receipt_number).order_by(Application.receipt_number)
    numbers = site.read(lambda session: session.scalars(query).all())
    assert [int(number[2:-1]) for number in numbers] == list(range(1, len(numbers) + 1))


# --- kill -9 ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def killed_on_postgresql(
    postgresql: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, list[int]]]:
    """Killed before everything else and looked at last, so that nobody stands by until the lease is over."""
    directory = tmp_path_factory.mktemp("killed")
    with site_in(directory, make_postgresql_database(postgresql)) as site:
        site.process.start()
        site.import_office(FIRST)
        site.outside.in_house(FIRST.ip)
        with ThreadPoolExecutor() as clients:
            replies = list(clients.map(lambda send: send(site, nothing), KINDS.values()))
        site.process.kill()
        site.process.start()
        yield site, [mail_id_of(reply) for reply in replies]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway on SQLite that is killed again and again."""
    directory = tmp_path_factory.mktemp("killed")
    with site_in(directory, None) as site:
        site.process.start()
        site.import_office(FIRST)
        site.outside.in_house(FIRST.ip)
        yield site


@pytest.mark.parametrize("milliseconds", [0, 5, 20, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_after_a_250_the_effects_happen_once(site, kind, milliseconds):
    def kill() -> None:
        time.sleep(milliseconds / 1000)
        site.process.kill()

    mail_id = mail_id_of(KINDS[kind](site, kill))
    site.process.start()
    settle(site)
    assert_effects_once(site, mail_id)


def test_killed_before_the_250_came_the_same_mail_sent_again_is_one_application(site):
    mail = swaks_mail()
    before = count(site, Application.id.is_not(None))
    with Conversation(site.process.public) as client:
        client.say("EHLO client.example", f"MAIL FROM:<{APPLICANT}>", f"RCPT TO:<{APPLY}>", "DATA")
        client.send(mail + b".\r\n")
        time.sleep(0.002)
        site.process.kill()
    site.process.start()
    mail_id_of(send_application(site.process.public, mail))
    settle(site)
    assert count(site, Application.id.is_not(None)) == before + 1


@pytest.mark.parametrize("kind", ["an application", "a TCC request"])
def test_killed_while_the_peer_had_taken_a_mail_and_not_replied_it_comes_twice_alike_and_is_in_doubt(site, kind):
    (in_house,) = site.outside.in_house_servers
    server = site.outside.smarthost if kind == "an application" else in_house
    before = len(server.mails)
    server.behaviour.next("DOT", SILENCE)
    mail_id = mail_id_of(KINDS[kind](site, nothing))
    wait_until(lambda: len(server.mails) > before, "the peer to take the mail")
    site.process.kill()
    site.process.start()
    settle(site)
    taken = server.mails[before]
    again = [mail for mail in server.mails if mail_id_in(mail) == mail_id_in(taken)]
    (sent,) = outgoing(site, Recipient.mail_id == mail_id_in(taken))
    assert [mail.content for mail in again] == [taken.content, taken.content]
    assert sent.in_doubt > 0
    assert_effects_once(site, mail_id)


def test_after_all_these_ends_nothing_is_lost_and_no_receipt_number_missing(site):
    settle(site)
    assert_receipt_numbers_have_no_gap(site)
    accepted = select(Mail.id).where(Mail.listener.in_(["public", "naccs"]))
    for mail_id in site.read(lambda session: session.scalars(accepted).all()):
        if count(site, Recipient.mail_id == mail_id, Recipient.state == State.DUPLICATE) == 0:
            assert_effects_once(site, mail_id)
    assert count(site, Mail.secret.is_not(None)) == 0
    contents = site.read(lambda session: session.scalars(select(MailContent.content)).all())
    assert not any(b"PASSWD01" in content for content in contents)
    assert "Traceback" not in site.process.log


# --- SIGTERM ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(place: tuple[Path, str | None]) -> Iterator[Site]:
    """A gateway with three in-house systems."""
    directory, store_url = place
    with site_in(directory, store_url) as site:
        site.process.start()
        site.import_office(FIRST, SECOND, THIRD)
        for terminal in (FIRST, SECOND, THIRD):
            site.outside.in_house(terminal.ip)
        yield site


def _keep_sending(send: Callable[[], str], accepted: list[int]) -> None:
    """Send until the gateway takes nothing more."""
    with contextlib.suppress(OSError, smtplib.SMTPException):
        while (reply := send()).startswith("250 "):
            accepted.append(mail_id_of(reply))


def test_sigterm_under_load_ends_in_time_with_nothing_in_doubt(busy):
    accepted: list[int] = []
    process = busy.process
    senders: list[Callable[[], str]] = [
        lambda: send_request(process.naccs, FIRST, request("TCC")),
        lambda: send_request(process.naccs, SECOND, request("OTA")),
        lambda: send_request(process.naccs, THIRD, request("OTA"), pause=0.5),
        lambda: send_application(process.public, swaks_mail()),
    ]
    for server in busy.outside.in_house_servers:
        server.behaviour.reply_after = 0.01  # so that something is always on its way
    with ThreadPoolExecutor() as clients:
        ends = [clients.submit(_keep_sending, send, accepted) for send in senders]
        wait_until(lambda: len(accepted) >= LOAD or any(end.done() for end in ends), "load", 120.0)
        status, seconds = process.terminate()
        for end in ends:
            end.result()
    assert status == 0, process.log
    assert seconds < 30
    assert len(accepted) >= LOAD
    assert count(busy, Recipient.in_doubt > 0) == 0
    assert count(busy, Lane.state != "idle") == count(busy, Lane.lease_token.is_not(None)) == 0
    for server in busy.outside.in_house_servers:
        server.behaviour.reply_after = 0.0
    process.start()
    settle(busy, WITH_THE_LEASE)
    assert count(busy, Recipient.in_doubt > 0) == 0
    for mail_id in accepted:
        assert_effects_once(busy, mail_id, doubts=False)
    assert_receipt_numbers_have_no_gap(busy)
    assert "Traceback" not in process.log


# --- last, because the lease of the killed process is over by now ----------------------------------------------


def test_killed_on_postgresql_the_effects_of_all_kinds_happen_once(killed_on_postgresql):
    site, accepted = killed_on_postgresql
    settle(site, WITH_THE_LEASE)
    for mail_id in accepted:
        assert_effects_once(site, mail_id)
    assert_receipt_numbers_have_no_gap(site)
