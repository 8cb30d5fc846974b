"""The grammar of the application form: lines of a mail -> the values that stand under known labels.

A label counts only inside its own section. A value runs on to the next label of its section or the next
section, as it was written. `【以上】` and a signature mark end the form; lines beginning with `#` are notes.
The same label twice in a section is reported, never decided. A cell of a table ends a label as a colon does.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from handlers.applications.form_layout import FieldSpec, FormLayout, SectionSpec, fold_label
from handlers.mail_text import SIGNATURE_MARK, TextLine, join_lines

_SECTION = re.compile(r"\s*【([^【】]{1,100})】\s*")
_LABEL_MARKS = (
    re.compile(r"\t*+([^:：﹕︓∶ː]{1,100})[:：﹕︓∶ː](.*)", re.DOTALL),
    re.compile(r"\t*+([^\t]{1,100})\t(.*)", re.DOTALL),
)
_NOTE_MARK = "#"
_END_OF_FORM = "以上"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormBlock:
    """One section as filled in: what stands under each label, by the key of the field; nothing when empty.

    `number` counts the blocks of a section that repeats, from 1; `repeated` maps a label written more than
    once to what was found there, in order. `carried`: the fields that come from an application checked before.
    """

    section: SectionSpec
    number: int = 1
    values: Mapping[str, str] = field(default_factory=dict)
    repeated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stray: str = ""
    carried: frozenset[str] = frozenset()

    def value(self, key: str) -> str:
        """The value, or an empty text when it is not given."""
        return self.values.get(key, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedForm:
    """Every section that was found, in the order of the form layout; empty when there was none.

    `unplaced`: labels above the first heading that stand in several sections, with what was written behind them.
    """

    blocks: tuple[FormBlock, ...]
    unplaced: tuple[tuple[str, str], ...] = ()

    def of(self, section: str) -> tuple[FormBlock, ...]:
        return tuple(block for block in self.blocks if block.section.key == section)

    @property
    def is_filled_in(self) -> bool:
        """Whether anything stands under any label."""
        return any(block.values or block.repeated for block in self.blocks)


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
    unplaced: list[tuple[str, str]] = field(default_factory=list)
    current: _OpenBlock | None = None
    has_heading: bool = False

    def enter(self, section: SectionSpec) -> None:
        """Begin a block, or go on with that of a section that may not repeat: a label in both counts as twice."""
        block = self.latest.get(section.key)
        if block is None or section.repeats:
            block = self.latest[section.key] = _OpenBlock(section)
            self.blocks.append(block)
        block.current = None
        self.current = block


def parse_form(lines: Iterable[TextLine], layout: FormLayout, *, loose: bool = False) -> ParsedForm:
    """Read the form out of the new text of a mail.

    `loose`: above the first heading, a label that only one section has counts as well, as people write amendments.
    """
    form = _OpenForm()
    for line in _without_notes(lines):
        if line.text.replace("\xa0", " ") == SIGNATURE_MARK:
            break
        first_cell, _, rest = line.text.partition("\t")
        heading = _SECTION.fullmatch(first_cell)
        name = fold_label(heading.group(1)) if heading else ""
        if name == _END_OF_FORM:
            break
        if name in layout.by_fold:
            form.has_heading = True
            form.enter(layout.by_fold[name])
            line = TextLine(rest, wrapped=line.wrapped)  # noqa: PLW2901 - the row of a table goes on
            if not rest.strip():
                continue
        if loose and not form.has_heading:
            _read_loose_line(form, line, layout)
        elif form.current:
            _read_line(form.current, line, layout.labels_by_fold[form.current.section.key])
    return ParsedForm(blocks=_closed_blocks(form.blocks, layout), unplaced=tuple(form.unplaced))


def _without_notes(lines: Iterable[TextLine]) -> Iterable[TextLine]:
    """Leave out notes, with the lines a mailer wrapped them into."""
    inside = False
    for line in lines:
        is_note = inside or line.text.startswith(_NOTE_MARK)
        inside = is_note and line.wrapped
        if not is_note:
            yield line


@dataclass(frozen=True, slots=True)
class _Label:
    """The known label that a line begins with, and what follows it."""

    fold: str
    written: str
    value: str


def _label(text: str, known: Container[str]) -> _Label | None:
    for mark in _LABEL_MARKS:
        parts = mark.fullmatch(text)
        if parts and (fold := fold_label(parts.group(1))) in known:
            return _Label(fold, parts.group(1).strip(), parts.group(2))
    return None


def _read_line(block: _OpenBlock, line: TextLine, labels: Mapping[str, FieldSpec]) -> None:
    found = _label(line.text, labels)
    if found:
        block.begin(labels[found.fold], TextLine(found.value, wrapped=line.wrapped))
    else:
        block.go_on(line)


def _read_loose_line(form: _OpenForm, line: TextLine, layout: FormLayout) -> None:
    """A line above the first heading: it begins a field of the only section with that label, or goes on with one."""
    found = _label(line.text, layout.sections_of_label)
    sections = layout.sections_of_label[found.fold] if found else ()
    if found and len(sections) > 1:
        form.current = None
        form.unplaced.append((found.written, found.value.strip()))
        return
    if sections and (form.current is None or form.current.section is not sections[0]):
        form.current = form.latest.get(sections[0].key)
        if form.current is None:
            form.enter(sections[0])
    if form.current:
        _read_line(form.current, line, layout.labels_by_fold[form.current.section.key])


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
