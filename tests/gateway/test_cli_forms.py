"""`form`: the blank form with the schedule of the store, its schema and the workbook."""

from __future__ import annotations

import json
from datetime import date

import pytest

from handlers.applications.attachments import workbook_problem
from handlers.applications.field_rules import ApplicationLimits
from handlers.applications.json_form import form_json_schema
from handlers.mail import MailAttachment
from storage.models import ScheduleDay
from tests.gateway.command_line import on_store
from tests.gateway.test_health import only_sqlite

FILES = ["利用申込書.txt", "application.schema.json", "システム構成図.xlsx"]


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    days = [ScheduleDay(start_on=date(2026, 12, day), apply_by=date(2026, 11, 30)) for day in (7, 14)]
    store.run(lambda session: session.add_all(days))
    return on_store(store, store_url, tmp_path, now)


@only_sqlite
def test_the_form_is_printed_with_the_coming_days(command_line):
    printed = command_line.run("form").stdout
    assert "20261207（20261130）、20261214（20261130）" in printed.replace("\n# ", "")
    assert printed.endswith("【以上】\n")
    document = command_line.json("form")
    assert document["form"] == printed
    assert document["schedule"] == [
        {"start_on": "2026-12-07", "apply_by": "2026-11-30"},
        {"start_on": "2026-12-14", "apply_by": "2026-11-30"},
    ]
    assert len(document["notes"]) == 2
    assert document["example_reasons"]
    assert document["application_json"]["applicant"]["phone"] is None


@only_sqlite
def test_the_schema_needs_no_store(command_line):
    printed = command_line.run("form", "--json-schema", NACCS_GATEWAY_STORE__URL="sqlite:////nowhere/x.db").stdout
    assert json.loads(printed) == form_json_schema()


@only_sqlite
def test_form_schema_and_workbook_are_written_and_nothing_is_overwritten(command_line, tmp_path):
    folder = tmp_path / "new" / "forms"
    written = command_line.json("form", "--output", str(folder))
    assert written == {"files": [str(folder / name) for name in FILES]}
    assert (folder / FILES[0]).read_text(encoding="utf-8") == command_line.run("form").stdout
    assert json.loads((folder / FILES[1]).read_text(encoding="utf-8")) == form_json_schema()
    workbook = MailAttachment(name=FILES[2], content=(folder / FILES[2]).read_bytes(), content_type="x")
    assert workbook_problem(workbook, ApplicationLimits()) is None
    again = command_line.run("form", "--output", str(folder), lang="en")
    assert (again.exit_code, again.stderr) == (1, f"already in {folder}: {', '.join(FILES)}\n")
    (folder / FILES[0]).unlink()
    assert command_line.run("form", "--output", str(folder)).exit_code == 1
    assert not (folder / FILES[0]).exists()
    other = command_line.run("form", "--output", str(tmp_path / "other"))
    assert len(other.stdout.splitlines()) == 3


@only_sqlite
def test_a_folder_that_cannot_be_made_is_told(command_line, tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    refused = command_line.run("form", "--output", str(tmp_path / "file" / "x"))
    assert refused.exit_code == 1
    assert "file" in refused.stderr
