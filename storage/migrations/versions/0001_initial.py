"""The first schema: queue and lanes, the map, applications, and what the service knows of itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from storage.columns import KeyType, UtcTimestamp

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    "audit_events",
    "calendar_days",
    "clock_offset",
    "lanes",
    "mail_fingerprints",
    "mails",
    "map_version",
    "nodes",
    "offices",
    "receipt_counters",
    "reservations",
    "applications",
    "contacts",
    "lines",
    "mail_contents",
    "office_users",
    "recipients",
    "application_attachments",
    "attempts",
    "logical_terminals",
    "requests",
    "mail_addresses",
)


def upgrade() -> None:
    """Create every table."""
    _create_audit_events()
    _create_calendar_days()
    _create_clock_offset()
    _create_lanes()
    _create_mail_fingerprints()
    _create_mails()
    _create_map_version()
    _create_nodes()
    _create_offices()
    _create_receipt_counters()
    _create_reservations()
    _create_applications()
    _create_contacts()
    _create_lines()
    _create_mail_contents()
    _create_office_users()
    _create_recipients()
    _create_application_attachments()
    _create_attempts()
    _create_logical_terminals()
    _create_requests()
    _create_mail_addresses()


def downgrade() -> None:
    """Drop them, those that refer to others first."""
    for table in reversed(_TABLES):
        op.drop_table(table)


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("occurred_at", UtcTimestamp(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_subject", "audit_events", ["subject"], unique=False)


def _create_calendar_days() -> None:
    op.create_table(
        "calendar_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_calendar_days"),
    )


def _create_clock_offset() -> None:
    op.create_table(
        "clock_offset",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("seconds", KeyType, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clock_offset"),
    )


def _create_lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("last_sequence", KeyType, nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("lease_node", sa.Integer(), nullable=True),
        sa.Column("lease_token", KeyType, nullable=True),
        sa.Column("paused_at", UtcTimestamp(), nullable=True),
        sa.PrimaryKeyConstraint("lane", name="pk_lanes"),
    )


def _create_mail_fingerprints() -> None:
    op.create_table(
        "mail_fingerprints",
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("mail_id", KeyType, nullable=False),
        sa.Column("received_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_mail_fingerprints"),
    )


def _create_mails() -> None:
    op.create_table(
        "mails",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("listener", sa.String(length=16), nullable=False),
        sa.Column("mail_from", sa.String(length=320), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("helo_name", sa.String(length=255), nullable=False),
        sa.Column("received_at", UtcTimestamp(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("message_id", sa.String(length=998), nullable=False),
        sa.Column("map_version", KeyType, nullable=True),
        sa.Column("address_id", KeyType, nullable=True),
        sa.Column("damage", sa.String(length=32), nullable=False),
        sa.Column("unclean_end_at", UtcTimestamp(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("secret_offset", sa.Integer(), nullable=True),
        sa.Column("template", sa.String(length=64), nullable=False),
        sa.Column("application_id", KeyType, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_mails"),
    )
    op.create_index(
        "ix_mails_application_id",
        "mails",
        ["application_id"],
        unique=False,
        sqlite_where=sa.text("application_id IS NOT NULL"),
        postgresql_where=sa.text("application_id IS NOT NULL"),
    )
    op.create_index(
        "ix_mails_unclean_end",
        "mails",
        ["content_hash"],
        unique=False,
        sqlite_where=sa.text("unclean_end_at IS NOT NULL"),
        postgresql_where=sa.text("unclean_end_at IS NOT NULL"),
    )


def _create_map_version() -> None:
    op.create_table(
        "map_version",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("version", KeyType, nullable=False),
        sa.Column("changed_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_map_version"),
    )


def _create_nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("boot_id", KeyType, nullable=False),
        sa.Column("lease_until", UtcTimestamp(), nullable=False),
        sa.Column("keys_below_ms", KeyType, nullable=False),
        sa.Column("last_batch", KeyType, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
    )


def _create_offices() -> None:
    op.create_table(
        "offices",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=8), nullable=False),
        sa.Column("company_name", sa.String(length=200), nullable=False),
        sa.Column("company_abbreviation", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("system_class", sa.String(length=20), nullable=False),
        sa.Column("customs_office", sa.String(length=40), nullable=False),
        sa.Column("billing_code", sa.String(length=20), nullable=False),
        sa.Column("contract_password_hash", sa.String(length=200), nullable=False),
        sa.Column("administrator_name", sa.String(length=80), nullable=False),
        sa.Column("administrator_kana", sa.String(length=80), nullable=False),
        sa.Column("administrator_department", sa.String(length=80), nullable=False),
        sa.Column("administrator_title", sa.String(length=80), nullable=False),
        sa.Column("administrator_phone", sa.String(length=20), nullable=False),
        sa.Column("administrator_fax", sa.String(length=20), nullable=False),
        sa.Column("administrator_email", sa.String(length=320), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_offices"),
        sa.UniqueConstraint("code", name="uq_offices_code"),
    )


def _create_receipt_counters() -> None:
    op.create_table(
        "receipt_counters",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("year", name="pk_receipt_counters"),
    )


def _create_reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("value", sa.String(length=320), nullable=False),
        sa.Column("holder_id", KeyType, nullable=False),
        sa.Column("rests_until", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "value", name="pk_reservations"),
    )


def _create_applications() -> None:
    op.create_table(
        "applications",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("receipt_number", sa.String(length=16), nullable=False),
        sa.Column("office_id", KeyType, nullable=False),
        sa.Column("mail_id", KeyType, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("arrived_at", UtcTimestamp(), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column("desired_start_date", sa.Date(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=True),
        sa.Column("completed_at", UtcTimestamp(), nullable=True),
        sa.Column("applicant_name", sa.String(length=80), nullable=False),
        sa.Column("applicant_department", sa.String(length=80), nullable=False),
        sa.Column("applicant_email", sa.String(length=320), nullable=False),
        sa.Column("contents", sa.Text(), nullable=False),
        sa.Column("case_token", sa.String(length=64), nullable=False),
        sa.Column("last_message_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["office_id"], ["offices.id"], name="fk_applications_office_id_offices"),
        sa.PrimaryKeyConstraint("id", name="pk_applications"),
        sa.UniqueConstraint("receipt_number", name="uq_applications_receipt_number"),
    )
    op.create_index("ix_applications_office_id", "applications", ["office_id"], unique=False)
    op.create_index("ix_applications_state", "applications", ["state"], unique=False)


def _create_contacts() -> None:
    op.create_table(
        "contacts",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("office_id", KeyType, nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("kana", sa.String(length=80), nullable=False),
        sa.Column("department", sa.String(length=80), nullable=False),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.ForeignKeyConstraint(["office_id"], ["offices.id"], name="fk_contacts_office_id_offices"),
        sa.PrimaryKeyConstraint("id", name="pk_contacts"),
        sa.UniqueConstraint("office_id", "email", name="uq_contacts_office_id_email"),
    )


def _create_lines() -> None:
    op.create_table(
        "lines",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("office_id", KeyType, nullable=False),
        sa.Column("router_number", sa.String(length=10), nullable=False),
        sa.Column("line_class", sa.String(length=20), nullable=False),
        sa.Column("connection", sa.String(length=20), nullable=False),
        sa.Column("edifact", sa.Boolean(), nullable=False),
        sa.Column("line_type", sa.String(length=20), nullable=False),
        sa.Column("access_speed", sa.String(length=20), nullable=False),
        sa.Column("wiring", sa.String(length=20), nullable=False),
        sa.Column("maintenance_hours", sa.String(length=20), nullable=False),
        sa.Column("site_option", sa.String(length=200), nullable=False),
        sa.Column("shared_with_other_offices", sa.Boolean(), nullable=False),
        sa.Column("lan_subnet", sa.String(length=64), nullable=False),
        sa.Column("spare_router", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["office_id"], ["offices.id"], name="fk_lines_office_id_offices"),
        sa.PrimaryKeyConstraint("id", name="pk_lines"),
        sa.UniqueConstraint("router_number", name="uq_lines_router_number"),
    )


def _create_mail_contents() -> None:
    op.create_table(
        "mail_contents",
        sa.Column("mail_id", KeyType, autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["mail_id"], ["mails.id"], name="fk_mail_contents_mail_id_mails"),
        sa.PrimaryKeyConstraint("mail_id", name="pk_mail_contents"),
    )


def _create_office_users() -> None:
    op.create_table(
        "office_users",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("office_id", KeyType, nullable=False),
        sa.Column("code", sa.String(length=5), nullable=False),
        sa.Column("identification_number", sa.String(length=3), nullable=False),
        sa.Column("password_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("procedures", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["office_id"], ["offices.id"], name="fk_office_users_office_id_offices"),
        sa.PrimaryKeyConstraint("id", name="pk_office_users"),
        sa.UniqueConstraint("code", "identification_number", name="uq_office_users_code_identification_number"),
    )
    op.create_index("ix_office_users_office_id", "office_users", ["office_id"], unique=False)


def _create_recipients() -> None:
    op.create_table(
        "recipients",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("mail_id", KeyType, nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("rcpt_to", sa.String(length=320), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("created_at", UtcTimestamp(), nullable=False),
        sa.Column("due_at", UtcTimestamp(), nullable=False),
        sa.Column("finished_at", UtcTimestamp(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("handler_failures", sa.Integer(), nullable=False),
        sa.Column("in_doubt", sa.Integer(), nullable=False),
        sa.Column("last_reply", sa.String(length=512), nullable=False),
        sa.Column("order_key", sa.String(length=320), nullable=False),
        sa.Column("lane", sa.String(length=64), nullable=True),
        sa.Column("lane_sequence", KeyType, nullable=True),
        sa.Column("sender", sa.String(length=320), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=True),
        sa.Column("body_offset", sa.Integer(), nullable=False),
        sa.Column("address_id", KeyType, nullable=True),
        sa.Column("output_code", sa.String(length=7), nullable=False),
        sa.Column("map_version", KeyType, nullable=True),
        sa.CheckConstraint(
            "state IN ('received', 'handled', 'refused', 'duplicate', 'held', 'parked', 'expired', 'queued', 'delivered', 'undelivered', 'failed', 'cancelled')",
            name="ck_recipients_state",
        ),
        sa.ForeignKeyConstraint(["mail_id"], ["mails.id"], name="fk_recipients_mail_id_mails"),
        sa.PrimaryKeyConstraint("id", name="pk_recipients"),
    )
    op.create_index("ix_recipients_mail_id", "recipients", ["mail_id"], unique=False)
    op.create_index(
        "ix_recipients_queued",
        "recipients",
        ["lane", "lane_sequence"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_recipients_undelivered",
        "recipients",
        ["address_id"],
        unique=False,
        sqlite_where=sa.text("state = 'undelivered'"),
        postgresql_where=sa.text("state = 'undelivered'"),
    )
    op.create_index(
        "ix_recipients_waiting",
        "recipients",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'received'"),
        postgresql_where=sa.text("state = 'received'"),
    )


def _create_application_attachments() -> None:
    op.create_table(
        "application_attachments",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("application_id", KeyType, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name="fk_application_attachments_application_id_applications"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_application_attachments"),
    )
    op.create_index(
        "ix_application_attachments_application_id", "application_attachments", ["application_id"], unique=False
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("recipient_id", KeyType, nullable=False),
        sa.Column("attempted_at", UtcTimestamp(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("reply", sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_attempts_recipient_id_recipients"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_recipient_id", "attempts", ["recipient_id"], unique=False)


def _create_logical_terminals() -> None:
    op.create_table(
        "logical_terminals",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=6), nullable=False),
        sa.Column("line_id", KeyType, nullable=False),
        sa.Column("terminal_class", sa.String(length=20), nullable=False),
        sa.Column("equipment", sa.String(length=20), nullable=False),
        sa.Column("package", sa.String(length=20), nullable=False),
        sa.Column("ip_address", sa.String(length=64), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("codec", sa.String(length=20), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_until", sa.Date(), nullable=True),
        sa.Column("application_id", KeyType, nullable=True),
        sa.ForeignKeyConstraint(["line_id"], ["lines.id"], name="fk_logical_terminals_line_id_lines"),
        sa.PrimaryKeyConstraint("id", name="pk_logical_terminals"),
        sa.UniqueConstraint("name", name="uq_logical_terminals_name"),
    )
    op.create_index("ix_logical_terminals_line_id", "logical_terminals", ["line_id"], unique=False)


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("address_id", KeyType, nullable=False),
        sa.Column("procedure", sa.String(length=5), nullable=False),
        sa.Column("handover", sa.String(length=26), nullable=False),
        sa.Column("input_number", sa.String(length=10), nullable=False),
        sa.Column("received_at", UtcTimestamp(), nullable=False),
        sa.Column("answered_at", UtcTimestamp(), nullable=True),
        sa.Column("result_mail_id", KeyType, nullable=True),
        sa.ForeignKeyConstraint(["id"], ["recipients.id"], name="fk_requests_id_recipients"),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
    )
    op.create_index(
        "ix_requests_outstanding",
        "requests",
        ["address_id", "handover", "input_number"],
        unique=False,
        sqlite_where=sa.text("answered_at IS NULL"),
        postgresql_where=sa.text("answered_at IS NULL"),
    )


def _create_mail_addresses() -> None:
    op.create_table(
        "mail_addresses",
        sa.Column("id", KeyType, autoincrement=False, nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("address_key", sa.String(length=320), nullable=False),
        sa.Column("terminal_id", KeyType, nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_until", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["logical_terminals.id"], name="fk_mail_addresses_terminal_id_logical_terminals"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mail_addresses"),
    )
    op.create_index("ix_mail_addresses_address_key", "mail_addresses", ["address_key"], unique=False)
    op.create_index("ix_mail_addresses_terminal_id", "mail_addresses", ["terminal_id"], unique=False)
