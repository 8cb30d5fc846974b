"""The command line `naccs-gateway`: its root options, `check-settings`, and the table of command modules.

Exit status: 0 done; 1 refused by a rule or a state, or not found; 2 called wrongly. A command imports what it needs
when it runs, so that `--help` does not wait for the store's libraries.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gateway.cli.helping import EXIT_STATUS, Group, dress
from gateway.cli.languages import Language, of_locale
from gateway.cli.options import AsJson

if TYPE_CHECKING:
    from gateway.settings import Settings

Register = Callable[[typer.Typer], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What the root options said; every command finds it with `invocation(context)`."""

    settings_file: Path | None
    lang: Language | None  # None: the locale's

    @property
    def language(self) -> Language:
        return self.lang or of_locale()

    def settings(self) -> Settings:
        """The settings in force; a fault in them ends the command with status 1 and names the key."""
        from gateway.settings import SettingsError, load

        try:
            return load(self.settings_file)
        except SettingsError as error:
            refuse(str(error))

    def text(self, *, ja: str, en: str) -> str:
        """The sentence in the language of this invocation."""
        return ja if self.language is Language.JA else en


def invocation(context: typer.Context) -> Invocation:
    """What the root options of the running command said."""
    found = context.find_object(Invocation)
    if found is None:
        raise RuntimeError("a command ran without the root command")
    return found


def refuse(reason: str) -> NoReturn:
    """End the command with status 1: refused, or not found."""
    typer.echo(reason, err=True)
    raise typer.Exit(1)


def misuse(reason: str) -> NoReturn:
    """End the command with status 2: it was called wrongly."""
    typer.echo(reason, err=True)
    raise typer.Exit(2)


def print_json(value: Any) -> None:
    """One JSON document on standard output, Japanese left readable."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


@cache
def build() -> typer.Typer:
    """The whole command, every module of the table registered: one, since the groups are the modules' own."""
    root = typer.Typer(
        name="naccs-gateway",
        cls=Group,
        epilog=EXIT_STATUS,
        help="Mail gateway on the center side of NACCS.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    root.callback()(_root)
    root.command("check-settings")(check_settings)
    for register in _command_modules():
        register(root)
    dress(root)
    return root


def main() -> None:
    """The console script."""
    build()()


def _command_modules() -> tuple[Register, ...]:
    """Who brings which commands; each module offers `register(root)`."""
    from gateway.cli import (
        applications,
        demo,
        destinations,
        dkim,
        explain,
        forms,
        mail_moves,
        mails,
        notices,
        offices,
        outputs,
        samples,
        schedules,
        serve,
        terminals,
    )

    return (
        serve.register,  # serve, migrate
        demo.register,  # demo
        offices.register,  # office, terminal, address
        terminals.register,  # terminal undelivered
        outputs.register,  # output list | add | end | import
        applications.register,  # application list | queue | show | complete | ...
        schedules.register,  # schedule import | list, calendar list | add | remove
        mails.register,  # mail list | show
        mail_moves.register,  # mail retry | park | release | resend | cancel
        destinations.register,  # destination list | show | pause | resume | flush | switch | release-request
        explain.register,  # explain
        notices.register,  # notice list | preview
        forms.register,  # form
        dkim.register,  # dkim new | show | check
        samples.register,  # sample list | show | send
    )


def _root(
    context: typer.Context,
    settings: Annotated[
        Path | None,
        typer.Option(help="The settings file; else NACCS_GATEWAY_SETTINGS, else gateway.toml here."),
    ] = None,
    lang: Annotated[Language | None, typer.Option(help="Language of the output; else the locale's.")] = None,
) -> None:
    context.obj = Invocation(settings_file=settings, lang=lang)


def check_settings(
    context: typer.Context,
    as_json: AsJson = False,
) -> None:
    """Read the settings as `serve` would and show what is in force, passwords hidden."""
    shown = invocation(context).settings().shown()
    if as_json:
        print_json(shown)
        return
    for section, keys in shown.items():
        for key, value in keys.items():
            typer.echo(f"{section}.{key} = {json.dumps(value, ensure_ascii=False)}")
