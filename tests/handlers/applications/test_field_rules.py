from __future__ import annotations

import unicodedata
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.applications.field_rules import (
    ApplicationLimits,
    OfficeFacts,
    RuleContext,
    broken_rule,
    example_for,
    field_error,
    is_full_width,
    split_joined_name,
    text_length,
)
from handlers.applications.form_layout import FieldSpec, form_layout

TODAY = date(2026, 11, 24)
CONTEXT = RuleContext(today=TODAY, limits=ApplicationLimits())


def rule(name: str, value: str, context: RuleContext = CONTEXT, *, lines: bool = False) -> str | None:
    return broken_rule(FieldSpec(key="x", label="x", rule=name, example="", lines=lines), value, context)


@pytest.mark.parametrize(
    "value",
    [
        "通関",
        "髙﨑",
        "𠮷野",
        "営業第３課",
        "㈱ナックス",
        "第Ⅱ営業部",
        "①課",
        "ひらがな",
        "カナ・ー～",
        "Ａ＆Ｂ　東京",
        "部（東）",
        "α班",
        "―",
    ],
)
def test_full_width_text_is_taken(value):
    assert rule("full_width", value) is None


@pytest.mark.parametrize("value", ["営業第3課", "ABC", "ﾅｯｸｽ", "通 関", "課-", "é", "ﾞ", "課\t", "€uro"])
def test_text_with_anything_of_half_width_is_not(value):
    assert rule("full_width", value) == "full_width"


@settings(deadline=None)
@given(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.characters(min_codepoint=0xFF61, max_codepoint=0xFF9F)
)
def test_no_ascii_and_no_half_width_kana_is_full_width(character):
    assert not is_full_width(character)


@pytest.mark.parametrize("value", ["ツウカン", "ヴァー", "ヶ", "ジョン・スミス", "ツウカン　ハナコ", "ァ", "ヺ"])
def test_full_width_kana_is_taken(value):
    assert rule("full_width_kana", value) is None


@pytest.mark.parametrize(
    "value", ["つうかん", "ﾂｳｶﾝ", "ツウカン1", "ツウカン ハナコ", "通関", "・", "ー", "ヽ", "ツウカン\u3099"]
)
def test_other_kana_is_not(value):
    assert rule("full_width_kana", value) == "full_width_kana"


@pytest.mark.parametrize("value", ["0301234567", "09012345678", "0000000000"])
def test_ten_or_eleven_digits_beginning_with_0_are_a_number(value):
    assert rule("phone", value) is None


@pytest.mark.parametrize(
    "value", ["030123456", "030123456789", "3012345678", "03-01234567", "０３０１２３４５６７", "+8130123456"]
)
def test_other_numbers_are_none(value):
    assert rule("phone", value) == "phone"


@pytest.mark.parametrize(
    ("value", "broken"),
    [
        ("20261124", None),
        ("20261125", None),
        ("20280229", None),
        ("20261123", "date_past"),
        ("20270229", "date_not_real"),
        ("20261131", "date_not_real"),
        ("00000000", "date_not_real"),
        ("2026-12-14", "date"),
        ("２０２６１２１４", "date"),
        ("٢٠٢٦١٢١٤", "date"),
    ],
)
def test_a_date_is_a_real_day_not_before_today(value, broken):
    assert rule("date", value) == broken


@pytest.mark.parametrize("value", ["a@b.example", "a.b+c_d@x-y.b.example", "0@1.example"])
def test_a_plain_address_is_taken(value):
    assert rule("email", value) is None


@pytest.mark.parametrize(
    "value", ["a", "a@b", "a@@b.example", "a b@c.example", "a@b.example,c@d.example", "ａ@b.example", '"a"@b.example']
)
def test_other_addresses_are_not(value):
    assert rule("email", value) == "email"


def test_240_characters_are_counted_as_code_points_after_composition():
    assert rule("long_text", "あ" * 240, lines=True) is None
    assert rule("long_text", "あ" * 241, lines=True) == "long_text"
    assert rule("long_text", "𠮷" * 240, lines=True) is None
    assert rule("long_text", unicodedata.normalize("NFD", "ガ") * 240, lines=True) is None
    assert rule("long_text", "あ" * 239 + "\n", lines=True) is None
    assert rule("long_text", "あ" * 239 + "\nい", lines=True) == "long_text"
    assert text_length("が\n") == 2


@pytest.mark.parametrize("value", ["1", "9", "10", "99"])
def test_a_count_from_1_to_99_is_taken(value):
    assert rule("count", value) is None


@pytest.mark.parametrize("value", ["0", "00", "01", "100", "-1", "+1", "1.0", "１", "一", "1台", "1" * 5000])
def test_any_other_count_is_not(value):
    assert rule("count", value) == "count"


@pytest.mark.parametrize("value", ["64kbps", "1.5Mbps", "100 Mbps", "1Gbps", "9999kbps"])
def test_a_speed_is_a_number_with_its_unit(value):
    assert rule("access_speed", value) is None


@pytest.mark.parametrize(
    "value", ["128", "128KBPS", "0kbps", "128　kbps", "１２８kbps", "10000kbps", "1.234Mbps", "128  kbps"]
)
def test_any_other_speed_is_none(value):
    assert rule("access_speed", value) == "access_speed"


def test_a_field_with_choices_takes_these_words_alone():
    spec = form_layout().section("line").field("edifact")
    assert [broken_rule(spec, word, CONTEXT) for word in ("要", "否", "不要", "要 ")] == [
        None,
        None,
        *["line_word"] * 2,
    ]
    assert "要、否" in field_error("line_word", section="s", label="l", given="x", example="要", context=CONTEXT,
                                  choices="要、否").rule_ja  # fmt: skip


def test_a_value_of_one_line_is_one_line():
    assert rule("phone", "0301234567\nx") == "one_line"


@pytest.mark.parametrize("value", ["a\x00b", "a\x1b[31m", "a\u2028b", "\ue000", "\u202eb", "a\x85"])
def test_what_cannot_be_shown_is_refused_everywhere(value):
    assert rule("item_change", value, lines=True) == "control_characters"


def test_line_ends_and_tabs_can_be_shown():
    assert rule("item_change", "a\tb\nc", lines=True) is None


class TestRegister:
    CONTEXT = RuleContext(
        today=TODAY,
        limits=ApplicationLimits(),
        office=OfficeFacts(office_code="CT0001", router_numbers={"09143": ("25130M",)}),
        terminals=("25130M",),
    )

    def test_a_router_number_is_text_and_one_of_the_lines(self):
        assert rule("router_number", "09143", self.CONTEXT) is None
        assert rule("router_number", "9143", self.CONTEXT) == "router_unknown"
        assert rule("router_number", "9143") is None
        assert rule("router_number", "R1", self.CONTEXT) == "router_number"

    def test_a_terminal_is_one_of_the_line(self):
        assert rule("terminal_name", "25130M", self.CONTEXT) is None
        assert rule("terminal_name", "25131M", self.CONTEXT) == "terminal_unknown"
        assert rule("terminal_name", "25131M") is None
        assert rule("terminal_names", "25130M\n25131M", self.CONTEXT, lines=True) == "terminal_unknown"
        assert rule("terminal_names", "25130", self.CONTEXT, lines=True) == "terminal_names"

    def test_without_an_office_the_example_is_that_of_the_form(self):
        spec = form_layout().section("application").field("office_code")
        assert example_for(spec, CONTEXT) == "CT0001"


def test_the_example_of_a_date_is_never_past():
    spec = FieldSpec(key="x", label="x", rule="date", example="")
    for schedule in (
        frozenset(),
        frozenset({TODAY}),
        frozenset({TODAY - timedelta(days=9), TODAY + timedelta(days=2)}),
    ):
        context = RuleContext(today=TODAY, limits=ApplicationLimits(), schedule=schedule)
        assert broken_rule(spec, example_for(spec, context), context) is None


@pytest.mark.parametrize(
    ("value", "halves"),
    [
        ("通関 花子", ("通関", "花子")),
        ("通関　花子", ("通関", "花子")),
        ("通関花子", None),
        ("通関  花子", None),
        ("通関 　花子", None),
        ("通 関 花子", None),
        ("通関\n花子", None),
        ("通関\t花子", None),
    ],
)
def test_a_joined_name_has_exactly_one_space(value, halves):
    assert split_joined_name(value) == halves
    assert rule("joined_name", value, lines=True) == (None if halves else "joined_name")


def test_limits_in_force_are_told():
    context = RuleContext(today=TODAY, limits=ApplicationLimits(greatest_count=12))
    error = field_error("count", section="s", label="l", given="13", example="1", context=context)
    assert "12" in error.rule_ja
    assert "12" in error.rule_en
