"""Delivery reports about our notices (RFC 3464, and plain ones), and notices that did not reach their addressee.

A failure is recorded on the notice and on the application it is about, and the reviewer is told once a notice.
Answers of people who are away come to the same address (RFC 3834 §4) and are no failures.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from email.parser import BytesHeaderParser
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import case_history, case_notices
from handlers.automatic_mail import why_absent
from handlers.case_history import EntryKind
from handlers.case_tokens import masked_text
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_templates import shown
from handlers.outcomes import Handled
from storage.models import Application, AuditEvent, CaseEntry, Mail, Recipient
from storage.states import Direction, State
from storage.store import new_key

_LONGEST_REPORT = 300
_MOST_REPORT_BYTES = 64 * 1024
_REPORT_TYPE = "message/delivery-status"
# RFC 3464 §2.3, in the order in which people want to read them.
_REPORT_FIELDS = ("Final-Recipient", "Action", "Status", "Diagnostic-Code")
_ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_BLOCK_END = re.compile(rb"\r?\n[ \t]*\r?\n")
_DAEMON = re.compile(r"(?:mailer-daemon|postmaster|mail-daemon)(?:@.*)?", re.IGNORECASE)
_ONLY_DELAYED = re.compile(r"delayed|delay\)|warning: could not send|still being retried|遅延", re.IGNORECASE)
_FAILED = "notice_bounced"


class ReportKind(StrEnum):
    """What a mail to the bounce address of a notice tells."""

    FAILED = "failed"
    DELAYED = "delayed"
    ARRIVED = "arrived"  # delivered, relayed or expanded
    ABSENT = "absent"  # an automatic answer of somebody who got the notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A delivery report: its kind, and what it says in one line."""

    kind: ReportKind
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeliveredNotice:
    """A notice that did not reach its addressee.

    `state`: failed or expired in delivery, or bounced after somebody else had taken it.
    """

    mail_id: int
    template: str
    rcpt_to: str
    state: str
    reason: str
    at: datetime


def read_report(mail: InboundMail) -> Report:
    """What an automatic mail to the bounce address of a notice tells."""
    blocks = _status_blocks(mail)
    if blocks:
        # One recipient that failed is a failure, whatever became of the others of an expanded list.
        order = (("failed", ReportKind.FAILED), ("delayed", ReportKind.DELAYED))
        for action, kind in order:
            block = next((block for block in blocks if block["Action"] == action), None)
            if block is not None:
                return Report(kind=kind, words=_in_one_line(block))
        return Report(kind=ReportKind.ARRIVED, words=_in_one_line(blocks[0]))
    subject = shown(masked_text(mail.subject), at_most=_LONGEST_REPORT)
    failed_recipients = mail.header_value("x-failed-recipients")
    if failed_recipients is not None:
        return Report(kind=ReportKind.FAILED, words=shown(f"{subject}: {failed_recipients}", at_most=_LONGEST_REPORT))
    from_daemon = _DAEMON.fullmatch(mail.header_from or "") is not None
    if not from_daemon and (why_absent(mail) or mail.auto_submitted == "auto-replied"):
        return Report(kind=ReportKind.ABSENT, words=subject)
    delayed = _ONLY_DELAYED.search(mail.subject) is not None
    return Report(kind=ReportKind.DELAYED if delayed else ReportKind.FAILED, words=subject)


def record(session: Session, mail: InboundMail, notice_id: int, desk: DeskSettings, now: datetime) -> Handled:
    """Note a report about the notice on it and on its application; tell the reviewer of its first failure."""
    report = read_report(mail)
    notice = session.get(Mail, notice_id)
    application = None
    if notice is not None and notice.application_id is not None:
        application = session.get(Application, notice.application_id, with_for_update=True)
    is_first = application is not None and report.kind is ReportKind.FAILED and not _known(session, notice_id)
    _audit(session, report, mail, notice_id, application, now)
    if report.kind is ReportKind.FAILED and application is not None and notice is not None:
        _record_on_case(session, report, mail, notice, application, now)
        if is_first:
            words = f"{notice.template.partition('@')[0]}: {report.words}"
            author = shown(_recipient_of(session, notice_id))
            case_notices.tell_reviewer(session, desk, application, EntryKind.BOUNCED, words, author, now)
    return Handled(f"delivery report about notice {notice_id}: {report.kind}")


def undelivered_notices(session: Session, application: Application) -> list[UndeliveredNotice]:
    """The notices about an application that failed or expired in delivery, or came back, oldest first."""
    rows = session.execute(
        select(Recipient, Mail.template)
        .join(Mail, Mail.id == Recipient.mail_id)
        .where(
            Mail.application_id == application.id,
            Recipient.direction == Direction.OUTBOUND,
            Recipient.state.in_((State.FAILED, State.EXPIRED)),
        )
    )
    found = [
        UndeliveredNotice(
            mail_id=row.mail_id,
            template=template.partition("@")[0],
            rcpt_to=row.rcpt_to,
            state=row.state,
            reason=row.last_reply,
            at=row.finished_at or row.created_at,
        )
        for row, template in rows
    ]
    found += _bounced(session, application)
    return sorted(found, key=lambda notice: (notice.at, notice.mail_id))


def _bounced(session: Session, application: Application) -> list[UndeliveredNotice]:
    entries = session.scalars(
        select(CaseEntry)
        .where(CaseEntry.application_id == application.id, CaseEntry.kind == EntryKind.BOUNCED)
        .order_by(CaseEntry.id)
    )
    first: dict[int, UndeliveredNotice] = {}
    for entry in entries:
        detail = json.loads(entry.detail)
        notice_id = int(detail["notice_id"])
        bounced = UndeliveredNotice(
            mail_id=notice_id,
            template=detail["template"],
            rcpt_to=detail["rcpt_to"],
            state="bounced",
            reason=entry.words,
            at=entry.occurred_at,
        )
        first.setdefault(notice_id, bounced)
    return list(first.values())


def _known(session: Session, notice_id: int) -> bool:
    query = select(AuditEvent.id).where(AuditEvent.subject == f"mail:{notice_id}", AuditEvent.event == _FAILED)
    return session.scalars(query.limit(1)).first() is not None


def _recipient_of(session: Session, notice_id: int) -> str:
    query = select(Recipient.rcpt_to).where(Recipient.mail_id == notice_id, Recipient.direction == Direction.OUTBOUND)
    return session.scalars(query.order_by(Recipient.id).limit(1)).first() or ""


def _audit(
    session: Session,
    report: Report,
    mail: InboundMail,
    notice_id: int,
    application: Application | None,
    now: datetime,
) -> None:
    event = _FAILED if report.kind is ReportKind.FAILED else f"notice_{report.kind}"
    subjects = [f"mail:{notice_id}"]
    if application is not None:
        subjects.append(f"application:{application.receipt_number}")
    detail = f"mail {mail.mail_id}: {report.words}"
    session.add_all(
        AuditEvent(id=new_key(session), occurred_at=now, actor="gateway", event=event, subject=subject, detail=detail)
        for subject in subjects
    )
    session.flush()


def _record_on_case(
    session: Session, report: Report, mail: InboundMail, notice: Mail, application: Application, now: datetime
) -> None:
    detail = {
        "notice_id": str(notice.id),
        "template": notice.template.partition("@")[0],
        "rcpt_to": _recipient_of(session, notice.id),
    }
    case_history.record(
        session,
        application,
        EntryKind.BOUNCED,
        "gateway",
        now,
        mail_id=mail.mail_id,
        words=report.words,
        detail=json.dumps(detail, ensure_ascii=False),
    )


def _status_blocks(mail: InboundMail) -> list[dict[str, str]]:
    """The blocks of each recipient of a delivery status; those without an Action we know are left out."""
    found: list[dict[str, str]] = []
    for part in mail.attachments:
        if part.content_type != _REPORT_TYPE:
            continue
        for block in _BLOCK_END.split(part.content[:_MOST_REPORT_BYTES]):
            fields = _fields(block)
            if fields.get("Action") in _ACTIONS:
                found.append(fields)
    return found


def _fields(block: bytes) -> dict[str, str]:
    header = BytesHeaderParser().parsebytes(block.strip(b"\r\n") + b"\n\n")
    fields = {name: " ".join(str(header[name]).split()) for name in _REPORT_FIELDS if header[name] is not None}
    if "Action" in fields:
        fields["Action"] = fields["Action"].partition("(")[0].strip().lower()
    return fields


def _in_one_line(fields: dict[str, str]) -> str:
    words = "; ".join(f"{name}: {fields[name]}" for name in _REPORT_FIELDS if name in fields)
    return shown(masked_text(words), at_most=_LONGEST_REPORT)
