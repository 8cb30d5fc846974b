"""The help of every command in the language that was asked for, and at its end what the exit status says.

The English text is the command's own; the Japanese one is looked up paragraph by paragraph in `help.ja.toml`, and what
is not in there is shown in English.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from gateway.cli.languages import Language, language_in

EXIT_STATUS = "Exit status: 0 done; 1 refused by a rule or a state, or not found; 2 called wrongly."

_LANGUAGE = "gateway.cli.language"
_INDENT = 2
_WIDEST_NAME = 30
# What the command line says of its own accord.
_FRAME = {
    "Usage": "使い方",
    "Arguments": "引数",
    "Options": "オプション",
    "Commands": "コマンド",
    "[OPTIONS]": "[オプション]",
    "COMMAND [ARGS]...": "コマンド [引数]...",
    "required": "必須",
    "default: ": "既定値: ",
}


class Command(TyperCommand):
    """A command whose help is in the language that was asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the whole help."""
        if not _written_in_japanese(self, ctx, formatter):
            super().format_help(ctx, formatter)


class Group(TyperGroup):
    """A group of commands whose help is in the language that was asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The root's options come first: whoever is asked for help knows the language before."""
        if ctx.parent is None:
            ctx.meta[_LANGUAGE] = language_in(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the whole help."""
        if not _written_in_japanese(self, ctx, formatter):
            super().format_help(ctx, formatter)


def dress(app: typer.Typer) -> None:
    """Give every command and group below `app` its help."""
    for command in app.registered_commands:
        command.cls, command.epilog = Command, EXIT_STATUS
    for group in app.registered_groups:
        group.cls, group.epilog = Group, EXIT_STATUS
        if group.typer_instance is not None:
            dress(group.typer_instance)


@cache
def japanese() -> dict[str, str]:
    """Every paragraph of help there is in Japanese, by its English text on one line."""
    text = files("gateway.cli").joinpath("help.ja.toml").read_text(encoding="utf-8")
    return {english: words for table in tomllib.loads(text).values() for english, words in table.items()}


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a help text, each on one line."""
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _in_japanese(text: str | None) -> list[str]:
    return [japanese().get(part, part) for part in paragraphs(text or "")]


def _written_in_japanese(command: Any, ctx: Any, formatter: Any) -> bool:
    if ctx.meta.get(_LANGUAGE) is not Language.JA:
        return False
    formatter.write("\n".join(_page(command, ctx, formatter.width)) + "\n")
    return True


def _page(command: Any, ctx: Any, width: int) -> Iterator[str]:
    pieces = " ".join(_FRAME.get(piece, piece) for piece in command.collect_usage_pieces(ctx))
    yield _folded(f"{_FRAME['Usage']}: {ctx.command_path} {pieces}", 0, width, hanging=4)
    for paragraph in _in_japanese(command.help):
        yield ""
        yield _folded(paragraph, _INDENT, width)
    arguments: list[tuple[str, str]] = []
    options: list[tuple[str, str]] = []
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            rows = arguments if parameter.param_type_name == "argument" else options
            rows.append((record[0], _row_text(parameter.help or "", record[1])))
    yield from _table("Arguments", arguments, width)
    yield from _table("Options", options, width)
    below = [(name, command.get_command(ctx, name)) for name in getattr(command, "commands", ())]
    yield from _table("Commands", [(name, "".join(_in_japanese(one.help)[:1])) for name, one in below], width)
    for paragraph in _in_japanese(command.epilog):
        yield ""
        yield _folded(paragraph, _INDENT, width)


def _row_text(english: str, shown: str) -> str:
    """The help of a parameter, and what the command line adds in brackets."""
    added = shown.removeprefix(english).strip().removeprefix("[").removesuffix("]")
    for word in ("required", "default: "):
        added = added.replace(word, _FRAME[word])
    return "".join(_in_japanese(english)) + (f"［{added}］" if added else "")


def _table(heading: str, rows: list[tuple[str, str]], width: int) -> Iterator[str]:
    from handlers.text_columns import columns

    if not rows:
        return
    yield ""
    yield f"{_FRAME[heading]}:"
    beside = min(max(columns(name) for name, _ in rows), _WIDEST_NAME) + 2 * _INDENT
    for name, text in rows:
        head = f"{' ' * _INDENT}{name}"
        if columns(head) + _INDENT > beside:
            yield head
            head = ""
        body = _folded(text, beside, width)
        yield f"{head:{beside}}{body.lstrip()}" if head.isascii() else f"{head}  {body.lstrip()}"


def _folded(text: str, indent: int, width: int, *, hanging: int = 0) -> str:
    from handlers.text_columns import fold

    return " " * indent + fold(text, used=indent, indent=indent + hanging, width=width)
