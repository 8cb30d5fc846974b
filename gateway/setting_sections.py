"""The sections of the settings with their keys, defaults and own rules.

Every duration is in seconds. A section refuses what is wrong by itself; `gateway.settings` judges what two
sections decide together.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gateway.setting_values import (
    AddressPattern,
    CenterAddress,
    ContentType,
    Count,
    Domain,
    Host,
    ListenPort,
    MailAddress,
    Networks,
    NumberRange,
    OutputCode,
    Port,
    PositiveSeconds,
    ProcedureCodes,
    Seconds,
    ServiceHours,
    hide_passwords,
    is_loopback,
    read_list,
)

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
MEBIBYTE = 1024 * 1024


class PeerCheck(StrEnum):
    """How closely the peer's IP must match the sender's mail address on the NACCS listener."""

    TERMINAL = "terminal"  # the IP of the address's own terminal
    LINE = "line"  # any IP of the LAN subnet of its line
    NETWORKS = "networks"  # any IP in naccs.peer_networks, for users behind address translation


class SecondRequest(StrEnum):
    """What becomes of a request whose mail address has one outstanding already."""

    QUEUE = "queue"  # it waits, and has its own life from its receipt
    REFUSE = "refuse"  # it is answered A0011


class BeforeTcc(StrEnum):
    """What becomes of other procedures of a new terminal that has had no normal TCC yet."""

    MARK = "mark"  # they go on, and `explain` marks them
    REFUSE = "refuse"  # they are answered A0002


class FetchNotice(StrEnum):
    """When a fetch by SYG is answered by a notification of its own, beside the messages that come again."""

    WHEN_EMPTY = "when_empty"
    ALWAYS = "always"
    NEVER = "never"


class Section(BaseModel):
    """A table of the settings file: frozen, with no key beyond its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, hide_passwords(value)) for name, value in super().__repr_args__()]


class StoreSettings(Section):
    url: str = "sqlite:///var/gateway.db"

    @field_validator("url")
    @classmethod
    def _has_a_driver(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return url


class PublicSettings(Section):
    """The listener of the application desk."""

    host: Host = "127.0.0.1"
    port: ListenPort = 8025
    trusted_networks: Networks = LOOPBACK
    max_message_bytes: Count = 20 * MEBIBYTE
    max_connections: Count = 200
    idle_timeout: PositiveSeconds = 300  # RFC 5321 §4.5.3.2.7: a server waits five minutes for a command

    @model_validator(mode="after")
    def _trust_is_written_out(self) -> Self:
        if not is_loopback(self.host) and "trusted_networks" not in self.model_fields_set:
            raise ValueError("public.trusted_networks must be written out when public.host is not loopback")
        return self


class TerminalPools(Section):
    """The numbers that new terminal names are taken from, by the letter of the terminal's kind."""

    S: NumberRange = range(60000, 70000)  # SMTP two-way server
    M: NumberRange = range(25000, 26000)  # PC with e-mail style software
    C: NumberRange = range(27000, 28000)  # PC with interactive software

    @model_validator(mode="before")
    @classmethod
    def _letters_in_upper_case(cls, given: object) -> object:
        # The environment source lower-cases every name.
        return {str(key).upper(): value for key, value in given.items()} if isinstance(given, Mapping) else given

    def of(self, kind: str) -> range:
        """The pool of a kind, `"S"`, `"M"` or `"C"`."""
        pools = {"S": self.S, "M": self.M, "C": self.C}
        return pools[kind]


class NaccsSettings(Section):
    """The listener of the message exchange, and what it knows of terminals."""

    host: Host = "127.0.0.1"
    port: ListenPort = 8026
    terminal_port: Port = 25  # where a terminal's SMTP server listens, unless the terminal says otherwise
    terminals_domain: Domain = "terminals.center.example"
    address_pattern: AddressPattern = "{serial}@SMTP.{office}.CENTER.EXAMPLE"
    addresses_per_new_server: Count = 1
    terminal_pools: TerminalPools = TerminalPools()
    peer_check: PeerCheck = PeerCheck.TERMINAL
    peer_networks: Networks = ()
    repeat_window: Seconds = 30  # 0: nothing counts as a repeat
    second_request: SecondRequest = SecondRequest.QUEUE
    before_tcc: BeforeTcc = BeforeTcc.MARK
    service_hours: ServiceHours = ""  # "08:30-19:00" in Japan; "" = always; a user's own hours go before
    stopped_procedures: ProcedureCodes = ()  # answered A0002 for the time being
    syg_list_code: OutputCode = "SYG0001"  # output information code of the list of undelivered messages
    syg_fetch_notice: FetchNotice = FetchNotice.WHEN_EMPTY
    fill_terminal_name: bool = False  # bytes 45-50 of our own results
    result_content_type: ContentType = "Text/plain"
    max_connections: Count = 1000
    idle_timeout: PositiveSeconds = 300

    @model_validator(mode="after")
    def _peer_networks_are_given(self) -> Self:
        if self.peer_check is PeerCheck.NETWORKS and not self.peer_networks:
            raise ValueError("naccs.peer_networks must be written out when naccs.peer_check is networks")
        return self


class PortalSettings(Section):
    host: Host = "127.0.0.1"
    port: ListenPort = 8080

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


class CenterSettings(Section):
    """What the gateway calls itself towards in-house systems."""

    address: CenterAddress = "NACCS@SMTP.CENTER.EXAMPLE"
    host_name: Domain = Field(default_factory=socket.gethostname)  # greeting and HELO


class Desk(Section):
    """One contact desk, as the foot of every applicant mail names it."""

    name: str
    phone: str
    hours: str


TEST_DESKS = (
    Desk(name="ヘルプデスク（テスト）", phone="0120-000-000", hours="終日"),
    Desk(name="利用契約事務課（テスト）", phone="044-000-0000", hours="平日 9:00~18:00"),
)


class SupportSettings(Section):
    """What the gateway calls itself towards applicants, reviewers and operators."""

    domain: Domain = "nss.center.example"
    portal_url: str = ""  # made from `portal` when not given
    package_url: str = ""  # the package software's manual; below the portal when not given
    from_address: MailAddress = Field(default_factory=lambda data: f"nss@{data['domain']}")
    reviewer_address: MailAddress = Field(default_factory=lambda data: f"reviewer@{data['domain']}")
    operator_address: MailAddress = Field(default_factory=lambda data: f"operator@{data['domain']}")
    desk: Annotated[tuple[Desk, ...], BeforeValidator(read_list)] = TEST_DESKS


class MapSettings(Section):
    quarantine: Seconds = 365 * 86400  # how long a given-up IP or mail address rests


class SecretsSettings(Section):
    key_file: Path = Path("var/secret.key")
    password_keys: Path = Field(default_factory=lambda data: data["key_file"].with_name("passwords.key"))


class SandboxSettings(Section):
    enabled: bool = False
    movable_clock: bool = False

    @model_validator(mode="after")
    def _clock_moves_in_the_sandbox_only(self) -> Self:
        if self.movable_clock and not self.enabled:
            raise ValueError("sandbox.movable_clock needs sandbox.enabled = true")
        return self


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
