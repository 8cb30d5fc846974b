"""What the application desk is told of the settings: addresses, pools and limits, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol


class DataKeys(Protocol):
    """The data keys of issued passwords, in a file outside the store and its backup (semantics: secrets)."""

    def make(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """New keys of 32 bytes by name, on the disk before this returns."""
        ...

    def get(self, name: str) -> bytes | None:
        """The key of that name; None once it was destroyed."""
        ...

    def destroy(self, names: Sequence[str]) -> None:
        """Delete keys, off the disk before this returns; one that is gone already is no error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportDesk:
    """A contact desk printed in every applicant mail."""

    name: str
    phone: str
    hours: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskSettings:
    """The settings handlers of the application desk need; `token_key` makes case and bounce tokens."""

    support_domain: str
    from_address: str
    reviewer_address: str
    operator_address: str
    portal_url: str
    package_url: str
    desks: tuple[SupportDesk, ...]
    token_key: bytes
    password_key: bytes  # HMAC key of EDI user passwords
    test_marks: bool = False  # sandbox and demo: subjects begin 【テスト】
    greatest_count: int = 99
    addresses_per_new_server: int = 1
    address_pattern: str = "{serial}@SMTP.{office}.CENTER.EXAMPLE"
    terminal_pools: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"S": (60000, 69999), "M": (25000, 25999), "C": (27000, 27999)}
    )
    quarantine: timedelta = timedelta(days=365)
    smarthost_lanes: int = 4
    two_person: bool = False  # one reviewer proposes a completion, another one decides it
    held_for: timedelta = timedelta(days=14)
    most_held_bytes: int = 200 * 2**20
    remind_after: int = 2  # business days an application waits before the reviewer is reminded
    data_keys: DataKeys | None = None  # of issued passwords; None: none can be issued or revealed

    @property
    def apply_address(self) -> str:
        """Where applications are mailed to."""
        return f"apply@{self.support_domain}"
