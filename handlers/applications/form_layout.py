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

_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"))
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """One label of a section. `lines`: the value may take several lines. `joins`: it is two fields in one."""

    key: str
    label: str
    rule: str
    example: str
    required: bool = False
    lines: bool = False
    joins: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionSpec:
    """One section. `needed_for` is the part of an item that makes it necessary; None: always needed."""

    key: str
    name: str
    fields: tuple[FieldSpec, ...]
    needed_for: str | None = None
    repeats: bool = False
    aliases: tuple[str, ...] = ()

    def field(self, key: str) -> FieldSpec:
        return next(field for field in self.fields if field.key == key)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLayout:
    """The whole form, with its sections and labels found by fold."""

    sections: tuple[SectionSpec, ...]
    by_fold: Mapping[str, SectionSpec]
    labels_by_fold: Mapping[str, Mapping[str, FieldSpec]]  # section key -> fold -> field

    def section(self, key: str) -> SectionSpec:
        return next(section for section in self.sections if section.key == key)


def fold_label(text: str) -> str:
    """`text` as labels and section names are compared."""
    return _SPACES.sub("", unicodedata.normalize("NFKC", text).translate(_DASHES)).casefold()


def read_data(name: str) -> dict[str, Any]:
    """A data file of this package."""
    return tomllib.loads(files("handlers.applications").joinpath("data", name).read_text(encoding="utf-8"))


@cache
def form_layout() -> FormLayout:
    """The layout in force; read once."""
    sections = tuple(_section(row) for row in read_data("form.toml")["section"])
    sections += tuple(_item_section(name) for name in _item_names_without_screen())
    return FormLayout(
        sections=sections,
        by_fold={fold_label(name): section for section in sections for name in (section.name, *section.aliases)},
        labels_by_fold={section.key: _labels(section) for section in sections},
    )


def _section(row: dict[str, Any]) -> SectionSpec:
    fields = tuple(
        FieldSpec(**{**field, "joins": tuple(field.get("joins", ())), "aliases": tuple(field.get("aliases", ()))})
        for field in row["fields"]
    )
    return SectionSpec(**{**row, "fields": fields, "aliases": tuple(row.get("aliases", ()))})


def _item_names_without_screen() -> list[str]:
    items = read_data("items.toml")
    return [row["name"] for kind in ("ordinary", "other") for row in items[kind] if not row.get("needs")]


def _item_section(name: str) -> SectionSpec:
    """【item】 with what is to be changed, for an item that has no section of its own kind."""
    fields = tuple(
        FieldSpec(key=key, label=label, rule="any_text", example="", lines=True)
        for key, label in (("before", "変更前"), ("after", "変更後"))
    )
    return SectionSpec(key=f"item:{name}", name=name, fields=fields)


def _labels(section: SectionSpec) -> dict[str, FieldSpec]:
    return {fold_label(label): field for field in section.fields for label in (field.label, *field.aliases)}
