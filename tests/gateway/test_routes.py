"""Where a lane leads, asked before each mail (semantics §8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from gateway.lane_holder import Gone
from gateway.routes import Routes
from gateway.settings import Settings
from gateway.smtp_out import Protocol, Target, Tls
from storage.clock import Clock
from storage.mail_queue import Outbound
from tests.gateway.test_current_map import OTHER_IP, OnMap, on_map, today
from tests.handlers.test_terminals import ADDRESS, NEXT_OWNER, reissue, set_terminal

LANE = "terminal:60777S"

pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


@pytest_asyncio.fixture
async def on(store_url) -> AsyncIterator[OnMap]:
    async with on_map(store_url, follow=False) as opened:
        yield opened


def routes(on: OnMap, clock: Clock | None = None, **smarthost: Any) -> Routes:
    settings = Settings.model_validate({"smarthost": smarthost, "naccs": {"terminal_port": 2526}})
    return Routes(on.map, clock or Clock(), settings)


def bound_to(address_id: int | None, rcpt_to: str = ADDRESS) -> Outbound:
    at = datetime.now(UTC)
    return Outbound(
        recipient_id=1,
        mail_id=1,
        lane=LANE,
        sequence=1,
        sender="NACCS@SMTP.CENTER.EXAMPLE",
        rcpt_to=rcpt_to,
        created_at=at,
        due_at=at,
        waiting_since=at,
        header=None,
        body_offset=0,
        attempts=0,
        in_doubt=0,
        address_id=address_id,
    )


async def change(on: OnMap, work: Any, **values: Any) -> None:
    await asyncio.to_thread(work, on.store, **values)
    await on.map.refresh()


async def test_a_mail_goes_to_the_ip_and_port_of_its_terminal(on):
    assert await routes(on).where(LANE, bound_to(on.address_id)) == Target(host="127.20.13.13", port=2525)


async def test_a_terminal_without_a_port_of_its_own_has_the_common_one(on):
    await change(on, set_terminal, port=None)
    assert await routes(on).where(LANE, bound_to(on.address_id)) == Target(host="127.20.13.13", port=2526)


async def test_the_next_mail_goes_to_the_ip_that_is_in_force_then(on):
    asked = routes(on)
    await change(on, set_terminal, ip_address="127.20.13.20")
    assert await asked.where(LANE, bound_to(on.address_id)) == Target(host="127.20.13.20", port=2525)


async def test_a_reissued_address_never_takes_the_mail_of_its_owner_before(on):
    row = on.address_id
    await change(on, reissue, today=today())
    asked = routes(on)
    assert isinstance(await asked.where(LANE, bound_to(row)), Gone)
    assert await asked.where(f"terminal:{NEXT_OWNER}", bound_to(on.address_id)) == Target(host=OTHER_IP, port=2526)
    # The new row in the old lane, and the old row in the new one, lead nowhere.
    assert isinstance(await asked.where(LANE, bound_to(on.address_id)), Gone)
    assert isinstance(await asked.where(f"terminal:{NEXT_OWNER}", bound_to(row)), Gone)


async def test_what_ended_or_has_not_begun_leads_nowhere(on):
    row = on.address_id
    await change(on, set_terminal, effective_until=today())
    assert await routes(on).where(LANE, bound_to(row)) == Gone(f"{ADDRESS} is not bound to this terminal today")
    await change(on, set_terminal, effective_until=None, effective_from=today() + timedelta(days=2))
    assert isinstance(await routes(on).where(LANE, bound_to(row)), Gone)  # at midnight, too
    ahead = Clock()
    ahead.offset = timedelta(days=2)
    assert isinstance(await routes(on, ahead).where(LANE, bound_to(row)), Target)


async def test_a_row_another_process_has_just_made_is_not_gone_because_this_one_is_behind(on):
    asked, before = routes(on), on.map.view.version
    row = await asyncio.to_thread(reissue, on.store, today=today())
    assert on.map.view.version == before
    assert await asked.where(f"terminal:{NEXT_OWNER}", bound_to(row)) == Target(host=OTHER_IP, port=2526)


async def test_a_mail_queued_by_a_newer_map_goes_by_that(on):
    asked, before = routes(on), on.map.view.version
    await asyncio.to_thread(set_terminal, on.store, ip_address="127.20.13.20")
    mail = replace(bound_to(on.address_id), map_version=before + 1)
    assert await asked.where(LANE, mail) == Target(host="127.20.13.20", port=2525)


@pytest.mark.parametrize("address_id", [None, 4711])
async def test_a_mail_bound_to_no_row_of_the_map_leads_nowhere(on, address_id):
    assert isinstance(await routes(on).where(LANE, bound_to(address_id)), Gone)


async def test_a_terminal_without_an_ip_has_no_server(on):
    row = on.address_id
    await change(on, set_terminal, ip_address=None)
    assert await routes(on).where(LANE, bound_to(row)) == Gone(f"{ADDRESS} has no SMTP server on this lane")


async def test_an_address_in_lower_case_is_the_same(on):
    assert isinstance(await routes(on).where(LANE, bound_to(on.address_id, ADDRESS.lower())), Target)


async def test_notices_go_to_the_smarthost_over_esmtp(on):
    asked = routes(on, port=2587)
    notice = replace(bound_to(None, "a@applicant.example"), lane="smarthost:3")
    expected = Target(host="127.0.0.1", port=2587, protocol=Protocol.ESMTP, tls=Tls.NONE)
    assert await asked.where("smarthost:3", notice) == expected
    away = await routes(on, host="smarthost.example").where("smarthost:0", notice)
    assert isinstance(away, Target)
    assert away.tls is Tls.REQUIRED
