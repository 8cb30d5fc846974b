"""Mails, their recipients, the lanes they leave by, and the requests that wait for a result."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import Base, Instant, Key, KeyType, UtcTimestamp
from storage.states import State

_STATES = ", ".join(f"'{state}'" for state in State)


class Mail(Base):
    """One mail: its envelope and what is known of it. Its bytes are in `mail_contents`."""

    __tablename__ = "mails"
    __table_args__ = (
        Index(
            "ix_mails_unclean_end",
            "content_hash",
            sqlite_where=text("unclean_end_at IS NOT NULL"),
            postgresql_where=text("unclean_end_at IS NOT NULL"),
        ),
        # Partial, so that a message of the exchange touches no page of it.
        Index(
            "ix_mails_application_id",
            "application_id",
            sqlite_where=text("application_id IS NOT NULL"),
            postgresql_where=text("application_id IS NOT NULL"),
        ),
    )

    id: Mapped[Key]
    direction: Mapped[str] = mapped_column(String(8))
    listener: Mapped[str] = mapped_column(String(16))  # public | naccs | backend | gateway
    mail_from: Mapped[str] = mapped_column(String(320))  # "" = the null sender
    peer: Mapped[str] = mapped_column(String(64), default="")
    helo_name: Mapped[str] = mapped_column(String(255), default="")
    received_at: Mapped[Instant]
    size: Mapped[int] = mapped_column()
    content_hash: Mapped[bytes] = mapped_column(LargeBinary(32))  # SHA-256 of the bytes as received
    message_id: Mapped[str] = mapped_column(String(998), default="")
    map_version: Mapped[int | None] = mapped_column(KeyType)
    address_id: Mapped[int | None] = mapped_column(KeyType)  # the mail-address row it is bound to
    damage: Mapped[str] = mapped_column(String(32), default="")  # what the DATA reader saw (bare line ends …)
    unclean_end_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # the peer may not have seen our 250
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)  # the password bytes cut out of the content
    secret_offset: Mapped[int | None] = mapped_column()
    template: Mapped[str] = mapped_column(String(64), default="")  # notices: audience/name@version
    # d= of the DKIM signatures that held at receipt under our rules and are aligned to From, by a space.
    signed_by: Mapped[str] = mapped_column(String(255), default="", server_default="")
    application_id: Mapped[int | None] = mapped_column(KeyType)


class MailContent(Base):
    """The bytes of a mail, apart from its row so that lists never touch them."""

    __tablename__ = "mail_contents"

    mail_id: Mapped[int] = mapped_column(KeyType, ForeignKey("mails.id"), primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Recipient(Base):
    """One recipient of a mail and its state.

    An inbound recipient is work for the worker, ordered by `order_key`; an outbound one stands in a lane at
    `lane_sequence`. `header`, where present, replaces the header block of the mail on the way out.
    """

    __tablename__ = "recipients"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        Index(
            "ix_recipients_waiting",
            "due_at",
            sqlite_where=text("state = 'received'"),
            postgresql_where=text("state = 'received'"),
        ),
        Index(
            "ix_recipients_queued",
            "lane",
            "lane_sequence",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_recipients_undelivered",
            "address_id",
            sqlite_where=text("state = 'undelivered'"),
            postgresql_where=text("state = 'undelivered'"),
        ),
        Index(
            "ix_recipients_held",
            "mail_id",
            sqlite_where=text("state = 'held'"),
            postgresql_where=text("state = 'held'"),
        ),
        Index("ix_recipients_mail_id", "mail_id"),
        # Results of the backend alone: what else belongs to a request hangs on its mail.
        Index(
            "ix_recipients_request_id",
            "request_id",
            sqlite_where=text("direction = 'inbound' AND request_id IS NOT NULL"),
            postgresql_where=text("direction = 'inbound' AND request_id IS NOT NULL"),
        ),
    )

    id: Mapped[Key]
    mail_id: Mapped[int] = mapped_column(KeyType, ForeignKey("mails.id"))
    direction: Mapped[str] = mapped_column(String(8))
    rcpt_to: Mapped[str] = mapped_column(String(320))
    state: Mapped[str] = mapped_column(String(12))
    created_at: Mapped[Instant]
    due_at: Mapped[Instant]
    # What its life is counted from: queued, or queued again.
    waiting_since: Mapped[datetime] = mapped_column(UtcTimestamp, server_default="0")
    finished_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    attempts: Mapped[int] = mapped_column(default=0)
    handler_failures: Mapped[int] = mapped_column(default=0)
    in_doubt: Mapped[int] = mapped_column(default=0)  # attempts that may have been accepted
    last_reply: Mapped[str] = mapped_column(String(512), default="")
    order_key: Mapped[str] = mapped_column(String(320), default="")
    lane: Mapped[str | None] = mapped_column(String(64))
    lane_sequence: Mapped[int | None] = mapped_column(KeyType)
    sender: Mapped[str] = mapped_column(String(320), default="")  # envelope sender towards the peer
    header: Mapped[bytes | None] = mapped_column(LargeBinary)
    body_offset: Mapped[int] = mapped_column(default=0)
    address_id: Mapped[int | None] = mapped_column(KeyType)
    output_code: Mapped[str] = mapped_column(String(7), default="")  # output information code, for SYG
    map_version: Mapped[int | None] = mapped_column(KeyType)
    request_id: Mapped[int | None] = mapped_column(KeyType)  # the request it hands on, answers or belongs to


class Lane(Base):
    """A destination's queue: strict order by `lane_sequence`, worked by the one process that holds the lease.

    The lease is the holder's: it lives as long as the node's (`nodes.lease_until`).
    """

    __tablename__ = "lanes"

    lane: Mapped[str] = mapped_column(String(64), primary_key=True)  # terminal:60777S | smarthost:0 | backend
    last_sequence: Mapped[int] = mapped_column(KeyType, default=0)
    state: Mapped[str] = mapped_column(String(8), default="idle")  # idle | sending
    lease_node: Mapped[int | None] = mapped_column()
    lease_token: Mapped[int | None] = mapped_column(KeyType)
    # The circuit breaker, written when the destination stops answering, at each probe, and when it answers again.
    down_since: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    last_failure: Mapped[str] = mapped_column(String(512), default="", server_default="")
    next_try_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    told_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # the operator knows that it is down
    flushed_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # try at once: an operator, or its SYG or TCC
    # The backend's lane alone: which of its two addresses is in use, since when, and what an operator wants.
    endpoint: Mapped[str] = mapped_column(String(8), default="primary", server_default="primary")  # primary | backup
    endpoint_since: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    wanted_endpoint: Mapped[str] = mapped_column(String(8), default="", server_default="")  # "" = automatic
    drill_until: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # the wanted endpoint is let go then


class LanePause(Base):
    """A time in which a lane sends nothing; while it is open the lane is paused. It ages no mail of the lane."""

    __tablename__ = "lane_pauses"
    __table_args__ = (Index("ix_lane_pauses_lane", "lane"),)

    id: Mapped[Key]
    lane: Mapped[str] = mapped_column(String(64))
    paused_at: Mapped[Instant]
    resumed_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    actor: Mapped[str] = mapped_column(String(80))
    reason: Mapped[str] = mapped_column(String(200), default="")


class Attempt(Base):
    """One try to deliver that did not end in a plain 250, in the peer's own words."""

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_recipient_id", "recipient_id"),)

    id: Mapped[Key]
    recipient_id: Mapped[int] = mapped_column(KeyType, ForeignKey("recipients.id"))
    attempted_at: Mapped[Instant]
    outcome: Mapped[str] = mapped_column(String(16))  # temporary | permanent | in_doubt
    stage: Mapped[str] = mapped_column(String(16))  # connect | helo | mail | rcpt | data | dot | hand_over
    reply: Mapped[str] = mapped_column(String(512), default="")


class Request(Base):
    """A processing request (処理要求電文): passed to the backend and waiting for its result, or answered by us.

    Neither `handover` (電文引継情報) nor `input_number` (入力情報特定番号) is unique. It is outstanding while it is
    claimed, not answered, and `outstanding_until` lies ahead.
    """

    __tablename__ = "requests"
    __table_args__ = (
        Index("ix_requests_correlation", "handover", "address_id", "input_number"),
        Index(
            "ix_requests_unanswered",
            "address_id",
            "outstanding_until",
            sqlite_where=text("answered_at IS NULL"),
            postgresql_where=text("answered_at IS NULL"),
        ),
        Index(
            "ix_requests_awaited",
            "outstanding_until",
            sqlite_where=text("answered_at IS NULL AND overdue_at IS NULL AND outstanding_until IS NOT NULL"),
            postgresql_where=text("answered_at IS NULL AND overdue_at IS NULL AND outstanding_until IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(KeyType, ForeignKey("recipients.id"), primary_key=True, autoincrement=False)
    address_id: Mapped[int] = mapped_column(KeyType)
    procedure: Mapped[str] = mapped_column(String(5))
    handover: Mapped[str] = mapped_column(String(26))
    input_number: Mapped[str] = mapped_column(String(10))
    received_at: Mapped[Instant]
    claimed_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # its hand-over began; it may have arrived
    outstanding_until: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # null: no result is awaited
    # Its hand-over may have arrived and is not tried again.
    in_doubt: Mapped[bool] = mapped_column(default=False, server_default=false())
    late_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    overdue_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    answered_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)
    result_mail_id: Mapped[int | None] = mapped_column(KeyType)


class MailFingerprint(Base):
    """What a mail of the public listener is recognised by when it comes again."""

    __tablename__ = "mail_fingerprints"

    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)  # of sender and Message-ID
    content_hash: Mapped[bytes] = mapped_column(LargeBinary(32))  # without trace fields
    mail_id: Mapped[int] = mapped_column(KeyType)
    received_at: Mapped[Instant]
