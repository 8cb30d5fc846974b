"""Service hours: what a text says, and where an instant lies in the Japanese day."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handlers.naccs.service_hours import ALWAYS, Service, service_hours


def at(hours: str, hour: int, minute: int, second: int = 0) -> Service:
    """The service at a time of UTC, nine hours behind Japan."""
    return service_hours(hours).at(datetime(2025, 4, 1, hour, minute, second, tzinfo=UTC))


@pytest.mark.parametrize(
    ("hours", "time", "service"),
    [
        ("08:30-19:00", (23, 29, 59), Service.BEFORE),
        ("08:30-19:00", (23, 30), Service.OPEN),
        ("08:30-19:00", (9, 59, 59), Service.OPEN),
        ("08:30-19:00", (10, 0), Service.AFTER),
        ("08:30-19:00", (14, 59), Service.AFTER),
        ("08:30-19:00", (15, 0), Service.BEFORE),
        ("08:30-24:00", (14, 59), Service.OPEN),
        ("00:00-24:00", (15, 0), Service.OPEN),
        ("22:00-06:00", (20, 59), Service.OPEN),
        ("22:00-06:00", (21, 0), Service.BEFORE),
        ("22:00-06:00", (12, 59), Service.BEFORE),
        ("22:00-06:00", (13, 0), Service.OPEN),
        ("22:00-00:00", (14, 59), Service.OPEN),
        ("22:00-00:00", (15, 0), Service.BEFORE),
        ("", (3, 0), Service.OPEN),
    ],
)
def test_an_instant_lies_in_the_service_before_it_or_after_it(hours: str, time: tuple[int, ...], service: Service):
    assert at(hours, *time) is service


def test_no_hours_are_no_limit():
    assert service_hours("") is ALWAYS


@pytest.mark.parametrize(
    "text", ["8:30-19:00", "08:30", "08:60-19:00", "24:00-06:00", "08:30-24:01", "08:30-25:00", "09:00-09:00", " "]
)
def test_what_says_no_hours_is_an_error(text: str):
    with pytest.raises(ValueError, match="service hours"):
        service_hours(text)
