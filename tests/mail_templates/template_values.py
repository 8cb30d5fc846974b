"""A value for every variable of every notice, such that each branch that asks for one is taken; some are long."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from handlers.applications.application_copy import LineShown, PairShown
from handlers.applications.contents import Applicant, ApplicationFile, ApplicationWarning, Person
from handlers.applications.value_changes import ValueChange
from handlers.case_notices import ReplacedShown, WorkShown
from handlers.case_progress import Progress
from handlers.case_view import IssuedTerminal
from handlers.desk_job_runs import FailingJob
from handlers.id_notices import LineBlock, TerminalBlock
from handlers.lane_watch import DownDestination, GivenUp
from handlers.request_watch import OverdueRequest
from handlers.reviewer_notices import ChangeShown, ReminderRow
from storage.models import Office, ScheduleDay

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
    changes=(
        ValueChange(
            label="SMTPサーバ台数（SMTP双方向）",
            english_label="SMTP servers (two-way)",
            before="0",
            after="1",
            unit="台",
        ),
        ValueChange(label="設置場所オプション", english_label="Place of installation", before="", after=LONG),
    ),
    target_terminal="60777S",
    terminals_to_delete=tuple(f"{number}S" for number in range(60000, 60030)),
    terminals_ending=("25130M",),
    spare_router=True,
    free_addresses=0,
    open_cases=("260002A", "260003A"),
)
COPY: dict[str, Any] = {
    "application_class": "変更申込",
    "office_code": "CT0001",
    "items": ["一般NACCS端末の登録情報（追加・削除）"],
    "other_items": ["地位の承継"],
    "item_changes": [PairShown(name="企業名、事業所名、所在地等", before="", after="一行目\n" + LONG)],
    "reason": "一行目\n" + LONG,
    "lines": [LINE, LINE],
    "files": [ApplicationFile(name=f"{UNBROKEN}.xlsx", size=151000)],
    "applicant": Applicant(**PERSON.model_dump(), title="係長", email=f"{'a' * 64}@{'b' * 60}.example"),
    "work_contact": PERSON,
    "attendant": PERSON,
    "work_remarks": LONG,
    "remarks": LONG,
    "warnings": [ApplicationWarning(code="off_schedule", text_ja=LONG, text_en=LONG)],
    "open_cases": [f"26{number:04d}A" for number in range(30)],
}
ERRORS: dict[str, Any] = {
    "received": RECEIVED,
    "subject": LONG,
    "errors": [
        {
            "section": "申込内容",
            "place": "【申込担当者】電話番号",
            "rule_ja": LONG,
            "rule_en": LONG,
            "given": "一行目\n二行目" + UNBROKEN,
            "example": "0301234567",
            "action_ja": LONG,
            "action_en": LONG,
        }
    ],
}
CHANGES = [ChangeShown(place="【申込担当者】電話番号" + LONG, before="一行目\n" + LONG, after="")]
TERMINALS = [IssuedTerminal(name="60000S", ip_address="10.20.13.2", mail_addresses=(f"{'A' * 64}@{'B' * 60}.EXAMPLE",))]
SCHEDULE = [ScheduleDay(start_on=date(2026, 12, 14), apply_by=date(2026, 12, 4))]
DAY = date(2026, 12, 16)
WORK = WorkShown(
    router_number="09143",
    remote=True,
    spare_router=True,
    begins_at=RECEIVED,
    ends_at=RECEIVED,
    router_installed_on=DAY,
    contact=LONG,
    phone="0312345678",
    fee=LONG,
    note="一行目\n" + LONG,
    replaced=ReplacedShown(remote=False, begins_at=RECEIVED, ends_at=RECEIVED),
)
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
    "applicant/application-invalid": ERRORS,
    "applicant/amendment-invalid": ERRORS,
    "applicant/inquiry": {"question": "一行目\n" + LONG},
    "applicant/amendment-received": {"changes": CHANGES},
    "applicant/withdrawal-received": {"withdrawn_on": DAY},
    "applicant/application-rejected": {"reason": "一行目\n" + LONG},
    "applicant/application-void": {
        "reason": "一行目\n" + LONG,
        "deadline": DAY,
        "terminals": TERMINALS,
        "addresses": [UNBROKEN],
    },
    "applicant/settings-received": {"settings_received_on": DAY, "settings_deadline": DAY},
    "applicant/rescheduled": {
        "before": DAY,
        "after": DAY,
        "confirmed": True,
        "passwords_until": DAY,
        "settings_deadline": DAY,
        "settings_received": True,
    },
    "applicant/work-schedule": {"work": WORK, "work_contact": PERSON, "attendant": PERSON, "shared_line": False},
    "applicant/start-of-use": {"terminals": TERMINALS},
    "applicant/communication-checked": {"terminals": TERMINALS, "checked_on": DAY},
    "applicant/tcc-reminder": {"unchecked": [f"{number}S" for number in range(60000, 60030)]},
    "applicant/passwords-closing": {"passwords_until": DAY},
    "applicant/passwords-reissued": {"window_from": DAY, "passwords_until": DAY},
    "applicant/status-report": {
        "status": "審査終了",
        "state": "ids_issued",
        "in_review": True,
        "review_completed_on": DAY,
        "settings_deadline": DAY,
        "settings_received": True,
        "passwords_until": DAY,
        "ended": False,
        "progress": [Progress(item=LONG, date=DAY, notice="利用申込受付完了のお知らせ")],
        "documents": [UNBROKEN],
        "not_taken": "too_late",
        "mark": "修正",
    },
    "applicant/schedule": {"schedule": SCHEDULE},
    "applicant/blank-form": {"files": [UNBROKEN], "schedule": SCHEDULE, "reasons": [LONG]},
    "applicant/application-held": {
        "receipt_number": "260001A",
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
        "settings_received": False,
        "has_passwords": True,
    },
    "applicant/id-notice": {
        "office": Office(
            code="CT0001",
            company_abbreviation="CTO",
            system_class="共用",
            customs_office="東京税関",
            billing_code="B000001",
        ),
        "lines": [
            LineBlock(
                heading="追加",
                english_heading="added",
                router_number="09144",
                line_class="共用",
                lan_subnet="10.20.14.0/24",
            )
        ],
        "terminals": [
            TerminalBlock(
                heading="追加",
                english_heading="added",
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
                keeps_addresses=False,
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
        "age": "0営業日（0時間0分）",
        "header_from": f"{'a' * 64}@{'b' * 60}.example",
        "sender_verdict": LONG,
        "schedule_verdict": "希望日はスケジュール外です",
        "needs_inquiry": True,
        "needs_system_settings": True,
    },
    "reviewer/case-news": {
        "news": "申込内容の修正",
        "what": "amendment",
        "status": "審査中",
        "taken_by": "os:reviewer",
        "office": LONG,
        "office_code": "CT0001",
        "author": f"{'a' * 64}@{'b' * 60}.example",
        "mark": "修正",
        "answered": LONG,
        "proposed_start": DAY,
        "words": "一行目\n" + LONG,
        "changes": CHANGES,
    },
    "reviewer/automatic-form": {
        "mail_id": 382872872311328768,
        "received": RECEIVED,
        "rcpt_to": f"case+260001A.…@{'b' * 60}.example",
        "header_from": f"{'a' * 64}@{'b' * 60}.example",
        "mail_from": f"{'a' * 64}@{'b' * 60}.example",
        "sender_verdict": LONG,
        "receipt_number": "260001A",
        "subject": LONG,
        "mark": "取下げ",
        "office_code": "CT0001",
        "reason": LONG,
        "passed_over": 12,
    },
    "reviewer/reminder": {
        "kind": "review_waiting",
        "rows": [
            ReminderRow(
                receipt_number="260001A",
                office=LONG,
                status="審査中",
                taken_by="os:reviewer",
                received_on=DAY,
                waited=3,
                start_date=DAY,
            )
        ],
        "total": 12,
    },
    "reviewer/held-expired": {
        "rows": [
            {
                "mail_id": 382872872311328768,
                "received": RECEIVED,
                "header_from": f"{'a' * 64}@{'b' * 60}.example",
                "subject": LONG,
                "reason": LONG,
            }
        ],
        "total": 12,
        "held_days": 14,
    },
    "reviewer/application-waiting": {
        "receipt_number": "",
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
    "operator/job-failing": {
        "jobs": [
            FailingJob(receipt_number="260001A", kind="begin_use", failures=12345, reason=LONG, next_try=RECEIVED),
        ],
        "total": 12345,
    },
    "operator/destination-down": {"destinations": [DOWN, DOWN], "total": 12345, "last_of_hour": True},
    "operator/delivery-gave-up": {
        "destinations": [GivenUp(lane="terminal:60777S", count=12345, first=RECEIVED)],
        "total": 12345,
        "messages": 12345678,
    },
}
