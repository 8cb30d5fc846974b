"""What a decision on an application is made of: what the reviewer adds, the case in hand, and its result.

A refusal is a value: nothing was done, and `detail` names what stood in the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from handlers.allocation import Order, TerminalChange
from handlers.applications.contents import ApplicationContents
from handlers.calendar import BusinessCalendar, jst_date
from handlers.desk import DeskSettings
from handlers.workflow import Event, State
from storage.models import Application, Office, Work

if TYPE_CHECKING:
    from handlers.amendments import Amendment
    from handlers.case_works import WorkView
    from handlers.works import WorkOrder, WorkWarning


_ROUTER_NUMBER = re.compile(r"[0-9]{1,10}")
_SMALLEST_LAN = 4  # network, router, one terminal, broadcast


class Reason(StrEnum):
    """Why nothing was done."""

    NOT_FOUND = "not_found"  # no application has this receipt number
    WRONG_STATE = "wrong_state"  # detail: the state it is in
    START_IN_THE_PAST = "start_in_the_past"  # detail: the date
    START_NOT_REACHED = "start_not_reached"  # detail: the date
    START_UNCHANGED = "start_unchanged"  # detail: the date it starts on already
    DEADLINE_PASSED = "deadline_passed"  # detail: システム設定申込締切日; `first_start` would do
    EXHAUSTED = "exhausted"  # detail: the pool or line in which nothing is free
    IMPOSSIBLE = "impossible"  # detail: the line or terminal that is not the office's or not in use
    WORDS_NEEDED = "words_needed"  # a question or a reason has to be given
    SAME_PERSON = "same_person"  # detail: who proposed it; another person has to decide
    INQUIRY_NEEDED = "inquiry_needed"  # detail: the items that ask for a prior inquiry
    NEW_LINE_NEEDED = "new_line_needed"  # detail: how many lines are added
    NEW_LINE_TAKEN = "new_line_taken"  # detail: the router number or LAN that another line has
    SETTINGS_NOT_NEEDED = "settings_not_needed"  # no chosen item needs system settings
    SETTINGS_LATE = "settings_late"  # detail: システム設定申込締切日
    NO_WORK = "no_work"  # no work is arranged that could be done
    WORK_NOT_FOUND = "work_not_found"  # detail: the ids of the work that is not done
    WORK_UNCHANGED = "work_unchanged"  # detail: the window; exactly this is arranged already
    LINE_NOT_NAMED = "line_not_named"  # detail: the router numbers of the application
    WINDOW_ENDED = "window_ended"  # detail: the window of the work, which is over
    SECRETS_GONE = "secrets_gone"  # no password was issued that could be issued again


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was done. `first_start`: the first start date that would do, where a date was the reason."""

    reason: Reason
    detail: str = ""
    first_start: date | None = None


class Caution(StrEnum):
    """What was allowed, but should be known to whoever did it."""

    STARTS_TODAY = "starts_today"  # and took effect with the decision
    OFF_SCHEDULE = "off_schedule"  # システム登録日 of the schedule are other days


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The application was moved; `terminals` are the IDs issued on the way, `work` what was arranged or done.

    `proposed`: nothing is issued yet, a second person has to decide.
    """

    receipt_number: str
    state: State
    start_date: date | None
    terminals: tuple[TerminalChange, ...] = ()
    proposed: bool = False
    cautions: tuple[Caution, ...] = ()
    mail_ids: tuple[int, ...] = ()
    work: WorkView | None = None
    work_warnings: tuple[WorkWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLine:
    """The router and LAN of a line to be added, given by the reviewer in the order of the application.

    ValueError for what is no router number, or no LAN with room for a terminal.
    """

    router_number: str
    lan_subnet: str

    def __post_init__(self) -> None:
        if _ROUTER_NUMBER.fullmatch(self.router_number) is None:
            raise ValueError(f"{self.router_number} is no router number: up to 10 digits")
        if ip_network(self.lan_subnet).num_addresses < _SMALLEST_LAN:
            raise ValueError(f"{self.lan_subnet} has no address for a terminal")

    def clash_with(self, other: NewLine) -> str:
        """What of this line another new one has, too; empty for nothing."""
        if self.router_number == other.router_number:
            return self.router_number
        one, two = ip_network(self.lan_subnet), ip_network(other.lan_subnet)
        # Of two networks that overlap, one lies in the other.
        contains = one.version == two.version and (one[0] in two or two[0] in one)
        return self.lan_subnet if contains else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What comes with an event: dates, words and orders, as far as the event needs them.

    `words` are the question, the reason or the text of an answer; `author` is who wrote them, `mail_id` the mail
    that brought them and `arrived_at` its arrival: a mail that came in time counts however late it is handled.
    """

    start_date: date | None = None
    words: str = ""
    inquiry_made: bool = False
    accept_address: bool = False  # beside the event: replies of the notice address act from now on
    new_lines: tuple[NewLine, ...] = ()
    work: WorkOrder | None = None
    work_id: int | None = None
    amendment: Amendment | None = None
    mail_id: int | None = None
    arrived_at: datetime | None = None
    author: str = ""


@dataclass(slots=True, kw_only=True)
class Case:
    """One decision while it is carried out. `facts` and `sent` are those of the step in hand."""

    session: Session
    desk: DeskSettings
    calendar: BusinessCalendar
    application: Application
    contents: ApplicationContents
    start: date | None
    actor: str
    now: datetime
    details: Details
    event: Event
    terminals: tuple[TerminalChange, ...] = ()
    start_before: date | None = None
    work: Work | None = None
    work_warnings: tuple[WorkWarning, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    all_sent: list[int] = field(default_factory=list)

    @property
    def today(self) -> date:
        """The JST day of the decision."""
        return jst_date(self.now)

    @property
    def confirmed_start(self) -> date:
        """利用開始日; ValueError before it is confirmed."""
        if self.application.start_date is None:
            raise ValueError(f"{self.application.receipt_number} has no confirmed start date")
        return self.application.start_date

    @property
    def office(self) -> Office:
        """The office the application is of."""
        return self.session.get_one(Office, self.application.office_id)

    def order(self, start: date | None = None) -> Order:
        """What is to be issued, from `start` on or else from the confirmed start on."""
        return Order(
            application_id=self.application.id,
            office=self.office,
            lines=self.contents.lines,
            start=start or self.confirmed_start,
            today=self.today,
            new_lines=self.details.new_lines,
        )


class TurnedDown(Exception):
    """Leaves a decision, so that whatever it did is undone."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
