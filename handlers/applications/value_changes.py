"""What an application changes of a line, each value before and after, for its mails and its papers alike.

The labels are those of the form. Before is what is in force without the application; counts are written with their unit
(0台 and 1台), and a line that is added has nothing before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from handlers.allocation_order import GATEWAY_SERVER, INTERACTIVE, SMTP_SERVER, TerminalKind
from handlers.applications.contents import LineAction, LineChange
from handlers.applications.register import TerminalFacts
from handlers.notice_templates import one_line
from storage.models import Line

# A column of the line: its label in both languages, and its key in the application and in the register.
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("区分", "Class", "line_class"),
    ("接続方式", "Connection", "connection"),
    ("EDIFACTの要否", "EDIFACT", "edifact"),
    ("接続種別", "Line type", "line_type"),
    ("アクセス速度", "Access speed", "access_speed"),
    ("屋内配線工事", "Indoor wiring", "wiring"),
    ("保守時間帯", "Maintenance hours", "maintenance_hours"),
    ("設置場所オプション", "Place of installation", "site_option"),
    ("他事業所と共用", "Shared with other offices", "shared_with_other_offices"),
)
# How the form writes the columns that the register keeps as yes or no.
_WORDS: Mapping[str, Mapping[bool, str]] = {
    "edifact": {True: "要", False: "否"},
    "shared_with_other_offices": {True: "あり", False: "なし"},
}
_NOTHING = "（記載なし）"
# The count of the form in both languages, the number to add, and the kind of terminal it counts.
_COUNTS: tuple[tuple[str, str, str, TerminalKind], ...] = (
    ("論理端末数（インタラクティブ）", "Logical terminals (interactive)", "interactive_terminals", INTERACTIVE),
    ("GWサーバ台数（SMTP/POP3）", "GW servers (SMTP/POP3)", "gateway_servers", GATEWAY_SERVER),
    ("SMTPサーバ台数（SMTP双方向）", "SMTP servers (two-way)", "smtp_servers", SMTP_SERVER),
)
_MAIL_ADDRESSES = ("メールアドレス数（SMTP双方向）", "Mail addresses (SMTP two-way)")
_TERMINALS_UNIT, _ADDRESSES_UNIT = "台", "個"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """A value of a line before and after, with its unit: 0台 → 1台. Nothing before: a value of a new line."""

    label: str
    english_label: str
    before: str
    after: str
    unit: str = ""

    @property
    def before_with_unit(self) -> str:
        return f"{self.before}{self.unit}" if self.before else ""

    @property
    def after_with_unit(self) -> str:
        return f"{self.after}{self.unit}"

    @property
    def shown(self) -> str:
        return f"{self.before_with_unit} → {self.after_with_unit}" if self.before else self.after_with_unit

    @property
    def shown_in_english(self) -> str:
        return f"{self.before} → {self.after}" if self.before else self.after


def column_changes(change: LineChange, row: Line | None) -> Iterator[ValueChange]:
    """The columns that the application gives; `row` is the line in the register, None for one that is added."""
    for label, english_label, key in _COLUMNS:
        if key in change.columns:
            before = "" if row is None else _column_of(row, key)
            yield ValueChange(
                label=label, english_label=english_label, before=before, after=one_line(change.columns[key])
            )


def count_changes(change: LineChange, terminals: Iterable[TerminalFacts]) -> Iterator[ValueChange]:
    """The counts that the application changes. `terminals` are those of the line that go on without it."""
    going_on = tuple(terminals)
    last = ending(change, going_on)
    for label, english_label, key, kind in _COUNTS:
        before, ended = (sum(_is_of(kind, terminal) for terminal in some) for some in (going_on, last))
        yield from _changed((label, english_label), _TERMINALS_UNIT, before, getattr(change, key) or 0, ended)
    before, ended = (sum(terminal.mail_addresses for terminal in some) for some in (going_on, last))
    added = sum(change.addresses_of_new_servers) + change.addresses_for_target
    yield from _changed(_MAIL_ADDRESSES, _ADDRESSES_UNIT, before, added, ended)


def ending(change: LineChange, terminals: Iterable[TerminalFacts]) -> tuple[TerminalFacts, ...]:
    """Those of the line's terminals that the application ends: by name, or all of them with the line."""
    with_the_line = change.action is LineAction.CANCEL
    return tuple(terminal for terminal in terminals if with_the_line or terminal.name in change.terminals_to_delete)


def _column_of(row: Line, key: str) -> str:
    value = getattr(row, key)
    return one_line(_WORDS[key][value] if key in _WORDS else value) or _NOTHING


def _changed(labels: tuple[str, str], unit: str, before: int, added: int, ended: int) -> Iterator[ValueChange]:
    if added or ended:
        yield ValueChange(
            label=labels[0],
            english_label=labels[1],
            before=str(before),
            after=str(before + added - ended),
            unit=unit,
        )


def _is_of(kind: TerminalKind, terminal: TerminalFacts) -> bool:
    return terminal.equipment == kind.equipment and kind.package in ("", terminal.package)
