"""Requests that are outstanding, late or in doubt; the breaker, pauses and endpoints of lanes; third destinations."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from storage.columns import KeyType, UtcTimestamp

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UNANSWERED = "answered_at IS NULL"
_AWAITED = "answered_at IS NULL AND overdue_at IS NULL AND outstanding_until IS NOT NULL"
_CORRELATED = "direction = 'inbound' AND request_id IS NOT NULL"

# Every column that an existing table gains: table, name, type, and what old rows have where it must not be null.
_COLUMNS: tuple[tuple[str, str, sa.types.TypeEngine[Any], str | None], ...] = (
    ("recipients", "waiting_since", UtcTimestamp(), "0"),
    ("recipients", "request_id", KeyType, None),
    ("lanes", "down_since", UtcTimestamp(), None),
    ("lanes", "failures", sa.Integer(), "0"),
    ("lanes", "last_failure", sa.String(length=512), ""),
    ("lanes", "next_try_at", UtcTimestamp(), None),
    ("lanes", "told_at", UtcTimestamp(), None),
    ("lanes", "flushed_at", UtcTimestamp(), None),
    ("lanes", "endpoint", sa.String(length=8), "primary"),
    ("lanes", "endpoint_since", UtcTimestamp(), None),
    ("lanes", "wanted_endpoint", sa.String(length=8), ""),
    ("lanes", "drill_until", UtcTimestamp(), None),
    ("requests", "claimed_at", UtcTimestamp(), None),
    ("requests", "outstanding_until", UtcTimestamp(), None),
    ("requests", "in_doubt", sa.Boolean(), "false"),
    ("requests", "late_at", UtcTimestamp(), None),
    ("requests", "overdue_at", UtcTimestamp(), None),
    ("logical_terminals", "left_to_backend", sa.Text(), ""),
    ("office_users", "service_hours", sa.String(length=11), ""),
    ("office_users", "barred", sa.Boolean(), "false"),
)


def upgrade() -> None:
    """Add them. What was handed over before counts as claimed when it was received."""
    for table, name, kind, default in _COLUMNS:
        server_default = sa.false() if default == "false" else default
        op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=server_default))
    op.execute("UPDATE recipients SET waiting_since = created_at")
    op.execute(
        "UPDATE requests SET claimed_at = received_at WHERE answered_at IS NULL AND NOT EXISTS (SELECT 1 FROM "
        "recipients AS inbound JOIN recipients AS handed ON handed.mail_id = inbound.mail_id "
        "WHERE inbound.id = requests.id AND handed.lane = 'backend' AND handed.state = 'queued')"
    )
    op.execute(
        "UPDATE recipients SET request_id = (SELECT inbound.id FROM recipients AS inbound "
        "WHERE inbound.mail_id = recipients.mail_id AND inbound.direction = 'inbound') WHERE lane = 'backend'"
    )
    op.drop_column("lanes", "paused_at")
    op.drop_index("ix_requests_outstanding", "requests")
    op.create_index("ix_requests_correlation", "requests", ["handover", "address_id", "input_number"])
    _partial_index("ix_requests_unanswered", "requests", ["address_id", "outstanding_until"], _UNANSWERED)
    _partial_index("ix_requests_awaited", "requests", ["outstanding_until"], _AWAITED)
    _partial_index("ix_recipients_request_id", "recipients", ["request_id"], _CORRELATED)
    _create_lane_pauses()
    _create_output_destinations()


def downgrade() -> None:
    """Take them away."""
    op.drop_table("output_destinations")
    op.drop_table("lane_pauses")
    op.drop_index("ix_recipients_request_id", "recipients")
    for index in ("ix_requests_awaited", "ix_requests_unanswered", "ix_requests_correlation"):
        op.drop_index(index, "requests")
    for table, name, *_ in reversed(_COLUMNS):
        op.drop_column(table, name)
    op.add_column("lanes", sa.Column("paused_at", UtcTimestamp(), nullable=True))
    op.create_index(
        "ix_requests_outstanding",
        "requests",
        ["address_id", "handover", "input_number"],
        sqlite_where=sa.text(_UNANSWERED),
        postgresql_where=sa.text(_UNANSWERED),
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _create_lane_pauses() -> None:
    op.create_table(
        "lane_pauses",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("paused_at", UtcTimestamp(), nullable=False),
        sa.Column("resumed_at", UtcTimestamp(), nullable=True),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lane_pauses"),
    )
    op.create_index("ix_lane_pauses_lane", "lane_pauses", ["lane"])


def _create_output_destinations() -> None:
    op.create_table(
        "output_destinations",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("output_code", sa.String(length=7), nullable=False),
        sa.Column("user_code", sa.String(length=5), nullable=False),
        sa.Column("address_id", KeyType, nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_until", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["address_id"], ["mail_addresses.id"], name="fk_output_destinations_address_id_mail_addresses"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_output_destinations"),
    )
    op.create_index("ix_output_destinations_address_id", "output_destinations", ["address_id"])
