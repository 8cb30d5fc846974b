from __future__ import annotations

import re

import pytest

from handlers.applications.field_rules import (
    VALIDATORS,
    ApplicationLimits,
    RuleContext,
    broken_rule,
    example_for,
    field_rule,
)
from handlers.applications.form_layout import fold_label, form_layout
from tests.handlers.applications.application_mails import FORM, OFFICE, TODAY

FIELDS = [(section, field) for section in form_layout().sections for field in section.fields]
NAMES = [f"{section.name}/{field.label}" for section, field in FIELDS]


def test_every_label_of_the_sample_form_is_known():
    section = None
    for line in FORM.splitlines():
        heading = re.fullmatch(r"【(.*)】", line)
        if heading:
            section = form_layout().by_fold.get(fold_label(heading[1]))
        elif line:
            assert section is not None
            assert fold_label(line.partition(":")[0]) in form_layout().labels_by_fold[section.key]


def test_no_two_labels_of_a_section_are_the_same_when_folded():
    for section in form_layout().sections:
        labels = [fold_label(label) for field in section.fields for label in (field.label, *field.aliases)]
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(("_section", "field"), FIELDS, ids=NAMES)
def test_every_rule_has_a_validator_and_words(_section, field):
    assert field.rule in VALIDATORS
    if not field.joins:
        assert all(field_rule(field, RuleContext(today=TODAY, limits=ApplicationLimits())))


@pytest.mark.parametrize("office", [None, OFFICE], ids=["office unknown", "office known"])
@pytest.mark.parametrize("terminals", [None, ("25130M", "60777S")], ids=["line unknown", "line known"])
@pytest.mark.parametrize(("_section", "field"), FIELDS, ids=NAMES)
def test_the_example_of_every_field_passes_its_own_rule(_section, field, office, terminals):
    context = RuleContext(today=TODAY, limits=ApplicationLimits(), office=office, terminals=terminals)
    example = example_for(field, context)
    assert broken_rule(field, example, context) is None if example else not field.required


def test_folding_leaves_nothing_of_width_case_space_and_dash():
    assert fold_label("GWサ\u2212バ\u00a0台数（SMTP\u200b／POP3）") == fold_label("GWサーバ台数（SMTP/POP3）")
    assert fold_label("氏名（フリガナ\u00b7姓）") == fold_label("氏名（ﾌﾘｶﾞﾅ･姓）")
    assert len({fold_label(f"a{wave}b") for wave in "~～〜∼"}) == 1
    assert fold_label(" Ｅ‐ｍａｉｌ　ｱﾄﾞﾚｽ ( 登録用 ) ") == fold_label("E-mailアドレス（登録用）")
