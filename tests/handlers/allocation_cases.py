"""Orders of the sample office, issued, and what then rests."""

from __future__ import annotations

from datetime import date

from sqlalchemy import select

from handlers.allocation import Order, TerminalChange, allocate
from handlers.desk import DeskSettings
from handlers.terminals import change_map
from storage.models import Office, Reservation
from storage.store import Store
from tests.handlers.review_cases import DESK, START, line_change

TODAY = date(2026, 11, 24)
FIRST_ADDRESS = "3A0001@SMTP.CT0001.CENTER.EXAMPLE"


def order_in(session, *lines, start=START, today=TODAY, application_id=77, new_lines=()) -> Order:
    office = session.scalars(select(Office).where(Office.code == "CT0001")).one()
    return Order(
        application_id=application_id,
        office=office,
        lines=lines or (line_change(),),
        start=start,
        today=today,
        new_lines=new_lines,
    )


def issue(store: Store, now, *lines, desk: DeskSettings = DESK, **options) -> tuple[TerminalChange, ...]:
    def work(session):
        change_map(session, now)
        return allocate(session, desk, order_in(session, *lines, **options))

    return store.run(work)


def rests(store: Store) -> dict[str, date | None]:
    rows = store.read(lambda session: session.scalars(select(Reservation)).all())
    return {row.value: row.rests_until for row in rows}
