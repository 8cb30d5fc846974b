"""The damage corpus: mails made of the tables of docs/damage.md, each with the one code the tables give it.

All mails come from `3A0001@SMTP.TST01.NACCS6` over the connection of its terminal, under the circumstances the page
begins with: users TST01/001 of the address's office and OTHER/001 of another one, both with password PASSWD01 and every
procedure, no service hours, nothing stopped and no check left. What needs other circumstances is not in here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.handlers.naccs.damage_tables import Sending, rows
from tests.handlers.naccs.sound_request import BODY

Damage = Callable[[bytes, int, int], bytes]
Case = tuple[str, bytes, str | None]

_CIRCUMSTANCES = re.compile(
    r"(?<![\w-])(?:mail-from|office|procedures|barred|user-hours|hours|stopped|left)(?= [^\"]|`|;)"
)
_NOT_POSSIBLE = "-"


def _overwritten(data: bytes, *, at_end: bool = False) -> Damage:
    def damage(body: bytes, offset: int, width: int) -> bytes:
        fitting = data[:width]
        place = offset + width - len(fitting) if at_end else offset
        return body[:place] + fitting + body[place + len(fitting) :]

    return damage


def _filled(character: bytes) -> Damage:
    return lambda body, offset, width: body[:offset] + character * width + body[offset + width :]


_DAMAGES: dict[str, Damage] = {
    "before": lambda body, offset, width: body[:offset],
    "inside": lambda body, offset, width: body[: offset + width // 2],
    "after": lambda body, offset, width: body[: offset + width],
    "less": lambda body, offset, width: body[:offset] + body[offset + 1 :],
    "more": lambda body, offset, width: body[:offset] + b" " + body[offset:],
    "twice": lambda body, offset, width: body[: offset + width] + body[offset:],
    "blank": _filled(b" "),
    "zeros": _filled(b"0"),
    "question marks": _filled(b"?"),
    "letters": _filled(b"Z"),
    "shifted": lambda body, offset, width: (
        body[:offset] + b" " + body[offset : offset + width - 1] + body[offset + width :]
    ),
}
_CHARACTERS = {
    "a": b"a",
    "$": b"$",
    "EUC-JP": "日".encode("euc_jp"),
    "Shift_JIS": "日".encode("shift_jis"),
    "UTF-8": "日".encode(),
    "ISO-2022-JP": "日".encode("iso2022_jp"),
    "kana": "ｱ".encode("euc_jp"),
    "0x01": b"\x01",
    "DEL": b"\x7f",
    "NUL": b"\0",
    "LF": b"\n",
    "CR": b"\r",
    "CRLF": b"\r\n",
}
_LINE_END = "398/2"


def corpus() -> Iterator[Case]:
    """(name, mail as it is sent after DATA, code of the answer or None for a request that passes); each mail once."""
    expected_of: dict[bytes, str | None] = {}
    for name, content, expected in (*_common_items(), *_single_faults(), *_other_families()):
        if content not in expected_of:
            yield name, content, expected
        assert expected_of.setdefault(content, expected) == expected, name


def _common_items() -> Iterator[Case]:
    for row in rows("Common item"):
        item, _, _ = row["Common item"].partition(" ")
        offset, width = map(int, item.split("/"))
        for column, answer in row.items():
            if column == "Common item" or answer == _NOT_POSSIBLE:
                continue
            for place, damage in _damages(column, item):
                body = damage(BODY, offset, width)
                assert body != BODY, (item, column)
                yield from _sent(f"{item} {column}{place}", body, _expected(answer))


def _damages(column: str, item: str) -> Iterator[tuple[str, Damage]]:
    if column not in _CHARACTERS:
        yield "", _DAMAGES[column]
        return
    yield "", _overwritten(_CHARACTERS[column])
    # At the end of the line end other bytes stay than the table says.
    if item != _LINE_END:
        yield " at the end", _overwritten(_CHARACTERS[column], at_end=True)


def _sent(name: str, body: bytes, expected: str | None) -> Iterator[Case]:
    yield name, Sending(body=body).content(), expected
    yield f"{name}, with the client's CRLF", Sending(body=body + b"\r\n").content(), expected
    if body:
        yield f"{name}, in base64", Sending(body=body).damage("`encode base64`").content(), expected


def _single_faults() -> Iterator[Case]:
    for row in rows("Case"):
        if not _CIRCUMSTANCES.search(row["Made by"]):
            yield row["Case"], Sending().damage(row["Made by"]).content(), _expected(row["Answer"])


def _other_families() -> Iterator[Case]:
    for row in rows("Other case"):
        if not _CIRCUMSTANCES.search(row["Made by"]):
            sending = Sending.of(row["Of"]).damage(row["Made by"])
            yield row["Other case"], sending.content(), _expected(row["Answer"])


def _expected(answer: str) -> str | None:
    return None if answer == "ok" else answer
