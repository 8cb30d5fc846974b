"""Contracts of offices into the map: inserted or updated by office code, router number and terminal name.

Importing a file again changes nothing and leaves the map's version alone. Nothing is ever removed: what a file
no longer names stays. A terminal that is new takes effect on the JST day of the import; one that was deleted
stays so. Where a file gives no password, the stored one stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handlers import works
from handlers.audit import audit
from handlers.calendar import jst_date
from handlers.contract_differences import Differences, RegisterRow, RowChange
from handlers.contract_faults import ContractsRefused, Fault
from handlers.contract_file import (
    Contracts,
    LineContract,
    OfficeContract,
    TerminalContract,
    UserContract,
    read_contracts,
)
from handlers.contract_passwords import hash_contract_passwords, known_password_hashes
from handlers.desk import DeskSettings
from handlers.line_lans import lan_of, new_overlaps
from handlers.map_rows import has_ended
from handlers.naccs.eligibility import password_mac
from handlers.reservations import Kind, claim, end_of_rest, holder_named, rest_ip
from handlers.terminals import change_map
from storage.models import Contact, Line, LogicalTerminal, MailAddress, Office, OfficeUser
from storage.savepoint import whole_or_nothing
from storage.store import new_key

__all__ = [
    "Contracts",
    "ContractsRefused",
    "Fault",
    "ImportReport",
    "hash_contract_passwords",
    "import_contracts",
    "known_password_hashes",
    "read_contracts",
]

Row = TypeVar("Row", bound=RegisterRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, in rows by kind; `map_version` None: nothing was to be done.

    `ended` names terminals of the file that were deleted since, `ended_lines` lines that were; they stay so. `changes`
    are the rows, those that differ first.
    """

    added: Mapping[str, int]
    updated: Mapping[str, int]
    ended: tuple[str, ...]
    ended_lines: tuple[str, ...]
    map_version: int | None
    changes: tuple[RowChange, ...]


def import_contracts(
    session: Session,
    contracts: Contracts,
    desk: DeskSettings,
    now: datetime,
    *,
    actor: str = "gateway",
    password_hashes: Mapping[str, str] | None = None,
) -> ImportReport:
    """Bring the register to what the file says, all of it or nothing.

    ContractsRefused when a line, terminal, user or address of the file is another office's, or still rests.
    """
    if password_hashes is None:
        password_hashes = hash_contract_passwords(contracts, known_password_hashes(session, contracts))
    differences = Differences(session=session)
    work = _Import(
        session=session, desk=desk, now=now, actor=actor, password_hashes=password_hashes, differences=differences
    )
    version: int | None
    try:
        with whole_or_nothing(session):
            version = change_map(session, now)
            work.take_all(contracts)
    except _NothingChanged:
        version = None
    return ImportReport(
        added=work.differences.added,
        updated=work.differences.updated,
        ended=tuple(work.ended),
        ended_lines=tuple(work.ended_lines),
        map_version=version,
        changes=work.differences.rows(),
    )


class _NothingChanged(Exception):
    """Takes the map's new version back."""


@dataclass(slots=True, kw_only=True)
class _Import:
    """One import while it goes on. What collides is collected, so that all of it is told at once."""

    session: Session
    desk: DeskSettings
    now: datetime
    actor: str
    password_hashes: Mapping[str, str]
    differences: Differences
    ended: list[str] = field(default_factory=list)
    ended_lines: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    new_lans: set[str] = field(default_factory=set)  # router numbers of lines whose LAN or sharing is new

    @property
    def today(self) -> date:
        return jst_date(self.now)

    def take_all(self, contracts: Contracts) -> None:
        """Take every office of the file; an exception says that nothing of it may stay."""
        known = self._known_offices(contracts)
        works.hold_cases_with_work(self.session, known)
        for office in contracts.offices:
            self._take_office(office)
        self.session.flush()
        self._check_sharers(contracts)
        self.faults += new_overlaps(self.session, self.new_lans, self.today)
        if self.faults:
            raise ContractsRefused(tuple(self.faults))
        if not self.differences.total:
            raise _NothingChanged
        for office_id in known:
            works.pause_newcomers(self.session, office_id, self.now)

    def _known_offices(self, contracts: Contracts) -> Sequence[int]:
        """The offices of the file that may have work on their lines already."""
        codes = [office.code for office in contracts.offices]
        return self.session.scalars(select(Office.id).where(Office.code.in_(codes)).order_by(Office.id)).all()

    def _take_office(self, contract: OfficeContract) -> None:
        before = self.differences.total
        known = self._one(Office, Office.code == contract.code)
        office = self._put(Office, known, **self._office_values(contract, known))
        for person in contract.contacts:
            same = func.lower(Contact.email) == person.email.lower()
            found = self._one(Contact, Contact.office_id == office.id, same)
            self._put(Contact, found, office_id=office.id, **person.model_dump())
        for line in contract.lines:
            self._take_line(line, office, f"office {office.code}, line {line.router_number}")
        for user in contract.users:
            self._take_user(user, office, f"office {office.code}, user {user.code}")
        if self.differences.total > before:
            self._record("office_imported", f"office:{office.code}")

    def _check_sharers(self, contracts: Contracts) -> None:
        """Offices that share a line are told of work on it, so they must be known: of this file or from before."""
        named = {code for office in contracts.offices for line in office.lines for code in line.shared_with}
        known = set(self.session.scalars(select(Office.code).where(Office.code.in_(named))))
        for office in contracts.offices:
            for line in office.lines:
                place = f"office {office.code}, line {line.router_number}, shared_with"
                self.faults += [
                    Fault(place=place, rule="no_office", value=code) for code in line.shared_with if code not in known
                ]

    def _office_values(self, contract: OfficeContract, known: Office | None) -> dict[str, Any]:
        person = contract.administrator
        password_hash = "" if known is None else known.contract_password_hash
        if contract.contract_password is not None:
            password_hash = self.password_hashes[contract.code]
        elif known is None:
            self.faults.append(Fault(place=f"office {contract.code}, contract_password", rule="missing"))
        return {
            **contract.model_dump(exclude={"contract_password", "administrator", "contacts", "lines", "users"}),
            "contract_password_hash": password_hash,
            "administrator_name": person.name,
            "administrator_kana": person.kana,
            "administrator_department": person.department,
            "administrator_title": person.title,
            "administrator_phone": person.phone,
            "administrator_fax": person.emergency_fax,
            "administrator_email": person.email,
        }

    def _take_line(self, contract: LineContract, office: Office, place: str) -> None:
        found = self._one(Line, Line.router_number == contract.router_number)
        if found is not None and found.office_id != office.id:
            self.faults.append(Fault(place=place, rule="other_office", value=found.office.code))
            return
        if found is not None and has_ended(found, self.today):
            self.ended_lines.append(found.router_number)
            return
        values = contract.model_dump(exclude={"terminals"}) | {"shared_with": " ".join(contract.shared_with)}
        lan_before = None if found is None else lan_of(found, office.code)
        line = self._put(Line, found, office_id=office.id, **values)
        if lan_of(line, office.code) != lan_before:
            self.new_lans.add(line.router_number)
        if self.differences.has(line):
            self._record("line_added" if found is None else "line_changed", f"line:{line.router_number}")
        for terminal in contract.terminals:
            self._take_terminal(terminal, line, f"{place}, terminal {terminal.name}")

    def _take_terminal(self, contract: TerminalContract, line: Line, place: str) -> None:
        found = self._one(LogicalTerminal, LogicalTerminal.name == contract.name)
        if found is not None and found.line.office_id != line.office_id:
            self.faults.append(Fault(place=place, rule="other_office", value=found.line.office.code))
            return
        if found is not None and found.effective_until is not None:
            self.ended.append(found.name)
            return
        values = contract.model_dump(exclude={"ip_address", "mail_addresses"})
        values["terminal_class"] = contract.terminal_class or line.line_class
        values["left_to_backend"] = " ".join(contract.left_to_backend)
        if found is None:
            values |= {"name": contract.name, "effective_from": self.today}
        terminal = self._put(LogicalTerminal, found, line_id=line.id, **values)
        if found is None:
            self._record("terminal_added", f"terminal:{terminal.name}")
        if contract.ip_address is not None and contract.ip_address != terminal.ip_address:
            self._take_ip(terminal, contract.ip_address, place)
        for address in contract.mail_addresses:
            self._take_address(terminal, address, place)

    def _take_ip(self, terminal: LogicalTerminal, ip: str, place: str) -> None:
        if not claim(self.session, Kind.IP, ip, terminal.id, self.today):
            self._taken(Kind.IP, ip, f"{place}, ip_address")
            return
        if terminal.ip_address:
            rest_ip(self.session, terminal, end_of_rest(self.today, self.desk.quarantine))
        self.differences.update(terminal, {"ip_address": ip})

    def _take_address(self, terminal: LogicalTerminal, address: str, place: str) -> None:
        key = address.lower()
        if self._one(MailAddress, MailAddress.address_key == key, MailAddress.terminal_id == terminal.id):
            return
        identity = new_key(self.session)
        if not claim(self.session, Kind.MAIL_ADDRESS, key, identity, self.today):
            self._taken(Kind.MAIL_ADDRESS, key, f"{place}, mail_addresses")
            return
        row = MailAddress(
            id=identity,
            address=address.upper(),
            address_key=key,
            terminal_id=terminal.id,
            effective_from=self.today,
        )
        self.session.add(row)
        self.differences.add(row)
        self._record("address_added", f"address:{address.upper()}", terminal.name)

    def _taken(self, kind: Kind, value: str, place: str) -> None:
        self.faults.append(Fault(place=place, rule="taken", value=holder_named(self.session, kind, value)))

    def _take_user(self, contract: UserContract, office: Office, place: str) -> None:
        number = contract.identification_number
        found = self._one(OfficeUser, OfficeUser.code == contract.code, OfficeUser.identification_number == number)
        if found is not None and found.office_id != office.id:
            other = self.session.get_one(Office, found.office_id)
            self.faults.append(Fault(place=place, rule="other_office", value=other.code))
            return
        if found is None and contract.password is None:
            self.faults.append(Fault(place=f"{place}, password", rule="missing"))
            return
        mac = b"" if found is None else bytes(found.password_mac)
        if contract.password is not None:
            secret = contract.password.encode("ascii")
            mac = password_mac(self.desk.password_key, office.code, contract.code, number, secret)
        self._put(
            OfficeUser,
            found,
            office_id=office.id,
            code=contract.code,
            identification_number=number,
            password_mac=mac,
            procedures=" ".join(contract.procedures),
            service_hours=contract.service_hours,
            barred=contract.barred,
        )

    def _one(self, model: type[Row], *conditions: Any) -> Row | None:
        return self.session.scalars(select(model).where(*conditions)).first()

    def _put(self, model: type[Row], found: Row | None, **values: Any) -> Row:
        """Add a row, or update the one found where it differs."""
        if found is None:
            row = model(id=new_key(self.session), **values)
            self.session.add(row)
            self.session.flush()
            self.differences.add(row)
            return row
        differing = {name: value for name, value in values.items() if getattr(found, name) != value}
        if differing:
            self.differences.update(found, differing)
        return found

    def _record(self, event: str, subject: str, detail: str = "") -> None:
        audit(self.session, self.actor, event, subject, detail, self.now)
