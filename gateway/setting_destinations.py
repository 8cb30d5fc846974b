"""The sections of what the gateway delivers to: the business backend, the smarthost, the in-house servers.

Every duration is in seconds. A section refuses what is wrong by itself.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, field_validator, model_validator

from gateway.setting_sections import Section
from gateway.setting_values import (
    TERMINAL_NAME,
    Count,
    Host,
    MailAddress,
    MailAddresses,
    Networks,
    Port,
    PositiveSeconds,
    Seconds,
    is_loopback,
)


class BackendMode(StrEnum):
    """What stands behind the gateway and carries out the procedures."""

    SIMULATOR = "simulator"  # built in; answers every procedure with a normal result
    SMTP = "smtp"  # a mail server of the centre, with a backup where there is one


class Encryption(StrEnum):
    NONE = "none"
    REQUIRED = "required"


class BackendSettings(Section):
    mode: BackendMode = BackendMode.SIMULATOR
    host: str = ""  # mode smtp: the primary's name or address
    port: Port = 25
    backup_host: str = ""  # "" = there is no backup
    backup_port: Port = Field(default_factory=lambda data: data["port"])
    tls: Encryption = Encryption.NONE
    address: MailAddress = "BACKEND@SMTP.CENTER.EXAMPLE"
    networks: Networks = ()  # this host alone while naccs.host is loopback and nothing is written
    senders: MailAddresses = Field(default_factory=lambda data: (data["address"],))
    connections: Count = 8  # at once, to the one in use
    request_life: PositiveSeconds = 120  # from receipt; not handed over by then it is answered A0011, never executed
    overdue_after: PositiveSeconds = 180  # from receipt; the operator is told
    discards_repeats: bool = Field(default_factory=lambda data: data["mode"] is BackendMode.SIMULATOR)
    probe_every: PositiveSeconds = 5
    switch_after: Seconds = 15  # of failure, when the other one answers; 0 = never by itself
    switch_back_after: Seconds = 60  # of the primary's health; 0 = by hand only
    connect_timeout: PositiveSeconds = 10
    reply_timeout: PositiveSeconds = 60
    stamp_terminal: bool = False  # write the logical terminal into bytes 45-50 of what is handed over
    stamp_address: bool = False  # write the mail address into bytes 51-114

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.mode is BackendMode.SMTP and not self.host:
            raise ValueError("backend.host must be given when backend.mode is smtp")
        if self.mode is BackendMode.SIMULATOR and not self.discards_repeats:
            raise ValueError("backend.discards_repeats: the simulator always discards them")
        if self.backup_host and (self.backup_host, self.backup_port) == (self.host, self.port):
            raise ValueError("backend.backup_host: the backup must be another server than the primary")
        if self.overdue_after < self.request_life:
            raise ValueError("backend.overdue_after must not be shorter than backend.request_life")
        return self


class SmarthostSettings(Section):
    """The next hop for mail to applicants, reviewers and operators."""

    host: Host = "127.0.0.1"
    port: Port = 25
    tls: Encryption = Field(
        default_factory=lambda data: Encryption.NONE if is_loopback(data["host"]) else Encryption.REQUIRED
    )
    lanes: Count = 4


class DestinationSettings(Section):
    """What one terminal's server is treated by instead of the section's own values; null: those."""

    terminal_life: PositiveSeconds | None = None
    connect_timeout: PositiveSeconds | None = None
    reply_timeout: PositiveSeconds | None = None
    retry_first: PositiveSeconds | None = None
    retry_max: PositiveSeconds | None = None
    idle_close: PositiveSeconds | None = None
    mail_tries: Count | None = None
    mail_tries_within: PositiveSeconds | None = None


class DeliverySettings(Section):
    terminal_life: PositiveSeconds = 30 * 60  # after it a message for a terminal is undelivered, and SYG lists it
    notice_life: PositiveSeconds = 5 * 86400  # after it a notice is expired
    connect_timeout: PositiveSeconds = 10
    reply_timeout: PositiveSeconds = 60  # for one reply, the one after the final dot included
    retry_first: PositiveSeconds = 2
    retry_max: PositiveSeconds = 300
    idle_close: PositiveSeconds = 30  # a kept connection without mail is closed after this
    mail_tries: Count = 3  # of a message that a terminal's server refuses for the time being
    mail_tries_within: PositiveSeconds = 60
    alarm_after: PositiveSeconds = 300  # a destination has been down so long: the operator is told
    undelivered_retention: PositiveSeconds = 31 * 86400  # how long SYG lists and fetches an undelivered message
    destinations: dict[str, DestinationSettings] = Field(default_factory=dict)  # by terminal name

    @field_validator("destinations")
    @classmethod
    def _are_terminals(cls, given: dict[str, DestinationSettings]) -> dict[str, DestinationSettings]:
        for name in given:
            if not TERMINAL_NAME.fullmatch(name):
                raise ValueError(f"not the name of a logical terminal: {name!r} (6 capitals and digits)")
        return given

    @field_validator("destinations", mode="before")
    @classmethod
    def _names_in_upper_case(cls, given: object) -> object:
        # The environment source lower-cases every name.
        return {str(name).upper(): value for name, value in given.items()} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _waits_grow(self) -> Self:
        if self.retry_first > self.retry_max:
            raise ValueError("delivery.retry_first must not be longer than delivery.retry_max")
        for name, given in self.destinations.items():
            if (given.retry_first or self.retry_first) > (given.retry_max or self.retry_max):
                raise ValueError(f"delivery.destinations.{name}: retry_first must not be longer than retry_max")
        return self
