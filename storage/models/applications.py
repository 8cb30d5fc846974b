"""Applications (利用申込), what came with them, what was said about them, their numbers, and the calendars."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, false, text
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
    # Why its author was believed, for the reviewer: "dkim <domain>", "network <peer>", "released by <actor>".
    sender_verdict: Mapped[str] = mapped_column(String(200), default="", server_default="")
    # Replies from a notice address act when it is a registered contact's, or a reviewer accepted it.
    address_accepted: Mapped[bool] = mapped_column(default=False, server_default=false())
    taken_by: Mapped[str] = mapped_column(String(80), default="", server_default="")  # the reviewer's actor
    inquiry_made: Mapped[bool] = mapped_column(default=False, server_default=false())  # 事前の問い合わせあり
    # Two-person completion: what the first reviewer proposed, until the second decides.
    proposed_by: Mapped[str] = mapped_column(String(80), default="", server_default="")
    proposed_start: Mapped[date | None] = mapped_column()
    settings_deadline: Mapped[date | None] = mapped_column()  # システム設定申込締切日; null: not needed
    settings_received_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    passwords_until: Mapped[date | None] = mapped_column()  # the last JST day on which passwords can be seen
    checked_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)

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


class CaseEntry(Base):
    """Something that was said or done about an application, in the order it happened: its history for people.

    `kind` is a `handlers.case_history.EntryKind`. `detail` is JSON where a kind has parts (changes of an amendment).
    """

    __tablename__ = "case_entries"

    id: Mapped[Key]
    application_id: Mapped[int] = mapped_column(KeyType, ForeignKey("applications.id"), index=True)
    kind: Mapped[str] = mapped_column(String(24))
    occurred_at: Mapped[Instant]
    actor: Mapped[str] = mapped_column(String(80))
    mail_id: Mapped[int | None] = mapped_column(KeyType)  # the mail that brought it, or told it
    words: Mapped[str] = mapped_column(Text, default="")
    detail: Mapped[str] = mapped_column(Text, default="")


class Work(Base):
    """Work on a line (工事) that an application needs: remote, or on site; while its window is open lanes pause."""

    __tablename__ = "works"

    id: Mapped[Key]
    application_id: Mapped[int] = mapped_column(KeyType, ForeignKey("applications.id"), index=True)
    line_id: Mapped[int | None] = mapped_column(KeyType, ForeignKey("lines.id"))  # null: a line still to be made
    mode: Mapped[str] = mapped_column(String(8))  # remote | on_site
    begins_at: Mapped[Instant]
    ends_at: Mapped[Instant]
    router_installed_on: Mapped[date | None] = mapped_column()  # of a new line, a date of its own
    contact: Mapped[str] = mapped_column(String(200), default="")
    phone: Mapped[str] = mapped_column(String(20), default="")
    fee: Mapped[str] = mapped_column(String(200), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    scheduled_by: Mapped[str] = mapped_column(String(80))
    opened_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # lanes were paused
    closed_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # and resumed
    done_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)


class DeskJob(Base):
    """Something the clock does for an application, once: undone while both `done_at` and `cancelled_at` are null.

    A job is one per application, kind and key; to plan it again moves it.
    """

    __tablename__ = "desk_jobs"
    __table_args__ = (
        UniqueConstraint("application_id", "kind", "key"),
        Index(
            "ix_desk_jobs_due",
            "due_at",
            sqlite_where=text("done_at IS NULL AND cancelled_at IS NULL"),
            postgresql_where=text("done_at IS NULL AND cancelled_at IS NULL"),
        ),
    )

    id: Mapped[Key]
    application_id: Mapped[int] = mapped_column(KeyType, ForeignKey("applications.id"))
    kind: Mapped[str] = mapped_column(String(24))  # a handlers.desk_jobs.JobKind
    key: Mapped[str] = mapped_column(String(40), default="")  # tells several of a kind apart
    due_at: Mapped[Instant]
    done_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    failures: Mapped[int] = mapped_column(default=0)


class IssuedSecret(Base):
    """A password or access key issued with IDs, sealed under a data key of its own that is not in the store.

    Destroyed, its sealed bytes are empty and its data key is gone.
    """

    __tablename__ = "issued_secrets"

    id: Mapped[Key]
    application_id: Mapped[int] = mapped_column(KeyType, ForeignKey("applications.id"), index=True)
    terminal_id: Mapped[int | None] = mapped_column(KeyType, ForeignKey("logical_terminals.id"))
    kind: Mapped[str] = mapped_column(String(24))  # office_password | terminal_access_key
    key_name: Mapped[str] = mapped_column(String(40))  # of the data key in its file
    sealed: Mapped[bytes] = mapped_column(LargeBinary)  # nonce and AES-256-GCM text
    issued_at: Mapped[Instant]
    destroyed_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)


class ScheduleDay(Base):
    """A registration day (システム登録日) of the schedule, with the last day to apply for it (申込締切日)."""

    __tablename__ = "schedule_days"

    start_on: Mapped[date] = mapped_column(primary_key=True)
    apply_by: Mapped[date] = mapped_column()


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
