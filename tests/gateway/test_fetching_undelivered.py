"""What SYG queues again is delivered once and in order, while its lane comes back to life (semantics §6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from handlers import undelivered
from handlers.calendar import jst_date
from handlers.terminals import Binding, load
from tests.fakes.in_house_server import InHouseServer
from tests.gateway.delivering import PATIENCE, Process
from tests.handlers.review_cases import WITH_SMTP_SERVER, take_contracts
from tests.handlers.test_terminals import KEY

pytestmark = pytest.mark.usefixtures("all_processes_end")


def on_the_map(process: Process) -> Binding:
    now = process.clock.now()
    take_contracts(process.database.store, now - timedelta(days=1), WITH_SMTP_SERVER)
    binding = process.database.store.read(load).binding(KEY, jst_date(now))
    assert binding is not None
    return binding


async def fetch(process: Process, binding: Binding) -> list[int]:
    ids, now = [binding.address_id], process.clock.now()
    return await process.database.run(
        partial(undelivered.requeue, address_ids=ids, output_code="SAD4031", actor="terminal:60777S", now=now)
    )


async def test_what_several_fetches_ask_for_while_the_server_returns_is_delivered_once_and_in_order(store_url):
    process = Process(store_url)
    binding = on_the_map(process)
    more = {"rcpt_to": binding.address, "address_id": binding.address_id, "output_code": "SAD4031"}
    async with InHouseServer() as server:
        process.lead(binding.lane, server)
        server.behaviour.next("RCPT", *["554 5.7.1 no"] * 8)
        await process.start()
        stuck = await process.queue(binding.lane, *(b"%d\r\n" % number for number in range(8)), **more)
        await process.idle()
        assert set(await process.states(stuck)) == {"undelivered"}

        server.behaviour.always["MAIL"] = "421 4.3.2 not now"
        moved = await asyncio.gather(fetch(process, binding), fetch(process, binding))
        assert [len(each) for each in moved] == [8, 0]
        await process.attempted(stuck[0], 2)
        newer = await process.queue(binding.lane, b"newer\r\n", **more)
        server.behaviour.always.clear()
        assert await fetch(process, binding) == []
        async with asyncio.timeout(PATIENCE):
            while set(await process.states([*stuck, *newer])) != {"delivered"}:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.02)
        assert server.contents == [*(b"%d\r\n" % number for number in range(8)), b"newer\r\n"]
    await process.stop()
