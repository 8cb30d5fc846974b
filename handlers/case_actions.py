"""What a mail about a case does, by its mark: 回答, 修正, 取下げ, 照会, システム設定申込.

Nothing is lost: what the case's state does not allow is recorded on the case, answered with why and where the case
stands, and told to the reviewer. Reports and news have a limit by the hour, so that two machines cannot keep each
other busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from handlers import amendments, case_history, case_notices, notice_limits, reviews
from handlers.applications import reading
from handlers.applications.authenticity import Verdict
from handlers.applications.checks import Invalid
from handlers.applications.contents import ApplicationContents
from handlers.applications.field_rules import FieldError
from handlers.automatic_mail import correspondent
from handlers.calendar import BusinessCalendar
from handlers.case_errors import send_errors
from handlers.case_history import EntryKind
from handlers.case_marks import Mark, Said
from handlers.case_notices import KeptMail, NotTaken
from handlers.desk import DeskSettings
from handlers.mail import InboundMail, TextProblem
from handlers.notice_mail import NoticePart
from handlers.notice_templates import kilobytes, shown
from handlers.notices import Addressee
from handlers.outcomes import Handled, Outcome, Refused
from handlers.preparation import Prepared
from handlers.reviews import Decided, Details
from handlers.workflow import TRANSITIONS, Event, State
from storage.models import Application, AuditEvent
from storage.store import new_key

_REPORTS_PER_HOUR = 5  # to one address about one case
_NEWS_PER_HOUR = 20  # to the reviewer about one case
_MOST_FILES_NAMED = 20
_ACTOR_WIDTH = 80
_ENDED = frozenset({State.WITHDRAWN, State.VOID, State.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A mail about a case whose author may act on it. `author` is who is answered."""

    session: Session = field(repr=False)
    mail: InboundMail
    desk: DeskSettings = field(repr=False)
    now: datetime
    application: Application
    author: Addressee
    said: Said
    prepared: Prepared | None
    calendar: BusinessCalendar = field(repr=False)

    @property
    def number(self) -> str:
        return self.application.receipt_number

    @property
    def written_by(self) -> str:
        return self.mail.header_from or "unknown"

    @property
    def actor(self) -> str:
        return f"applicant:{self.written_by}"[:_ACTOR_WIDTH]

    @property
    def words(self) -> str:
        """What was said, with the names of the files that came with it."""
        files = [file for file in self.mail.attachments if file.name and not file.inline][:_MOST_FILES_NAMED]
        named = [f"添付ファイル: {shown(file.name)}（{kilobytes(len(file.content))}）" for file in files]
        return "\n".join([*([self.said.words] if self.said.words else []), *named])

    def details(self, amendment: amendments.Amendment | None = None) -> Details:
        return Details(
            words=self.words,
            mail_id=self.mail.mail_id,
            arrived_at=self.mail.received_at,
            author=self.written_by,
            amendment=amendment,
        )


def act(reply: Reply, released: Verdict | None = None) -> Outcome:
    """Do what the mail asks for, as far as the case's state allows. Raises TemplateFault, CaseChanged.

    `released`: the verdict of the reviewer who let a held mail act.
    """
    reply.session.refresh(reply.application, with_for_update=True)
    if released is not None:
        _record(reply, EntryKind.RELEASED, detail=released.why)
    if reply.mail.text_problem not in (None, TextProblem.NO_TEXT):
        read = reading.read(reply.session, reply.mail, reply.desk, base=reply.application.contents).result
        return _answer_errors(reply, read.errors if isinstance(read, Invalid) else ())
    if reply.said.others:
        return _answer_errors(reply, (_several_marks(reply.said),))
    return _ACTIONS[mark_in_force(reply.mail, reply.said, reply.application)](reply)


def mark_in_force(mail: InboundMail, said: Said, application: Application) -> Mark:
    """The mark that counts: an unmarked mail answers an open inquiry, else it asks; an empty answer only asks."""
    has_content = bool(said.words) or any(file.name and not file.inline for file in mail.attachments)
    if said.mark is Mark.ANSWER or (said.mark is None and application.state == State.INQUIRY):
        return Mark.ANSWER if has_content else Mark.QUESTION
    return said.mark or Mark.QUESTION


def _answer(reply: Reply) -> Outcome:
    if isinstance(_decide(reply, Event.ANSWER), Decided):
        return Handled(f"answer to the inquiry about {reply.number}")
    return _keep(reply, _ended(reply) or NotTaken.NO_INQUIRY, f"answer without an open inquiry about {reply.number}")


def _amend(reply: Reply) -> Outcome:
    if (State(reply.application.state), Event.AMEND) not in TRANSITIONS:
        return _keep(reply, _too_late(reply), f"amendment of {reply.number} when it could not be amended")
    prepared = reply.prepared.reading if reply.prepared is not None else None
    read = amendments.read_amendment(
        reply.session, reply.desk, reply.application, reply.mail, prepared, words=reply.words
    )
    if isinstance(read, Invalid):
        return _answer_errors(reply, read.errors)
    if isinstance(_decide(reply, Event.AMEND, read), Decided):
        return Handled(f"amendment of {reply.number}")
    return _keep(reply, _too_late(reply), f"amendment of {reply.number} that was not taken")


def _withdraw(reply: Reply) -> Outcome:
    if isinstance(_decide(reply, Event.WITHDRAW), Decided):
        return Handled(f"withdrawal of {reply.number}")
    return _keep(reply, _too_late(reply), f"withdrawal of {reply.number} when it could not be withdrawn")


def _take_settings(reply: Reply) -> Outcome:
    if isinstance(_decide(reply, Event.RECEIVE_SETTINGS), Decided):
        return Handled(f"system settings of {reply.number}")
    needed = ApplicationContents.from_json(reply.application.contents).needs_system_settings
    why = NotTaken.SETTINGS_LATE if needed else NotTaken.NO_SETTINGS
    return _keep(reply, _ended(reply) or why, f"system settings of {reply.number} that were not taken")


def _ask(reply: Reply) -> Outcome:
    documents = reply.prepared.parts_of(reply.application) if reply.prepared is not None else ()
    _record(reply, EntryKind.QUESTION, words=reply.words)
    return Handled(f"question about {reply.number}{_report(reply, documents=documents)}")


_ACTIONS: dict[Mark, Callable[[Reply], Outcome]] = {
    Mark.ANSWER: _answer,
    Mark.AMENDMENT: _amend,
    Mark.WITHDRAWAL: _withdraw,
    Mark.QUESTION: _ask,
    Mark.SETTINGS: _take_settings,
}


def _decide(
    reply: Reply, event: Event, amendment: amendments.Amendment | None = None
) -> reviews.Decided | reviews.Refusal:
    return reviews.decide(
        reply.session,
        reply.desk,
        reply.number,
        event,
        reply.actor,
        reply.now,
        reply.calendar,
        reply.details(amendment),
    )


def _too_late(reply: Reply) -> NotTaken:
    return _ended(reply) or NotTaken.TOO_LATE


def _ended(reply: Reply) -> NotTaken | None:
    return NotTaken.ENDED if reply.application.state in _ENDED else None


def _keep(reply: Reply, not_taken: NotTaken, said: str) -> Outcome:
    """What came too late, or twice: recorded with its mark, answered, and told to the reviewer with the answer."""
    _record(reply, EntryKind.QUESTION, words=_with_mark(reply))
    unanswered = _report(reply, not_taken=not_taken)
    # Nobody has anything to do about a withdrawal of what has ended.
    if not_taken is not NotTaken.ENDED or reply.said.mark is not Mark.WITHDRAWAL:
        _tell_reviewer(reply, not_taken, answered=not unanswered)
    return Handled(f"{said}{unanswered}")


def _mark(reply: Reply) -> str:
    return str(reply.said.mark or "")


def _with_mark(reply: Reply) -> str:
    return "\n".join(part for part in (f"【{_mark(reply)}】" if _mark(reply) else "", reply.words) if part)


def _record(reply: Reply, kind: EntryKind, *, words: str = "", detail: str = "") -> None:
    case_history.record(
        reply.session,
        reply.application,
        kind,
        reply.actor,
        reply.now,
        mail_id=reply.mail.mail_id,
        words=words,
        detail=detail,
    )


def _tell_reviewer(reply: Reply, not_taken: NotTaken, *, answered: bool) -> None:
    if not notice_limits.take(reply.session, f"case-news:{reply.number}", _NEWS_PER_HOUR, reply.now).granted:
        return
    mail = KeptMail(
        not_taken=not_taken, mark=_mark(reply), words=reply.words, author=reply.written_by, answered=answered
    )
    case_notices.tell_not_taken(reply.session, reply.desk, reply.application, mail, reply.now)


def _report(reply: Reply, *, not_taken: NotTaken | None = None, documents: Sequence[NoticePart] = ()) -> str:
    """Send a status report to the author; the end of the sentence for `explain`, when the hour's limit is reached."""
    kind = f"status-report:{reply.number}:{correspondent(reply.author.email)}"
    if not notice_limits.take(reply.session, kind, _REPORTS_PER_HOUR, reply.now).granted:
        return "; not answered, the author had enough answers within the hour"
    case_notices.send_status_report(
        reply.session,
        reply.desk,
        reply.application,
        reply.author,
        reply.now,
        not_taken=not_taken,
        mark=_mark(reply),
        documents=documents,
    )
    return ""


def _answer_errors(reply: Reply, errors: Sequence[FieldError]) -> Outcome:
    """Answer everything that is wrong at once; nothing is changed."""
    send_errors(reply.session, reply.desk, reply.application, reply.mail, reply.author, errors, reply.now)
    reply.session.add(
        AuditEvent(
            id=new_key(reply.session),
            occurred_at=reply.now,
            actor=reply.actor,
            event="reply_refused",
            subject=f"application:{reply.number}",
            detail=f"mail {reply.mail.mail_id}: {' '.join(error.code for error in errors)}",
        )
    )
    return Refused(f"reply about {reply.number} with {len(errors)} errors, answered to its author")


def _several_marks(said: Said) -> FieldError:
    marks = [f"【{mark}】" for mark in (said.mark, *said.others) if mark is not None]
    return FieldError(
        section="",
        label="メール本文",
        code="several_marks",
        rule_ja="１通のメールには、【回答】【修正】などの印を１つだけ書きます。",
        rule_en="A mail has one mark, such as 【回答】 or 【修正】, and no other.",
        given="\n".join(marks),
        example=marks[0],
        action_ja="どの印についても手続きをしていません。印ごとに１通ずつ送り直してください。",
        action_en="Nothing was done for any of them. Send one mail for each mark.",
    )
