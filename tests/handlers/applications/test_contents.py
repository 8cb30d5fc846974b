from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from handlers.applications.contents import LINE_COLUMNS, ApplicationClass, ApplicationContents, LineAction, warning
from handlers.applications.items import all_items
from tests.handlers.applications.application_mails import accepted, form_with, mail_with


@pytest.fixture
def contents() -> ApplicationContents:
    return accepted(mail_with(form_with({"変更申込の備考/備考": "一\n二"}))).contents


def test_json_brings_the_same_application_back(contents):
    text = contents.to_json()
    again = ApplicationContents.from_json(text)
    assert again == contents
    assert again.to_json() == text


def test_the_keys_are_those_the_store_and_the_commands_know(contents):
    written = json.loads(contents.to_json())
    assert list(written) == [
        "application_class", "office_code", "items", "other_items", "item_changes", "desired_start_date", "reason",
        "applicant", "lines", "diagram", "work_contact", "attendant", "work_remarks", "remarks", "files", "warnings",
    ]  # fmt: skip
    assert written["desired_start_date"] == "2026-12-14"
    assert written["items"] == ["naccs_terminals"]
    assert written["lines"][0]["smtp_servers"] == 1
    assert written["remarks"] == "一\n二"


def test_an_unknown_key_is_refused(contents):
    written = json.loads(contents.to_json()) | {"colour": "red"}
    with pytest.raises(ValidationError, match="colour"):
        ApplicationContents.from_json(json.dumps(written))


def test_a_value_cannot_be_changed(contents):
    with pytest.raises(ValidationError):
        contents.reason = "x"


def test_items_are_found_with_their_names(contents):
    assert [item.name for item in contents.chosen_items] == ["一般NACCS端末の登録情報（追加・削除）"]
    assert not contents.needs_system_settings


@pytest.mark.parametrize("code", [item.code for item in all_items().values() if item.settings])
def test_some_items_need_system_settings(contents, code):
    assert contents.model_copy(update={"items": ("naccs_terminals", code)}).needs_system_settings


def test_the_class_and_the_action_are_the_words_of_the_form(contents):
    assert contents.application_class is ApplicationClass.CHANGE
    assert (ApplicationClass.NEW.short, ApplicationClass.CHANGE.short) == ("新規", "変更")
    assert contents.lines[0].action is LineAction.CHANGE


def test_an_application_of_last_year_is_still_read(contents):
    written = json.loads(contents.to_json())
    for key in ("item_changes", "other_items", "warnings"):
        written.pop(key)
    for key in (*LINE_COLUMNS, "target_terminal"):
        written["lines"][0].pop(key)
    assert ApplicationContents.from_json(json.dumps(written)) == contents


def test_every_other_item_but_the_end_of_the_contract_needs_an_inquiry(contents):
    assert contents.model_copy(update={"other_items": ("cancellation", "succession")}).needs_inquiry
    assert not contents.model_copy(update={"other_items": ("cancellation",)}).needs_inquiry


def test_columns_of_a_line_make_its_date_of_work_a_wish(contents):
    line = contents.lines[0]
    assert (line.columns, line.has_line_work, line.needs_edifact, line.is_shared) == ({}, False, None, None)
    changed = line.model_copy(update={"edifact": "要", "shared_with_other_offices": "なし"})
    assert changed.columns == {"edifact": "要", "shared_with_other_offices": "なし"}
    assert (changed.has_line_work, changed.needs_edifact, changed.is_shared) == (True, True, False)
    assert line.model_copy(update={"action": LineAction.CANCEL}).has_line_work


def test_a_warning_speaks_both_languages():
    entry = warning("off_schedule", date="2026年12月14日")
    assert "2026年12月14日" in entry.text_ja
    assert "2026年12月14日" in entry.text_en
