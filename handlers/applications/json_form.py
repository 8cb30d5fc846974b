"""The application form as JSON: one pydantic model made of the layout, its schema, and what a file of it says.

The model decides keys and types only. Values go through the same rules as those of a mail, so that both bring the same
errors under the same labels. Anything an attached file may hold is answered by a value, never by an exception.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from handlers.applications.field_rules import ApplicationLimits, RuleContext, example_for, field_rule, value_pattern
from handlers.applications.form import FormBlock, ParsedForm
from handlers.applications.form_layout import FieldSpec, SectionSpec, form_layout
from handlers.applications.items import all_items, find_item, item_lines

FILE_NAME = "application.json"
LONGEST_FILE = 1 << 20  # bytes

_ITEM_CHANGES = "item_changes"
_LISTS = frozenset(("items", "other_items", "terminal_names", "file_names"))
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_SCHEMA_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$|^[0-9]{8}$"
_MOST_FAULTS = 20
_LONGEST_PLACE = 100
_NO_CONTEXT = RuleContext(today=date.min, limits=ApplicationLimits())


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFault:
    """Why a file is no application: the code of a rule, and the place in the file it is about, if one is."""

    code: str
    place: str = ""


def form_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of application.json."""
    schema = _model().model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def blank_json_form() -> dict[str, Any]:
    """Every key of application.json, nothing filled in."""
    blank: dict[str, Any] = {}
    for section in _sections():
        values: dict[str, Any] = {spec.key: [] if spec.rule in _LISTS else None for spec in _fields(section)}
        blank[_key(section)] = [values] if section.repeats else values
    return {**blank, _ITEM_CHANGES: []}


def read_json_form(content: bytes) -> ParsedForm | tuple[JsonFault, ...]:
    """The sections that a file fills in, or what is wrong with the file itself."""
    repeats: dict[int, dict[str, list[Any]]] = {}
    data = _loaded(content, repeats)
    if isinstance(data, JsonFault):
        return (data,)
    try:
        _model().model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        places = dict.fromkeys(".".join(str(part) for part in one["loc"])[:_LONGEST_PLACE] for one in found)
        return tuple(JsonFault(code="json_shape", place=place) for place in list(places)[:_MOST_FAULTS])
    unknown = [entry["item"] for entry in data.get(_ITEM_CHANGES) or () if not _item_section(entry["item"])]
    twice = repeats.get(id(data), {})
    if unknown or twice:
        places_of_items = (f"{_ITEM_CHANGES}: {name}" for name in unknown)
        return tuple(JsonFault(code="json_shape", place=place) for place in (*twice, *places_of_items))
    return ParsedForm(blocks=tuple(_blocks(data, repeats)))


def differences(written: ParsedForm, attached: ParsedForm) -> Mapping[tuple[str, int], Mapping[str, tuple[str, str]]]:
    """Section and number -> field -> what the mail and what the file say, where they differ.

    White space is not compared in fields of several lines: mailers break them where they like.
    """
    left, right = ({(block.section.key, block.number): block for block in form.blocks} for form in (written, attached))
    found: dict[tuple[str, int], dict[str, tuple[str, str]]] = {}
    for place in dict.fromkeys((*left, *right)):
        section = (left.get(place) or right[place]).section
        one, other = (_comparable(section, blocks.get(place)) for blocks in (left, right))
        differing = {key: (one.get(key, ""), other.get(key, "")) for key in {**one, **other}}
        different = {key: pair for key, pair in differing.items() if _squeezed(section, key, pair)}
        if different:
            found[place] = different
    return found


def _squeezed(section: SectionSpec, key: str, pair: tuple[str, str]) -> bool:
    if section.field(key).lines:
        return "".join(pair[0].split()) != "".join(pair[1].split())
    return pair[0] != pair[1]


def _comparable(section: SectionSpec, block: FormBlock | None) -> dict[str, str]:
    if block is None:
        return {}
    values = {**block.values, **{key: "\n".join(found) for key, found in block.repeated.items()}}
    for spec in section.fields:
        if spec.joins and spec.key in values:
            halves = values.pop(spec.key).split()
            values.update(zip(spec.joins, halves, strict=False))
        elif spec.rule in _LISTS and spec.key in values:
            values[spec.key] = "\n".join(sorted(item_lines(values[spec.key])))
    return values


def _loaded(content: bytes, repeats: dict[int, dict[str, list[Any]]]) -> dict[str, Any] | JsonFault:
    """The object in a file. `repeats` takes, by the identity of an object, what its repeated keys held."""

    def pairs(found: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            names = [name for name, _ in found]
            repeats[id(made)] = {
                name: [value for other, value in found if other == name] for name in made if names.count(name) > 1
            }
        return made

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    if len(content) > LONGEST_FILE:
        return JsonFault(code="json_unreadable")
    try:
        data = json.loads(content.decode("utf-8-sig"), object_pairs_hook=pairs, parse_constant=refuse)
    except (ValueError, RecursionError):
        return JsonFault(code="json_unreadable")
    return data if isinstance(data, dict) else JsonFault(code="json_shape")


def _blocks(data: Mapping[str, Any], repeats: Mapping[int, Mapping[str, list[Any]]]) -> Iterator[FormBlock]:
    for section in _sections():
        found = data.get(_key(section))
        objects = found if section.repeats else [found]
        for number, values in enumerate(objects or (), start=1):
            if values:
                yield _block(section, number, values, repeats.get(id(values), {}))
    by_item: dict[str, list[Mapping[str, Any]]] = {}
    for entry in data.get(_ITEM_CHANGES) or ():
        section_of_item = _item_section(entry["item"])
        if section_of_item:
            by_item.setdefault(section_of_item.key, []).append(entry)
    for key, entries in by_item.items():
        yield _item_block(form_layout().section(key), entries, repeats)


def _item_block(
    section: SectionSpec, entries: Sequence[Mapping[str, Any]], repeats: Mapping[int, Mapping[str, list[Any]]]
) -> FormBlock:
    """An item that comes twice is a label written twice."""
    keys = [spec.key for spec in section.fields]
    if len(entries) > 1:
        return _block(section, 1, {}, {key: [entry.get(key) for entry in entries[:_MOST_FAULTS]] for key in keys})
    return _block(section, 1, {key: entries[0].get(key) for key in keys}, repeats.get(id(entries[0]), {}))


def _block(section: SectionSpec, number: int, values: Mapping[str, Any], twice: Mapping[str, list[Any]]) -> FormBlock:
    known = {spec.key for spec in section.fields}
    texts = {key: _text(section.field(key), value) for key, value in values.items() if key not in twice}
    return FormBlock(
        section=section,
        number=number,
        values={key: text for key, text in texts.items() if text},
        repeated={
            key: tuple(_text(section.field(key), value) for value in found)
            for key, found in twice.items()
            if key in known
        },
    )


def _text(spec: FieldSpec, value: Any) -> str:
    """A value as the form would have it: lists one a line, dates without hyphens."""
    if isinstance(value, list):
        return "\n".join(str(entry).strip() for entry in value)
    text = "" if value is None else str(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    iso = _ISO_DATE.fullmatch(text) if spec.rule == "date" else None
    return "".join(iso.groups()) if iso else text


def _item_section(name: str) -> SectionSpec | None:
    """The section of an item named as the form does or by its code."""
    item = all_items().get(name) or find_item(name)
    return form_layout().section(f"item:{item.code}") if item and item.has_section else None


def _sections() -> tuple[SectionSpec, ...]:
    return tuple(section for section in form_layout().sections if not section.item)


def _fields(section: SectionSpec) -> tuple[FieldSpec, ...]:
    """A name in one piece is a courtesy to people who type; JSON has its two parts."""
    return tuple(spec for spec in section.fields if not spec.joins)


def _key(section: SectionSpec) -> str:
    return f"{section.key}s" if section.repeats else section.key


@cache
def _model() -> type[BaseModel]:
    members: dict[str, Any] = {}
    for section in _sections():
        part = _section_model(section)
        kind: Any = list[part] if section.repeats else part  # type: ignore[valid-type]
        members[_key(section)] = (kind | None, Field(default=None, title=section.name))
    change = create_model(
        "ItemChange",
        __config__=_config("変更前 and 変更後 of an item without a section of its own.", ["item", "before", "after"]),
        item=(str, Field(title="契約変更項目", description="Name or code of the item.", examples=["請求先担当者"])),
        before=(str | None, Field(default=None, title="変更前")),
        after=(str | None, Field(default=None, title="変更後")),
    )
    members[_ITEM_CHANGES] = (list[change] | None, Field(default=None, title="変更前・変更後"))  # type: ignore[valid-type]
    needed = [_key(section) for section in _sections() if any(spec.required for spec in section.fields)]
    always = [key for key in needed if form_layout().section(key.removesuffix("s")).needed_for is None]
    model: type[BaseModel] = create_model(
        "ApplicationForm", __config__=_config("利用契約変更申込 (application.json).", always), **members
    )
    return model


def _section_model(section: SectionSpec) -> type[BaseModel]:
    members: dict[str, Any] = {spec.key: _member(spec) for spec in _fields(section)}
    required = [spec.key for spec in _fields(section) if spec.required]
    name = "".join(word.capitalize() for word in section.key.split("_"))
    model: type[BaseModel] = create_model(name, __config__=_config(section.name, required), **members)
    return model


def _config(description: str, required: list[str]) -> ConfigDict:
    """Required keys stand in the schema alone: their absence is told by the rules of the form, with its label."""
    extra: dict[str, Any] = {"description": description, **({"required": required} if required else {})}
    return ConfigDict(extra="forbid", strict=True, json_schema_extra=extra)


def _member(spec: FieldSpec) -> tuple[Any, Any]:
    rule_ja, rule_en = field_rule(spec, _NO_CONTEXT)
    notes = " ".join(words for words in (f"{spec.when}。" if spec.when else "", rule_ja, rule_en) if words)
    field: dict[str, Any] = {"title": spec.label, "description": notes}
    if spec.rule in _LISTS:
        examples = [list(item_lines(spec.example))] if spec.example else None
        return list[str] | None, Field(default=None, examples=examples, **field)
    if spec.rule == "count":
        return int | str | None, Field(default=None, examples=[int(spec.example)], **field)
    example = "2026-12-14" if spec.rule == "date" else example_for(spec, _NO_CONTEXT)
    pattern = _SCHEMA_DATE if spec.rule == "date" else value_pattern(spec.rule)
    extra: dict[str, Any] = {"enum": list(spec.choices)} if spec.choices else {"pattern": pattern} if pattern else {}
    return str | None, Field(default=None, examples=[example], json_schema_extra=extra or None, **field)
