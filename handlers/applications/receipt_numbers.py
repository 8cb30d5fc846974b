"""Receipt numbers (申込受付番号): two-digit JST year of arrival, running number of the year, `A`, as in `260001A`.

The number is taken in the transaction that accepts the application: a rollback leaves no gap, and whoever comes at the
same moment waits for the counter row.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from handlers.calendar import jst_date

_TAKE = text(
    "INSERT INTO receipt_counters (year, last_number) VALUES (:year, 1) "
    "ON CONFLICT (year) DO UPDATE SET last_number = receipt_counters.last_number + 1 RETURNING last_number"
)


def take_receipt_number(session: Session, arrived_at: datetime) -> str:
    """The next number of the year in which the mail arrived, also when it was held over New Year.

    The counter row stays locked until the transaction ends; take it before any other lock.
    """
    year = jst_date(arrived_at).year
    number = session.execute(_TAKE, {"year": year}).scalar_one()
    return f"{year % 100:02d}{number:04d}A"
