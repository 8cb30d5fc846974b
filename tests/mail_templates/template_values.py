"""A value for every variable of every notice, such that each branch that asks for one is taken; some are long."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from handlers.applications.contents import Applicant, ApplicationFile, Person
from handlers.applications.receipt_notices import CountChange, LineShown
from handlers.id_notices import TerminalBlock
from handlers.lane_watch import DownDestination, GivenUp
from handlers.request_watch import OverdueRequest
from storage.models import Office

RECEIVED = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
LONG = "とても長い値、a long value without end, " * 6
UNBROKEN = "x" * 200

PERSON = Person(
    family_name="船舶",
    given_name="二郎",
    family_kana="センパク",
    given_kana="ジロウ",
    department="システム部" * 20,
    phone="06456789123",
)
LINE = LineShown(
    router_number="09143",
    action="変更",
    construction_date=date(2026, 12, 14),
    changes=(CountChange(label="SMTPサーバ台数（SMTP双方向）", before="0台", after="1台"),),
    target_terminal="60777S",
    terminals_to_delete=tuple(f"{number}S" for number in range(60000, 60030)),
    spare_router=True,
    free_addresses=0,
    open_cases=("260002A", "260003A"),
)
COPY: dict[str, Any] = {
    "application_class": "変更申込",
    "office_code": "CT0001",
    "items": ["一般NACCS端末の登録情報（追加・削除）"],
    "reason": "一行目\n" + LONG,
    "lines": [LINE, LINE],
    "files": [ApplicationFile(name=f"{UNBROKEN}.xlsx", size=151000)],
    "applicant": Applicant(**PERSON.model_dump(), title="係長", email=f"{'a' * 64}@{'b' * 60}.example"),
    "work_contact": PERSON,
    "attendant": PERSON,
    "work_remarks": LONG,
    "remarks": LONG,
    "warnings": [LONG],
    "open_cases": [f"26{number:04d}A" for number in range(30)],
    "email_not_registered": True,
}
OVERDUE: dict[str, Any] = {
    "address": f"{'a' * 64}@{'b' * 60}.EXAMPLE",
    "terminal": "60777S",
    "procedure": "OTA01",
    "handover": "x" * 26,
    "input_number": "0000000001",
    "mail_id": 382872872311328768,
    "received": "2026-11-24 10:00:00",
    "handed_over": "2026-11-24 10:00:01",
    "in_doubt": False,
}
DOWN = DownDestination(
    lane="terminal:60777S",
    since=RECEIVED,
    failures=12345,
    last_failure=LONG + UNBROKEN,
    next_try=RECEIVED,
    waiting=12345,
    paused=True,
    endpoint="backup",
)

VALUES: dict[str, dict[str, Any]] = {
    "applicant/application-received": COPY,
    "applicant/application-invalid": {
        "received": RECEIVED,
        "subject": LONG,
        "errors": [
            {
                "place": "【申込担当者】電話番号",
                "rule_ja": LONG,
                "rule_en": LONG,
                "given": "一行目\n二行目" + UNBROKEN,
                "example": "0301234567",
                "action_ja": LONG,
                "action_en": LONG,
            }
        ],
    },
    "applicant/application-held": {
        "office_code": "CT0001",
        "received": RECEIVED,
        "header_from": f"{'a' * 64}@{'b' * 60}.example",
        "reason": LONG,
        "mail_id": 382872872311328768,
    },
    "applicant/review-complete": {
        "window_from": date(2026, 11, 24),
        "window_until": date(2026, 12, 16),
        "settings_deadline": date(2026, 12, 8),
    },
    "applicant/id-notice": {
        "office": Office(
            code="CT0001",
            company_abbreviation="CTO",
            system_class="共用",
            customs_office="東京税関",
            billing_code="B000001",
        ),
        "terminals": [
            TerminalBlock(
                heading="追加",
                router_number="09143",
                terminal_class="共用",
                equipment="SMTP",
                package="",
                old_name="",
                old_ip_address="",
                new_name="60000S",
                new_ip_address="10.20.13.2",
                access_key="*****",
                mail_addresses=("3A0001@SMTP.CT0001.CENTER.EXAMPLE",),
            )
        ],
        "mask": "*****",
        "needs_check": True,
        "package_is_new": True,
    },
    "reviewer/review-requested": {
        **COPY,
        "company_name": "株式会社" * 40,
        "office_name": "第一営業部",
        "age": "0時間0分",
        "sender_verdict": LONG,
        "off_schedule": True,
    },
    "reviewer/application-waiting": {
        "office_code": "CT0001",
        "received": RECEIVED,
        "header_from": "someone@elsewhere.example",
        "mail_from": UNBROKEN,
        "peer": "192.0.2.1",
        "subject": LONG,
        "reason": LONG,
        "mail_id": 382872872311328768,
        "earlier_mail_id": 382872872311328000,
        "error_count": 3,
        "told": 2,
        "last_of_hour": True,
    },
    "reviewer/no-administrator-address": {"office_code": "CT0001", "notice_name": "application-received"},
    "operator/mail-parked": {
        "mail_id": 382872872311328768,
        "received": RECEIVED,
        "listener": "public",
        "mail_from": UNBROKEN,
        "rcpt_to": "postmaster@nss.center.example",
        "reason": LONG,
        "last_of_hour": True,
    },
    "operator/request-overdue": {
        "requests": [
            OverdueRequest(**OVERDUE),
            OverdueRequest(**{**OVERDUE, "in_doubt": True}),
            OverdueRequest(**{**OVERDUE, "handed_over": ""}),
        ],
        "total": 12345,
        "overdue_seconds": 180,
    },
    "operator/destination-down": {"destinations": [DOWN, DOWN], "total": 12345, "last_of_hour": True},
    "operator/delivery-gave-up": {
        "destinations": [GivenUp(lane="terminal:60777S", count=12345, first=RECEIVED)],
        "total": 12345,
        "messages": 12345678,
    },
}
