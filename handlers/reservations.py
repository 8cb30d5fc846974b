"""Who holds an IP or mail address, and how long one rests after use: one row a value, one statement a claim.

Values compare as text: an IP address in its shortest form, a mail address in lower case.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum
from itertools import islice

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage.models import LogicalTerminal, MailAddress, Reservation

_CHUNK = 256  # candidates looked up at once
_ONE_DAY = timedelta(days=1)


class Kind(StrEnum):
    """What is reserved."""

    IP = "ip"
    MAIL_ADDRESS = "mail_address"


def claim(session: Session, kind: Kind, value: str, holder_id: int, today: date) -> bool:
    """Reserve a value that is free, or whose rest has ended by the JST day `today`; False when it is not."""
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    insert = (postgresql.insert if on_postgresql else sqlite.insert)(Reservation)
    statement = insert.values(kind=kind, value=value, holder_id=holder_id).on_conflict_do_update(
        index_elements=["kind", "value"],
        set_={"holder_id": holder_id, "rests_until": None},
        where=Reservation.rests_until <= today,
    )
    return session.execute(statement.returning(Reservation.value)).first() is not None


def free_values(session: Session, kind: Kind, candidates: Iterator[str], today: date) -> Iterator[str]:
    """The candidates that look free, in order; only `claim` decides."""
    while chunk := list(islice(candidates, _CHUNK)):
        taken = set(
            session.scalars(
                select(Reservation.value).where(
                    Reservation.kind == kind,
                    Reservation.value.in_(chunk),
                    or_(Reservation.rests_until.is_(None), Reservation.rests_until > today),
                )
            )
        )
        yield from (value for value in chunk if value not in taken)


def claim_next(session: Session, kind: Kind, free: Iterator[str], holder_id: int, today: date) -> str | None:
    """Reserve the next of the values that look free; None when none can be had."""
    return next((value for value in free if claim(session, kind, value, holder_id, today)), None)


def holder_of(session: Session, kind: Kind, value: str) -> int | None:
    """The row that holds a value or last held it."""
    return session.scalar(select(Reservation.holder_id).where(Reservation.kind == kind, Reservation.value == value))


def holder_named(session: Session, kind: Kind, value: str) -> str:
    """The terminal that holds a value or last held it; the value itself where there is none."""
    holder = holder_of(session, kind, value)
    if kind is Kind.MAIL_ADDRESS and holder is not None:
        address = session.get(MailAddress, holder)
        holder = None if address is None else address.terminal_id
    terminal = None if holder is None else session.get(LogicalTerminal, holder)
    return value if terminal is None else terminal.name


def end_of_rest(since: date, quarantine: timedelta) -> date:
    """The first day on which a value given up on the JST day `since` may be had again; whole days."""
    return since + timedelta(days=-(-quarantine // _ONE_DAY))


def rest_ip(session: Session, terminal: LogicalTerminal, until: date | None) -> None:
    """Let a terminal's IP address rest until a day, or with None be in use again."""
    _rest(session, Kind.IP, terminal.ip_address or "", terminal.id, until)


def rest_mail_address(session: Session, address: MailAddress, until: date | None) -> None:
    """Let a mail address rest until a day, or with None be in use again."""
    _rest(session, Kind.MAIL_ADDRESS, address.address_key, address.id, until)


def _rest(session: Session, kind: Kind, value: str, holder_id: int, until: date | None) -> None:
    session.execute(
        update(Reservation)
        .where(Reservation.kind == kind, Reservation.value == value, Reservation.holder_id == holder_id)
        .values(rests_until=until)
    )


def move_rest_of_ip(session: Session, terminal: LogicalTerminal, by: timedelta) -> None:
    """Let the rest of a terminal's IP address end so much later."""
    _move_rest(session, Kind.IP, terminal.ip_address or "", terminal.id, by)


def move_rest_of_address(session: Session, address: MailAddress, by: timedelta) -> None:
    """Let the rest of a mail address end so much later."""
    _move_rest(session, Kind.MAIL_ADDRESS, address.address_key, address.id, by)


def _move_rest(session: Session, kind: Kind, value: str, holder_id: int, by: timedelta) -> None:
    rest = session.scalar(
        select(Reservation.rests_until).where(
            Reservation.kind == kind, Reservation.value == value, Reservation.holder_id == holder_id
        )
    )
    if rest is not None:
        _rest(session, kind, value, holder_id, rest + by)
