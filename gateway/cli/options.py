"""Options that several commands have, each written once, and commands that take a whole list of them as one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="Show the mails that would be sent; nothing is sent and nothing is changed.")
]
Receipt = Annotated[str, typer.Argument(help="The receipt number (申込受付番号), in any width and case.")]
WordsFile = Annotated[
    Path | None, typer.Option("--file", help="A UTF-8 file with the words; - for standard input.", allow_dash=True)
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]


def with_lists(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, for each parameter that is a dataclass of options, the options themselves.

    The dataclass is made of what was given on the command line; its field names are those of the options.
    """
    hints = get_type_hints(command, include_extras=True)
    lists: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        shown += _parameters(lists[name]) if name in lists else [_keyword(name, hints[name], parameter.default)]

    @wraps(command)
    def called(**given: Any) -> None:
        made = {
            name: kind(**{part.name: given.pop(part.name) for part in fields(kind)}) for name, kind in lists.items()
        }
        command(**given, **made)

    called.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    called.__dict__["__signature__"] = inspect.Signature(shown)
    return called


def _parameters(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        _keyword(part.name, hints[part.name], inspect.Parameter.empty if part.default is MISSING else part.default)
        for part in fields(kind)
    ]


def _keyword(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
