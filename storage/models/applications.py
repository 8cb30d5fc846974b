"""Applications (利用申込), what came with them, their numbers, and the business calendar."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.columns import Base, Instant, Key, KeyType, UtcTimestamp


class Application(Base):
    """One accepted application; `state` is the workflow's state, `row_version` guards against a second decision."""

    __tablename__ = "applications"
    __table_args__ = (Index("ix_applications_state", "state"),)

    id: Mapped[Key]
    receipt_number: Mapped[str] = mapped_column(String(16), unique=True)  # 申込受付番号
    office_id: Mapped[int] = mapped_column(KeyType, ForeignKey("offices.id"), index=True)
    mail_id: Mapped[int] = mapped_column(KeyType)
    state: Mapped[str] = mapped_column(String(16))
    row_version: Mapped[int] = mapped_column(default=1)
    arrived_at: Mapped[Instant]
    received_on: Mapped[date] = mapped_column()  # 申込受付年月日, JST
    desired_start_date: Mapped[date] = mapped_column()  # 利用開始希望日
    start_date: Mapped[date | None] = mapped_column()  # 利用開始日, once confirmed
    completed_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    applicant_name: Mapped[str] = mapped_column(String(80))
    applicant_department: Mapped[str] = mapped_column(String(80), default="")
    applicant_email: Mapped[str] = mapped_column(String(320))
    contents: Mapped[str] = mapped_column(Text)  # the parsed form, JSON
    case_token: Mapped[str] = mapped_column(String(64))  # finds the case in replies; never authorises
    last_message_id: Mapped[str] = mapped_column(String(200), default="")  # thread root for References

    attachments: Mapped[list[ApplicationAttachment]] = relationship(back_populates="application")

    __mapper_args__ = {"version_id_col": row_version}  # noqa: RUF012 - SQLAlchemy reads it as declared


class ApplicationAttachment(Base):
    """A file that came with an application."""

    __tablename__ = "application_attachments"

    id: Mapped[Key]
    application_id: Mapped[int] = mapped_column(KeyType, ForeignKey("applications.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))  # diagram | other
    name: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column()  # bytes
    content: Mapped[bytes] = mapped_column(LargeBinary)

    application: Mapped[Application] = relationship(back_populates="attachments")


class ReceiptCounter(Base):
    """The running number of a JST year, taken in the accepting transaction: a rollback leaves no gap."""

    __tablename__ = "receipt_counters"

    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_number: Mapped[int] = mapped_column()


class CalendarDay(Base):
    """A day on which the center does not work, Saturdays and Sundays apart. Operators may edit the table."""

    __tablename__ = "calendar_days"

    day: Mapped[date] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
