"""Service hours: the part of each Japanese day in which requests are taken, written "08:30-19:00".

The empty text is no limit. A window that closes earlier than it opens goes over midnight; "24:00" closes at
midnight. The opening minute belongs to the service, the closing minute does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from handlers.calendar import JST

_WINDOW = re.compile(r"([0-9]{2}):([0-5][0-9])-([0-9]{2}):([0-5][0-9])", re.ASCII)
_DAY = 24 * 60


class Service(StrEnum):
    """Where an instant lies in the service of its Japanese day."""

    OPEN = "open"
    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHours:
    """A window in minutes after 00:00 JST, the closing minute not included."""

    opens: int
    closes: int

    def at(self, now: datetime) -> Service:
        """Whether the service is open at an aware instant, has not begun on that day, or has ended.

        Of a window over midnight the one gap lies before the opening of its day.
        """
        local = now.astimezone(JST)
        minute = local.hour * 60 + local.minute
        if self.closes < self.opens:
            return Service.BEFORE if self.closes <= minute < self.opens else Service.OPEN
        if minute < self.opens:
            return Service.BEFORE
        return Service.OPEN if minute < self.closes else Service.AFTER


ALWAYS = ServiceHours(opens=0, closes=_DAY)


@lru_cache(maxsize=256)
def service_hours(text: str) -> ServiceHours:
    """The window a text says. ValueError where it says none: the contract import and the settings ask first."""
    if not text:
        return ALWAYS
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError('service hours are written "HH:MM-HH:MM"')
    opening_hour, opening_minute, closing_hour, closing_minute = map(int, found.groups())
    opens, closes = opening_hour * 60 + opening_minute, closing_hour * 60 + closing_minute
    if opens >= _DAY or closes > _DAY or opens == closes:
        raise ValueError("service hours open from 00:00 to 23:59, close at another time and at 24:00 at the latest")
    return ServiceHours(opens=opens, closes=closes)
