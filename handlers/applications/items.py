"""What an application may change: twenty ordinary items, freely combined, and seven others (data/items.toml).

Both kinds in one application are never taken. Names are compared as the center prints them, with brackets of
either width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from handlers.applications.form_layout import read_data

_LISTS = ("needs", "warnings", "notice_words", "aliases")
_HALF_WIDTH_BRACKETS = str.maketrans("（）", "()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One check box. `needs`: the parts of the form it makes necessary; none: it is written as 変更前 and 変更後.

    `settings`: an application for system settings has to follow. `inquiry`: the center is to be asked before.
    `warnings` are told of every application for it, `notice` where its section holds one of `notice_words`.
    `other`: one of the seven of その他の契約変更, which exclude the ordinary ones.
    """

    code: str
    name: str
    group: str = "その他の契約変更"
    needs: tuple[str, ...] = ()
    settings: bool = False
    inquiry: bool = False
    other: bool = False
    warnings: tuple[str, ...] = ()
    notice: str = ""
    notice_words: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def has_section(self) -> bool:
        """Whether it is written as 変更前 and 変更後 in a section of its name."""
        return not self.needs


@cache
def all_items() -> Mapping[str, Item]:
    """Every item by its code, in the order of the form."""
    data = read_data("items.toml")
    rows = [(row, False) for row in data["ordinary"]] + [(row, True) for row in data["other"]]
    items = (Item(**{**row, **{key: tuple(row.get(key, ())) for key in _LISTS}, "other": other}) for row, other in rows)
    return {item.code: item for item in items}


@cache
def _by_name() -> Mapping[str, Item]:
    names: dict[str, Item] = {}
    for item in all_items().values():
        for name in (item.name, *item.aliases):
            names[name] = item
            names[name.translate(_HALF_WIDTH_BRACKETS)] = item
    return names


def find_item(name: str) -> Item | None:
    """The item of that name, or None."""
    return _by_name().get(name)


def item_lines(value: str) -> tuple[str, ...]:
    """The names in a value that takes one item a line; each once, in the order written."""
    return tuple(dict.fromkeys(line.strip() for line in value.split("\n") if line.strip()))
