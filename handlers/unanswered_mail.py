"""Mail that looks automatic is never answered; the reviewer is told of one that holds a form or the mark of a reply.

A person may stand behind it, whose mail must not vanish. Of one sender the reviewer hears once an hour, and of all
together as `notice_rates` allows; each mail counts how many were passed over since the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handlers import notice_rates, notices
from handlers.applications.authenticity import verified_by
from handlers.applications.field_rules import ApplicationLimits, RuleContext
from handlers.applications.form_sources import find_form, is_form_file
from handlers.applications.receipt_notices import verdict_in_words
from handlers.audit import audit
from handlers.automatic_mail import correspondent, is_own
from handlers.calendar import jst_date
from handlers.case_marks import read_marks
from handlers.case_tokens import masked, masked_text, read_case
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_templates import one_line, shown
from handlers.notices import Notice
from handlers.outcomes import Refused
from storage.models import AuditEvent

_ALL = "automatic-forms"
_EACH = timedelta(hours=1)
_LONGEST_SUBJECT = 200
_LONGEST_CODE = 40
_UNREADABLE_AUTHOR = "（一人の差出人として読み取れません）"

# How the reasons of `automatic_mail` begin, and what they are for a reviewer.
_REASONS = (
    ("null envelope sender", "送信者（MAIL FROM）が空で、配送の報告や自動応答と区別できません"),
    ("Auto-Submitted", "自動送信の印（Auto-Submitted）があります"),
    ("sent through a mailing list", "メーリングリストの印（List-*）があります"),
    ("Precedence", "一斉送信の印（Precedence）があります"),
    ("sent by a mailer daemon", "送信者が配送プログラム（MAILER-DAEMON）です"),
    ("sent by an autoresponder", "自動応答プログラムの印があります"),
    ("X-Auto-Response-Suppress", "自動応答を断る印（X-Auto-Response-Suppress）があり、送信元も確認できません"),
    ("its subject says", "件名が不在の自動応答のものです"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a mail holds that a person may have written, and the application or the office that it names."""

    mark: str
    receipt_number: str
    office_code: str


def refuse(session: Session, mail: InboundMail, desk: DeskSettings, why: str, now: datetime) -> Refused:
    """Turn down a mail that looks automatic, for the reason `why`, and tell the reviewer where it holds something."""
    said = None if is_own(mail, desk) else _said(mail)
    if said is None:
        return Refused(f"automatic mail, not answered: {why}")
    sender = mail.header_from or mail.mail_from
    kind = f"automatic-form:{correspondent(sender)}"
    last = notice_rates.last_told(session, kind)
    if (last is not None and last > now - _EACH) or not notice_rates.may_tell(session, _ALL, now):
        audit(session, "gateway", "automatic_form", _ALL, f"mail {mail.mail_id} from {shown(sender)}", now)
        return Refused(f"automatic mail, not answered: {why}; the reviewer was told of others lately")
    passed_over = _passed_over(session)
    for each in (kind, _ALL):
        notice_rates.told(session, each, now)
    notices.send(session, desk, _to_reviewer(mail, desk, why, said, passed_over), now)
    return Refused(f"automatic mail, not answered: {why}; the reviewer was told")


def _said(mail: InboundMail) -> _Said | None:
    """None when there is no form with anything in it, in the text or for machines, and no mark on the first line."""
    mark = read_marks(mail).mark
    context = RuleContext(today=jst_date(mail.received_at), limits=ApplicationLimits())
    form = find_form(mail, context, amending=False).form
    blocks = () if form is None else form.blocks
    filled_in = any(block.values or block.repeated or block.stray for block in blocks)
    if mark is None and not filled_in and not any(is_form_file(file) for file in mail.attachments):
        return None
    codes = (block.value("office_code") for block in blocks if block.section.key == "application")
    case = read_case(mail.rcpt_to.rpartition("@")[0])
    return _Said(mark=str(mark or ""), receipt_number=case.receipt_number if case else "", office_code=next(codes, ""))


def _passed_over(session: Session) -> int:
    """How many mails the reviewer was not told of since the last one of which they were."""
    last = select(func.max(AuditEvent.id)).where(AuditEvent.subject == f"notices:{_ALL}").scalar_subquery()
    query = select(func.count(AuditEvent.id)).where(AuditEvent.subject == _ALL, AuditEvent.id > func.coalesce(last, 0))
    return session.scalar(query) or 0


def _to_reviewer(mail: InboundMail, desk: DeskSettings, why: str, said: _Said, passed_over: int) -> Notice:
    return Notice(
        name="reviewer/automatic-form",
        to=notices.reviewer(desk),
        context={
            "mail_id": mail.mail_id,
            "received": mail.received_at,
            "rcpt_to": shown(masked(mail.rcpt_to)),
            "header_from": shown(mail.header_from or _UNREADABLE_AUTHOR),
            "mail_from": shown(mail.mail_from),
            "sender_verdict": one_line(verdict_in_words(verified_by(mail))),
            "subject": shown(masked_text(mail.subject), at_most=_LONGEST_SUBJECT),
            "mark": said.mark,
            "receipt_number": shown(said.receipt_number),
            "office_code": one_line(said.office_code, at_most=_LONGEST_CODE),
            "reason": next((words for beginning, words in _REASONS if why.startswith(beginning)), why),
            "passed_over": passed_over,
        },
    )
