from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.applications.blank_form import blank_form
from handlers.applications.checks import Invalid
from handlers.applications.field_rules import ApplicationLimits, RuleContext, broken_rule
from handlers.applications.form import ParsedForm
from handlers.applications.form_layout import FieldSpec, SectionSpec, form_layout
from handlers.applications.json_form import (
    LONGEST_FILE,
    JsonFault,
    blank_json_form,
    form_json_schema,
    read_json_form,
)
from tests.handlers.applications.application_mails import (
    DIAGRAM,
    FORM,
    TODAY,
    accepted,
    broken_places,
    form_with,
    mail_with,
    read,
    workbook,
)

NAME = "application.json"


def sample() -> dict[str, Any]:
    """The sample form as JSON."""
    form: dict[str, Any] = {}
    section = None
    for line in FORM.splitlines():
        if line.startswith("【"):
            section = form_layout().by_fold.get(line.strip("【】").casefold())
            if section:
                form[section.key] = {}
        elif section and line:
            label, _, value = line.partition(":")
            spec = next(spec for spec in section.fields if spec.label == label)
            form[section.key][spec.key] = value.strip() or None
    form["lines"] = [{**form.pop("line"), "smtp_servers": 1, "terminals_to_delete": None}]
    form["application"].update(
        items=["一般NACCS端末の登録情報（追加・削除）"], other_items=[], desired_start_date="2026-12-14"
    )
    form["attachments"]["file_names"] = []
    return form


def attached(form: object, text: str = "application.json を添付します。\n") -> bytes:
    content = form if isinstance(form, bytes) else json.dumps(form, ensure_ascii=False).encode()
    return mail_with(text, [(DIAGRAM, workbook()), (NAME, content)])


def changed(section: str, **values: object) -> dict[str, Any]:
    form = sample()
    part = form[section][0] if section == "lines" else form[section]
    part.update(values)
    return form


def json_key(section: SectionSpec) -> str:
    return f"{section.key}s" if section.repeats else section.key


def in_section(section: SectionSpec, spec: FieldSpec, example: object) -> object:
    return [{spec.key: example}] if section.repeats else {spec.key: example}


class TestFile:
    def test_the_same_application_comes_of_json_and_of_the_form(self):
        outcome = accepted(attached(sample()))
        assert outcome.contents == accepted(mail_with()).contents
        assert [entry.file.name for entry in outcome.attachments] == [DIAGRAM]

    def test_a_mail_without_a_text_may_bring_it(self):
        assert accepted(attached(sample(), " \n")).contents.office_code == "CT0001"

    def test_a_blank_form_in_the_text_does_not_stand_against_it(self):
        assert accepted(attached(sample(), blank_form(TODAY))).contents.office_code == "CT0001"

    def test_a_router_number_keeps_its_zero_and_counts_may_be_text(self):
        form = changed("lines", router_number="09143", smtp_servers="2", mail_addresses=3)
        line = accepted(attached(form)).contents.lines[0]
        assert (line.router_number, line.smtp_servers, line.mail_addresses) == ("09143", 2, 3)

    def test_dates_may_be_written_as_in_the_form_and_items_by_code_in_their_section(self):
        form = changed("application", desired_start_date="20261214")
        form["application"]["items"].append("請求先担当者")
        form["item_changes"] = [{"item": "billing_contact", "before": "甲", "after": "乙"}]
        contents = accepted(attached(form)).contents
        assert [(change.code, change.before) for change in contents.item_changes] == [("billing_contact", "甲")]

    def test_line_ends_of_any_kind_are_one(self):
        form = changed("application", reason="一\r\n二\r三")
        assert accepted(attached(form)).contents.reason == "一\n二\n三"

    def test_a_byte_order_mark_is_no_fault(self):
        assert accepted(attached(b"\xef\xbb\xbf" + json.dumps(sample()).encode())).contents.office_code == "CT0001"


class TestErrors:
    @pytest.mark.parametrize(
        ("section", "values", "place"),
        [
            ("applicant", {"phone": "03-0123-4567"}, "申込担当者/電話番号: phone"),
            ("applicant", {"phone": None}, "申込担当者/電話番号: required"),
            ("application", {"desired_start_date": "2027-02-29"}, "申込内容/利用開始日: date_not_real"),
            ("application", {"desired_start_date": "2026/12/14"}, "申込内容/利用開始日: date"),
            ("application", {"items": ["端末"]}, "申込内容/契約変更項目: items"),
            ("application", {"reason": "a\u0000"}, "申込内容/変更する理由: control_characters"),
            ("applicant", {"title": "\ud800"}, "申込担当者/役職名: control_characters"),
            (
                "lines",
                {"smtp_servers": 0, "mail_addresses": None},
                "回線・論理端末/SMTPサーバ台数（SMTP双方向）: count",
            ),
            ("lines", {"router_number": "9143"}, "回線・論理端末/ルータ番号: router_unknown"),
        ],
    )
    def test_values_bring_the_errors_that_a_form_brings(self, section, values, place):
        form = json.dumps(changed(section, **values)).encode()
        assert broken_places(attached(form)) == [place]

    def test_a_key_written_twice_is_told_as_a_label_written_twice(self):
        text = json.dumps(sample(), ensure_ascii=False).replace('"title":', '"title": "課長", "title":')
        assert broken_places(attached(text.encode())) == ["申込担当者/役職名: repeated"]

    def test_an_item_that_comes_twice_is_told_in_the_same_way(self):
        form = changed("application", items=["請求先担当者", "一般NACCS端末の登録情報（追加・削除）"])
        form["item_changes"] = [
            {"item": "請求先担当者", "before": "甲", "after": "乙"},
            {"item": "billing_contact", "before": "甲", "after": "丙"},
        ]
        assert broken_places(attached(form)) == ["請求先担当者/変更前: repeated", "請求先担当者/変更後: repeated"]
        text = json.dumps({**form, "item_changes": [{"item": "請求先担当者", "before": "甲", "after": "乙"}]})
        twice = text.replace('"after": ', '"after": "丙", "item": "請求先担当者", "after": ')
        assert broken_places(attached(twice.encode())) == ["請求先担当者/変更後: repeated"]

    def test_a_section_written_twice_does_not_fit(self):
        text = json.dumps(sample()).replace('"remarks": {', '"remarks": {}, "remarks": {')
        assert broken_places(attached(text.encode())) == ["/application.json: json_shape"]

    @pytest.mark.parametrize(
        ("form", "places"),
        [
            ([], [""]),
            ({"colour": "red"}, ["colour"]),
            ({"applicant": {"name": "通関 花子"}}, ["applicant.name"]),
            ({"applicant": []}, ["applicant"]),
            ({"applicant": {"phone": 301234567}}, ["applicant.phone"]),
            ({"lines": [{"smtp_servers": True}]}, ["lines.0.smtp_servers.int", "lines.0.smtp_servers.str"]),
            ({"application": {"items": "請求先担当者"}}, ["application.items"]),
            ({"item_changes": [{"item": "色", "before": "赤", "after": "青"}]}, ["item_changes: 色"]),
            ({"item_changes": [{"item": "naccs_lines"}]}, ["item_changes: naccs_lines"]),
            ({"item_changes": [{"before": "赤"}]}, ["item_changes.0.item"]),
        ],
    )
    def test_what_the_schema_does_not_know_is_told_with_its_place(self, form, places):
        outcome = read(attached(form))
        assert isinstance(outcome, Invalid)
        assert [(error.label, error.code, error.given) for error in outcome.errors] == [
            (NAME, "json_shape", place) for place in places
        ]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff",
            '{"a": "あ"}'.encode("cp932"),
            b'{"a": NaN}',
            b"[" * 100_000,
            b'{"a": ' + b"9" * 5000 + b"}",
            b" " * LONGEST_FILE + b"{}",
        ],
        ids=["empty", "cut", "no UTF-8", "Shift_JIS", "NaN", "deep", "a long number", "large"],
    )
    def test_what_is_no_json_is_one_error(self, content):
        assert broken_places(attached(content)) == ["/application.json: json_unreadable"]

    def test_a_broken_file_is_told_beside_the_errors_of_the_form(self):
        raw = attached(b"{", form_with({"申込担当者/電話番号": "1"}))
        assert broken_places(raw) == ["/application.json: json_unreadable", "申込担当者/電話番号: phone"]

    def test_two_files_are_one_too_many(self):
        files = [(NAME, b"{}"), ("Application.JSON", b"{}"), (DIAGRAM, workbook())]
        assert broken_places(mail_with(files=files)) == ["/application.json: json_several"]

    @settings(deadline=None, max_examples=50)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["application", "lines", "item_changes", "item", "items", "phone"]), inner
                )
            ),
            max_leaves=20,
        )
    )
    def test_any_json_is_a_form_or_a_fault(self, value):
        found = read_json_form(json.dumps(value).encode())
        assert isinstance(found, ParsedForm) or all(isinstance(fault, JsonFault) for fault in found)


class TestBoth:
    def test_form_and_file_may_both_come_when_they_agree(self):
        assert accepted(attached(sample(), FORM)).warnings == ()

    def test_each_field_that_differs_is_told_with_both_values(self):
        form = changed("applicant", title="課長", fax="0398765432")
        form["lines"][0]["smtp_servers"] = 2
        outcome = read(attached(form, FORM))
        assert isinstance(outcome, Invalid)
        assert [(error.label, error.code, error.given) for error in outcome.errors] == [
            ("役職名", "json_differs", "係長 / 課長"),
            ("FAX番号", "json_differs", "（空欄） / 0398765432"),
            ("SMTPサーバ台数（SMTP双方向）", "json_differs", "1 / 2"),
        ]

    def test_a_section_that_only_the_file_has_is_told_too(self):
        form = sample()
        form["lines"].append({"router_number": "09200"})
        form["item_changes"] = [{"item": "請求先担当者", "before": "甲", "after": "乙"}]
        places = broken_places(attached(form, FORM))
        assert "回線・論理端末（2）/ルータ番号: json_differs" in places
        assert places[-2:] == ["請求先担当者/変更前: json_differs", "請求先担当者/変更後: json_differs"]

    def test_the_order_of_items_and_the_line_ends_of_a_mailer_are_no_difference(self):
        form = changed("application", reason="自社システムの SMTP双方向サーバを追加するため")
        form["application"]["items"].append("請求先担当者")
        form["item_changes"] = [{"item": "請求先担当者", "before": "甲", "after": "乙"}]
        text = FORM.replace("契約変更項目: ", "契約変更項目: 請求先担当者\n")
        text = text.replace("自社システムの", "自社システムの\n").replace(
            "【以上】", "【請求先担当者】\n変更前: 甲\n変更後: 乙\n【以上】"
        )
        assert len(accepted(attached(form, text)).contents.items) == 2

    def test_a_name_in_one_piece_is_compared_by_its_parts(self):
        text = form_with(drop=["申込担当者/氏名（姓）", "申込担当者/氏名（名）"])
        text = text.replace("【申込担当者】\n", "【申込担当者】\n氏名: 通関 花子\n")
        assert accepted(attached(sample(), text)).contents.applicant.given_name == "花子"

    def test_a_label_written_twice_differs_from_a_key_written_once(self):
        text = FORM.replace("役職名: 係長\n", "役職名: 係長\n役職名: 係長\n")
        assert broken_places(attached(sample(), text)) == ["申込担当者/役職名: json_differs"]


class TestSchema:
    def test_it_names_every_field_of_the_form_with_label_rule_and_example(self):
        schema = form_json_schema()
        assert schema["$schema"].endswith("2020-12/schema")
        context = RuleContext(today=TODAY, limits=ApplicationLimits())
        for section in form_layout().sections:
            if section.item:
                continue
            properties = schema["$defs"][section.key.capitalize()]["properties"]
            for spec in (spec for spec in section.fields if not spec.joins):
                described = properties[spec.key]
                assert described["title"] == spec.label
                assert described["description"]
                for example in described.get("examples", []):
                    blocks = read_json_form(
                        json.dumps({json_key(section): in_section(section, spec, example)}).encode()
                    )
                    assert isinstance(blocks, ParsedForm)
                    written = blocks.blocks[0].values[spec.key]
                    assert broken_rule(spec, written, context) is None

    def test_it_says_which_keys_and_words_are_needed(self):
        schema = form_json_schema()
        assert schema["required"] == ["application", "applicant"]
        assert schema["additionalProperties"] is False
        assert "phone" in schema["$defs"]["Applicant"]["required"]
        assert schema["$defs"]["Line"]["properties"]["edifact"]["enum"] == ["要", "否"]
        assert schema["$defs"]["Applicant"]["properties"]["phone"]["pattern"] == "^0[0-9]{9,10}$"

    def test_the_keys_of_the_blank_form_are_those_of_the_schema_and_say_nothing(self):
        blank = blank_json_form()
        assert set(blank) == set(form_json_schema()["properties"])
        form = read_json_form(json.dumps(blank).encode())
        assert isinstance(form, ParsedForm)
        assert not form.is_filled_in
