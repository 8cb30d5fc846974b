"""One validator a rule: may this value stand in this field? And what is told the applicant when it may not.

Validators answer None or the code of a rule in data/rules.toml, which has the words. Values are judged as
written: nothing is folded, widened or repaired. Every example printed with an error passes its own rule.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache

from handlers.applications.form_layout import FieldSpec, read_data
from handlers.applications.items import find_item, item_lines
from handlers.calendar import form_date, parse_form_date, slash_date
from handlers.mail import parse_address

_LONGEST_GIVEN = 300
_EXAMPLE_LEAD = timedelta(days=14)

_KANA = re.compile(r"[ァ-ヺー・\u3000]*[ァ-ヺ][ァ-ヺー・\u3000]*")
_PHONE = re.compile(r"0[0-9]{9,10}")
_OFFICE_CODE = re.compile(r"[0-9A-Z]{1,17}")
_ROUTER_NUMBER = re.compile(r"[0-9]{1,20}")
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_TERMINAL_NAME = re.compile(r"[0-9A-Z]{6}")
_ACCESS_SPEED = re.compile(r"[1-9][0-9]{0,3}(?:\.[0-9]{1,2})? ?[kMG]bps")
_LONGEST_LINE_TEXT = 200  # characters; the column of the store
_JOINED_NAME = re.compile(r"([^\s]+)[ \u3000]([^\s]+)")
_WIDE = frozenset(("W", "F"))
_NOT_SHOWN = frozenset(("Cc", "Cs", "Co", "Cn", "Zl", "Zp"))
_REORDERS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")  # text would read in another order than it is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeFacts:
    """What the register knows of an office: its lines by router number, each with the names of its terminals.

    `known` is False where the caller has to answer for an office it has no contract of.
    """

    office_code: str
    router_numbers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationLimits:
    """Numbers an operator may set. Sizes are bytes."""

    greatest_count: int = 99
    addresses_per_new_server: int = 1
    longest_text: int = 240
    most_lines: int = 100
    greatest_unpacked_workbook: int = 64 * 2**20
    most_workbook_members: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleContext:
    """What a rule may depend on beside the value. `terminals`: those of the line in question, if known."""

    today: date
    limits: ApplicationLimits
    schedule: frozenset[date] = frozenset()
    office: OfficeFacts | None = None
    terminals: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One wrong field, in the words of both languages. An empty `example` means: leave the field empty."""

    section: str
    label: str
    code: str
    rule_ja: str
    rule_en: str
    given: str
    example: str
    action_ja: str
    action_en: str


Validator = Callable[[str, RuleContext], str | None]


def is_full_width(character: str) -> bool:
    """Wide and full-width characters, and ambiguous ones that Japanese encodings hold in two bytes."""
    width = unicodedata.east_asian_width(character)
    if width in _WIDE:
        return True
    if width != "A" or unicodedata.category(character) in _NOT_SHOWN:
        return False
    try:
        return len(character.encode("cp932")) == 2
    except UnicodeEncodeError:
        return False


def text_length(value: str) -> int:
    """Characters as the form counts them: code points after NFC, a line end being one."""
    return len(unicodedata.normalize("NFC", value))


def split_joined_name(value: str) -> tuple[str, str] | None:
    """The two halves of a name with exactly one space, of either width, inside; else None."""
    halves = _JOINED_NAME.fullmatch(value)
    return (halves[1], halves[2]) if halves else None


def _is_not_shown(character: str) -> bool:
    return unicodedata.category(character) in _NOT_SHOWN and character not in "\n\t"


def _matches(pattern: re.Pattern[str], code: str) -> Validator:
    return lambda value, _context: None if pattern.fullmatch(value) else code


def _application_class(value: str, _context: RuleContext) -> str | None:
    return {"変更申込": None, "新規申込": "new_application"}.get(value, "application_class")


def _full_width(value: str, _context: RuleContext) -> str | None:
    return None if all(is_full_width(character) for character in value) else "full_width"


def _joined_name(value: str, _context: RuleContext) -> str | None:
    return None if split_joined_name(value) else "joined_name"


def _email(value: str, _context: RuleContext) -> str | None:
    return None if parse_address(value) else "email"


def _date(value: str, context: RuleContext) -> str | None:
    if not re.fullmatch(r"[0-9]{8}", value):
        return "date"
    day = parse_form_date(value)
    if day is None:
        return "date_not_real"
    return "date_past" if day < context.today else None


def _long_text(value: str, context: RuleContext) -> str | None:
    return None if text_length(value) <= context.limits.longest_text else "long_text"


def _line_text(value: str, _context: RuleContext) -> str | None:
    return None if text_length(value) <= _LONGEST_LINE_TEXT else "line_text"


def _count(value: str, context: RuleContext) -> str | None:
    return None if _COUNT.fullmatch(value) and int(value) <= context.limits.greatest_count else "count"


def _router_number(value: str, context: RuleContext) -> str | None:
    if not _ROUTER_NUMBER.fullmatch(value):
        return "router_number"
    return "router_unknown" if context.office and value not in context.office.router_numbers else None


def _terminal_name(value: str, context: RuleContext) -> str | None:
    if not _TERMINAL_NAME.fullmatch(value):
        return "terminal_name"
    return "terminal_unknown" if context.terminals is not None and value not in context.terminals else None


def _terminal_names(value: str, context: RuleContext) -> str | None:
    broken = (_terminal_name(name, context) for name in item_lines(value))
    code = next((code for code in broken if code), None)
    return "terminal_names" if code == "terminal_name" else code


def _items(value: str, _context: RuleContext) -> str | None:
    found = [find_item(name) for name in item_lines(value)]
    if not all(found):
        return "items"
    return "items_mixed" if any(item and item.other for item in found) else None


def _other_items(value: str, _context: RuleContext) -> str | None:
    found = [find_item(name) for name in item_lines(value)]
    if not all(found):
        return "other_items"
    return None if all(item and item.other for item in found) else "items_mixed"


def _anything(_value: str, _context: RuleContext) -> str | None:
    return None


# A field with choices was compared with them before its validator is asked.
VALIDATORS: Mapping[str, Validator] = {
    "access_speed": _matches(_ACCESS_SPEED, "access_speed"),
    "application_class": _application_class,
    "attendant": _anything,
    "count": _count,
    "date": _date,
    "email": _email,
    "file_name": _anything,
    "file_names": _anything,
    "full_width": _full_width,
    "full_width_kana": _matches(_KANA, "full_width_kana"),
    "item_change": _anything,
    "items": _items,
    "joined_name": _joined_name,
    "line_action": _anything,
    "line_text": _line_text,
    "line_word": _anything,
    "long_text": _long_text,
    "office_code": _matches(_OFFICE_CODE, "office_code"),
    "other_items": _other_items,
    "phone": _matches(_PHONE, "phone"),
    "router_number": _router_number,
    "terminal_name": _terminal_name,
    "terminal_names": _terminal_names,
    "yes_or_no": _anything,
}


# What a machine may know of a rule beforehand; the validators decide.
_PATTERNS = {
    "access_speed": _ACCESS_SPEED,
    "office_code": _OFFICE_CODE,
    "phone": _PHONE,
    "router_number": _ROUTER_NUMBER,
    "terminal_name": _TERMINAL_NAME,
}


def value_pattern(rule: str) -> str | None:
    """The regular expression that a value under this rule matches as a whole, where one says it all."""
    pattern = _PATTERNS.get(rule)
    return f"^{pattern.pattern}$" if pattern else None


def broken_rule(spec: FieldSpec, value: str, context: RuleContext) -> str | None:
    """The code of the first rule that a given (not empty) value breaks, or None."""
    if _REORDERS.search(value) or any(_is_not_shown(character) for character in value):
        return "control_characters"
    if "\n" in value and not spec.lines:
        return "one_line"
    if spec.choices and value not in spec.choices:
        return spec.rule
    return VALIDATORS[spec.rule](value, context)


def example_for(spec: FieldSpec, context: RuleContext) -> str:
    """A value that passes the rule of the field today and for this office."""
    if spec.rule == "date":
        coming = [day for day in context.schedule if day > context.today]
        return form_date(min(coming, default=context.today + _EXAMPLE_LEAD))
    if spec.rule == "office_code" and context.office:
        return context.office.office_code
    if spec.rule == "router_number" and context.office:
        return next(iter(context.office.router_numbers), "")
    if spec.rule in ("terminal_name", "terminal_names") and context.terminals is not None:
        return next(iter(context.terminals), "")
    return spec.example


def field_error(
    code: str, *, section: str, label: str, given: str, example: str, context: RuleContext, **names: object
) -> FieldError:
    """The error of rule `code`; `names` fill what its words leave open beside the limits and today."""
    words = _rule_words()[code]
    known = {**_names_in_force(context), **names}
    return FieldError(
        section=section,
        label=label,
        code=code,
        rule_ja=words["rule_ja"].format_map(known),
        rule_en=words["rule_en"].format_map(known),
        given=given if len(given) <= _LONGEST_GIVEN else f"{given[:_LONGEST_GIVEN]}…",
        example=example,
        action_ja=words["action_ja"].format_map(known),
        action_en=words["action_en"].format_map(known),
    )


def field_rule(spec: FieldSpec, context: RuleContext) -> tuple[str, str]:
    """What the rule of a field asks, in Japanese and English."""
    words, known = _rule_words()[spec.rule], {**_names_in_force(context), "choices": "、".join(spec.choices)}
    return words["rule_ja"].format_map(known), words["rule_en"].format_map(known)


def _names_in_force(context: RuleContext) -> dict[str, object]:
    return {
        "greatest_count": context.limits.greatest_count,
        "longest_line_text": _LONGEST_LINE_TEXT,
        "longest_text": context.limits.longest_text,
        "most_lines": context.limits.most_lines,
        "today": slash_date(context.today),
    }


@cache
def _rule_words() -> Mapping[str, Mapping[str, str]]:
    tables: dict[str, dict[str, str]] = read_data("rules.toml")
    otherwise = tables.pop("otherwise")
    return {code: {**otherwise, **words} for code, words in tables.items()}


def rule_codes() -> frozenset[str]:
    """Every rule that has words."""
    return frozenset(_rule_words())
