"""A mail whose author cannot be believed is held; the office's registered people and the reviewer know of it.

Nothing goes to the address that wrote it, and nothing of its text to the office. At most one notice an hour goes to an
office, and a bounded number to the reviewer; a mail that is not announced is held all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import notice_limits, notices
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_templates import shown
from handlers.notices import Addressee, Notice
from handlers.outcomes import Held
from storage.models import AuditEvent, Office
from storage.store import new_key

_TO_OFFICE_PER_HOUR = 1
_TO_REVIEWER_PER_HOUR = 20
_LONGEST_SUBJECT = 200
_UNREADABLE_AUTHOR = "（一人の差出人として読み取れません）"


class HoldReason(Enum):
    """Why a mail is held, in the words of `explain` and of the notices."""

    MESSAGE_ID_REUSED = (
        "the Message-ID of an earlier mail, but other content",
        "先に届いたメールと同じMessage-IDで、内容が異なります",
    )
    NO_SINGLE_AUTHOR = (
        "no single author in From",
        "差出人（From）を一人の差出人として読み取れません",
    )
    UNVERIFIED = (
        "the sender could not be verified",
        "送信元を確認できる経路で届いたメールではありません",
    )
    NOT_REGISTERED = (
        "the author is no registered contact or administrator of the office",
        "差出人が、事業所に登録された連絡先・管理責任者ではありません",
    )
    NOT_OF_CASE = (
        "the author does not belong to the application",
        "差出人が、この申込の申込担当者でも、事業所に登録された連絡先・管理責任者でもありません",
    )
    ADDRESS_NOT_ACCEPTED = (
        "the notice address of the application was not accepted by a reviewer",
        "差出人が登録連絡先にない申込担当者で、審査担当者による確認がまだです",
    )
    CASE_CLOSED = (
        "it names an application that is closed, without its token",
        "手続きが終わった申込の受付番号を、返信用のアドレスを使わずに示しています",
    )
    CASE_UNKNOWN = (
        "no application has the receipt number",
        "この受付番号の申込はありません",
    )
    SEVERAL_CASES = (
        "it names several applications",
        "複数の申込の受付番号を示しています",
    )

    def __init__(self, in_english: str, in_japanese: str) -> None:
        self.in_english = in_english
        self.in_japanese = in_japanese


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A mail to be held. `office` is the registered office it names, `receipt_number` the application it is about.

    `error_count` is that of its form.
    """

    mail: InboundMail
    reason: HoldReason
    office: Office | None
    error_count: int = 0
    earlier_mail_id: int | None = None
    receipt_number: str = ""


def hold(session: Session, desk: DeskSettings, held: Hold, now: datetime) -> Held:
    """Tell whoever is to be told, record it, and answer the outcome."""
    told = _people_to_tell(session, held.office, now)
    about = f"; about {held.receipt_number}" if held.receipt_number else ""
    messages = [_to_person(held, person) for person in told]
    allowance = notice_limits.take(session, "application-waiting", _TO_REVIEWER_PER_HOUR, now)
    if allowance.granted:
        messages.append(_to_reviewer(desk, held, len(told), last=allowance.last))
    notices.send_all(session, desk, messages, now)
    session.add(
        AuditEvent(
            id=new_key(session),
            occurred_at=now,
            actor="gateway",
            event="application_held",
            subject=f"mail:{held.mail.mail_id}",
            detail=f"{held.reason.in_english}; office {held.office.code if held.office else 'unknown'}{about}",
        )
    )
    return Held(held.reason.in_english)


def _people_to_tell(session: Session, office: Office | None, now: datetime) -> list[Addressee]:
    if office is None:
        return []
    # Two mails that are held at once: the second waits here and then finds the first one's count.
    session.execute(select(Office.id).where(Office.id == office.id).with_for_update(key_share=True))
    people = notices.registered_people(office)
    if not people:
        return []
    allowance = notice_limits.take(session, f"application-held:{office.code}", _TO_OFFICE_PER_HOUR, now)
    return people if allowance.granted else []


def _to_person(held: Hold, person: Addressee) -> Notice:
    return Notice(
        name="applicant/application-held",
        to=person,
        context={
            "office_code": held.office.code if held.office else "",
            "received": held.mail.received_at,
            "header_from": held.mail.header_from or _UNREADABLE_AUTHOR,
            "reason": held.reason.in_japanese,
            "mail_id": held.mail.mail_id,
            "receipt_number": held.receipt_number,
        },
    )


def _to_reviewer(desk: DeskSettings, held: Hold, told: int, *, last: bool) -> Notice:
    mail = held.mail
    return Notice(
        name="reviewer/application-waiting",
        to=notices.reviewer(desk),
        context={
            "office_code": held.office.code if held.office else "",
            "received": mail.received_at,
            "header_from": mail.header_from or _UNREADABLE_AUTHOR,
            "mail_from": shown(mail.mail_from),
            "peer": mail.peer,
            "subject": shown(mail.subject, at_most=_LONGEST_SUBJECT),
            "reason": held.reason.in_japanese,
            "mail_id": mail.mail_id,
            "receipt_number": held.receipt_number,
            "earlier_mail_id": held.earlier_mail_id,
            "error_count": held.error_count,
            "told": told,
            "last_of_hour": last,
        },
    )
