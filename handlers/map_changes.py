"""What the changes of the map by an operator share: who makes one, from which day on, what came of it.

A change is one unit of work: the map version first, then checks that cannot be overtaken, the rows, and audit events.
What is in the way is refused as ContractsRefused, all of it at once; the session is then to be rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import NoReturn, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.allocation_order import AllocationExhausted
from handlers.audit import audit
from handlers.calendar import jst_date
from handlers.contract_affected import Affected, affected_by
from handlers.contract_faults import ContractsRefused, Fault
from handlers.desk import DeskSettings
from handlers.map_rows import End, addresses_of, end_terminal, has_ended, is_in_use
from handlers.reservations import end_of_rest
from handlers.terminals import change_map
from storage.models import Line, LogicalTerminal

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changes the map when, and from which JST day on the change applies; None: from today on."""

    desk: DeskSettings
    actor: str
    now: datetime
    effective: date | None = None

    @property
    def today(self) -> date:
        """The JST day it is."""
        return jst_date(self.now)

    @property
    def day(self) -> date:
        """The first day of what is added, and the first without what is ended."""
        return self.effective or self.today

    def end(self) -> End:
        """How something ends with this change."""
        return End(day=self.day, rests_until=end_of_rest(self.day, self.desk.quarantine))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was done: the audit event, what it was done to, and its values."""

    event: str
    subject: str
    detail: str = ""


NOTHING_AFFECTED = Affected()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a change did, and the mail it affects."""

    map_version: int
    effective: date
    steps: tuple[Step, ...]
    affected: Affected = NOTHING_AFFECTED


def begin(session: Session, change: Change) -> int:
    """Begin the change: the map's new version. A day that has passed is refused."""
    if change.day < change.today:
        refuse("--effective", "in_the_past", change.day.isoformat())
    return change_map(session, change.now)


def done(
    session: Session, change: Change, version: int, steps: Iterable[Step], affected: Affected = NOTHING_AFFECTED
) -> Changed:
    """Audit what was done, each step for itself."""
    told = tuple(steps)
    for step in told:
        detail = f"{step.detail} from {change.day.isoformat()}".strip()
        audit(session, change.actor, step.event, step.subject, detail, change.now)
    session.flush()
    return Changed(map_version=version, effective=change.day, steps=told, affected=affected)


def refuse(place: str, rule: str, value: str = "") -> NoReturn:
    """Refuse the change for one reason."""
    raise ContractsRefused((Fault(place=place, rule=rule, value=value),))


def refuse_another_day(change: Change, place: str) -> None:
    """Refuse a day that is not today, where rows have no dates for what changes."""
    if change.day != change.today:
        refuse(place, "today_only", change.day.isoformat())


def from_pool(place: str, take: Callable[[], T]) -> T:
    """What a pool gives, or the refusal that names the pool."""
    try:
        return take()
    except AllocationExhausted as exhausted:
        refuse(place, "exhausted", exhausted.source)


def line_named(session: Session, router_number: str, change: Change) -> Line:
    """The line of that router number; one that has ended is refused."""
    line = session.scalars(select(Line).where(Line.router_number == router_number)).first()
    if line is None:
        refuse(f"line {router_number}", "no_line", router_number)
    if has_ended(line, change.today):
        raise ContractsRefused((not_in_use(f"line {router_number}", line),))
    return line


def line_in_use(session: Session, router_number: str, change: Change) -> Line:
    """The line of that router number, which must apply on the day of the change and go on."""
    line = line_named(session, router_number, change)
    if not is_in_use(line, change.day):
        raise ContractsRefused((not_in_use(f"line {router_number}", line),))
    return line


def terminal_in_use(session: Session, name: str, change: Change) -> LogicalTerminal:
    """The terminal of that name, which must apply on the day of the change and go on."""
    terminal = session.scalars(select(LogicalTerminal).where(LogicalTerminal.name == name)).first()
    if terminal is None:
        refuse(f"terminal {name}", "no_terminal", name)
    if not is_in_use(terminal, change.day):
        raise ContractsRefused((not_in_use(f"terminal {name}", terminal),))
    return terminal


def not_in_use(place: str, row: Line | LogicalTerminal) -> Fault:
    """Why a row cannot be changed on a day: it ends, or has not begun."""
    if row.effective_until is not None:
        return Fault(place=place, rule="ends_already", value=row.effective_until.isoformat())
    return Fault(
        place=place, rule="not_begun", value="" if row.effective_from is None else row.effective_from.isoformat()
    )


def end_with_addresses(session: Session, change: Change, terminal: LogicalTerminal) -> list[Step]:
    """End a terminal and its addresses."""
    ended = end_terminal(session, terminal, change.end())
    steps = [Step(event="terminal_ended", subject=f"terminal:{terminal.name}", detail=terminal.ip_address or "")]
    return steps + [Step(event="address_ended", subject=f"address:{one}", detail=terminal.name) for one in ended]


def affected_with(session: Session, terminals: Iterable[LogicalTerminal]) -> Affected:
    """The mail for any address of the terminals."""
    return affected_by(session, [address for terminal in terminals for address in addresses_of(terminal)])
