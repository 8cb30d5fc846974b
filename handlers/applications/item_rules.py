"""Rules of 【申込内容】 over several fields: which items were chosen, and what their sections have to hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from handlers.applications.block_check import BlockCheck
from handlers.applications.contents import ApplicationWarning, ItemChange, warning
from handlers.applications.items import Item, find_item, item_lines

_YES = "あり"
_NO = "なし"


def chosen_items(check: BlockCheck, key: str) -> tuple[Item, ...]:
    """The items of a field, those that are known, each once; right or wrong as an application."""
    found = (find_item(name) for name in item_lines(check.block.value(key)))
    return tuple(dict.fromkeys(item for item in found if item))


def all_chosen(check: BlockCheck) -> tuple[Item, ...]:
    """The items of both kinds."""
    return (*chosen_items(check, "items"), *chosen_items(check, "other_items"))


def needed_parts(check: BlockCheck) -> frozenset[str] | None:
    """The parts of the form that the chosen items make necessary; None when no item could be read."""
    chosen = all_chosen(check)
    if not chosen:
        return None
    return frozenset(part for item in chosen for part in item.needs)


def check_items(check: BlockCheck) -> None:
    """Ordinary items or others, never both; 内容 goes with あり."""
    has_other = check.valid("other_change") == _YES
    if check.valid("items") and has_other:
        check.fail("other_change", "items_mixed", example=_NO)
    if has_other:
        if not check.is_given("other_items"):
            check.fail("other_items", "other_items_missing")
    else:
        check.require("items")
    if check.valid("other_items") and check.valid("other_change") == _NO:
        check.fail("other_items", "other_items_unasked", example="")


def check_item_section(check: BlockCheck, chosen: Iterable[Item]) -> None:
    """変更前 and 変更後 of one item: both given and different where it is chosen, else nothing at all."""
    if check.block.section.item not in {item.code for item in chosen}:
        for key in check.block.values:
            check.fail(key, "item_not_chosen", example="")
    elif check.valid("before") and _same_text(check.valid("before"), check.valid("after")):
        check.fail("after", "no_change")


def check_not_chosen(check: BlockCheck) -> None:
    """A section of lines and terminals that is filled in although no chosen item asks for it: told once."""
    given = next((spec.key for spec in check.block.section.fields if check.is_given(spec.key)), None)
    if given:
        check.fail_alone(given, "item_not_chosen", example="")


def read_item(check: BlockCheck) -> ItemChange:
    """The section as a value."""
    return ItemChange(code=check.block.section.item, before=check.valid("before"), after=check.valid("after"))


def item_warnings(chosen: Iterable[Item], changes: Iterable[ItemChange]) -> Iterator[ApplicationWarning]:
    """What is told of an application for these items, each once; of files and lines it is told elsewhere."""
    written = {change.code: f"{change.before}\n{change.after}" for change in changes}
    names: dict[str, list[str]] = {}
    for item in chosen:
        codes = ("inquiry_needed", *item.warnings) if item.inquiry else item.warnings
        if item.notice and any(word in written.get(item.code, "") for word in item.notice_words):
            codes = (*codes, item.notice)
        for code in codes:
            names.setdefault(code, []).append(item.name)
    for code, found in names.items():
        yield warning(code, item="」「".join(found))


def _same_text(before: str, after: str) -> bool:
    return unicodedata.normalize("NFC", before) == unicodedata.normalize("NFC", after)
