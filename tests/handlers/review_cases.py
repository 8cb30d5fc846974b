"""An office of the sample file and applications of it, as the tests of the review need them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.applications.contents import (
    Applicant,
    ApplicationClass,
    ApplicationContents,
    LineAction,
    LineChange,
)
from handlers.calendar import BusinessCalendar, jst_date, seed_holidays
from handlers.contracts import ImportReport, import_contracts, read_contracts
from handlers.desk import DeskSettings, SupportDesk
from storage.mail_queue import content_of
from storage.models import Application, AuditEvent, Mail, Office, Recipient
from storage.store import Store, new_key

OFFICES = (Path(__file__).parent / "offices.toml").read_text(encoding="utf-8")
SMTP_SERVER = """
[[office.line.terminal]]
name = "60777S"
class = "港湾"
equipment = "SMTP"
ip_address = "127.20.13.13"
port = 2525
mail_addresses = ["3A0001@smtp.ct0001.center.example"]
"""
WITH_SMTP_SERVER = OFFICES.replace("[[office.user]]", SMTP_SERVER + "\n[[office.user]]")

CALENDAR = BusinessCalendar(holidays=seed_holidays({2026, 2027}))
# Hashing takes a tenth of a second; where it is not the point, it is done beforehand.
HASHES = {"CT0001": "not-hashed-here"}
START = date(2026, 12, 14)

DESK = DeskSettings(
    support_domain="nss.center.example",
    from_address="nss@nss.center.example",
    reviewer_address="reviewer@nss.center.example",
    operator_address="operator@nss.center.example",
    portal_url="https://nss.center.example/",
    package_url="https://nss.center.example/package",
    desks=(SupportDesk(name="ヘルプデスク（テスト）", phone="0120-000-000", hours="終日"),),
    token_key=b"t" * 32,
    password_key=b"p" * 32,
)


def take_contracts(store: Store, now: datetime, text: str = OFFICES, **options: Any) -> ImportReport:
    """Import an office file."""
    contracts = read_contracts(text)
    options.setdefault("password_hashes", HASHES)
    return store.run(lambda session: import_contracts(session, contracts, DESK, now, **options))


def line_change(**values: Any) -> LineChange:
    """One new SMTP server with one address, unless said otherwise."""
    defaults: dict[str, Any] = {
        "router_number": "09143",
        "action": LineAction.CHANGE,
        "construction_date": START,
        "construction_date_given": START,
        "smtp_servers": 1,
        "mail_addresses": 1,
        "addresses_of_new_servers": (1,),
    }
    return LineChange(**{**defaults, **values})


def no_servers(**values: Any) -> LineChange:
    """A change without a new SMTP server."""
    return line_change(**{"smtp_servers": None, "mail_addresses": None, "addresses_of_new_servers": (), **values})


def contents(*lines: LineChange, **values: Any) -> ApplicationContents:
    """What a checked application of the sample office says."""
    defaults: dict[str, Any] = {
        "application_class": ApplicationClass.CHANGE,
        "office_code": "CT0001",
        "items": ("naccs_terminals",),
        "desired_start_date": START,
        "reason": "自社システムのSMTP双方向サーバを追加するため",
        "applicant": Applicant(
            family_name="通関",
            given_name="花子",
            family_kana="ツウカン",
            given_kana="ハナコ",
            department="第一営業部通関課",
            phone="0120794550",
            email="tsukan-hanako@applicant.example",
        ),
        "lines": lines or (line_change(),),
    }
    return ApplicationContents(**{**defaults, **values})


def receive(
    store: Store,
    now: datetime,
    receipt: str = "260001A",
    said: ApplicationContents | None = None,
    **values: Any,
) -> str:
    """Put an application into the register as an accepted one; its receipt number."""
    said = said or contents()

    def add(session: Session) -> None:
        office = session.scalars(select(Office).where(Office.code == said.office_code)).one()
        session.add(
            Application(
                **{
                    "id": new_key(session),
                    "receipt_number": receipt,
                    "office_id": office.id,
                    "mail_id": new_key(session),
                    "state": "received",
                    "arrived_at": now,
                    "received_on": jst_date(now),
                    "desired_start_date": said.desired_start_date,
                    "applicant_name": said.applicant.name,
                    "applicant_department": said.applicant.department or "",
                    "applicant_email": said.applicant.email,
                    "contents": said.to_json(),
                    "case_token": "t",
                    **values,
                }
            )
        )

    store.run(add)
    return receipt


def state_of(store: Store, receipt: str = "260001A") -> str:
    """The state of an application."""
    query = select(Application.state).where(Application.receipt_number == receipt)
    return store.read(lambda session: session.scalars(query).one())


def notices_sent(store: Store) -> list[tuple[str, str]]:
    """(template, recipient) of every mail that was queued, in the order of the lanes."""
    query = select(Mail.template, Recipient.rcpt_to).join(Recipient, Recipient.mail_id == Mail.id)
    rows = store.read(lambda session: session.execute(query.order_by(Recipient.id)).all())
    return [(row.template.partition("@")[0], row.rcpt_to) for row in rows]


def notice_to(store: Store, template: str, address: str) -> bytes:
    """The bytes of the one mail of that template to an address."""

    def read(session: Session) -> bytes:
        query = (
            select(Mail.id)
            .join(Recipient, Recipient.mail_id == Mail.id)
            .where(Mail.template.like(f"{template}@%"), Recipient.rcpt_to == address)
        )
        return content_of(session, session.scalars(query).one())

    return store.read(read)


def audited(store: Store, subject: str) -> list[tuple[str, str, str]]:
    """(event, actor, detail) of a subject, in order."""
    query = select(AuditEvent).where(AuditEvent.subject == subject).order_by(AuditEvent.id)
    events = store.read(lambda session: session.scalars(query).all())
    return [(event.event, event.actor, event.detail) for event in events]
