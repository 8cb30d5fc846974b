"""The scenarios at the size of a test run; `python -m tests.scenarios.exchange` runs them at full size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.scenarios.exchange import scenarios
from tests.scenarios.exchange.scenarios import Sizes

# Enough for every lane and every kind of moment, and short: the machine that runs the tests is shared.
SMALL = Sizes(terminals=20, requests=1200, rounds=5, kills=3, kill_within=1.0, life=5.0, outage=5.0)
# Rounds of a second on a shared machine say nothing finer, and two may not say that; the full size asks for 0.95.
LEAST_RATIO = 0.6
MORE_ROUNDS = 16


async def test_two_dead_servers_harm_no_live_one_and_nothing_is_left_when_they_return(tmp_path: Path):
    sizes = replace(SMALL, terminals=50, more_rounds=MORE_ROUNDS, least_ratio=LEAST_RATIO)
    report = await scenarios.dead_servers(tmp_path, sizes)
    assert report.violations == []
    assert report.figures["ratio"] >= LEAST_RATIO, report.figures
    assert report.figures["fetched"] > 0


@pytest.mark.parametrize("discards", [True, False], ids=["backend discards repeats", "backend executes repeats"])
async def test_killed_at_random_moments_nothing_is_lost_and_repeats_were_in_doubt(tmp_path: Path, discards):
    report = await scenarios.kills(tmp_path, replace(SMALL, requests=500, discards_repeats=discards))
    assert report.violations == []
    assert report.figures["kills"] == SMALL.kills


async def test_in_an_outage_every_request_is_answered_or_in_doubt_and_told_and_none_executed_late(
    tmp_path: Path,
):
    report = await scenarios.outage(tmp_path, replace(SMALL, life=2.0, discards_repeats=False))
    assert report.violations == []
    assert report.figures["answered A0011"] > 0
    assert report.figures["requests in doubt"] > 0


async def test_a_drill_under_load_loses_and_reorders_nothing(tmp_path: Path):
    report = await scenarios.drill(tmp_path, SMALL)
    assert report.violations == []
    first, second, third = report.figures["executed_by"]
    assert first["backup"] == 0 < second["backup"]
    assert third["primary"] > second["primary"]
