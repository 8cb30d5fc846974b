"""How much of each kind of thing an application adds, changes and deletes, as the case view counts it.

Lines and terminals are counted from their own screen; what has none is counted from 変更前 and 変更後, where every
line or item of a list is one thing, and a number is that many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from handlers.applications.contents import ApplicationContents, LineAction, LineChange

_LINES = "naccs_lines"
_PARTED = re.compile(r"[\n、,，;；]+")
_NUMBER = re.compile(r"([0-9]+)\s*[個台件本]?")
_NOTHING = frozenset({"", "なし", "無し", "無", "0"})

# The items that are counted from what they say, by their key in the view.
_COUNTED_ITEMS: Mapping[str, str] = {
    "user_codes": "user_codes",
    "identification_numbers": "identification_numbers",
    "mailboxes": "mailboxes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """追加, 変更 and 削除 of one kind of thing; None is shown as 「-」."""

    added: int = 0
    changed: int | None = 0
    deleted: int = 0


def counts(contents: ApplicationContents) -> dict[str, Count]:
    """利用者コード, 識別番号, 回線, 論理端末 and メールボックス, in the order of the view."""
    said = {change.code: _count(change.before, change.after) for change in contents.item_changes}
    found = {key: said.get(code, Count()) for key, code in _COUNTED_ITEMS.items()}
    mailboxes = found["mailboxes"]
    return {
        "user_codes": found["user_codes"],
        "identification_numbers": found["identification_numbers"],
        "lines": _lines(contents),
        "terminals": _terminals(contents.lines),
        # A mailbox is not changed, it is added or deleted.
        "mailboxes": Count(added=mailboxes.added, changed=None, deleted=mailboxes.deleted),
    }


def _lines(contents: ApplicationContents) -> Count:
    lines = contents.lines
    return Count(
        added=sum(line.action is LineAction.ADD for line in lines),
        changed=sum(line.action is LineAction.CHANGE and line.has_line_work for line in lines),
        deleted=sum(line.action is LineAction.CANCEL for line in lines),
    )


def _terminals(lines: tuple[LineChange, ...]) -> Count:
    return Count(
        added=sum(
            (line.smtp_servers or 0) + (line.gateway_servers or 0) + (line.interactive_terminals or 0) for line in lines
        ),
        changed=sum(line.addresses_for_target > 0 for line in lines),
        deleted=sum(len(line.terminals_to_delete) for line in lines),
    )


def _count(before: str, after: str) -> Count:
    """Things that stand on one side only; of as many on either side, one took the place of the other."""
    old, new = _NUMBER.fullmatch(before.strip()), _NUMBER.fullmatch(after.strip())
    if new is not None and (old is not None or before.strip() in _NOTHING):
        more = int(new[1]) - (int(old[1]) if old else 0)
        return Count(added=max(more, 0), deleted=max(-more, 0))
    gone, come = _things(before), _things(after)
    kept = [thing for thing in gone if thing in come]
    gone, come = [one for one in gone if one not in kept], [one for one in come if one not in kept]
    changed = min(len(gone), len(come))
    return Count(added=len(come) - changed, changed=changed, deleted=len(gone) - changed)


def _things(text: str) -> list[str]:
    things = (thing.strip() for thing in _PARTED.split(text))
    return [thing for thing in things if thing not in _NOTHING]
