"""Names and values -> subject and body of a notice.

A mail is a folder of `mail_templates` with `subject.txt` and `body.txt`, for applicants also `subject.en.txt` and
`body.en.txt`; all of them are compiled before the first is rendered. A missing variable, a control character in any
value or a subject of two lines raises TemplateFault, so that nothing half-written leaves. Bodies are laid out for 76
columns.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateError

from handlers.calendar import JST, mail_date, slash_date
from handlers.outcomes import TemplateFault
from handlers.text_columns import fold

_LAYOUT = "_layout/"
_VERSION_DIGITS = 12
_HANGING = 4
_JAPANESE, _ENGLISH = "", ".en"  # what stands between a file's name and its ending
# Between the Japanese text and the English one of the same items.
_DIVIDER = "=" * 72 + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedNotice:
    """A notice in words; `template` is audience/name@version, the version a hash of its files."""

    subject: str
    body: str
    template: str


_EXPRESSION = re.compile(r"\{\{.*?\}\}")
_BLOCK = re.compile(r"\{%.*?%\}")


class _LaidOut(str):
    """Text whose line ends were made by a filter of ours."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeKind:
    """A notice there is: audience/name, its version, and its subjects with `…` for what differs by mail."""

    name: str
    version: str
    subject: str
    english_subject: str


@dataclass(frozen=True, slots=True)
class _Words:
    """The files of one language."""

    subject: Template
    body: Template
    subject_source: str

    def render(self, values: Mapping[str, object]) -> tuple[str, str]:
        return self.subject.render(values).removesuffix("\n"), self.body.render(values)


@dataclass(frozen=True, slots=True)
class _NoticeTemplate:
    japanese: _Words
    english: _Words | None
    version: str


def render(name: str, values: Mapping[str, object], *, bilingual: bool = False) -> RenderedNotice:
    """Render the notice `audience/name`; `bilingual`: Japanese, then English. Raises TemplateFault."""
    template = _templates().get(name)
    if template is None:
        raise TemplateFault(f"{name}: no such template")
    if bilingual and template.english is None:
        raise TemplateFault(f"{name}: there is no English text")
    try:
        subject, body = template.japanese.render(values)
        if bilingual and template.english is not None:
            english_subject, english_body = template.english.render(values)
            subject, body = f"{subject} / {english_subject}", f"{body}\n{_DIVIDER}{english_body}"
    except (TemplateError, ValueError, TypeError, AttributeError) as error:
        raise TemplateFault(f"{name}: {error}") from error
    refuse_control_characters(name, subject)
    refuse_control_characters(name, body.replace("\n", ""))
    return RenderedNotice(subject=subject, body=body, template=f"{name}@{template.version}")


def preload() -> None:
    """Compile every template now, so that no unit of work waits for it."""
    _templates()


def template_names() -> tuple[str, ...]:
    """Every notice there is, as audience/name."""
    return tuple(_templates())


def catalogue() -> tuple[NoticeKind, ...]:
    """Every notice there is, in the order of names."""
    return tuple(
        NoticeKind(
            name=name,
            version=template.version,
            subject=_without_expressions(template.japanese),
            english_subject=_without_expressions(template.english) if template.english else "",
        )
        for name, template in _templates().items()
    )


def _without_expressions(words: _Words) -> str:
    return _EXPRESSION.sub("…", _BLOCK.sub("", words.subject_source)).strip()


def refuse_control_characters(name: str, text: str) -> None:
    """Raise TemplateFault for control characters, line ends, surrogates and bidirectional overrides."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _OVERRIDES:
            raise TemplateFault(f"{name}: a value holds the control character U+{ord(character):04X}")


# They make a line read otherwise than it is written (UTS #55).
_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(text: str, *, at_most: int | None = None) -> str:
    """Foreign text made harmless for a notice: control characters become visible, line ends stay.

    What is longer than `at_most` characters is cut and ends in an ellipsis.
    """
    if at_most is not None and len(text) > at_most:
        text = f"{text[: at_most - 1]}…"
    return "".join(_visible(character) for character in text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str, *, at_most: int | None = None) -> str:
    """Foreign text made harmless for a place that takes one line: `shown`, line ends as spaces."""
    return " ".join(shown(text, at_most=at_most).split("\n"))


def _visible(character: str) -> str:
    if character in "\n\t":
        return "\n" if character == "\n" else " "
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _OVERRIDES:
        return f"[U+{ord(character):04X}]"
    return character


def item(label: str, value: object, *, indent: int = 0) -> str:
    """`label : value`, folded; what does not fit goes on below, further in. No value: the label alone."""
    head = f"{' ' * indent}{label} :"
    text = "" if value is None else str(value)
    return _LaidOut(fold(f"{head} {text}" if text else head, indent=indent + _HANGING))


def folded(text: str, *, indent: int = 0, hanging: int = 0) -> str:
    """`text` as lines of their own beginning at column `indent`, those after the first `hanging` further in."""
    return _LaidOut(" " * indent + fold(text, used=indent, indent=indent + hanging))


def kilobytes(size: int) -> str:
    """Bytes as whole kilobytes of 1024 bytes, a started one counting as one: 148KB."""
    return f"{-(-size // 1024)}KB"


def mail_time(instant: datetime) -> str:
    """An aware instant in Japan, as the prose of a mail has it: 2026年4月1日 9:05."""
    local = instant.astimezone(JST)
    return f"{mail_date(local.date())} {local.hour}:{local.minute:02d}"


def iso_date(day: date) -> str:
    """A day in a text in English: 2026-04-01 (ISO 8601)."""
    return day.isoformat()


def iso_time(instant: datetime) -> str:
    """An aware instant in Japan, as a text in English has it: 2026-04-01 09:05+09:00 (ISO 8601)."""
    return instant.astimezone(JST).isoformat(sep=" ", timespec="minutes")


def _written(value: object) -> object:
    """What every expression of a template passes: one line of text, or lines that a filter of ours made."""
    if value is None:
        raise TypeError("an expression has no value")
    if isinstance(value, str) and not isinstance(value, _LaidOut):
        refuse_control_characters("expression", value)
    return value


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mail_templates", ""),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text, never HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_written,
    )
    environment.filters.update(
        folded=folded,
        iso_date=iso_date,
        iso_time=iso_time,
        kilobytes=kilobytes,
        mail_date=mail_date,
        mail_time=mail_time,
        slash_date=slash_date,
    )
    environment.globals.update(item=item)
    return environment


@cache
def _templates() -> Mapping[str, _NoticeTemplate]:
    environment = _environment()
    files = environment.list_templates(extensions=["txt"])
    layout = [file for file in files if file.startswith(_LAYOUT)]
    for file in layout:
        environment.get_template(file)
    names = sorted({file.rpartition("/")[0] for file in files if file not in layout})
    return {name: _template(environment, name, files, layout) for name in names}


def _template(environment: Environment, name: str, files: list[str], layout: list[str]) -> _NoticeTemplate:
    own = [file for file in files if file.rpartition("/")[0] == name]
    english = f"{name}/body{_ENGLISH}.txt" in own
    return _NoticeTemplate(
        japanese=_words(environment, name, _JAPANESE),
        english=_words(environment, name, _ENGLISH) if english else None,
        version=_version(environment, [*own, *layout]),
    )


def _words(environment: Environment, name: str, language: str) -> _Words:
    subject = f"{name}/subject{language}.txt"
    return _Words(
        subject=environment.get_template(subject),
        body=environment.get_template(f"{name}/body{language}.txt"),
        subject_source=_source(environment, subject),
    )


def _source(environment: Environment, file: str) -> str:
    source: str = environment.loader.get_source(environment, file)[0]  # type: ignore[union-attr]
    return source


def _version(environment: Environment, files: list[str]) -> str:
    """Changes with every file that has a part in the notice."""
    digest = hashlib.sha256()
    for file in files:
        source = _source(environment, file)
        digest.update(f"{file}\0{len(source)}\0{source}".encode())
    return digest.hexdigest()[:_VERSION_DIGITS]
