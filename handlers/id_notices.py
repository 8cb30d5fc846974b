"""Telling the applicant: the review is complete, and which IDs were issued.

Both mails go to 申込担当者 and システム管理責任者. No password is in either: a mask stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import notices
from handlers.allocation_order import Change, TerminalChange
from handlers.applications.contents import ApplicationContents, LineAction
from handlers.calendar import BusinessCalendar, jst_date
from handlers.desk import DeskSettings
from storage.models import Application, Line, Office

MASK = "*****"


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalBlock:
    """A terminal as the ID notice prints it: an added one has no old ID, a deleted one no new ID."""

    heading: str
    english_heading: str
    router_number: str
    terminal_class: str
    equipment: str
    package: str
    old_name: str
    old_ip_address: str
    new_name: str
    new_ip_address: str
    access_key: str
    mail_addresses: tuple[str, ...]
    keeps_addresses: bool  # those printed come to the ones it has


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBlock:
    """A line that is added, with its LAN, or one that is cancelled."""

    heading: str
    english_heading: str
    router_number: str
    line_class: str = ""
    lan_subnet: str = ""


_HEADINGS = {
    Change.ADDED: ("追加", "added"),
    Change.CHANGED: ("変更", "changed"),
    Change.DELETED: ("削除", "deleted"),
}


def send_review_complete(
    session: Session,
    desk: DeskSettings,
    application: Application,
    calendar: BusinessCalendar,
    now: datetime,
    *,
    needs_system_settings: bool,
) -> None:
    """Say that the review is complete, how long passwords can be seen, and the confirmed start date."""
    start = confirmed_start(application)
    deadline = calendar.settings_deadline(start) if needs_system_settings else None
    context = {
        "window_from": jst_date(now),
        "window_until": calendar.last_day_of_password_window(start),
        "settings_deadline": deadline,
        "settings_received": application.settings_received_at is not None,
        "has_passwords": ApplicationContents.from_json(application.contents).adds_terminals,
    }
    notices.send_to_both(session, desk, application, "applicant/review-complete", context, now)


def send_id_notice(
    session: Session,
    desk: DeskSettings,
    application: Application,
    changes: Sequence[TerminalChange],
    now: datetime,
) -> None:
    """Say which lines, terminals, IP addresses and mail addresses hold from the start date on."""
    context = {
        "office": session.get_one(Office, application.office_id),
        "lines": list(_lines(session, application)),
        "terminals": [_block(change) for change in changes],
        "mask": MASK,
        "needs_check": any(change.change is not Change.DELETED for change in changes),
        "package_is_new": any(_is_new_pc(change) for change in changes),
    }
    notices.send_to_both(session, desk, application, "applicant/id-notice", context, now)


def confirmed_start(application: Application) -> date:
    """利用開始日 of a completed application; ValueError before it is confirmed."""
    if application.start_date is None:
        raise ValueError(f"{application.receipt_number} has no confirmed start date")
    return application.start_date


def _lines(session: Session, application: Application) -> Iterator[LineBlock]:
    added = session.scalars(select(Line).where(Line.application_id == application.id).order_by(Line.id))
    for line in added:
        yield LineBlock(
            heading="追加",
            english_heading="added",
            router_number=line.router_number,
            line_class=line.line_class,
            lan_subnet=line.lan_subnet,
        )
    for wanted in ApplicationContents.from_json(application.contents).lines:
        if wanted.action is LineAction.CANCEL:
            yield LineBlock(heading="廃止", english_heading="cancelled", router_number=wanted.router_number)


def _is_new_pc(change: TerminalChange) -> bool:
    return change.change is Change.ADDED and change.package != ""


def _block(change: TerminalChange) -> TerminalBlock:
    is_added, is_deleted = change.change is Change.ADDED, change.change is Change.DELETED
    return TerminalBlock(
        heading=_HEADINGS[change.change][0],
        english_heading=_HEADINGS[change.change][1],
        router_number=change.router_number,
        terminal_class=change.terminal_class,
        equipment=change.equipment,
        package=change.package,
        old_name="" if is_added else change.name,
        old_ip_address="" if is_added else change.ip_address,
        new_name="" if is_deleted else change.name,
        new_ip_address="" if is_deleted else change.ip_address,
        access_key="" if is_deleted else MASK,
        mail_addresses=change.mail_addresses,
        keeps_addresses=change.change is Change.CHANGED and bool(change.mail_addresses),
    )
