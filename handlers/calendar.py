"""Days as the application desk counts them: JST dates, business days, and how a date is written where.

Nothing here reads a clock or a store: instants and holidays come in as arguments. Instants are aware and
leave in UTC; a `date` is always a day in Japan. Days that are off come from an editable table in the
store, which `seed_holidays` fills.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

JST = ZoneInfo("Asia/Tokyo")

_ONE_DAY = timedelta(days=1)
_SATURDAY = 5
_CLOSED_AT_YEAR_END = ((12, 29), (12, 30), (12, 31), (1, 1), (1, 2), (1, 3))
_PASSWORD_WINDOW_BUSINESS_DAYS = 2
_SETTINGS_DEADLINE_BUSINESS_DAYS = 4


def jst_date(now: datetime) -> date:
    """The calendar day in Japan at the instant `now`, which must be aware."""
    if now.tzinfo is None:
        raise ValueError("an instant without a time zone has no day in Japan")
    return now.astimezone(JST).date()


def start_of_day(day: date) -> datetime:
    """00:00:00 JST of `day`, as a UTC instant."""
    return datetime.combine(day, time(), tzinfo=JST).astimezone(UTC)


def end_of_day(day: date) -> datetime:
    """23:59:59 JST of `day`, the last second that belongs to it, as a UTC instant."""
    return start_of_day(day) + _ONE_DAY - timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessCalendar:
    """Monday to Friday without the given days off: national holidays, the closure at the turn of the year."""

    holidays: frozenset[date]

    def is_business_day(self, day: date) -> bool:
        return day.weekday() < _SATURDAY and day not in self.holidays

    def add_business_days(self, start: date, count: int) -> date:
        """The `count`-th business day after `start`; `start` itself for 0, whatever day it is."""
        return self._step(start, count, _ONE_DAY)

    def business_days_before(self, start: date, count: int) -> date:
        """The `count`-th business day before `start`; `start` itself for 0."""
        return self._step(start, count, -_ONE_DAY)

    def business_days_between(self, earlier: date, later: date) -> int:
        """How many business days lie after `earlier` up to and including `later`; 0 when none or reversed."""
        days = range(1, (later - earlier).days + 1)
        return sum(self.is_business_day(earlier + timedelta(days=offset)) for offset in days)

    def last_day_of_password_window(self, start: date) -> date:
        """The second business day after the confirmed start (利用開始日の2営業日後)."""
        return self.add_business_days(start, _PASSWORD_WINDOW_BUSINESS_DAYS)

    def end_of_password_window(self, start: date) -> datetime:
        """The last second at which issued passwords may be revealed, as a UTC instant."""
        return end_of_day(self.last_day_of_password_window(start))

    def settings_deadline(self, start: date) -> date:
        """システム設定申込締切日: the application for system settings must be in by the end of this day."""
        return self.business_days_before(start, _SETTINGS_DEADLINE_BUSINESS_DAYS)

    def _step(self, start: date, count: int, step: timedelta) -> date:
        if count < 0:
            raise ValueError("business days are counted in one direction at a time")
        day = start
        for _ in range(count):
            day += step
            while not self.is_business_day(day):
                day += step
        return day


def holiday_names(years: Iterable[int]) -> dict[date, str]:
    """Every day off of `years` with its name, in order of date: national holidays and 12/29-1/3.

    The years after the last one announced by the government are estimates of the `holidays` package; that
    is why they only seed a table that people can edit.
    """
    wanted = sorted(set(years))
    if not wanted:
        return {}
    import holidays  # 100 ms and 11 MB, wanted only where the store lacks a year

    days = {date(year, month, day): "年末年始" for year in wanted for month, day in _CLOSED_AT_YEAR_END}
    days.update(holidays.country_holidays("JP", years=wanted, language="ja"))
    return dict(sorted(days.items()))


def seed_holidays(years: Iterable[int]) -> frozenset[date]:
    """The days off of `years`, as `BusinessCalendar` takes them."""
    return frozenset(holiday_names(years))


def mail_date(day: date) -> str:
    """In the prose of a mail: 2026年4月1日."""
    return f"{day.year}年{day.month}月{day.day}日"


def document_date(day: date) -> str:
    """In a PDF: 2026年04月01日."""
    return f"{day.year:04d}年{day.month:02d}月{day.day:02d}日"


def slash_date(day: date) -> str:
    """In the ID notice and the portal: 2026/04/01."""
    return f"{day.year:04d}/{day.month:02d}/{day.day:02d}"


def form_date(day: date) -> str:
    """In the application form: 20260401."""
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def parse_form_date(text: str) -> date | None:
    """The day that eight half-width digits name, or None when it is no such text or no real day."""
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
