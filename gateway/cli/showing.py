"""How commands write what they found: JSON without secrets, one printable line, moments as operators give them."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import typer

_OTHER_IDS = frozenset({"id", "map_version"})


def plain(value: Any, name: str = "") -> Any:
    """The value in JSON's own types: ids as text, instants and dates in ISO 8601, tokens of addresses masked."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name), field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(part, key) for key, part in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [plain(part, name.removesuffix("s")) for part in value]
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return masked(value)
    is_id = isinstance(value, int) and (name in _OTHER_IDS or name.endswith("_id"))
    return str(value) if is_id else value


def instant(value: datetime | None) -> str:
    """An instant to the millisecond, with its offset; `-` for none."""
    return "-" if value is None else value.isoformat(timespec="milliseconds")


def masked(text: str) -> str:
    """Text without the token of a case or bounce address."""
    from gateway.maillog import masked_address

    return masked_address(str(text)) if "+" in text else str(text)


def printable(text: str, *, lines: bool = False) -> str:
    """Text that moves no cursor: what controls a terminal is shown as a dot; with `lines`, line ends stay."""
    kept = "\n\t" if lines else ""
    joined = text.replace("\r\n", "\n") if lines else text
    shown = (
        character if character in kept or unicodedata.category(character)[0] != "C" else "·" for character in joined
    )
    return masked("".join(shown))


def moment(text: str | None, now: datetime, option: str) -> datetime | None:
    """An instant as an option gives it: ISO 8601, in Japan where no offset is written, or `2h` before `now`."""
    from gateway.setting_values import read_duration
    from handlers.calendar import JST

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=JST)).astimezone(UTC)
    except ValueError:
        pass
    try:
        return now - timedelta(seconds=float(str(read_duration(text))))
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "an instant such as 2026-04-01T09:00, or how long ago, such as 2h", param_hint=option
        ) from None


def day(text: str | None, option: str) -> date | None:
    """A JST day as an option gives it: 2026-04-01."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a day such as 2026-04-01", param_hint=option) from None
