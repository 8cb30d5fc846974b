"""An amendment (【修正】) laid over the application it amends: what was written replaces, all else is carried over.

What is carried over broke no rule when it came and is not judged again by rules of one field; rules over several
fields see the amended whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from handlers.applications.contents import ApplicationContents, LineAction
from handlers.applications.form import FormBlock, ParsedForm
from handlers.applications.form_layout import fold_label, form_layout
from handlers.applications.form_values import SAME_AS_CONTACT, form_blocks
from handlers.applications.items import Item, find_item, item_lines

_EMPTIED = fold_label("（空欄）")


def amended(form: ParsedForm, base: ApplicationContents) -> ParsedForm:
    """The whole form after the amendment. A value of （空欄） empties its field; an empty one changes nothing."""
    before = form_blocks(base)
    others = [block for block in before if block.section.key != "line"]
    blocks = [_laid_over(block, _written(form, block)) for block in others]
    known = {block.section.key for block in others}
    blocks += [block for block in form.blocks if block.section.key not in known and block.section.key != "line"]
    blocks += _lines([block for block in before if block.section.key == "line"], form.of("line"))
    application = next(block for block in blocks if block.section.key == "application")
    wanted = _still_wanted(blocks, application, {block.section.key for block in form.blocks})
    order = [section.key for section in form_layout().sections]
    blocks = sorted(_with_dates_of_work(wanted, application, base), key=lambda block: order.index(block.section.key))
    return replace(form, blocks=tuple(blocks))


def _written(form: ParsedForm, block: FormBlock) -> FormBlock | None:
    return next(iter(form.of(block.section.key)), None)


def _laid_over(before: FormBlock, written: FormBlock | None) -> FormBlock:
    if written is None:
        return replace(before, carried=frozenset(before.values))
    touched = {*written.values, *written.repeated}
    touched.update(part for spec in before.section.fields if spec.key in touched for part in spec.joins)
    if written.value("attendant") == SAME_AS_CONTACT:
        touched.update(key for key in before.values if key.startswith("attendant_"))
    if written.value("action") == LineAction.ADD:
        touched.add("router_number")
    kept = {key: value for key, value in before.values.items() if key not in touched}
    new = {key: value for key, value in written.values.items() if fold_label(value) != _EMPTIED}
    return replace(written, number=before.number, values={**kept, **new}, carried=frozenset(kept))


def _lines(before: Sequence[FormBlock], written: Sequence[FormBlock]) -> Iterator[FormBlock]:
    """Blocks meet by their router number, else by their place; what meets none is a line more."""
    left = dict(enumerate(written))
    pairs: dict[int, FormBlock] = {}
    for place, block in enumerate(before):
        number = block.value("router_number")
        found = next((key for key, other in left.items() if number and other.value("router_number") == number), None)
        if found is not None:
            pairs[place] = left.pop(found)
    for place in range(len(before)):
        # The only line may be given another number; of several, a number of its own is a line of its own.
        free = place not in pairs and place in left
        if free and (len(before) == len(written) == 1 or not left[place].value("router_number")):
            pairs[place] = left.pop(place)
    for place, block in enumerate(before):
        yield _laid_over(block, pairs.get(place))
    for place, block in enumerate(left.values(), start=len(before) + 1):
        yield replace(block, number=place)


def _still_wanted(blocks: Iterable[FormBlock], application: FormBlock, written: set[str]) -> Iterator[FormBlock]:
    """Leave out what belonged to an item that is no longer chosen, unless the amendment itself wrote it."""
    chosen = _chosen(application)
    codes = {item.code for item in chosen}
    parts = {part for item in chosen for part in item.needs}
    for block in blocks:
        item, part = block.section.item, block.section.needed_for
        wanted = item in codes if item else part is None or part in parts
        if wanted or block.section.key in written:
            yield block


def _chosen(application: FormBlock) -> tuple[Item, ...]:
    names = [name for key in ("items", "other_items") for name in item_lines(application.value(key))]
    return tuple(item for name in names if (item := find_item(name)))


def _with_dates_of_work(
    blocks: Iterable[FormBlock], application: FormBlock, base: ApplicationContents
) -> Iterator[FormBlock]:
    """The date of work that stood for the start date follows it."""
    lines = dict(enumerate(base.lines, start=1))
    for block in blocks:
        line = lines.get(block.number) if block.section.key == "line" else None
        if line and not line.has_line_work and "construction_date" in block.carried:
            start = application.value("desired_start_date")
            yield replace(block, values={**block.values, "construction_date": start})
        else:
            yield block
