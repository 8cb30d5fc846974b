"""Lines added, changed and ended by an operator; `values` are keys that the office file has for a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.contract_collisions import is_in_lan
from handlers.contract_export import line_keys
from handlers.contract_faults import ContractsRefused, Fault
from handlers.contract_file import LineContract, check_row
from handlers.line_lans import Lan, in_the_way_of, lan_fault, lan_of
from handlers.map_changes import (
    Change,
    Changed,
    Step,
    affected_with,
    begin,
    done,
    end_with_addresses,
    line_in_use,
    line_named,
    not_in_use,
    refuse,
    refuse_another_day,
)
from handlers.map_rows import is_in_use, router_is_taken, terminals_on
from storage.models import Line, Office
from storage.store import new_key


def add_line(session: Session, change: Change, office_code: str, values: Mapping[str, Any]) -> Changed:
    """Add a line to an office. Its router number may never have been used, its LAN be no other line's but shared."""
    version = begin(session, change)
    place = f"line {values.get('router_number', '')}"
    contract = check_row(LineContract, dict(values), place)
    office = session.scalars(select(Office).where(Office.code == office_code)).first()
    if office is None:
        refuse(place, "no_office", office_code)
    number = contract.router_number
    taken = [Fault(place=place, rule="line_taken", value=number)] if router_is_taken(session, number) else []
    _refuse_all(
        *_unknown_sharers(session, place, contract),
        *taken,
        *_in_the_way(session, place, _lan(contract, office_code), change.today),
    )
    line = Line(id=new_key(session), office_id=office.id, effective_from=change.day, **_columns(contract))
    session.add(line)
    detail = f"{office_code} {line.lan_subnet}"
    return done(session, change, version, [Step(event="line_added", subject=_subject(line), detail=detail)])


def change_line(session: Session, change: Change, router_number: str, values: Mapping[str, Any]) -> Changed:
    """Give a line other values at once; its terminals must all be inside its LAN, and that be its own or shared."""
    version = begin(session, change)
    place = f"line {router_number}"
    refuse_another_day(change, place)
    line = line_named(session, router_number, change)
    contract = check_row(LineContract, {**line_keys(line), **values}, place)
    _refuse_all(
        *_unknown_sharers(session, place, contract),
        *_outside(session, line, contract, change),
        *_lan_in_the_way(session, line, contract, change),
    )
    differing = {name: value for name, value in _columns(contract).items() if getattr(line, name) != value}
    if not differing:
        refuse(place, "unchanged")
    words = ", ".join(f"{name}: {getattr(line, name)} -> {value}" for name, value in differing.items())
    for name, value in differing.items():
        setattr(line, name, value)
    return done(session, change, version, [Step(event="line_changed", subject=_subject(line), detail=words)])


def end_line(session: Session, change: Change, router_number: str) -> Changed:
    """End a line and everything on it.

    A terminal that an open application is to begin or end is in the way: its own dates would be lost. One that was
    taken back before it began is not.
    """
    version = begin(session, change)
    line = line_in_use(session, router_number, change)
    terminals = terminals_on(session, line, change.day)
    planned = [terminal for terminal in terminals if not is_in_use(terminal, change.day)]
    _refuse_all(*(not_in_use(f"terminal {terminal.name}", terminal) for terminal in planned))
    affected = affected_with(session, terminals)
    steps = [step for terminal in terminals for step in end_with_addresses(session, change, terminal)]
    line.effective_until = change.day
    return done(session, change, version, [*steps, Step(event="line_ended", subject=_subject(line))], affected)


def _refuse_all(*faults: Fault) -> None:
    if faults:
        raise ContractsRefused(faults)


def _subject(line: Line) -> str:
    return f"line:{line.router_number}"


def _columns(contract: LineContract) -> dict[str, Any]:
    return contract.model_dump(exclude={"terminals"}) | {"shared_with": " ".join(contract.shared_with)}


def _unknown_sharers(session: Session, place: str, contract: LineContract) -> Iterator[Fault]:
    known = set(session.scalars(select(Office.code).where(Office.code.in_(contract.shared_with))))
    for code in contract.shared_with:
        if code not in known:
            yield Fault(place=f"{place}, shared_with", rule="no_office", value=code)


def _outside(session: Session, line: Line, contract: LineContract, change: Change) -> Iterator[Fault]:
    """Terminals that the new LAN leaves out."""
    if contract.lan_subnet == line.lan_subnet:
        return
    for terminal in terminals_on(session, line, change.day):
        if not is_in_lan(terminal.ip_address, contract.lan_subnet):
            yield Fault(place=f"terminal {terminal.name}", rule="outside_lan", value=contract.lan_subnet)


def _lan_in_the_way(session: Session, line: Line, contract: LineContract, change: Change) -> Iterator[Fault]:
    """Lines whose LAN the line would meet; one that is as it was is not asked about."""
    office_code = line.office.code
    lan = _lan(contract, office_code)
    if lan != lan_of(line, office_code):
        yield from _in_the_way(session, f"line {line.router_number}", lan, change.today)


def _in_the_way(session: Session, place: str, lan: Lan, today: date) -> Iterator[Fault]:
    for number in in_the_way_of(session, lan, today):
        yield lan_fault(place, lan, number)


def _lan(contract: LineContract, office_code: str) -> Lan:
    return Lan(
        router_number=contract.router_number,
        subnet=contract.lan_subnet,
        office_code=office_code,
        shared=contract.shared_with_other_offices,
        shared_with=frozenset(contract.shared_with),
    )
