"""The office file: contracting offices (事業所) with their lines, terminals, users and contacts, in TOML.

`read_contracts` takes the whole file or raises ContractsRefused with every fault in it: unknown keys, missing
ones, values that break their rule, and values that may stand only once. Passwords are never shown.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Container
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from handlers.contract_collisions import collisions
from handlers.contract_faults import ContractsRefused, Fault, place_of
from handlers.naccs.eligibility import Check
from handlers.naccs.fields import DEFAULT_CODEC, KNOWN_CODECS
from handlers.naccs.service_hours import service_hours


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


def _one_of(rule: str, values: Container[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in values:
            raise PydanticCustomError(rule, "")
        return value

    return AfterValidator(check)


def _hours(text: str) -> str:
    service_hours(text)
    return text


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
OfficeCode = Annotated[str, _like("office_code", r"[0-9A-Z]{1,8}")]
Ip = Annotated[str, _read_as("ip_address", lambda text: str(ip_address(text)))]


Row = TypeVar("Row", bound="_Table")


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
    codec: Annotated[str, _one_of("codec", KNOWN_CODECS)] = DEFAULT_CODEC
    left_to_backend: Annotated[tuple[Annotated[str, _one_of("check", frozenset(Check))], ...], Field(strict=False)] = ()
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
    shared_with: Annotated[tuple[OfficeCode, ...], Field(strict=False)] = ()  # their administrators hear of work
    lan_subnet: Annotated[str, _read_as("lan_subnet", _subnet)]
    spare_router: bool
    terminals: tuple[TerminalContract, ...] = _tables("terminal")


class UserContract(_Table):
    """A user code (利用者コード) with an identification number (識別番号). Without a password the stored one stays."""

    code: Annotated[str, _like("user_code", r"[0-9A-Z]{5}")]
    identification_number: Annotated[str, _like("identification_number", r"[0-9A-Z]{3}")]
    password: Annotated[str, _like("password", r"[!-~]{1,8}")] | None = Field(default=None, repr=False)
    procedures: Annotated[
        tuple[Annotated[str, _like("procedure", r"\*|[A-Z][A-Z0-9]{2,4}")], ...],
        Field(strict=False, min_length=1),
    ]
    service_hours: Annotated[str, _read_as("service_hours", _hours)] = ""  # empty: those of the whole centre
    barred: bool = False


class OfficeContract(_Table):
    """A contracting office. Without a password the stored one stays."""

    code: OfficeCode
    company_name: Annotated[str, _text(200)]
    company_abbreviation: Annotated[str, _text(40, may_be_empty=True)]
    name: Annotated[str, _text(200)]
    system_class: Short
    customs_office: Annotated[str, _text(40, may_be_empty=True)]
    billing_code: Short
    bilingual: bool = False  # its mails are in Japanese and English
    contract_password: Annotated[str, _like("contract_password", r"[!-~]{8,128}")] | None = Field(
        default=None, repr=False
    )
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
    return check_contracts(raw)


def check_contracts(raw: dict[str, Any]) -> Contracts:
    """The contracts of what a file holds, whatever its format; ContractsRefused names everything that is wrong."""
    faults = list(collisions(raw))
    if raw.get("office") == []:
        faults.append(Fault(place="office", rule="missing"))
    try:
        contracts = Contracts.model_validate(raw)
    except ValidationError as error:
        raise ContractsRefused((*(_fault(found, raw) for found in error.errors()), *faults)) from None
    if faults:
        raise ContractsRefused(tuple(faults))
    return contracts


def check_row(model: type[Row], values: dict[str, Any], place: str) -> Row:
    """One table as the office file would have it, such as a line; ContractsRefused names what is wrong with it."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_fault(found, values) for found in error.errors()]
        named = (Fault(place=f"{place}, {fault.place}", rule=fault.rule, value=fault.value) for fault in faults)
        raise ContractsRefused(tuple(named)) from None


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
