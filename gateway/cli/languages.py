"""In which language a command answers: as --lang says, else as the locale does."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Language(StrEnum):
    """A language the command line speaks."""

    JA = "ja"
    EN = "en"


def of_locale() -> Language:
    """The language of the locale."""
    from gateway.settings import preferred_language

    return Language(preferred_language())


def language_in(arguments: Sequence[str]) -> Language:
    """The language that the root's options ask for, wherever --lang stands among them."""
    words = iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name == "--lang":
            asked = value or next(words, "")
            return Language(asked) if asked in set(Language) else of_locale()
        if word == "--settings":
            next(words, None)
        elif not word.startswith("-"):
            break
    return of_locale()
