from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import date, timedelta

import openpyxl
import pytest

from handlers.applications.attachments import workbook_problem
from handlers.applications.blank_form import blank_form, diagram_template, example_reasons, notes
from handlers.applications.checks import Invalid
from handlers.applications.field_rules import ApplicationLimits, RuleContext, broken_rule
from handlers.applications.form import parse_form
from handlers.applications.form_layout import fold_label, form_layout
from handlers.applications.items import all_items
from handlers.mail import MailAttachment
from handlers.mail_text import text_lines
from handlers.text_columns import columns
from tests.handlers.applications.application_mails import DIAGRAM, FORM, TODAY, accepted, mail_with, read


@dataclass(frozen=True)
class Day:
    start_on: date
    apply_by: date


SCHEDULE = [Day(TODAY + timedelta(days=days), TODAY + timedelta(days=days - 10)) for days in range(-7, 120, 7)]


def filled_in(form: str) -> str:
    """The form with the values of the sample written behind its labels, notes left in."""
    values = iter([line for line in FORM.splitlines() if ":" in line])
    sample = {}
    section = ""
    for line in FORM.splitlines():
        section = line if line.startswith("【") else section
        if ":" in line:
            label, _, value = line.partition(":")
            sample[section, label] = value
    assert next(values)
    written = []
    for line in form.splitlines():
        section = line if line.startswith("【") else section
        written.append(line + sample.get((section, line.removesuffix(":")), "") if line.endswith(":") else line)
    return "\n".join(written) + "\n"


def test_every_label_stands_in_its_section_under_a_note():
    lines = blank_form(TODAY, SCHEDULE).splitlines()
    section = None
    seen = set()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("【"):
            section = form_layout().by_fold.get(fold_label(line.strip("【】")))
        elif line and not line.startswith("#"):
            assert section is not None
            assert before.startswith("# "), line
            spec = form_layout().labels_by_fold[section.key][fold_label(line.removesuffix(":"))]
            seen.add((section.key, spec.key))
    wanted = {
        (section.key, spec.key)
        for section in form_layout().sections
        for spec in section.fields
        if not section.item and not spec.joins
    }
    assert seen == wanted


def test_it_is_a_form_that_says_nothing():
    form = parse_form(text_lines(blank_form(TODAY, SCHEDULE), flowed=False, delete_space=False), form_layout())
    assert form.blocks
    assert not form.is_filled_in
    assert [block.stray for block in form.blocks if block.stray] == []
    assert isinstance(read(mail_with(blank_form(TODAY))), Invalid)


def test_filled_in_between_its_notes_it_is_accepted():
    outcome = accepted(mail_with(filled_in(blank_form(TODAY, SCHEDULE))))
    assert outcome.contents == accepted(mail_with()).contents


def test_no_line_is_wider_than_a_mail_and_every_item_is_named():
    form = blank_form(TODAY, SCHEDULE)
    assert max(columns(line) for line in form.splitlines()) <= 76
    assert all(item.name in form for item in all_items().values())


def test_it_says_what_is_needed_with_rule_and_example():
    form = blank_form(TODAY)
    assert "# 必須。契約の事業所コードを半角の英大文字と数字で記入します。例：CT0001\n事業所コード:\n" in form
    assert "# 変更と廃止では必須、追加では空欄。" in form
    assert "要、否。例：否\nEDIFACTの要否:\n" in form
    assert "1から12まで" in blank_form(TODAY, limits=ApplicationLimits(greatest_count=12))


def test_the_next_ten_days_of_the_schedule_are_named_and_the_first_is_the_example():
    form = blank_form(TODAY, list(reversed(SCHEDULE))).replace("\n# ", "")
    coming = [day for day in SCHEDULE if day.start_on > TODAY]
    named = [f"{day.start_on:%Y%m%d}（{day.apply_by:%Y%m%d}）" for day in coming]
    assert all(words in form for words in named[:10])
    assert not any(words in form for words in named[10:])
    assert f"例：{coming[0].start_on:%Y%m%d}" in form
    assert "申込締切日" not in blank_form(TODAY)


@pytest.mark.parametrize("reason", example_reasons())
def test_an_example_of_a_reason_is_one_that_is_taken(reason):
    spec = form_layout().section("application").field("reason")
    assert broken_rule(spec, reason, RuleContext(today=TODAY, limits=ApplicationLimits())) is None


def test_the_two_notes_are_of_interruption_and_of_the_spare_router():
    assert len(notes()) == 2
    assert "数時間" in notes()[0]
    assert "予備ルータ" in notes()[1]


class TestDiagram:
    def test_the_workbook_opens_and_passes_our_own_check(self):
        book = openpyxl.load_workbook(io.BytesIO(diagram_template()))
        assert book.sheetnames == ["システム構成図"]
        assert book.active["A1"].value == "システム構成図"
        file = MailAttachment(name=DIAGRAM, content=diagram_template(), content_type="application/octet-stream")
        assert workbook_problem(file, ApplicationLimits()) is None

    def test_it_is_the_same_every_time(self):
        first = diagram_template()
        diagram_template.cache_clear()
        assert diagram_template() == first
