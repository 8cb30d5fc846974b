"""The help of every command, in both languages, and the one rule for exit statuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import build
from gateway.cli.helping import EXIT_STATUS, japanese, paragraphs
from gateway.cli.languages import Language, language_in
from gateway.cli.options import AsJson, with_lists
from handlers.text_columns import columns


def commands(command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ROOT = typer.main.get_command(build())
COMMANDS = dict(commands(ROOT))
JAPANESE_EXIT_STATUS = "終了コード: 0 完了、1 規則や状態により拒否または該当なし、2 呼び出し方の誤り。"


def shown(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(build(), list(arguments), env=environment, catch_exceptions=False)
    return result.output


def texts(path: tuple[str, ...], command) -> Iterator[str]:
    """Every paragraph that the help of a command prints; each parameter must have one."""
    yield from paragraphs(command.help)
    yield from paragraphs(command.epilog)
    for parameter in command.get_params(typer.Context(command)):
        if not parameter.hidden:
            assert parameter.help, (path, parameter.name)
            yield from paragraphs(parameter.help)


def test_every_paragraph_of_help_is_there_in_japanese_and_nothing_else():
    english = {text for path, command in COMMANDS.items() for text in texts(path, command)}
    assert english - japanese().keys() == set()
    assert japanese().keys() - english == set()
    assert all(words and words != text for text, words in japanese().items() if text.isascii())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_is_japanese_and_fits_the_terminal(path):
    page = shown("--lang", "ja", *path, "--help")
    assert page.startswith("使い方: ")
    assert "".join(page.split()).endswith("".join(JAPANESE_EXIT_STATUS.split()))
    assert "Usage" not in page
    assert max(columns(line) for line in page.splitlines()) <= 80


@pytest.mark.parametrize("path", [(), ("calendar",), ("calendar", "remove"), ("form",)], ids=" ".join)
def test_the_english_help_says_what_the_exit_status_means(path):
    page = shown("--lang", "en", *path, "--help", LANG="ja_JP.UTF-8")
    assert page.startswith("Usage: ")
    assert " ".join(page.split()).endswith(EXIT_STATUS)


@pytest.mark.parametrize(
    ("arguments", "environment", "begins"),
    [
        (("--help", "--lang", "ja"), {}, "使い方"),
        (("--lang=ja", "dkim", "show", "--help"), {}, "使い方"),
        (("dkim", "show", "--help"), {"LANG": "ja_JP.UTF-8", "LC_ALL": ""}, "使い方"),
        (("dkim", "show", "--help"), {"LANG": "C", "LC_ALL": ""}, "Usage"),
        (("--lang", "ja", "application"), {}, "使い方"),
        (("application",), {"LANG": "C", "LC_ALL": ""}, "Usage"),
    ],
)
def test_the_language_of_the_help_is_that_of_the_answers(arguments, environment, begins):
    assert shown(*arguments, **environment).startswith(f"{begins}: ")


def test_the_language_is_read_where_the_root_reads_it(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    assert language_in(["--settings", "--lang", "--lang", "ja", "mail"]) is Language.JA
    assert language_in(["mail", "list", "--lang", "ja"]) is Language.EN
    assert language_in(["--lang", "xx"]) is Language.EN
    assert language_in(["--lang"]) is Language.EN


def test_what_a_parameter_asks_for_is_said_in_japanese():
    page = shown("--lang", "ja", "application", "complete", "--help")
    assert "申込受付番号。全角・半角、大文字・小文字は問いません。［必須］" in page
    assert "既定値: 臨時休業" in shown("--lang", "ja", "calendar", "add", "--help")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Options that commands have in common."""

    needed: Annotated[str, typer.Option(help="Has no default.")]
    as_json: AsJson = False


def test_a_list_of_options_reaches_the_command_as_one_value():
    app = typer.Typer()

    @app.command()
    @with_lists
    def say(name: str, shared: Shared) -> None:
        """Say it."""
        typer.echo(f"{name} {shared}")

    run = CliRunner().invoke(app, ["x", "--json", "--needed", "y"])
    assert run.stdout == "x Shared(needed='y', as_json=True)\n"
    assert CliRunner().invoke(app, ["x"]).exit_code == 2
