"""The corpus of odd and wrong applications: a folder a case, with its mail (or recipe) and what it must bring.

`expected.toml` was written from the rules of the desk, not from what the program did. Outcomes: accepted, invalid
(answered with its wrong fields), handled (a reply or a request that acted), held, refused, duplicate, parked,
refused_at_smtp.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.desk_corpus.recipes import build
from tests.desk_corpus.store_desk import Envelope

CORPUS = Path(__file__).parents[1] / "corpus" / "desk"
OFFICES = (CORPUS / "offices.toml").read_text(encoding="utf-8")

# The state of the mail's recipient that each outcome leaves.
STATES: Mapping[str, str] = {
    "accepted": "handled",
    "handled": "handled",
    "invalid": "refused",
    "refused": "refused",
    "held": "held",
    "duplicate": "duplicate",
    "parked": "parked",
}
AT_SMTP = "refused_at_smtp"
# Outcomes that may change applications; all others leave every one as it was.
ACTING = frozenset({"accepted", "handled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a case must bring. `mails` are (template, addressee) in any order, a template may end in `*`."""

    outcome: str
    receipt_spent: bool
    applications: list[tuple[str, str]]
    mails: list[tuple[str, str]]
    wrong: list[tuple[str, str, str]] | None = None
    warnings: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] | None = None
    reply: str = "250 2.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A mail of the corpus. `before`: what happens first; `smtp`: also sent over a real socket."""

    name: str
    about: str
    paper: str
    envelope: Envelope
    expected: Expected
    before: tuple[str, ...] = ()
    smtp: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    announce_size: bool = False

    @property
    def mail(self) -> bytes:
        file = CORPUS / self.name / "mail.eml"
        return file.read_bytes() if file.exists() else build(_read(CORPUS / self.name / "recipe.toml"))


@cache
def cases() -> tuple[Case, ...]:
    """Every case, by name."""
    return tuple(_case(folder) for folder in sorted(CORPUS.iterdir()) if folder.is_dir())


@cache
def case(name: str) -> Case:
    """One case, for those that others begin with."""
    return _case(CORPUS / name)


def _case(folder: Path) -> Case:
    read = _read(folder / "expected.toml")
    recipe = _read(folder / "recipe.toml") if (folder / "recipe.toml").exists() else {}
    envelope = dict(read.get("envelope", {}))
    if "signed_by" in envelope:
        envelope["signed_by"] = tuple(envelope["signed_by"])
    return Case(
        name=folder.name,
        about=read["about"],
        paper=read["paper"],
        envelope=Envelope(**envelope),
        expected=_expected(read["expected"]),
        before=tuple(read.get("before", ())),
        smtp=read.get("smtp", False),
        settings=read.get("settings", {}),
        announce_size=recipe.get("announce_size", False),
    )


def _expected(read: dict[str, Any]) -> Expected:
    pairs: dict[str, Any] = {
        key: [tuple(entry) for entry in read[key]] for key in ("applications", "mails", "wrong", "files") if key in read
    }
    return Expected(**{**read, **pairs})


def _read(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))
