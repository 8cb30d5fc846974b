"""What is wrong with a file an operator imports: where it stands, which rule it breaks, and what it collides with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong: where, which rule it breaks, and the value or what it collides with."""

    place: str
    rule: str
    value: str = ""


class ContractsRefused(Exception):
    """The file cannot be taken; nothing of it was."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.place}: {fault.rule} {fault.value}".strip() for fault in faults))
        self.faults = faults


_NAMED_BY = {
    "office": "code",
    "contact": "email",
    "line": "router_number",
    "terminal": "name",
    "user": "code",
}


def place_of(location: tuple[int | str, ...], raw: Any) -> str:
    """Where in the file: `office CT0001, line 09143, terminal #2, port`, by number where it has no name."""
    parts: list[str] = []
    for part in location:
        if isinstance(part, str):
            raw = raw.get(part) if isinstance(raw, dict) else None
            parts.append(part)
            continue
        raw = raw[part] if isinstance(raw, list) and part < len(raw) else None
        name = raw.get(_NAMED_BY.get(parts[-1], "")) if isinstance(raw, dict) else None
        parts[-1] += f" {name}" if isinstance(name, str) and name else f" #{part + 1}"
    return ", ".join(parts)
