"""`form`: the blank application form, its JSON Schema and the workbook for the system diagram."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.options import AsJson

_FORM_FILE = "利用申込書.txt"
_SCHEMA_FILE = "application.schema.json"
_DIAGRAM_FILE = "システム構成図.xlsx"


def register(root: typer.Typer) -> None:
    """Add the command of this module."""
    root.command("form")(form)


def form(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option(help="Write form, schema and diagram workbook into this directory.")
    ] = None,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema of application.json alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the blank application form, with the next days of the schedule in it."""
    from handlers.applications import blank_form
    from handlers.applications.json_form import blank_json_form, form_json_schema

    running = invocation(context)
    if json_schema:
        print_json(form_json_schema())
        return
    text, days = _form(running)
    if output:
        files = {
            _FORM_FILE: text.encode(),
            _SCHEMA_FILE: (json.dumps(form_json_schema(), ensure_ascii=False, indent=2) + "\n").encode(),
            _DIAGRAM_FILE: blank_form.diagram_template(),
        }
        written = _write(running, output, files)
        if as_json:
            print_json({"files": written})
        else:
            typer.echo("\n".join(written))
    elif as_json:
        print_json(
            {
                "form": text,
                "schedule": days,
                "example_reasons": list(blank_form.example_reasons()),
                "notes": list(blank_form.notes()),
                "application_json": blank_json_form(),
            }
        )
    else:
        typer.echo(text, nl=False)


def _form(running: Invocation) -> tuple[str, list[dict[str, str]]]:
    """The form and the coming days of the schedule that stand in it."""
    from gateway.cli.opening import opened_store
    from handlers.applications.blank_form import blank_form
    from handlers.calendar import jst_date
    from handlers.schedule import coming

    with opened_store(running) as opened:
        today = jst_date(opened.now())
        days = opened.store.read(lambda session: coming(session, today))
        shown = [{"start_on": day.start_on.isoformat(), "apply_by": day.apply_by.isoformat()} for day in days]
        return blank_form(today, days), shown


def _write(running: Invocation, folder: Path, files: dict[str, bytes]) -> list[str]:
    """Write the files; one that exists is left alone, and nothing is written beside it."""
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        names = ", ".join(taken)
        refuse(running.text(ja=f"{folder} に既にあります：{names}", en=f"already in {folder}: {names}"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        refuse(str(error))
    return [str(folder / name) for name in files]
