"""Rules of 【申込内容】 over several fields: which items were chosen, and which of them a mail may bring."""

from __future__ import annotations

from handlers.applications.block_check import BlockCheck
from handlers.applications.items import Item, find_item, item_lines

_YES = "あり"
_NO = "なし"


def chosen_items(check: BlockCheck, key: str) -> tuple[Item, ...]:
    """The items of a field, those that are known, each once; right or wrong as an application."""
    found = (find_item(name) for name in item_lines(check.block.value(key)))
    return tuple(dict.fromkeys(item for item in found if item))


def needed_parts(check: BlockCheck) -> frozenset[str] | None:
    """The parts of the form that the chosen items make necessary; None when no item could be read."""
    chosen = (*chosen_items(check, "items"), *chosen_items(check, "other_items"))
    if not chosen:
        return None
    return frozenset(part for item in chosen if item.by_mail for part in item.needs)


def check_items(check: BlockCheck) -> None:
    """Ordinary items or others, never both; 内容 goes with あり; only what is taken by mail."""
    has_other = check.valid("other_change") == _YES
    if check.valid("items") and has_other:
        check.fail("other_change", "items_mixed", example=_NO)
    if has_other:
        _check_other(check)
    else:
        check.require("items")
    if check.valid("other_items") and check.valid("other_change") == _NO:
        check.fail("other_items", "other_items_unasked", example="")
    not_by_mail = [item.name for item in chosen_items(check, "items") if not item.by_mail]
    if not_by_mail:
        check.fail("items", "item_not_by_mail", given="\n".join(not_by_mail))


def _check_other(check: BlockCheck) -> None:
    if not check.is_given("other_items"):
        check.fail("other_items", "other_items_missing")
    check.fail("other_change", "other_not_by_mail", example=_NO)
