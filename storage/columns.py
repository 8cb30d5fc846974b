"""Column types and the metadata every model shares.

Instants are aware UTC datetimes in Python and integer microseconds since the epoch in the store, so that a merged
statement can carry them as plain numbers on both databases.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from sqlalchemy import BigInteger, Dialect, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# INTEGER PRIMARY KEY is SQLite's row id; BIGINT there would cost a second index.
KeyType = BigInteger().with_variant(Integer, "sqlite")


def to_micros(instant: datetime) -> int:
    """An aware instant as microseconds since 1970-01-01T00:00:00Z; a naive one raises ValueError."""
    if instant.tzinfo is None:
        raise ValueError("a naive datetime has no place in the store")
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware UTC instant that `to_micros` numbered."""
    return _EPOCH + timedelta(microseconds=micros)


class UtcTimestamp(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(int(value))


class Base(DeclarativeBase):
    """Root of the models; the naming convention gives every constraint a name migrations can refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


Key = Annotated[int, mapped_column(KeyType, primary_key=True, autoincrement=False)]
"""A primary key made by the process (`storage.keys`)."""

Instant = Annotated[datetime, mapped_column(UtcTimestamp)]
