"""The map as its readers see it: mail address -> logical terminal -> LAN-side IP, one immutable view per version.

Rows are effective-dated in JST days. A look-up that finds none or more than one binding answers None: a route is never
guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.models import Line, LogicalTerminal, MailAddress, MapVersion, Office, OfficeUser, OutputDestination
from storage.store import note


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A mail address and the terminal behind it, valid from a JST day until (and without) another."""

    address_id: int
    address: str  # as registered, upper-case
    terminal_id: int
    terminal: str
    office_code: str
    ip: str | None
    lan: IPv4Network | IPv6Network | None  # the LAN subnet of the terminal's line
    port: int | None
    codec: str
    effective_from: date
    effective_until: date | None
    left_to_backend: frozenset[str] = frozenset()  # names of eligibility checks the gateway does not make

    def applies(self, today: date) -> bool:
        """Whether the binding routes on that JST day."""
        return self.effective_from <= today and (self.effective_until is None or today < self.effective_until)

    @property
    def lane(self) -> str:
        """The lane of the terminal's SMTP server; the name is never reissued, so the lane is never another's."""
        return f"terminal:{self.terminal}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdiUser:
    """A user code (利用者コード) and identification number (識別番号) with the procedures it may use."""

    code: str
    number: str
    office_code: str
    password_mac: bytes
    procedures: tuple[str, ...]  # "*" = all
    service_hours: str = ""  # "08:30-19:00" JST; "" = the centre's
    barred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRoute:
    """A third party's address that gets each output of one code (宛先管理, EXC)."""

    user_code: str  # "" = of every user's requests
    address_key: str
    address_id: int
    effective_from: date
    effective_until: date | None

    def applies(self, user_code: str, today: date) -> bool:
        """Whether an output of that user's request goes there on that JST day."""
        begun = self.effective_from <= today and (self.effective_until is None or today < self.effective_until)
        return begun and self.user_code in ("", user_code)


@dataclass(frozen=True, kw_only=True)
class MapView:
    """The map at one version."""

    version: int
    by_address: Mapping[str, tuple[Binding, ...]]
    by_terminal: Mapping[str, tuple[Binding, ...]]
    users: Mapping[tuple[str, str], EdiUser]
    offices_of_code: Mapping[str, frozenset[str]]
    output_routes: Mapping[str, tuple[OutputRoute, ...]] = field(default_factory=dict)

    @cached_property
    def _by_row(self) -> Mapping[int, Binding]:
        return {binding.address_id: binding for found in self.by_address.values() for binding in found}

    def binding_of(self, address_id: int | None) -> Binding | None:
        """The binding of a mail-address row, whatever its address and the day."""
        return None if address_id is None else self._by_row.get(address_id)

    def binding(self, address_key: str, today: date) -> Binding | None:
        """The one binding of an address on a JST day."""
        found = [binding for binding in self.by_address.get(address_key, ()) if binding.applies(today)]
        return found[0] if len(found) == 1 else None

    def binding_of_row(self, address_key: str, address_id: int | None) -> Binding | None:
        """The binding of one mail-address row, whatever the day."""
        rows = self.by_address.get(address_key, ())
        return next((binding for binding in rows if binding.address_id == address_id), None)

    def bindings_of_terminal(self, terminal: str, today: date) -> list[Binding]:
        """The mail addresses of a logical terminal on a JST day."""
        return [binding for binding in self.by_terminal.get(terminal, ()) if binding.applies(today)]

    def third_parties(self, output_code: str, user_code: str, today: date) -> list[Binding]:
        """The addresses registered for an output information code, those of them that are bound on the day."""
        routes = [route for route in self.output_routes.get(output_code, ()) if route.applies(user_code, today)]
        found = [self.binding_of_row(route.address_key, route.address_id) for route in routes]
        return [binding for binding in found if binding is not None and binding.applies(today)]

    def has_address(self, address_key: str) -> bool:
        """Whether the address is or was or will be bound."""
        return address_key in self.by_address

    def user(self, code: str, number: str) -> EdiUser | None:
        """The user of an EDI message."""
        return self.users.get((code, number))

    def user_code_offices(self, code: str) -> frozenset[str]:
        """The offices whose users have this code; empty where nobody has it."""
        return self.offices_of_code.get(code, frozenset())


EMPTY_MAP = MapView(version=-1, by_address={}, by_terminal={}, users={}, offices_of_code={})


def load(session: Session) -> MapView:
    """Read the whole map, from one snapshot."""
    version = session.scalar(select(MapVersion.version).where(MapVersion.id == 1)) or 0
    by_address: dict[str, list[Binding]] = {}
    by_terminal: dict[str, list[Binding]] = {}
    rows = session.execute(
        select(MailAddress, LogicalTerminal, Office.code, Line.lan_subnet)
        .join(LogicalTerminal, LogicalTerminal.id == MailAddress.terminal_id)
        .join(Line, Line.id == LogicalTerminal.line_id)
        .join(Office, Office.id == Line.office_id)
    )
    for address, terminal, office_code, lan_subnet in rows:
        binding = _binding(address, terminal, office_code, lan_subnet)
        by_address.setdefault(address.address_key, []).append(binding)
        by_terminal.setdefault(terminal.name, []).append(binding)
    users = {
        (user.code, user.identification_number): EdiUser(
            code=user.code,
            number=user.identification_number,
            office_code=office_code,
            password_mac=bytes(user.password_mac),
            procedures=tuple(user.procedures.split()),
            service_hours=user.service_hours,
            barred=user.barred,
        )
        for user, office_code in session.execute(
            select(OfficeUser, Office.code).join(Office, Office.id == OfficeUser.office_id)
        )
    }
    offices_of_code: dict[str, set[str]] = {}
    for user in users.values():
        offices_of_code.setdefault(user.code, set()).add(user.office_code)
    return MapView(
        version=version,
        by_address={key: tuple(found) for key, found in by_address.items()},
        by_terminal={name: tuple(found) for name, found in by_terminal.items()},
        users=users,
        offices_of_code={code: frozenset(offices) for code, offices in offices_of_code.items()},
        output_routes=_output_routes(session),
    )


def _output_routes(session: Session) -> dict[str, tuple[OutputRoute, ...]]:
    routes: dict[str, list[OutputRoute]] = {}
    rows = session.execute(
        select(OutputDestination, MailAddress.address_key)
        .join(MailAddress, MailAddress.id == OutputDestination.address_id)
        .order_by(OutputDestination.id)
    )
    for row, address_key in rows:
        route = OutputRoute(
            user_code=row.user_code,
            address_key=address_key,
            address_id=row.address_id,
            effective_from=row.effective_from,
            effective_until=row.effective_until,
        )
        routes.setdefault(row.output_code, []).append(route)
    return {code: tuple(found) for code, found in routes.items()}


def _binding(address: MailAddress, terminal: LogicalTerminal, office_code: str, lan_subnet: str) -> Binding:
    ends = [day for day in (address.effective_until, terminal.effective_until) if day is not None]
    return Binding(
        address_id=address.id,
        address=address.address,
        terminal_id=terminal.id,
        terminal=terminal.name,
        office_code=office_code,
        ip=terminal.ip_address,
        lan=ip_network(lan_subnet) if lan_subnet else None,
        port=terminal.port,
        codec=terminal.codec,
        left_to_backend=frozenset(terminal.left_to_backend.split()),
        effective_from=max(address.effective_from, terminal.effective_from),
        effective_until=min(ends) if ends else None,
    )


def change_map(session: Session, now: datetime) -> int:
    """Begin a map change: update the map-version row first, so that changes follow one another; the new version.

    Overlap and pool checks made after it, in the same transaction, cannot be overtaken by another change.
    """
    session.connection().exec_driver_sql(
        "INSERT INTO map_version (id, version, changed_at) VALUES (1, 0, 0) ON CONFLICT (id) DO NOTHING"
    )
    row = session.scalars(select(MapVersion).where(MapVersion.id == 1).with_for_update()).one()
    row.version += 1
    row.changed_at = now
    session.flush()
    note(session, "map", row.version)
    return row.version
