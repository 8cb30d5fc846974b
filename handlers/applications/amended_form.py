"""An amendment (【修正】) laid over the application it amends: what was written replaces, all else is carried over.

What is carried over broke no rule when it came and is not judged again by rules of one field; rules over several
fields see the amended whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from handlers.applications.contents import ApplicationContents, LineAction
from handlers.applications.form import FormBlock, ParsedForm
from handlers.applications.form_layout import fold_label, form_layout
from handlers.applications.form_values import SAME_AS_CONTACT, form_blocks
from handlers.applications.items import Item, find_item, item_lines

_EMPTIED = fold_label("（空欄）")
# What people write where they want a line no longer; 廃止 is none of it, but an application of its own.
_UNWANTED = re.compile("取り?消|取り?(?:や|止)め|取り?下げ|中止|不要|削除")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineToDrop:
    """A line that an amendment seems to take out of the application.

    `section` is its section as errors name it, `judged_as` the one that the block as written was judged as; `action` is
    its 申込内容 as it stands, `given` what was written. `outright`: more was said than that it asks for nothing.
    """

    section: str
    judged_as: str
    action: str
    given: str
    outright: bool


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


def lines_to_drop(form: ParsedForm, base: ApplicationContents) -> tuple[LineToDrop, ...]:
    """The lines that an amendment seems to take out of the application; nothing but errors can come of them."""
    before = [block for block in form_blocks(base) if block.section.key == "line"]
    pairs, further = _paired(before, form.of("line"))
    numbered = [(place + 1, block) for place, block in sorted(pairs.items())]
    numbered += enumerate(further, start=len(before) + 1)
    several = len(before) + len(further) > 1
    return tuple(
        _to_drop(number, block, before, several=several)
        for number, block in numbered
        if _says_outright(block) or _empties_all(block)
    )


def _to_drop(number: int, block: FormBlock, before: Sequence[FormBlock], *, several: bool) -> LineToDrop:
    written = f"{block.value('router_number')} {block.stray}"
    router_numbers = [one.value("router_number") for one in before]
    meant = next((place for place, each in enumerate(router_numbers, start=1) if each and each in written), number)
    name = block.section.name
    return LineToDrop(
        section=f"{name}（{meant}）" if several and meant <= len(before) else name,
        judged_as=f"{name}（{number}）" if several else name,
        action=before[meant - 1].value("action") if meant <= len(before) else LineAction.CHANGE.value,
        given="\n".join(text for text in (*block.values.values(), block.stray) if text),
        outright=_says_outright(block),
    )


def _says_outright(block: FormBlock) -> bool:
    """申込内容 or the number is emptied, or words say that the line is wanted no longer."""
    alone = not block.values.keys() - {"router_number"}
    words = (block.value("action"), block.value("router_number"), block.stray if alone else "")
    return any(_UNWANTED.search(text) or fold_label(text.strip()) == _EMPTIED for text in words)


def _empties_all(block: FormBlock) -> bool:
    asked = [value for key, value in block.values.items() if key != "router_number"]
    return bool(asked) and all(fold_label(value) == _EMPTIED for value in asked)


def _lines(before: Sequence[FormBlock], written: Sequence[FormBlock]) -> Iterator[FormBlock]:
    pairs, further = _paired(before, written)
    for place, block in enumerate(before):
        yield _laid_over(block, pairs.get(place))
    for number, block in enumerate(further, start=len(before) + 1):
        yield replace(block, number=number)


def _paired(
    before: Sequence[FormBlock], written: Sequence[FormBlock]
) -> tuple[dict[int, FormBlock], tuple[FormBlock, ...]]:
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
    return pairs, tuple(left.values())


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
