"""The office file: contracting offices (事業所) with their lines, terminals, users and contacts, in TOML.

`read_contracts` takes the whole file or raises ContractsRefused with every fault in it: unknown keys, missing
ones, values that break their rule, and values that may stand only once. Passwords are never shown.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong: where, which rule it breaks, and the value or what it collides with."""

    place: str
    rule: str
    value: str = ""


class ContractsRefused(Exception):
    """The office file cannot be taken; nothing of it was."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.place}: {fault.rule} {fault.value}".strip() for fault in faults))
        self.faults = faults


def _text(longest: int, *, may_be_empty: bool = False) -> AfterValidator:
    def check(value: str) -> str:
        # Cc, Cf, Zl, Zp …: what would break a header or a line of a mail.
        broken = any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" for character in value)
        if broken or len(value) > longest or not (value.strip() or may_be_empty):
            raise PydanticCustomError("one_line", "")
        return value

    return AfterValidator(check)


def _like(rule: str, pattern: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise PydanticCustomError(rule, "")
        return value

    return AfterValidator(check)


def _read_as(rule: str, read: Callable[[str], str]) -> AfterValidator:
    def check(value: str) -> str:
        try:
            return read(value)
        except ValueError:
            raise PydanticCustomError(rule, "") from None

    return AfterValidator(check)


def _subnet(text: str) -> str:
    network = ip_network(text)
    if network.num_addresses < 4:  # network, router, one terminal, broadcast
        raise ValueError(text)
    return str(network)


_ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"

Short = Annotated[str, _text(20, may_be_empty=True)]
Name = Annotated[str, _text(80)]
MaybeName = Annotated[str, _text(80, may_be_empty=True)]
Email = Annotated[str, _like("mail_address", rf"(?=.{{1,254}}$){_ADDRESS}")]
MaybeEmail = Annotated[str, _like("mail_address", rf"|(?=.{{1,254}}$){_ADDRESS}")]
# 64 bytes is the width of the mail address in the output common items.
TerminalAddress = Annotated[str, _like("terminal_address", rf"(?=.{{1,64}}$){_ADDRESS}")]
Phone = Annotated[str, _like("phone", r"0[0-9]{9,10}")]
MaybePhone = Annotated[str, _like("phone", r"|0[0-9]{9,10}")]
Ip = Annotated[str, _read_as("ip_address", lambda text: str(ip_address(text)))]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _tables(alias: str) -> Any:
    return Field(default=(), alias=alias, strict=False)


class AdministratorContract(_Table):
    """システム管理責任者. Without an address the reviewer is told instead."""

    name: Name
    kana: Name
    department: MaybeName = ""
    title: MaybeName = ""
    phone: Phone
    emergency_fax: MaybePhone = ""
    email: MaybeEmail = ""


class ContactContract(_Table):
    """A person who may send application mails for the office."""

    name: Name
    kana: Name
    department: MaybeName = ""
    title: MaybeName = ""
    phone: Phone
    email: Email


class TerminalContract(_Table):
    """A logical terminal (論理端末) that exists already."""

    name: Annotated[str, _like("terminal_name", r"[0-9A-Z]{6}")]
    terminal_class: Short = Field(default="", alias="class")  # empty: the line's
    equipment: Annotated[str, _text(20)]
    package: Short = ""
    ip_address: Ip | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    mail_addresses: Annotated[tuple[TerminalAddress, ...], Field(strict=False)] = ()


class LineContract(_Table):
    """A leased line (回線) behind one router."""

    router_number: Annotated[str, _like("router_number", r"[0-9]{1,10}")]
    line_class: Short = Field(alias="class")
    connection: Short
    edifact: bool
    line_type: Short
    access_speed: Short
    wiring: Short
    maintenance_hours: Short
    site_option: Annotated[str, _text(200, may_be_empty=True)] = ""
    shared_with_other_offices: bool
    lan_subnet: Annotated[str, _read_as("lan_subnet", _subnet)]
    spare_router: bool
    terminals: tuple[TerminalContract, ...] = _tables("terminal")


class UserContract(_Table):
    """A user code (利用者コード) with an identification number (識別番号)."""

    code: Annotated[str, _like("user_code", r"[0-9A-Z]{5}")]
    identification_number: Annotated[str, _like("identification_number", r"[0-9A-Z]{3}")]
    password: Annotated[str, _like("password", r"[!-~]{1,8}")] = Field(repr=False)
    procedures: Annotated[
        tuple[Annotated[str, _like("procedure", r"\*|[A-Z][A-Z0-9]{2,4}")], ...],
        Field(strict=False, min_length=1),
    ]


class OfficeContract(_Table):
    """A contracting office."""

    code: Annotated[str, _like("office_code", r"[0-9A-Z]{1,8}")]
    company_name: Annotated[str, _text(200)]
    company_abbreviation: Annotated[str, _text(40, may_be_empty=True)]
    name: Annotated[str, _text(200)]
    system_class: Short
    customs_office: Annotated[str, _text(40, may_be_empty=True)]
    billing_code: Short
    contract_password: Annotated[str, _like("contract_password", r"[!-~]{8,128}")] = Field(repr=False)
    administrator: AdministratorContract
    contacts: tuple[ContactContract, ...] = _tables("contact")
    lines: tuple[LineContract, ...] = _tables("line")
    users: tuple[UserContract, ...] = _tables("user")


class Contracts(_Table):
    """A whole office file."""

    offices: Annotated[tuple[OfficeContract, ...], Field(alias="office", strict=False)]


def read_contracts(text: str) -> Contracts:
    """The contracts of an office file; ContractsRefused names everything that is wrong with it."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractsRefused((Fault(place="", rule="toml", value=str(error)),)) from None
    faults = list(_collisions(raw))
    if raw.get("office") == []:
        faults.append(Fault(place="office", rule="missing"))
    try:
        contracts = Contracts.model_validate(raw)
    except ValidationError as error:
        raise ContractsRefused((*(_fault(found, raw) for found in error.errors()), *faults)) from None
    if faults:
        raise ContractsRefused(tuple(faults))
    return contracts


RULE_OF_TYPE = {
    "missing": "missing",
    "too_short": "missing",
    "extra_forbidden": "unknown_key",
    "string_type": "text",
    "bool_type": "true_or_false",
    "int_type": "port",
    "greater_than_equal": "port",
    "less_than_equal": "port",
    "tuple_type": "list",
    "model_type": "table",
    "dict_type": "table",
}
_SECRET = frozenset({"password", "contract_password"})


def _fault(error: ErrorDetails, raw: dict[str, Any]) -> Fault:
    rule = RULE_OF_TYPE.get(error["type"], error["type"])
    # A whole table may hold a password.
    hides = error["loc"][-1] in _SECRET or rule == "unknown_key" or isinstance(error["input"], dict | list)
    return Fault(place=place_of(error["loc"], raw), rule=rule, value="" if hides else str(error["input"]))


_NAMED_BY = {
    "office": "code",
    "contact": "email",
    "line": "router_number",
    "terminal": "name",
    "user": "code",
}


def place_of(location: tuple[int | str, ...], raw: Any) -> str:
    """Where in the file: `office CT0001, line 09143, terminal #2, port`, by number where it has no name."""
    parts: list[str] = []
    for part in location:
        if isinstance(part, str):
            raw = raw.get(part) if isinstance(raw, dict) else None
            parts.append(part)
            continue
        raw = raw[part] if isinstance(raw, list) and part < len(raw) else None
        name = raw.get(_NAMED_BY.get(parts[-1], "")) if isinstance(raw, dict) else None
        parts[-1] += f" {name}" if isinstance(name, str) and name else f" #{part + 1}"
    return ", ".join(parts)


def _collisions(raw: dict[str, Any]) -> Iterator[Fault]:
    """What stands twice but may stand once, and IP addresses outside their line's LAN."""
    seen: dict[tuple[str, str], _Location] = {}
    for kind, value, location in _once(raw):
        earlier = seen.setdefault((kind, value), location)
        if earlier != location:
            # By number: both have the same name.
            yield Fault(place=place_of(location, None), rule="repeated", value=place_of(earlier, None))
    for office in _elements(raw, "office", ()):
        for line in _elements(office.table, "line", office.location):
            for terminal in _elements(line.table, "terminal", line.location):
                if not _is_in_lan(terminal.table.get("ip_address"), line.table.get("lan_subnet")):
                    place = place_of((*terminal.location, "ip_address"), raw)
                    yield Fault(place=place, rule="outside_lan", value=str(line.table.get("lan_subnet")))


@dataclass(frozen=True, slots=True)
class _Element:
    table: dict[str, Any]
    location: tuple[int | str, ...]


def _elements(table: dict[str, Any], key: str, location: tuple[int | str, ...]) -> list[_Element]:
    found = table.get(key)
    rows = found if isinstance(found, list) else []
    return [_Element(row, (*location, key, at)) for at, row in enumerate(rows) if isinstance(row, dict)]


_Location = tuple[int | str, ...]
_Single = tuple[str, str, _Location]


def _once(raw: dict[str, Any]) -> Iterator[_Single]:
    """(kind, value as it compares, location) of every value that may stand once."""

    def one(kind: str, element: _Element, *keys: str, within: str = "") -> Iterator[_Single]:
        values = [element.table.get(key) for key in keys]
        if all(isinstance(value, str) for value in values):
            yield kind, "\0".join([within, *map(str, values)]).lower(), (*element.location, keys[0])

    for office in _elements(raw, "office", ()):
        yield from one("office", office, "code")
        for contact in _elements(office.table, "contact", office.location):
            yield from one("contact", contact, "email", within=str(office.location))
        for user in _elements(office.table, "user", office.location):
            yield from one("user", user, "code", "identification_number")
        for line in _elements(office.table, "line", office.location):
            yield from one("line", line, "router_number")
            for terminal in _elements(line.table, "terminal", line.location):
                yield from one("terminal", terminal, "name")
                yield from one("ip", terminal, "ip_address")
                yield from _addresses(terminal)


def _addresses(terminal: _Element) -> Iterator[_Single]:
    found = terminal.table.get("mail_addresses")
    for at, address in enumerate(found if isinstance(found, list) else ()):
        if isinstance(address, str):
            yield "address", address.lower(), (*terminal.location, "mail_addresses", at)


def _is_in_lan(ip: object, lan: object) -> bool:
    """False for an address that no terminal of the LAN can have; True for what is no address at all."""
    if not isinstance(ip, str) or not isinstance(lan, str):
        return True
    try:
        address, network = ip_address(ip), ip_network(lan)
    except ValueError:
        return True
    return address in network and address not in (network.network_address, network.broadcast_address)
