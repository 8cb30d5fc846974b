"""The sections of the application desk: review, documents, and the signing and judging of its mail."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from gateway.setting_sections import MEBIBYTE, Section
from gateway.setting_values import Count, PositiveSeconds, Seconds, check_domain, read_duration, read_list

_DAY = 86400
_DNS_PORT = 53


def address_and_port(nameserver: str) -> tuple[str, int]:
    """The two parts of `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`. Raises ValueError."""
    is_bare = nameserver.count(":") != 1 and not nameserver.startswith("[")
    host, _, port = (nameserver, "", str(_DNS_PORT)) if is_bare else nameserver.rpartition(":")
    try:
        address = str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError(f"not an IP address, with :port where it is not 53: {nameserver!r}") from None
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError(f"not a port: {nameserver!r}")
    return address, int(port)


def _check_nameserver(value: str) -> str:
    address_and_port(value)
    return value


Nameservers = Annotated[tuple[Annotated[str, AfterValidator(_check_nameserver)], ...], BeforeValidator(read_list)]


class DeskSection(Section):
    """How applications are reviewed and how long things wait."""

    two_person: bool = False  # a completion is proposed by one reviewer and decided by another
    greatest_count: Count = 99  # of terminals, servers or addresses in one count of the form
    held_for: PositiveSeconds = 14 * _DAY  # a held mail nobody released expires
    most_held_bytes: Count = 200 * MEBIBYTE  # beyond it mail that would be held is answered 452
    remind_after: Count = 2  # business days an application waits before the reviewer is reminded


class DkimSection(Section):
    """DKIM (RFC 6376) of the mails we send, and of applications that come in."""

    key_file: Path = Path("var/dkim.pem")  # nothing is signed until it exists
    selector: str = "naccs"
    domain: str = ""  # the support domain when not given
    life: Annotated[float, BeforeValidator(read_duration), Field(ge=_DAY, allow_inf_nan=False)] = 7 * _DAY  # x=
    verify: bool = True
    nameservers: Nameservers = ()  # address or address:port; () = the system's
    lookup_timeout: Annotated[float, BeforeValidator(read_duration), Field(gt=0, le=10)] = 5  # all keys of one mail
    clock_skew: Seconds = 2 * _DAY  # t= and Date of an application may be this far off

    @field_validator("selector")
    @classmethod
    def _selector_is_of_labels(cls, selector: str) -> str:
        return check_domain(selector).lower()

    @field_validator("domain")
    @classmethod
    def _domain_is_one(cls, domain: str) -> str:
        return check_domain(domain).lower() if domain else ""


class DocumentsSection(Section):
    """The PDFs of an application."""

    font_directories: Annotated[tuple[Path, ...], BeforeValidator(read_list)] = Field(
        default=(Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
    )
    font: str = "IPAexMincho"  # a family that one of the directories has
