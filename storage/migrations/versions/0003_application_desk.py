"""The whole application desk: history, work, clock-driven jobs, issued secrets and the schedule of an application."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from storage.columns import KeyType, UtcTimestamp

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_HELD = "state = 'held'"
_UNDONE = "done_at IS NULL AND cancelled_at IS NULL"

# Every column that an existing table gains: table, name, type, and what old rows have where it must not be null.
_COLUMNS: tuple[tuple[str, str, sa.types.TypeEngine[Any], str | None], ...] = (
    ("applications", "sender_verdict", sa.String(length=200), ""),
    ("applications", "address_accepted", sa.Boolean(), "false"),
    ("applications", "taken_by", sa.String(length=80), ""),
    ("applications", "inquiry_made", sa.Boolean(), "false"),
    ("applications", "proposed_by", sa.String(length=80), ""),
    ("applications", "proposed_start", sa.Date(), None),
    ("applications", "settings_deadline", sa.Date(), None),
    ("applications", "settings_received_at", UtcTimestamp(), None),
    ("applications", "passwords_until", sa.Date(), None),
    ("applications", "checked_at", UtcTimestamp(), None),
    ("offices", "bilingual", sa.Boolean(), "false"),
    ("lines", "shared_with", sa.Text(), ""),
    ("lines", "effective_from", sa.Date(), None),
    ("lines", "effective_until", sa.Date(), None),
    ("lines", "application_id", KeyType, None),
    ("logical_terminals", "ended_by", KeyType, None),
    ("logical_terminals", "checked_at", UtcTimestamp(), None),
    ("mail_addresses", "application_id", KeyType, None),
    ("mail_addresses", "ended_by", KeyType, None),
    ("mails", "signed_by", sa.String(length=255), ""),
)


def upgrade() -> None:
    """Add them. An address issued with its terminal belongs to the terminal's application."""
    for table, name, kind, default in _COLUMNS:
        server_default = sa.false() if default == "false" else default
        op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=server_default))
    op.execute(
        "UPDATE mail_addresses SET application_id = (SELECT logical_terminals.application_id FROM logical_terminals "
        "WHERE logical_terminals.id = mail_addresses.terminal_id "
        "AND logical_terminals.effective_from = mail_addresses.effective_from)"
    )
    op.create_index(
        "ix_recipients_held", "recipients", ["mail_id"], sqlite_where=sa.text(_HELD), postgresql_where=sa.text(_HELD)
    )
    _create_case_entries()
    _create_works()
    _create_desk_jobs()
    _create_issued_secrets()
    op.create_table(
        "schedule_days",
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("apply_by", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("start_on", name="pk_schedule_days"),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_recipients_held", "recipients")
    for table in ("schedule_days", "issued_secrets", "desk_jobs", "works", "case_entries"):
        op.drop_table(table)
    for table, name, *_ in reversed(_COLUMNS):
        op.drop_column(table, name)


def _of_application(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("application_id", KeyType, nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name=f"fk_{table}_application_id_applications"
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def _create_case_entries() -> None:
    op.create_table(
        "case_entries",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("occurred_at", UtcTimestamp(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("mail_id", KeyType, nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        *_of_application("case_entries"),
    )
    op.create_index("ix_case_entries_application_id", "case_entries", ["application_id"])


def _create_works() -> None:
    op.create_table(
        "works",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("line_id", KeyType, nullable=True),
        sa.Column("mode", sa.String(length=8), nullable=False),
        sa.Column("begins_at", UtcTimestamp(), nullable=False),
        sa.Column("ends_at", UtcTimestamp(), nullable=False),
        sa.Column("router_installed_on", sa.Date(), nullable=True),
        sa.Column("contact", sa.String(length=200), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=False),
        sa.Column("fee", sa.String(length=200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("scheduled_by", sa.String(length=80), nullable=False),
        sa.Column("opened_at", UtcTimestamp(), nullable=True),
        sa.Column("closed_at", UtcTimestamp(), nullable=True),
        sa.Column("done_at", UtcTimestamp(), nullable=True),
        sa.Column("cancelled_at", UtcTimestamp(), nullable=True),
        sa.ForeignKeyConstraint(["line_id"], ["lines.id"], name="fk_works_line_id_lines"),
        *_of_application("works"),
    )
    op.create_index("ix_works_application_id", "works", ["application_id"])


def _create_desk_jobs() -> None:
    op.create_table(
        "desk_jobs",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("due_at", UtcTimestamp(), nullable=False),
        sa.Column("done_at", UtcTimestamp(), nullable=True),
        sa.Column("cancelled_at", UtcTimestamp(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.UniqueConstraint("application_id", "kind", "key", name="uq_desk_jobs_application_id_kind_key"),
        *_of_application("desk_jobs"),
    )
    op.create_index(
        "ix_desk_jobs_due",
        "desk_jobs",
        ["due_at"],
        sqlite_where=sa.text(_UNDONE),
        postgresql_where=sa.text(_UNDONE),
    )


def _create_issued_secrets() -> None:
    op.create_table(
        "issued_secrets",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("terminal_id", KeyType, nullable=True),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("key_name", sa.String(length=40), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", UtcTimestamp(), nullable=False),
        sa.Column("destroyed_at", UtcTimestamp(), nullable=True),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["logical_terminals.id"], name="fk_issued_secrets_terminal_id_logical_terminals"
        ),
        *_of_application("issued_secrets"),
    )
    op.create_index("ix_issued_secrets_application_id", "issued_secrets", ["application_id"])
