"""The application form as data: sections, labels, aliases, requirements, rules and examples (data/form.toml).

A label is compared by its fold: width, case, spaces and dash shapes do not matter. Only labels are folded; a
value never is.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

# What keyboards and mailers write for one another: hyphens and the long vowel mark, wave dashes, middle dots.
_LOOK_ALIKES = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2500\u30fc", "-"),
        **dict.fromkeys("\u301c\u223c\u2053", "~"),
        **dict.fromkeys("\u00b7\u2022\u2027\u22c5", "\u30fb"),
    }
)
# Spaces, and characters without a width: soft hyphen, zero-width space and joiners, byte order mark.
_UNSEEN = re.compile("[\\s\u00ad\u200b-\u200f\u2060\ufeff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """One label of a section. `lines`: the value may take several lines. `joins`: it is two fields in one.

    `choices` are the words that may stand there. `when` says in words when a field is needed that is neither always
    required nor always free.
    """

    key: str
    label: str
    rule: str
    example: str
    required: bool = False
    lines: bool = False
    when: str = ""
    choices: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionSpec:
    """One section. `needed_for` is the part of an item that makes it necessary; None: always needed.

    `item` is the code of the item that a section of 変更前 and 変更後 belongs to; empty for every other section.
    """

    key: str
    name: str
    fields: tuple[FieldSpec, ...]
    needed_for: str | None = None
    repeats: bool = False
    aliases: tuple[str, ...] = ()
    item: str = ""

    def field(self, key: str) -> FieldSpec:
        return next(field for field in self.fields if field.key == key)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLayout:
    """The whole form, with its sections and labels found by fold.

    `sections_of_label` names every section in which a label stands.
    """

    sections: tuple[SectionSpec, ...]
    by_fold: Mapping[str, SectionSpec]
    labels_by_fold: Mapping[str, Mapping[str, FieldSpec]]  # section key -> fold -> field
    sections_of_label: Mapping[str, tuple[SectionSpec, ...]]  # fold -> sections

    def section(self, key: str) -> SectionSpec:
        return next(section for section in self.sections if section.key == key)


def fold_label(text: str) -> str:
    """`text` as labels and section names are compared."""
    return _UNSEEN.sub("", unicodedata.normalize("NFKC", text).translate(_LOOK_ALIKES)).casefold()


def read_data(name: str) -> dict[str, Any]:
    """A data file of this package."""
    return tomllib.loads(files("handlers.applications").joinpath("data", name).read_text(encoding="utf-8"))


@cache
def form_layout() -> FormLayout:
    """The layout in force; read once."""
    sections = tuple(_section(row) for row in read_data("form.toml")["section"])
    sections += tuple(_item_section(row) for row in _items_without_screen())
    labels = {section.key: _labels(section) for section in sections}
    places: dict[str, tuple[SectionSpec, ...]] = {}
    for section in sections:
        for fold in labels[section.key]:
            places[fold] = (*places.get(fold, ()), section)
    return FormLayout(
        sections=sections,
        by_fold={fold_label(name): section for section in sections for name in (section.name, *section.aliases)},
        labels_by_fold=labels,
        sections_of_label=places,
    )


def _section(row: dict[str, Any]) -> SectionSpec:
    fields = tuple(
        FieldSpec(**{**field, **_as_tuples(field, "joins", "aliases", "choices")}) for field in row["fields"]
    )
    return SectionSpec(**{**row, "fields": fields, **_as_tuples(row, "aliases")})


def _as_tuples(row: dict[str, Any], *keys: str) -> dict[str, tuple[str, ...]]:
    return {key: tuple(row.get(key, ())) for key in keys}


def _items_without_screen() -> list[dict[str, Any]]:
    items = read_data("items.toml")
    return [row for kind in ("ordinary", "other") for row in items[kind] if not row.get("needs")]


def _item_section(row: dict[str, Any]) -> SectionSpec:
    """【item】 with what is to be changed, for an item that has no section of its own kind."""
    fields = tuple(
        FieldSpec(key=key, label=label, rule="item_change", example=row[key], lines=True, required=True)
        for key, label in (("before", "変更前"), ("after", "変更後"))
    )
    return SectionSpec(
        key=f"item:{row['code']}",
        name=row["name"],
        fields=fields,
        item=row["code"],
        aliases=tuple(row.get("aliases", ())),
    )


def _labels(section: SectionSpec) -> dict[str, FieldSpec]:
    return {fold_label(label): field for field in section.fields for label in (field.label, *field.aliases)}
