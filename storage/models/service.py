"""What the service knows of itself: the nodes that make keys, the movable clock, the audit trail."""

from __future__ import annotations

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import Base, Instant, Key, KeyType


class Node(Base):
    """A key-making process. It is held exclusively while its lease runs; keys never go back behind `keys_below_ms`."""

    __tablename__ = "nodes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1 to 1023
    owner: Mapped[str] = mapped_column(String(64))  # serve | command
    boot_id: Mapped[int] = mapped_column(KeyType)  # another number for each claim
    lease_until: Mapped[Instant]
    keys_below_ms: Mapped[int] = mapped_column(KeyType)  # every key made so far is of an earlier millisecond
    # Tells a lost COMMIT reply apart: the id of the last batch, and above its 31 bits that of the last unit of work.
    last_batch: Mapped[int] = mapped_column(KeyType, default=0)


class ClockOffset(Base):
    """Seconds the movable clock of demo and sandbox is ahead; no row outside them."""

    __tablename__ = "clock_offset"

    id: Mapped[Key]  # always 1
    seconds: Mapped[int] = mapped_column(KeyType)


class AuditEvent(Base):
    """Who did what to what, when; written in the transaction of the change itself."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_subject", "subject"),)

    id: Mapped[Key]
    occurred_at: Mapped[Instant]
    actor: Mapped[str] = mapped_column(String(80))  # applicant:<address> | os:<user> | gateway
    event: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(80))  # application:260001A | terminal:60777S | mail:<id>
    detail: Mapped[str] = mapped_column(Text, default="")
