"""The tables, split by aggregate; importing this package registers them all."""

from __future__ import annotations

from storage.columns import Base
from storage.models.applications import (
    Application,
    ApplicationAttachment,
    CalendarDay,
    ReceiptCounter,
)
from storage.models.map import (
    Contact,
    Line,
    LogicalTerminal,
    MailAddress,
    MapVersion,
    Office,
    OfficeUser,
    Reservation,
)
from storage.models.queue import Attempt, Lane, Mail, MailContent, MailFingerprint, Recipient, Request
from storage.models.service import AuditEvent, ClockOffset, Node

__all__ = [
    "Application",
    "ApplicationAttachment",
    "Attempt",
    "AuditEvent",
    "Base",
    "CalendarDay",
    "ClockOffset",
    "Contact",
    "Lane",
    "Line",
    "LogicalTerminal",
    "Mail",
    "MailAddress",
    "MailContent",
    "MailFingerprint",
    "MapVersion",
    "Node",
    "Office",
    "OfficeUser",
    "ReceiptCounter",
    "Recipient",
    "Request",
    "Reservation",
]
