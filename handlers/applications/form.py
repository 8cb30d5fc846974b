"""The grammar of the application form: lines of a mail -> the values that stand under known labels.

A label counts only inside its own section. A value runs on to the next label of its section or the next
section, as it was written. `【以上】` and a signature mark end the form; lines beginning with `#` are notes.
The same label twice in a section is reported, never decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from handlers.applications.form_layout import FieldSpec, FormLayout, SectionSpec, fold_label
from handlers.mail_text import SIGNATURE_MARK, TextLine, join_lines

_SECTION = re.compile(r"\s*【([^【】]{1,100})】\s*")
_LABEL = re.compile(r"([^:：﹕︓∶ː]{1,100})[:：﹕︓∶ː](.*)", re.DOTALL)
_NOTE_MARK = "#"
_END_OF_FORM = "以上"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormBlock:
    """One section as filled in: what stands under each label, by the key of the field; nothing when empty.

    `number` counts the blocks of a section that repeats, from 1; `repeated` maps a label written more than
    once to what was found there, in order.
    """

    section: SectionSpec
    number: int = 1
    values: Mapping[str, str] = field(default_factory=dict)
    repeated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stray: str = ""

    def value(self, key: str) -> str:
        """The value, or an empty text when it is not given."""
        return self.values.get(key, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedForm:
    """Every section that was found, in the order of the form layout; empty when there was none."""

    blocks: tuple[FormBlock, ...]

    def of(self, section: str) -> tuple[FormBlock, ...]:
        return tuple(block for block in self.blocks if block.section.key == section)


@dataclass(slots=True)
class _OpenBlock:
    """A section while it is read: the lines found under each label, each time the label was written."""

    section: SectionSpec
    found: dict[str, list[list[TextLine]]] = field(default_factory=dict)
    stray: list[TextLine] = field(default_factory=list)
    current: list[TextLine] | None = None

    def begin(self, spec: FieldSpec, line: TextLine) -> None:
        self.current = [line]
        self.found.setdefault(spec.key, []).append(self.current)

    def go_on(self, line: TextLine) -> None:
        (self.stray if self.current is None else self.current).append(line)


@dataclass(slots=True)
class _OpenForm:
    """The sections seen so far, and the one whose lines are being read."""

    blocks: list[_OpenBlock] = field(default_factory=list)
    latest: dict[str, _OpenBlock] = field(default_factory=dict)
    current: _OpenBlock | None = None

    def enter(self, section: SectionSpec) -> None:
        """Begin a block, or go on with that of a section that may not repeat: a label in both counts as twice."""
        block = self.latest.get(section.key)
        if block is None or section.repeats:
            block = self.latest[section.key] = _OpenBlock(section)
            self.blocks.append(block)
        block.current = None
        self.current = block


def parse_form(lines: Iterable[TextLine], layout: FormLayout) -> ParsedForm:
    """Read the form out of the new text of a mail."""
    form = _OpenForm()
    for line in _without_notes(lines):
        if line.text == SIGNATURE_MARK:
            break
        heading = _SECTION.fullmatch(line.text)
        name = fold_label(heading.group(1)) if heading else ""
        if name == _END_OF_FORM:
            break
        if name in layout.by_fold:
            form.enter(layout.by_fold[name])
        elif form.current:
            _read_line(form.current, line, layout)
    return ParsedForm(blocks=_closed_blocks(form.blocks, layout))


def _without_notes(lines: Iterable[TextLine]) -> Iterable[TextLine]:
    """Leave out notes, with the lines a mailer wrapped them into."""
    inside = False
    for line in lines:
        is_note = inside or line.text.startswith(_NOTE_MARK)
        inside = is_note and line.wrapped
        if not is_note:
            yield line


def _read_line(block: _OpenBlock, line: TextLine, layout: FormLayout) -> None:
    parts = _LABEL.fullmatch(line.text)
    spec = layout.labels_by_fold[block.section.key].get(fold_label(parts.group(1))) if parts else None
    if parts and spec:
        block.begin(spec, TextLine(parts.group(2), wrapped=line.wrapped))
    else:
        block.go_on(line)


def _closed_blocks(blocks: list[_OpenBlock], layout: FormLayout) -> tuple[FormBlock, ...]:
    closed: list[FormBlock] = []
    for section in layout.sections:
        found = (block for block in blocks if block.section.key == section.key)
        closed.extend(_closed(block, number) for number, block in enumerate(found, start=1))
    return tuple(closed)


def _closed(block: _OpenBlock, number: int) -> FormBlock:
    texts = {key: tuple(join_lines(lines).strip() for lines in times) for key, times in block.found.items()}
    return FormBlock(
        section=block.section,
        number=number,
        values={key: found[0] for key, found in texts.items() if len(found) == 1 and found[0]},
        repeated={key: found for key, found in texts.items() if len(found) > 1},
        stray=join_lines(block.stray).strip(),
    )
