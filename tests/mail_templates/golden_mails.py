"""The golden mails: notices made by the real handlers from fixed mails on a fixed day, as readable text.

`python -m tests.mail_templates.golden_mails` writes the files anew; what changed is then read in the diff.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from handlers import desk_mail, lane_watch, reviews
from handlers.case_tokens import case_local_part
from storage.models import Office
from storage.states import State
from storage.store import Store
from tests.handlers.applications.application_mails import DIAGRAM, form_with, mail_with
from tests.handlers.applications.receipt_cases import (
    ADMINISTRATOR,
    CONTACT,
    application_mail,
    change_office,
    mail_to,
    take_in,
)
from tests.handlers.review_cases import CALENDAR, DESK, WITH_SMTP_SERVER, take_contracts
from tests.handlers.watch_cases import (
    ALARM,
    LANE,
    add_down,
    add_messages,
    add_requests,
    take_terminal,
    watch_out,
)

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 25, 3, 30, tzinfo=UTC)
STRANGER = "someone@elsewhere.example"

# Of a fixed size: the mails show it.
_WORKBOOK = Path(desk_mail.__file__).parents[1] / "gateway/sandbox/samples/system-diagram.xlsx"
_KEY = re.compile(r"(?<![0-9])[0-9]{17,19}(?![0-9])")

_BUSY_FORM = {
    "申込内容/利用開始日": "20261124",
    "申込内容/変更する理由": "自社システムのSMTP双方向サーバを追加するため。\n二行目：a long English sentence, " * 3,
    "申込担当者/FAX番号": "0398765432",
    "申込担当者/E-mailアドレス（登録用）": "not-registered@applicant.example",
    "申込担当者/E-mailアドレス（確認用）": "not-registered@applicant.example",
    "回線・論理端末/論理端末数（インタラクティブ）": "2",
    "回線・論理端末/GWサーバ台数（SMTP/POP3）": "1",
    "回線・論理端末/SMTPサーバ台数（SMTP双方向）": "2",
    "回線・論理端末/メールアドレス数（SMTP双方向）": "3",
    "回線・論理端末/対象の論理端末名": "60777S",
    "回線・論理端末/削除する論理端末名": "27264C\n25130M",
    "回線工事/工事立会者": "その他",
    "回線工事/工事立会者 氏名（姓）": "航空",
    "回線工事/工事立会者 氏名（名）": "三郎",
    "回線工事/工事立会者 氏名（フリガナ・姓）": "コウクウ",
    "回線工事/工事立会者 氏名（フリガナ・名）": "サブロウ",
    "回線工事/工事立会者 電話番号": "0312345678",
    "回線工事/備考": "当日は9時以降に来訪してください",
    "変更申込の備考/備考": "平日の日中に連絡してください",
}
_WRONG_FORM = {
    "申込内容/利用開始日": "20200401",
    "申込担当者/氏名（名）": "",
    "申込担当者/電話番号": "0120-794-550",
    "回線・論理端末/ルータ番号": "99999",
    "回線・論理端末/SMTPサーバ台数（SMTP双方向）": "２",
}


def application(values: dict[str, str] | None = None, number: int = 1, **extra: Any) -> bytes:
    """An application mail with the sample workbook."""
    files = [(DIAGRAM, _WORKBOOK.read_bytes()), *extra.get("files", ())]
    raw = mail_with(form_with(values), files=files)
    return raw.replace(b"<1@applicant.example>", f"<{number}@applicant.example>".encode())


def readable(raw: bytes) -> str:
    """A mail as a person reads it; keys are replaced, since the store makes others each time."""
    mail: EmailMessage = message_from_bytes(raw, policy=default)
    lines = [f"{name}: {value}" for name, value in mail.items()]
    for part in [mail] if not mail.is_multipart() else list(mail.iter_parts()):
        assert isinstance(part, EmailMessage)
        content = part.get_content()
        name = part.get_filename()
        lines += ["", f"--- {name} ---"] if name else [""]
        lines += (content if isinstance(content, str) else content.decode()).splitlines()
    return _KEY.sub("<key>", "\n".join(line.rstrip() for line in lines)) + "\n"


def received(store: Store) -> None:
    """The seed's application."""
    take_contracts(store, NOW)
    take_in(store, application_mail(NOW, application()), NOW)


def received_with_everything(store: Store) -> None:
    """An application with every optional item, on a line with a spare router and another open case."""
    take_contracts(store, NOW, WITH_SMTP_SERVER.replace("spare_router = false", "spare_router = true"))
    take_in(store, application_mail(NOW, application()), NOW)
    raw = application(_BUSY_FORM, number=2, files=[("回線図面.pdf", b"%PDF-1.7 " * 1000)])
    take_in(store, application_mail(NOW, raw), LATER)


def completed(store: Store) -> None:
    """The seed's application, completed."""
    received(store)
    store.run(lambda session: reviews.complete(session, DESK, "260001A", None, "os:reviewer", LATER, CALENDAR))


def wrong(store: Store) -> None:
    """An application with five wrong fields."""
    take_contracts(store, NOW)
    take_in(store, application_mail(NOW, application(_WRONG_FORM)), NOW)


def from_a_stranger(store: Store) -> None:
    """A relayed mail whose author could not be verified."""
    take_contracts(store, NOW)
    raw = application().replace(CONTACT.encode(), STRANGER.encode(), 1)
    take_in(store, application_mail(NOW, raw, trusted=False, peer="192.0.2.1", mail_from=STRANGER), NOW)


def parked(store: Store) -> None:
    """A reply about a case, which no handler understands yet."""
    received(store)
    address = f"{case_local_part(DESK.token_key, '260001A', CONTACT)}@{DESK.support_domain}"
    mail = application_mail(NOW, mail_with("【照会】\n"), rcpt_to=address)
    store.run(lambda session: desk_mail.handle(session, mail, DESK, NOW))


def without_administrator(store: Store) -> None:
    """An office whose register has no address of its administrator."""
    take_contracts(store, NOW)

    def forget(office: Office) -> None:
        office.administrator_email = ""

    change_office(store, forget)
    take_in(store, application_mail(NOW, application()), NOW)


def overdue(store: Store) -> None:
    """One request of each kind without a result: in doubt, handed over, never handed over."""
    take_terminal(store, NOW)
    add_requests(store, NOW - timedelta(seconds=20))
    add_requests(store, NOW - timedelta(seconds=10), claimed_at=None, handover="00001:01-24100000", procedure="OTC")
    add_requests(store, NOW, in_doubt=True, handover="SYG20261124100000", input_number="2")
    watch_out(store, NOW + timedelta(seconds=175))


def overdue_by_the_dozen(store: Store) -> None:
    """More requests than a mail lists."""
    take_terminal(store, NOW)
    add_requests(store, NOW, 22)
    watch_out(store, NOW + timedelta(seconds=180))


def down(store: Store) -> None:
    """A terminal and the backend that do not answer."""
    add_down(store, LANE, NOW, next_try_at=NOW + timedelta(minutes=6))
    add_messages(store, LANE, 3, NOW, State.QUEUED)
    add_down(store, "backend", NOW + timedelta(minutes=4))
    store.run(lambda session: lane_watch.watch(session, DESK, NOW + timedelta(minutes=5), alarm_after=ALARM))


def gave_up(store: Store) -> None:
    """Messages for two terminals that waited for too long."""
    add_messages(store, LANE, 3, NOW)
    add_messages(store, "terminal:60001S", 12, NOW)
    store.run(lambda session: lane_watch.tell_gave_up(session, DESK, NOW))


# File name -> what happens, the template, and to whom it goes.
CASES: dict[str, tuple[Callable[[Store], None], str, str]] = {
    "application-received": (received, "applicant/application-received", CONTACT),
    "application-received-with-everything": (
        received_with_everything,
        "applicant/application-received",
        ADMINISTRATOR,
    ),
    "review-requested": (received, "reviewer/review-requested", DESK.reviewer_address),
    "review-requested-with-everything": (
        received_with_everything,
        "reviewer/review-requested",
        DESK.reviewer_address,
    ),
    "application-invalid": (wrong, "applicant/application-invalid", CONTACT),
    "application-held": (from_a_stranger, "applicant/application-held", ADMINISTRATOR),
    "application-waiting": (from_a_stranger, "reviewer/application-waiting", DESK.reviewer_address),
    "no-administrator-address": (without_administrator, "reviewer/no-administrator-address", DESK.reviewer_address),
    "mail-parked": (parked, "operator/mail-parked", DESK.operator_address),
    "request-overdue": (overdue, "operator/request-overdue", DESK.operator_address),
    "request-overdue-by-the-dozen": (overdue_by_the_dozen, "operator/request-overdue", DESK.operator_address),
    "destination-down": (down, "operator/destination-down", DESK.operator_address),
    "delivery-gave-up": (gave_up, "operator/delivery-gave-up", DESK.operator_address),
    "review-complete": (completed, "applicant/review-complete", CONTACT),
    "id-notice": (completed, "applicant/id-notice", ADMINISTRATOR),
}


def made(name: str, store: Store) -> bytes:
    """The mail of a case, made in an empty store."""
    story, template, address = CASES[name]
    story(store)
    return mail_to(store, template, address)


def _write_all() -> None:
    for name in CASES:
        with tempfile.TemporaryDirectory() as directory:
            store = Store.open(f"sqlite:///{directory}/gateway.db", "test")
            (GOLDEN / f"{name}.txt").write_text(readable(made(name, store)), encoding="utf-8")
            store.close()


if __name__ == "__main__":
    _write_all()
