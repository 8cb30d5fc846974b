"""What is to be issued to whom, and what came of it: the values that allocation takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Protocol

from handlers.applications.contents import LineChange
from storage.models import Office


class AllocationExhausted(Exception):
    """Nothing is free any more for the line: `pool` is a range of names, a LAN or a pattern of addresses."""

    def __init__(self, router_number: str, pool: str) -> None:
        super().__init__(f"nothing is free any more in {router_number} ({pool})")
        self.router_number = router_number
        self.pool = pool

    @property
    def source(self) -> str:
        """The line and what ran out, as a reviewer is told."""
        return f"{self.router_number} ({self.pool})"


class AllocationImpossible(Exception):
    """The application names a line or terminal that the office does not have in use on the start date."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} is not the office's, or not in use on the start date")
        self.subject = subject


class NewLineNeeded(AllocationImpossible):
    """A line to be added was given no router number and LAN; `subject` counts the lines to be added, from 1."""


class NewLineTaken(AllocationImpossible):
    """The router number or LAN given for a new line is in use; `subject` names it."""


@dataclass(frozen=True, slots=True)
class TerminalKind:
    """A kind of terminal: the pool of its names, and what the ID notice says of it."""

    letter: str
    equipment: str  # 利用機器区分
    package: str  # パッケージソフト区分


# A GW server (SMTP/POP3) works in e-mail style (メール処理方式): its name ends like that of a PC with メール.
SMTP_SERVER = TerminalKind("S", "SMTP", "")
GATEWAY_SERVER = TerminalKind("M", "GW", "")
INTERACTIVE = TerminalKind("C", "PC", "インタ")


class GivenLine(Protocol):
    """What the reviewer gives a line that is to be added (追加): its router number and the LAN behind it."""

    @property
    def router_number(self) -> str: ...

    @property
    def lan_subnet(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be issued to whom, from which JST day on; `today` decides which rests have ended.

    `new_lines` are given to the lines to be added, in the order of the application.
    """

    application_id: int
    office: Office
    lines: tuple[LineChange, ...]
    start: date
    today: date
    new_lines: Sequence[GivenLine] = ()


class Change(StrEnum):
    """What happens to a terminal."""

    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalChange:
    """A terminal as the ID notice shows it.

    `mail_addresses` are the ones issued, and of a deleted terminal the ones that end with it.
    """

    change: Change
    router_number: str
    terminal_class: str
    equipment: str
    package: str
    name: str
    ip_address: str
    mail_addresses: tuple[str, ...]
