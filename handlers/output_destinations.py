"""Registered output destinations (宛先管理, EXC): third parties' mail addresses that get each output of one code.

Rows are effective-dated in JST days; none is removed. Every change begins a map version and leaves an audit event. Of
one code, user and address no two rows may apply on the same day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handlers.calendar import jst_date
from handlers.contract_faults import ContractsRefused, Fault
from handlers.output_destination_file import WantedDestination, check
from handlers.terminals import change_map
from storage.models import AuditEvent, LogicalTerminal, MailAddress, OfficeUser, OutputDestination
from storage.savepoint import whole_or_nothing
from storage.store import new_key


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredOutput:
    """A registered destination as lists show it; the terminal is the one behind the address row."""

    id: int
    output_code: str
    user_code: str
    address: str
    terminal: str
    effective_from: date
    effective_until: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReport:
    """What a change did, in rows; `map_version` None: nothing was to be done. `ended` stay ended.

    `unknown_users`: the user codes of the rows that no user of the register has. Such a row waits for requests that
    only a terminal can send whose user codes are left to the backend.
    """

    added: int
    updated: int
    ended: tuple[str, ...]
    map_version: int | None
    unknown_users: tuple[str, ...] = ()


def registered(
    session: Session,
    *,
    output_code: str | None = None,
    address: str | None = None,
    row_id: int | None = None,
    on: date | None = None,
) -> list[RegisteredOutput]:
    """The rows, ended ones too; those of one code or address, or that apply on a day."""
    query = (
        select(OutputDestination, MailAddress.address, LogicalTerminal.name)
        .join(MailAddress, MailAddress.id == OutputDestination.address_id)
        .join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
    )
    if output_code is not None:
        query = query.where(OutputDestination.output_code == output_code.strip().upper())
    if address is not None:
        query = query.where(MailAddress.address_key == address.strip().lower())
    if row_id is not None:
        query = query.where(OutputDestination.id == row_id)
    if on is not None:
        until = OutputDestination.effective_until
        query = query.where(OutputDestination.effective_from <= on, or_(until.is_(None), until > on))
    order = (OutputDestination.output_code, OutputDestination.user_code, OutputDestination.id)
    return [_registered(row, shown, name) for row, shown, name in session.execute(query.order_by(*order))]


def is_mail_address(session: Session, address: str) -> bool:
    """Whether the map has or had a mail address of that name."""
    row = select(MailAddress.id).where(MailAddress.address_key == address.strip().lower())
    return session.scalar(row.limit(1)) is not None


def _registered(row: OutputDestination, address: str, terminal: str) -> RegisteredOutput:
    return RegisteredOutput(
        id=row.id,
        output_code=row.output_code,
        user_code=row.user_code,
        address=address,
        terminal=terminal,
        effective_from=row.effective_from,
        effective_until=row.effective_until,
    )


def register_destinations(
    session: Session, wanted: Sequence[WantedDestination], *, actor: str, now: datetime
) -> OutputReport:
    """Have all of these destinations registered, or none: ContractsRefused names what is wrong.

    What is registered already stays as it is. A row without a first day begins today. A file's last day ends a row that
    was open; one that was ended since stays so.
    """
    work = _Registration(session=session, actor=actor, now=now)
    version: int | None
    try:
        with whole_or_nothing(session):
            version = change_map(session, now)
            work.take_all(wanted)
    except _NothingChanged:
        version = None
    return OutputReport(
        added=work.added,
        updated=work.updated,
        ended=tuple(work.ended),
        map_version=version,
        unknown_users=_unknown_users(session, wanted),
    )


def _unknown_users(session: Session, wanted: Sequence[WantedDestination]) -> tuple[str, ...]:
    named = sorted({row.user_code for row in wanted} - {""})
    if not named:
        return ()
    known = set(session.scalars(select(OfficeUser.code)))
    return tuple(code for code in named if code not in known)


def end_destination(session: Session, row_id: int, on: date, *, actor: str, now: datetime) -> OutputReport | None:
    """Let a row apply no more from a JST day on; None when there is no such row.

    ContractsRefused for a day that has passed or before its first day. A row that has ended by then is left alone.
    """
    row = session.get(OutputDestination, row_id)
    if row is None:
        return None
    work = _Registration(session=session, actor=actor, now=now)
    version: int | None
    try:
        with whole_or_nothing(session):
            version = change_map(session, now)
            work.end(session.get_one(OutputDestination, row_id, populate_existing=True), on)
    except _NothingChanged:
        version = None
    return OutputReport(added=0, updated=work.updated, ended=(), map_version=version)


class _NothingChanged(Exception):
    """Takes the map's new version back."""


@dataclass(slots=True, kw_only=True)
class _Registration:
    session: Session
    actor: str
    now: datetime
    added: int = 0
    updated: int = 0
    ended: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def today(self) -> date:
        return jst_date(self.now)

    def take_all(self, wanted: Sequence[WantedDestination]) -> None:
        """Take every row; an exception says that nothing of it may stay."""
        for row in wanted:
            wrong = list(check(row))
            self.faults += wrong
            if not wrong:
                self._take(row)
        if self.faults:
            raise ContractsRefused(tuple(self.faults))
        if not self.added and not self.updated:
            raise _NothingChanged

    def end(self, row: OutputDestination, on: date) -> None:
        """Give a row its end."""
        if on < self.today:
            raise ContractsRefused((Fault(place="", rule="in_the_past", value=on.isoformat()),))
        if on < row.effective_from:
            raise ContractsRefused(
                (Fault(place="", rule="ends_before_it_begins", value=row.effective_from.isoformat()),)
            )
        if row.effective_until is not None and row.effective_until <= on:
            raise _NothingChanged
        self._end(row, on)

    def _take(self, wanted: WantedDestination) -> None:
        begins = wanted.effective_from or self.today
        address = self._address(wanted.address, begins)
        if address is None:
            self.faults.append(Fault(place=f"{wanted.place}, address", rule="unknown_address", value=wanted.address))
            return
        ends = wanted.effective_until
        same = self._same(wanted, address, begins, ends)
        if not same:
            self._add(wanted, address, begins)
            return
        row = same[0]
        of_this_row = len(same) == 1 and (wanted.effective_from is None or row.effective_from == begins)
        if not of_this_row:
            span = f"{row.effective_from} - {row.effective_until or ''}".rstrip()
            self.faults.append(Fault(place=wanted.place, rule="overlap", value=span))
        elif row.effective_until is not None and row.effective_until != ends:
            self.ended.append(f"{row.output_code} {row.user_code} {address.address}".replace("  ", " "))
        elif ends is not None and row.effective_until is None:
            if ends < self.today:
                self.faults.append(Fault(place=f"{wanted.place}, until", rule="in_the_past", value=ends.isoformat()))
            else:
                self._end(row, ends)

    def _address(self, address: str, day: date) -> MailAddress | None:
        """The one address row that is in use on that day."""
        query = select(MailAddress).join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
        query = query.where(MailAddress.address_key == address.strip().lower())
        for row in (MailAddress, LogicalTerminal):
            query = query.where(
                row.effective_from <= day, or_(row.effective_until.is_(None), row.effective_until > day)
            )
        found = self.session.scalars(query).all()
        return found[0] if len(found) == 1 else None

    def _same(
        self, wanted: WantedDestination, address: MailAddress, begins: date, ends: date | None
    ) -> Sequence[OutputDestination]:
        """Rows of the same code, user and address that the wanted one is, or that apply on a day of it."""
        until = OutputDestination.effective_until
        begins_with_it = OutputDestination.effective_from == begins
        query = select(OutputDestination).where(
            OutputDestination.output_code == wanted.output_code,
            OutputDestination.user_code == wanted.user_code,
            OutputDestination.address_id == address.id,
        )
        if wanted.effective_from is None:
            # Without a first day the latest row is meant, ended or not: an import again revives nothing.
            return self.session.scalars(query.order_by(OutputDestination.effective_from.desc()).limit(1)).all()
        query = query.where(or_(until.is_(None), until > begins, begins_with_it))
        if ends is not None:
            query = query.where(or_(OutputDestination.effective_from < ends, begins_with_it))
        return self.session.scalars(query.order_by(OutputDestination.effective_from)).all()

    def _add(self, wanted: WantedDestination, address: MailAddress, begins: date) -> None:
        row = OutputDestination(
            id=new_key(self.session),
            output_code=wanted.output_code,
            user_code=wanted.user_code,
            address_id=address.id,
            effective_from=begins,
            effective_until=wanted.effective_until,
        )
        self.session.add(row)
        self.session.flush()
        self.added += 1
        self._record("output-destination-added", row)

    def _end(self, row: OutputDestination, on: date) -> None:
        row.effective_until = on
        self.session.flush()
        self.updated += 1
        self._record("output-destination-ended", row)

    def _record(self, event: str, row: OutputDestination) -> None:
        span = f"{row.effective_from} - {row.effective_until or ''}".rstrip()
        self.session.add(
            AuditEvent(
                id=new_key(self.session),
                occurred_at=self.now,
                actor=self.actor,
                event=event,
                subject=f"output:{row.id}",
                detail=f"{row.output_code} {row.user_code or '-'} address row {row.address_id} {span}",
            )
        )
