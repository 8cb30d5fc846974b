"""The guard against a wall clock that steps."""

from __future__ import annotations

import pytest

from gateway.clock_guard import SUSPENDED_FOR, ClockGuard


class Clocks:
    """Both clocks of a host, moved by hand."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.offset = 1_700_000_000.0

    def pass_time(self, seconds: float) -> None:
        self.monotonic += seconds

    def guard(self) -> ClockGuard:
        return ClockGuard(lambda: self.monotonic + self.offset, lambda: self.monotonic)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_time_that_passes_suspends_nothing(clocks):
    guard = clocks.guard()
    for seconds in (0.1, 3600.0, 86400.0 * 30):
        clocks.pass_time(seconds)
        assert not guard.suspended()
    assert guard.steps == 0


@pytest.mark.parametrize("step", [61.0, 86400.0, -61.0, -86400.0])
def test_a_step_suspends_for_ten_minutes_and_is_told(clocks, step, caplog):
    guard = clocks.guard()
    clocks.offset += step
    assert guard.suspended()
    assert (guard.steps, guard.last_step) == (1, step)
    assert f"stepped by {step:+.0f} s" in caplog.text
    clocks.pass_time(SUSPENDED_FOR - 1)
    assert guard.remaining() == pytest.approx(1.0)
    clocks.pass_time(1)
    assert not guard.suspended()


@pytest.mark.parametrize("step", [59.0, -59.0, 1.0])
def test_a_small_correction_is_no_step(clocks, step):
    guard = clocks.guard()
    clocks.offset += step
    assert not guard.suspended()


def test_slow_corrections_add_up_to_no_step(clocks):
    guard = clocks.guard()
    for _ in range(100):
        clocks.pass_time(3600)
        clocks.offset += 1.8
        assert not guard.suspended()


def test_a_second_step_begins_the_ten_minutes_again(clocks):
    guard = clocks.guard()
    clocks.offset += 3600
    assert guard.suspended()
    clocks.pass_time(500)
    clocks.offset -= 3600
    assert guard.remaining() == SUSPENDED_FOR
    assert guard.steps == 2


def test_the_hosts_own_clocks_are_watched_where_nothing_else_is_said():
    assert not ClockGuard().suspended()
