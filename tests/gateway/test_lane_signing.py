"""Notices signed on their way out: once, before the first attempt, and the same octets ever after; on both stores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import dkim
import pytest

from gateway.setting_desk import DkimSection
from gateway.signing import Signer, key_record
from tests.fakes.in_house_server import DROP, InHouseServer, until
from tests.fakes.opendkim import needs_opendkim, verified_by_opendkim
from tests.fakes.smarthost import Smarthost
from tests.gateway.delivering import LANE, PATIENCE, Process
from tests.gateway.signed_mails import key, mail
from tests.gateway.test_health import only_postgresql, only_sqlite
from tests.gateway.test_signing import NSS, notice, section

pytestmark = pytest.mark.usefixtures("all_processes_end")

NOTICES = "smarthost:0"
APPLICANT = "hanako@kanda.example"


@pytest.fixture
def settings(tmp_path_factory) -> DkimSection:
    return section(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def smarthost() -> AsyncIterator[Smarthost]:
    async with Smarthost() as opened:
        yield opened


class CountingSigner(Signer):
    """Says how often it was asked."""

    asked = 0

    def sign(self, content: bytes, now: datetime) -> bytes:
        self.asked += 1
        return super().sign(content, now)


@pytest.fixture
def signer(settings) -> CountingSigner:
    return CountingSigner(settings, NSS)


@pytest.fixture
async def process(store_url, signer, smarthost) -> AsyncIterator[Process]:
    started = await signing(store_url, signer, smarthost)
    yield started
    await started.stop()


async def signing(store_url: str, signer: Signer | None, smarthost: Smarthost) -> Process:
    process = Process(store_url)
    process.lead(NOTICES, smarthost)
    if signer is not None:
        process.delivery.sign_with(signer)
    return await process.start()


async def queued(process: Process, *contents: bytes) -> list[int]:
    return await process.queue(NOTICES, *contents, sender=f"bounce+1.x@{NSS}", rcpt_to=APPLICANT)


def holds(settings: DkimSection, raw: bytes) -> bool:
    record = Signer(settings, NSS).record
    return dkim.verify(raw, dnsfunc=lambda name, **_: record.text.encode() if name == record.name.encode() else None)


async def test_a_notice_leaves_under_a_signature_that_is_in_the_store(process, smarthost, settings):
    content = notice()
    (recipient_id,) = await queued(process, content)
    await process.idle()
    (sent,) = smarthost.contents
    assert sent.endswith(content)
    assert sent.startswith(b"DKIM-Signature: ")
    assert holds(settings, sent)
    row = await process.row(recipient_id)
    assert (row.state, row.attempts) == ("delivered", 1)
    assert row.header is not None
    assert bytes(row.header) + content[row.body_offset :] == sent
    assert bytes(row.header).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("refusal", [("DOT", "451 4.3.0 later"), ("RCPT", "450 4.2.0 greylisted"), ("DOT", DROP)])
async def test_every_attempt_has_the_same_octets(process, smarthost, settings, signer, refusal):
    smarthost.behaviour.next(*refusal)
    (recipient_id,) = await queued(process, notice())
    await process.attempted(recipient_id)
    first = bytes((await process.row(recipient_id)).header or b"")
    await process.idle()
    assert bytes((await process.row(recipient_id)).header or b"") == first
    assert set(smarthost.contents) == {first + notice_body(smarthost.contents[-1])}
    assert signer.asked == 1
    assert holds(settings, smarthost.contents[-1])


def notice_body(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[2]


async def test_the_octets_stay_over_a_restart_and_a_new_key(store_url, settings, smarthost, tmp_path):
    before = await signing(store_url, Signer(settings, NSS), smarthost)
    smarthost.behaviour.next("RCPT", "450 4.2.0 greylisted")
    content = notice()
    (recipient_id,) = await queued(before, content)
    await before.attempted(recipient_id)
    header = bytes((await before.row(recipient_id)).header or b"")
    await before.stop()
    other = section(tmp_path, selector="other")
    after = await signing(store_url, Signer(other, NSS), smarthost)
    await after.idle()
    await after.stop()
    assert smarthost.contents == [header + notice_body(content)]
    assert holds(settings, smarthost.contents[0])


@only_sqlite
async def test_a_destination_that_is_down_finds_the_notice_signed_once(process, smarthost, signer):
    await smarthost.close()
    (recipient_id,) = await queued(process, notice())
    await process.attempted(recipient_id, times=3)
    header = bytes((await process.row(recipient_id)).header or b"")
    assert header
    await smarthost.open()
    await process.idle()
    assert [sent.startswith(header) for sent in smarthost.contents] == [True]
    assert signer.asked == 1


@only_sqlite
async def test_only_notices_of_the_domain_are_signed(process, smarthost):
    foreign, terminal = mail(From="nss@other.example"), mail(From=f"NACCS@{NSS}")
    async with InHouseServer() as server:
        process.lead(LANE, server)
        ids = [*await queued(process, foreign), *await process.queue(LANE, terminal)]
        await process.idle()
        assert (smarthost.contents, server.contents) == ([foreign], [terminal])
    assert [(await process.row(recipient_id)).header for recipient_id in ids] == [None, None]


@only_sqlite
async def test_without_a_key_everything_leaves_as_it_is(store_url, smarthost):
    process = await signing(store_url, None, smarthost)
    content = notice()
    (recipient_id,) = await queued(process, content)
    await process.idle()
    assert smarthost.contents == [content]
    assert (await process.row(recipient_id)).header is None
    await process.stop()


@only_sqlite
async def test_a_mail_without_an_empty_line_is_signed_whole(process, smarthost, settings):
    content = notice().partition(b"\r\n\r\n")[0] + b"\r\n"
    await queued(process, content)
    await process.idle()
    (sent,) = smarthost.contents
    assert sent.endswith(content)
    assert holds(settings, sent)


async def test_what_cannot_be_signed_soundly_waits_is_told_once_and_goes_when_it_can(
    store_url, settings, smarthost, caplog
):
    signer = Signer(settings, NSS)
    sound = signer.record
    signer.record = key_record(key("other").public_key(), "naccs", NSS)  # as if the RSA had erred
    process = await signing(store_url, signer, smarthost)
    foreign = mail(From="nss@other.example")
    first, second, passing = await queued(process, notice(), notice(), foreign)
    await process.attempted(first, times=2)
    await process.attempted(second)
    await until(lambda: foreign in smarthost.contents)
    await process.finished(passing)
    assert await process.states([first, second, passing]) == ["queued", "queued", "delivered"]
    assert (await process.row(first)).header is None
    attempts = await process.attempts(first)
    assert attempts[0] == ("temporary", "mail", "the signature made does not hold under its own key")
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["notices wait, none can be signed: the signature made does not hold under its own key"]
    signer.record = sound
    await process.idle()
    assert await process.states([first, second]) == ["delivered", "delivered"]
    assert [holds(settings, sent) for sent in smarthost.contents] == [False, True, True]
    signer.record = key_record(key("other").public_key(), "naccs", NSS)
    (third,) = await queued(process, notice())
    await process.attempted(third)
    assert [record.levelname for record in caplog.records].count("ERROR") == 2
    await process.stop()


class SlowSigner(Signer):
    """Signs when it is let go."""

    def __init__(self, section: DkimSection, support_domain: str) -> None:
        super().__init__(section, support_domain)
        self.began = threading.Event()
        self.go = threading.Event()

    def sign(self, content: bytes, now: datetime) -> bytes:
        self.began.set()
        assert self.go.wait(PATIENCE)
        return super().sign(content, now)


async def test_a_notice_cancelled_while_it_is_signed_is_not_sent(store_url, settings, smarthost):
    signer = SlowSigner(settings, NSS)
    process = await signing(store_url, signer, smarthost)
    first, second = await queued(process, notice(), notice())
    await until(signer.began.is_set)
    await process.execute("UPDATE recipients SET state = 'cancelled' WHERE id = :id", id=first)
    signer.go.set()
    await process.idle()
    assert await process.states([first, second]) == ["cancelled", "delivered"]
    assert len(smarthost.contents) == 1
    await process.stop()


@only_sqlite
async def test_who_is_alone_and_lost_the_lane_while_signing_takes_it_back_and_signs_anew(
    store_url, settings, smarthost
):
    signer = SlowSigner(settings, NSS)
    process = await signing(store_url, signer, smarthost)
    (only,) = await queued(process, notice())
    await until(signer.began.is_set)
    await process.execute("UPDATE lanes SET lease_token = 77 WHERE lane = :lane", lane=NOTICES)
    signer.go.set()
    await process.finished(only)
    assert len(smarthost.contents) == 1
    await process.stop()


@only_postgresql
async def test_who_lost_the_lane_while_signing_leaves_the_notice_to_the_new_holder(store_url, settings, smarthost):
    signer = SlowSigner(settings, NSS)
    process = await signing(store_url, signer, smarthost)
    (only,) = await queued(process, notice())
    await until(signer.began.is_set)
    other = Process(store_url)
    other.lead(NOTICES, smarthost)
    other.delivery.sign_with(Signer(settings, NSS))
    node, token = other.database.store.claim.node, other.database.store.lease_token
    taken = "UPDATE lanes SET lease_node = :node, lease_token = :token WHERE lane = :lane"
    await process.execute(taken, node=node, token=token, lane=NOTICES)
    signer.go.set()
    await asyncio.sleep(0.3)
    row = await process.row(only)
    assert (row.state, row.header) == ("queued", None)
    assert smarthost.contents == []
    await other.start()
    await other.finished(only)
    assert len(smarthost.contents) == 1
    await other.stop()
    await process.stop()


@only_sqlite
async def test_the_sandbox_clock_has_no_part_in_a_signature(process, smarthost, settings):
    process.clock.offset = timedelta(days=300)
    await queued(process, notice())
    await process.idle()
    (sent,) = smarthost.contents
    assert holds(settings, sent)
    second = int(sent.partition(b" t=")[2].partition(b";")[0])
    assert abs(second - datetime.now(UTC).timestamp()) < 60


@needs_opendkim
@only_sqlite
async def test_opendkim_accepts_what_the_smarthost_was_given(process, smarthost, settings, tmp_path):
    await queued(process, notice(), notice("<0@x.example>"))
    await process.idle()
    record = Signer(settings, NSS).record
    for sent in smarthost.contents:
        said = await asyncio.to_thread(verified_by_opendkim, tmp_path, sent, record.name, record.text)
        assert said.endswith("succeeded")
