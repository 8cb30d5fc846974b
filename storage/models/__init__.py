"""The tables, split by aggregate; importing this package registers them all."""

from __future__ import annotations

from storage.columns import Base
from storage.models.applications import (
    Application,
    ApplicationAttachment,
    CalendarDay,
    CaseEntry,
    DeskJob,
    IssuedSecret,
    ReceiptCounter,
    ScheduleDay,
    Work,
)
from storage.models.map import (
    Contact,
    Line,
    LogicalTerminal,
    MailAddress,
    MapVersion,
    Office,
    OfficeUser,
    OutputDestination,
    Reservation,
)
from storage.models.queue import Attempt, Lane, LanePause, Mail, MailContent, MailFingerprint, Recipient, Request
from storage.models.service import AuditEvent, ClockOffset, Node

__all__ = [
    "Application",
    "ApplicationAttachment",
    "Attempt",
    "AuditEvent",
    "Base",
    "CalendarDay",
    "CaseEntry",
    "ClockOffset",
    "Contact",
    "DeskJob",
    "IssuedSecret",
    "Lane",
    "LanePause",
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
    "OutputDestination",
    "ReceiptCounter",
    "Recipient",
    "Request",
    "Reservation",
    "ScheduleDay",
    "Work",
]
