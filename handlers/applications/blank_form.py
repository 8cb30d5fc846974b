"""The blank form that applicants fill in: each label under a note that says what belongs there, and what goes with it.

The form is text that its own grammar reads as a form without a value. The workbook is the same bytes every time and
passes the check of a system diagram.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from itertools import groupby
from typing import Any, Protocol
from xml.sax.saxutils import escape

from handlers.applications.field_rules import ApplicationLimits, RuleContext, example_for, field_rule
from handlers.applications.form_layout import FieldSpec, SectionSpec, form_layout, read_data
from handlers.applications.form_values import filled
from handlers.applications.items import all_items
from handlers.calendar import form_date
from handlers.text_columns import MAIL_COLUMNS, fold

__all__ = ["blank_form", "diagram_template", "example_reasons", "filled", "notes"]

_NOTE = "# "
_MOST_DAYS = 10
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first instant an archive can name
_EXAMPLE_SEPARATOR = "、"

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


class RegistrationDay(Protocol):
    """A day of the schedule: システム登録日 and 申込締切日."""

    @property
    def start_on(self) -> date: ...
    @property
    def apply_by(self) -> date: ...


def blank_form(today: date, schedule: Sequence[RegistrationDay] = (), limits: ApplicationLimits | None = None) -> str:
    """The form with a `#` note before each line; of the days of `schedule` the next ten are printed."""
    coming = sorted((day for day in schedule if day.start_on > today), key=lambda day: day.start_on)[:_MOST_DAYS]
    context = RuleContext(
        today=today, limits=limits or ApplicationLimits(), schedule=frozenset(day.start_on for day in coming)
    )
    lines = [*_notes(_texts()["head"]), ""]
    for section in form_layout().sections:
        if not section.item:
            lines += [*_section(section, context, coming), ""]
    lines += [*_notes(_item_example()), "", *_notes([_texts()["words"]["end"]]), "【以上】"]
    return "\n".join(lines) + "\n"


def example_reasons() -> tuple[str, ...]:
    """Examples of 変更する理由."""
    return tuple(_texts()["reasons"]["examples"])


def notes() -> tuple[str, ...]:
    """The two notes on work: the line may be interrupted, and a spare router costs extra."""
    return tuple(_texts()["notes"]["texts"])


@cache
def diagram_template() -> bytes:
    """システム構成図.xlsx: a workbook of one sheet to draw the configuration in (ECMA-376-1 18.2, 18.3)."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as package:
        for name, part in _workbook_parts().items():
            package.writestr(zipfile.ZipInfo(name, _EPOCH), _XML + part, zipfile.ZIP_DEFLATED)
    return content.getvalue()


@cache
def _texts() -> Mapping[str, Any]:
    return read_data("blank_form.toml")


def _notes(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        for line in fold(text, width=MAIL_COLUMNS - len(_NOTE)).split("\n"):
            yield f"{_NOTE}{line}"


def _section(section: SectionSpec, context: RuleContext, coming: Sequence[RegistrationDay]) -> Iterator[str]:
    yield f"【{section.name}】"
    yield from _notes(_texts()["sections"].get(section.key, []))
    for spec in section.fields:
        if spec.joins:
            continue  # a name in one piece is taken, but two parts are what is asked for
        yield from _notes([_note(spec, context)])
        if spec.key == "items":
            yield from _item_names(other=False)
        elif spec.key == "other_items":
            yield from _item_names(other=True)
        elif spec.key == "desired_start_date" and coming:
            days = (f"{form_date(day.start_on)}（{form_date(day.apply_by)}）" for day in coming)
            yield from _notes([_texts()["words"]["schedule"] + _EXAMPLE_SEPARATOR.join(days)])
        yield f"{spec.label}:"


def _note(spec: FieldSpec, context: RuleContext) -> str:
    words = _texts()["words"]
    need = spec.when or words["required" if spec.required else "optional"]
    rule_ja, _ = field_rule(spec, context)
    example = example_for(spec, context).replace("\n", _EXAMPLE_SEPARATOR)
    sentences = [need, rule_ja.removesuffix("。"), *([words["example"] + example] if example else [])]
    return "。".join(sentences)


def _item_names(*, other: bool) -> Iterator[str]:
    chosen = [item for item in all_items().values() if item.other is other]
    yield from _notes([_texts()["words"]["choices"]])
    for group, items in groupby(chosen, key=lambda item: item.group):
        yield from _notes([f"（{group}）", *(f"  {item.name}" for item in items)])


def _item_example() -> list[str]:
    item = all_items()[_texts()["items"]["example"]]
    names = {"name": item.name, "before": item.before, "after": item.after}
    return [text.format_map(names) for text in _texts()["items"]["text"]]


def _workbook_parts() -> Mapping[str, str]:
    sheet = _texts()["diagram"]["sheet"]
    return {
        "[Content_Types].xml": (
            f'<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEET_TYPE}.sheet.main+xml"/>'
            f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEET_TYPE}.worksheet+xml"/></Types>'
        ),
        "_rels/.rels": _relationship("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
            f'<sheet name="{escape(sheet)}" sheetId="1" r:id="rId1"/></sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": _relationship("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": _sheet(),
    }


def _relationship(kind: str, target: str) -> str:
    return (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/{kind}" Target="{target}"/></Relationships>'
    )


def _sheet() -> str:
    texts = _texts()["diagram"]
    rows = [[texts["title"]], *texts["rows"]]
    cells = "".join(
        f'<row r="{number}">{"".join(_cell(number, place, text) for place, text in enumerate(row))}</row>'
        for number, row in enumerate(rows, start=1)
    )
    columns = '<cols><col min="1" max="6" width="24" customWidth="1"/></cols>'
    return f'<worksheet xmlns="{_MAIN}">{columns}<sheetData>{cells}</sheetData></worksheet>'


def _cell(row: int, place: int, text: str) -> str:
    name = f"{chr(ord('A') + place)}{row}"
    return f'<c r="{name}" t="inlineStr"><is><t>{escape(text)}</t></is></c>' if text else f'<c r="{name}"/>'
