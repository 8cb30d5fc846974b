"""What the clock does for applications: one table of the kinds of jobs, by when and what.

A job acts on the case as it stands when its time has come; whether it still applies was asked just before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from handlers import case_notices, desk_job_dates, issued_secrets, works
from handlers.calendar import BusinessCalendar, jst_date, mail_date, start_of_day
from handlers.case_notices import ReminderKind
from handlers.desk import DeskSettings
from handlers.desk_job_dates import Due, Facts
from handlers.lane_pauses import GATEWAY
from handlers.mail_search import in_state
from handlers.review_case import Details, Refusal
from handlers.workflow import Event, State
from storage import states
from storage.models import Application, Mail, Recipient, Work

_ASKED_AGAIN = timedelta(minutes=1)


class JobKind(StrEnum):
    """What there is to do."""

    REVIEW_REMINDER = "review_reminder"
    SETTINGS_DEADLINE = "settings_deadline"
    WORK_ALERT = "work_alert"
    WORK_OPEN = "work_open"
    WORK_CLOSE = "work_close"
    BEGIN_USE = "begin_use"
    CONFIRM = "confirm"
    TCC_REMINDER = "tcc_reminder"
    PASSWORDS_CLOSING = "passwords_closing"
    DESTROY_SECRETS = "destroy_secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One job while it is done; the row of its case is locked."""

    session: Session
    desk: DeskSettings
    calendar: BusinessCalendar
    facts: Facts
    key: str
    now: datetime

    @property
    def application(self) -> Application:
        """The case."""
        return self.facts.application


class PutOff(Exception):
    """The job cannot be done before `until`; that is no failure."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"put off until {until.isoformat()}")
        self.until = until


class JobRefused(Exception):
    """The case refused what the clock wanted, though its state allows it."""


def _decide(turn: Turn, event: Event, words: str = "") -> bool:
    from handlers import reviews  # a decision plans jobs, and jobs decide

    receipt, details = turn.application.receipt_number, Details(words=words)
    decided = reviews.decide(turn.session, turn.desk, receipt, event, GATEWAY, turn.now, turn.calendar, details)
    if isinstance(decided, Refusal):
        raise JobRefused(f"{decided.reason} {decided.detail}".strip())
    return True


def _begin_use(turn: Turn) -> bool:
    if any(due <= turn.now for due in desk_job_dates.after_settings_deadline(turn.facts).values()):
        raise PutOff(turn.now + _ASKED_AGAIN)  # the case is to be void, and that waits or failed
    return _decide(turn, Event.BEGIN_USE)


def _confirm(turn: Turn) -> bool:
    return _decide(turn, Event.CONFIRM)


def _void(turn: Turn) -> bool:
    deadline = date.fromisoformat(turn.key)
    if _reply_waits(turn, before=start_of_day(deadline + timedelta(days=1))):
        raise PutOff(turn.now + _ASKED_AGAIN)
    words = f"システム設定申込締切日（{mail_date(deadline)}）までに、システム設定のお申し込みがありませんでした。"
    return _decide(turn, Event.VOID, words)


def _reply_waits(turn: Turn, before: datetime) -> bool:
    """Whether a mail came in time and is not handled yet that may be the application that is missed.

    It may have come to the case, or to the apply address with the number of the case in it.
    """
    rcpt_to = func.lower(Recipient.rcpt_to)
    to_case = rcpt_to.startswith(f"case+{turn.application.receipt_number.lower()}.")
    query = (
        select(Recipient.id)
        .join(Mail, Mail.id == Recipient.mail_id)
        .where(
            in_state(states.State.RECEIVED),
            Recipient.direction == states.Direction.INBOUND,
            or_(to_case, rcpt_to == turn.desk.apply_address.lower()),
            Mail.received_at < before,
        )
    )
    return turn.session.scalar(query.limit(1)) is not None


def _open_window(turn: Turn) -> bool:
    work = _work(turn)
    return work is not None and works.open_window(turn.session, turn.application, work, GATEWAY, turn.now)


def _close_window(turn: Turn) -> bool:
    work = _work(turn)
    return work is not None and works.close_window(turn.session, turn.application, work, GATEWAY, turn.now)


def _work(turn: Turn) -> Work | None:
    return next((work for work in turn.facts.works if str(work.id) == turn.key), None)


def _remind_of_tcc(turn: Turn) -> bool:
    if turn.facts.state is not State.IN_USE:
        raise JobRefused("the use has not begun")
    case_notices.send_tcc_reminder(turn.session, turn.desk, turn.application, turn.facts.unchecked, turn.now)
    return True


def _tell_passwords_close(turn: Turn) -> bool:
    if date.fromisoformat(turn.key) < jst_date(turn.now):
        return False  # the service was down: they have closed
    case_notices.send_passwords_closing(turn.session, turn.desk, turn.application, turn.now)
    return True


def _destroy_secrets(turn: Turn) -> bool:
    issued_secrets.destroy(turn.session, turn.desk, turn.application, turn.now)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A row of the table.

    `act` answers whether there was still something to do. A kind with `reminder` has none: all its cases that are due
    go to the reviewer in one mail. What `expires` waits while the wall clock is not to be trusted; what `changes_map`
    locks the map before the case.
    """

    due: Callable[[Facts], Due]
    act: Callable[[Turn], bool] | None = None
    reminder: ReminderKind | None = None
    expires: bool = False
    changes_map: bool = False


KINDS: Mapping[JobKind, Kind] = {
    JobKind.REVIEW_REMINDER: Kind(due=desk_job_dates.while_under_review, reminder=ReminderKind.REVIEW_WAITING),
    JobKind.SETTINGS_DEADLINE: Kind(
        due=desk_job_dates.after_settings_deadline, act=_void, expires=True, changes_map=True
    ),
    JobKind.WORK_ALERT: Kind(due=desk_job_dates.before_work_is_late, reminder=ReminderKind.WORK_NOT_DONE),
    JobKind.WORK_OPEN: Kind(due=desk_job_dates.as_windows_open, act=_open_window),
    JobKind.WORK_CLOSE: Kind(due=desk_job_dates.as_windows_close, act=_close_window),
    JobKind.BEGIN_USE: Kind(due=desk_job_dates.at_start, act=_begin_use),
    JobKind.CONFIRM: Kind(due=desk_job_dates.once_checked, act=_confirm),
    JobKind.TCC_REMINDER: Kind(due=desk_job_dates.after_two_business_days, act=_remind_of_tcc),
    JobKind.PASSWORDS_CLOSING: Kind(due=desk_job_dates.on_last_password_day, act=_tell_passwords_close),
    JobKind.DESTROY_SECRETS: Kind(due=desk_job_dates.after_password_window, act=_destroy_secrets, expires=True),
}
EXPIRING = tuple(kind for kind, row in KINDS.items() if row.expires)


def facts_of(session: Session, desk: DeskSettings, application: Application, calendar: BusinessCalendar) -> Facts:
    """What the table asks of a case."""
    return desk_job_dates.gather(
        session, application, calendar, remind_after=desk.remind_after, reminder=JobKind.REVIEW_REMINDER
    )


def wanted(facts: Facts) -> dict[tuple[JobKind, str], datetime]:
    """Every job the case calls for as it stands, by kind and key, with the instant it is due."""
    return {(kind, key): due for kind, row in KINDS.items() for key, due in row.due(facts).items()}
