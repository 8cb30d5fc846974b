"""The kinds of value a setting can have: durations, networks, ports, mail addresses, number ranges, lists.

Each reader takes what TOML or one environment variable gives and either returns the value or raises
`ValueError` with a reason that reads well after the key's name.
"""

from __future__ import annotations

import ipaddress
import json
import re
import string
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from handlers.naccs.service_hours import service_hours

# Width of the mail address in the output common items (51/64): a longer one could not be written there.
LONGEST_MAIL_ADDRESS = 64

DURATION_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")

LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DOMAIN = re.compile(rf"{LABEL}(?:\.{LABEL})*")
MAIL_ADDRESS = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{LABEL}(?:\.{LABEL})*")

TERMINAL_NAME = re.compile(r"[A-Z0-9]{6}")
OUTPUT_CODE = re.compile(r"[A-Z0-9]{7}")
PROCEDURE_CODE = re.compile(r"[A-Z][A-Z0-9]{2,4}")

PASSWORD_IN_URL = re.compile(r"(?P<before>://[^/@:]*:).*(?=@)|(?P<query>[?&]password=)[^&]*")


def read_duration(value: object) -> object:
    """`"30 min"` -> 1800; a bare number is seconds already."""
    if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d+)?", value):
        return value
    match = DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"not a duration: {value!r} (seconds, or a number with one of s, min, h, d)")
    return float(match[1]) * DURATION_UNITS[match[2]]


def read_list(value: object) -> object:
    """One environment variable holds a list as JSON or separated by commas; TOML brings it as a list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(f"not a list: {value!r} (JSON, or values separated by commas)") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def read_network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError(f"not a network: {value!r}")
    return ipaddress.ip_network(value)


def read_number_range(value: object) -> range:
    """`"60000-69999"` -> range(60000, 70000), both ends five digits."""
    if isinstance(value, range):
        return value
    match = re.fullmatch(r"(\d{5})-(\d{5})", value) if isinstance(value, str) else None
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError(f'not a range of five-digit numbers: {value!r} (like "60000-69999")')
    return range(int(match[1]), int(match[2]) + 1)


def write_number_range(value: range) -> str:
    return f"{value.start:05d}-{value.stop - 1:05d}"


def check_domain(value: str) -> str:
    if not DOMAIN.fullmatch(value) or len(value) > 253:
        raise ValueError(f"not a domain name: {value!r}")
    return value


def check_mail_address(value: str) -> str:
    if not MAIL_ADDRESS.fullmatch(value) or len(value) > 254:
        raise ValueError(f"not a mail address: {value!r}")
    return value


def check_address_pattern(value: str) -> str:
    """A pattern must name the office and the serial, and give addresses that fit the output common items."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(value) if name is not None]
        example = value.format(serial="3A0001", office="CT0001")
    except (ValueError, KeyError, IndexError, AttributeError):
        names, example = [], ""
    if sorted(names) != ["office", "serial"]:
        raise ValueError(f"must hold {{serial}} and {{office}} once each and nothing else in braces: {value!r}")
    if len(check_mail_address(example)) > LONGEST_MAIL_ADDRESS:
        raise ValueError(f"gives addresses longer than {LONGEST_MAIL_ADDRESS} characters, such as {example!r}")
    return value


def check_service_hours(value: str) -> str:
    service_hours(value)  # ValueError where the text says no window
    return value


def check_output_code(value: str) -> str:
    if not OUTPUT_CODE.fullmatch(value):
        raise ValueError(f"not 7 capitals and digits: {value!r} (with an asterisk a client takes it for a result)")
    return value


def check_procedure_code(value: str) -> str:
    if not PROCEDURE_CODE.fullmatch(value):
        raise ValueError(f"not a procedure code: {value!r}")
    return value


def check_content_type(value: str) -> str:
    if value.lower() not in ("text/plain", "text/xml"):
        raise ValueError(f"must be Text/plain or Text/xml, not {value!r}")
    return value


def check_center_address(value: str) -> str:
    if len(check_mail_address(value)) > LONGEST_MAIL_ADDRESS:
        raise ValueError(f"longer than {LONGEST_MAIL_ADDRESS} characters: {value!r}")
    return value


def is_loopback(host: str) -> bool:
    """Whether a listener bound to `host` can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback if mapped is None else bool(mapped.is_loopback)


def hide_passwords(value: object) -> object:
    """The same value with the password of a URL replaced by asterisks."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return PASSWORD_IN_URL.sub(lambda match: (match["before"] or match["query"]) + "***", value)


def _networks_as_text(networks: Sequence[IPv4Network | IPv6Network]) -> list[str]:
    return [str(network) for network in networks]


Seconds = Annotated[float, BeforeValidator(read_duration), Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, BeforeValidator(read_duration), Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
ListenPort = Annotated[int, Field(ge=0, le=65535)]  # 0: any free one, told by the line `ready`
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(min_length=1)]
Domain = Annotated[str, AfterValidator(check_domain)]
MailAddress = Annotated[str, AfterValidator(check_mail_address)]
CenterAddress = Annotated[str, AfterValidator(check_center_address)]
AddressPattern = Annotated[str, AfterValidator(check_address_pattern)]
NumberRange = Annotated[range, PlainValidator(read_number_range), PlainSerializer(write_number_range)]
Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(read_network)], ...],
    BeforeValidator(read_list),
    PlainSerializer(_networks_as_text),
]
MailAddresses = Annotated[tuple[MailAddress, ...], BeforeValidator(read_list)]
ServiceHours = Annotated[str, AfterValidator(check_service_hours)]
OutputCode = Annotated[str, AfterValidator(check_output_code)]
ContentType = Annotated[str, AfterValidator(check_content_type)]
ProcedureCodes = Annotated[tuple[Annotated[str, AfterValidator(check_procedure_code)], ...], BeforeValidator(read_list)]
