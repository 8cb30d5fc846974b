from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.applications.form import parse_form
from handlers.applications.form_layout import form_layout
from handlers.mail_text import TextLine, text_lines


def parse(text: str, *, flowed: bool = False):
    return parse_form(text_lines(text, flowed=flowed, delete_space=True), form_layout())


def values(text: str, section: str = "applicant", **options):
    return dict(parse(text, **options).of(section)[0].values)


def test_nothing_counts_before_the_first_section():
    assert parse("電話番号: 1\n申込担当者\n役職名: 係長").blocks == ()


def test_a_label_counts_inside_its_own_section_alone():
    form = parse("【申込担当者】\n電話番号: 1\n事業所コード: CT0001\n【申込内容】\n電話番号: 2")
    assert form.of("applicant")[0].value("phone") == "1\n事業所コード: CT0001"
    assert form.of("application")[0].values == {}


def test_sections_may_stand_in_any_order_and_come_out_in_that_of_the_form():
    form = parse("【変更申込の備考】\n備考: x\n【申込内容】\n事業所コード: CT0001")
    assert [block.section.key for block in form.blocks] == ["application", "remarks"]


@pytest.mark.parametrize(
    "label",
    [
        "E-mailアドレス（登録用）",
        "Ｅ－ｍａｉｌアドレス(登録用)",
        "E-MAIL ｱﾄﾞﾚｽ （登録用）",
        "E−mailアドレス（登録用）",
        "E-mailアドレス",
    ],
)
@pytest.mark.parametrize("colon", [":", "：", " : ", "︓", "﹕"])
def test_labels_are_compared_without_width_spaces_and_the_kind_of_colon(label, colon):
    assert values(f"【申込担当者】\n　{label}{colon}a@b.example") == {"email": "a@b.example"}


def test_section_names_are_compared_the_same_way():
    assert values("  【 申込担当者 】 \n役職名:係長") == {"title": "係長"}
    assert parse("【備考】\n備考: x").of("remarks")[0].value("remarks") == "x"


def test_values_are_never_folded():
    assert values("【申込担当者】\n所属部課名: 営業第３課ｱ①㈱：Ａ") == {"department": "営業第３課ｱ①㈱：Ａ"}


def test_a_value_runs_on_until_the_next_label_or_section():
    text = "【申込内容】\n変更する理由: 一\n\n二: 三\n 【未知の見出し】\n四\n\n申込分類: 変更申込"
    assert values(text, "application") == {
        "reason": "一\n\n二: 三\n 【未知の見出し】\n四",
        "application_class": "変更申込",
    }


def test_text_before_the_first_label_of_a_section_is_kept_apart():
    block = parse("【申込担当者】\n担当は次のとおりです。\n\n役職名: 係長").of("applicant")[0]
    assert (block.stray, block.values) == ("担当は次のとおりです。", {"title": "係長"})


@pytest.mark.parametrize("value", ["", " ", "　", "\t"])
def test_an_empty_value_is_not_given(value):
    assert values(f"【申込担当者】\n役職名:{value}\n電話番号: 1") == {"phone": "1"}


@pytest.mark.parametrize("end", ["【以上】", "【 以上 】", "-- "])
def test_nothing_is_read_after_the_end(end):
    assert values(f"【申込担当者】\n役職名: 係長\n{end}\n電話番号: 1\n【申込内容】\n申込分類: x") == {"title": "係長"}
    assert parse(f"{end}\n【申込担当者】\n役職名: 係長").blocks == ()


def test_no_break_spaces_and_wave_dashes_are_those_of_a_label():
    text = (
        "\u00a0【\u00a0申込担当者 】\u00a0\nＥ〜ｍａｉｌアドレス(登録用)\u00a0:\u00a0a@b.example\u00a0\n"
        "役職名：係\u00a0長\n--\u00a0\n電話番号: 1"
    )
    assert values(text.replace("〜", "ー")) == {"email": "a@b.example", "title": "係\u00a0長"}
    assert values(text) == {"title": "係\u00a0長"}


def test_a_dash_without_its_space_ends_nothing():
    assert values("【申込内容】\n変更する理由: a\n--\nb", "application") == {"reason": "a\n--\nb"}


def test_lines_beginning_with_a_hash_are_notes():
    assert values("# 【申込内容】\n【申込担当者】\n# 任意\n役職名: 係長\n# 例\n電話番号: 1 # 2") == {
        "title": "係長",
        "phone": "1 # 2",
    }


def test_a_note_a_mailer_wrapped_is_a_note_to_its_end():
    assert values("【申込担当者】\n役職名: 係長\n# 長い \n注記\n電話番号: 1", flowed=True) == {
        "title": "係長",
        "phone": "1",
    }


def test_soft_line_ends_are_no_line_ends_but_never_hide_a_label():
    text = "【申込担当者】\n役職名: 係 \n長\nFAX番号: \n電話番号: 1"
    assert values(text, flowed=True) == {"title": "係長", "phone": "1"}


def test_the_same_label_twice_is_reported_and_never_decided():
    block = parse("【申込担当者】\n役職名: 係長\n役職名:\n電話番号: 1").of("applicant")[0]
    assert block.repeated == {"title": ("係長", "")}
    assert block.values == {"phone": "1"}


def test_an_alias_is_the_same_label():
    block = parse("【申込内容】\n利用開始日: 1\n利用開始希望日: 2").of("application")[0]
    assert block.repeated == {"desired_start_date": ("1", "2")}


def test_a_section_left_and_taken_up_again_is_one():
    block = parse("【申込担当者】\n役職名: 係長\n【申込内容】\n【申込担当者】\n続き\n役職名: 課長\n電話番号: 1").of(
        "applicant"
    )[0]
    assert block.repeated == {"title": ("係長", "課長")}
    assert (block.values, block.stray) == ({"phone": "1"}, "続き")


def test_the_section_of_a_line_may_repeat():
    form = parse("【回線・論理端末】\nルータ番号: 1\n【申込内容】\n【回線・論理端末】\nルータ番号: 2")
    assert [(block.number, block.value("router_number")) for block in form.of("line")] == [(1, "1"), (2, "2")]


def test_an_item_without_a_screen_has_a_section_of_its_name():
    block = parse("【支払の方法（口座振替・銀行振込）】\n変更前: 口座振替\n変更後: 銀行振込").blocks[0]
    assert block.values == {"before": "口座振替", "after": "銀行振込"}


class TestTables:
    def test_a_cell_ends_a_label_as_a_colon_does(self):
        assert values("【申込担当者】\t\n役職名\t係長\n電話番号:\t1\nFAX番号\t\n所属部課名\t:\tx") == {
            "title": "係長",
            "phone": "1",
            "department": "x",
        }

    def test_a_heading_in_the_first_cell_of_a_row_is_one(self):
        assert values("【申込担当者】\t役職名\t係長\n\t電話番号\t1\n【以上】\t\nFAX番号\t2") == {
            "title": "係長",
            "phone": "1",
        }

    def test_a_tab_inside_a_value_stays(self):
        assert values("【申込内容】\n変更する理由: a\tb\nc\td", "application") == {"reason": "a\tb\nc\td"}


class TestLoose:
    def read(self, text: str):
        return parse_form(text_lines(text, flowed=False, delete_space=False), form_layout(), loose=True)

    def test_labels_of_one_section_count_above_the_first_heading(self):
        form = self.read("【修正】\nよろしく\n役職名: 係長\n営業\n申込内容: 変更\n電話番号: 1\nルータ番号: 2")
        assert form.of("applicant")[0].values == {"title": "係長\n営業", "phone": "1"}
        assert [block.values for block in form.of("line")] == [{"action": "変更", "router_number": "2"}]

    def test_labels_of_several_sections_are_told_with_what_follows_them(self):
        form = self.read("役職名: 係長\n備考: x\ny\n変更後： z")
        assert form.unplaced == (("備考", "x"), ("変更後", "z"))
        assert form.of("applicant")[0].values == {"title": "係長"}

    def test_below_a_heading_the_grammar_is_as_strict_as_ever(self):
        form = self.read("【申込内容】\n事業所コード: CT0001\n役職名: 係長")
        assert form.of("application")[0].value("office_code") == "CT0001\n役職名: 係長"
        assert not form.of("applicant")

    def test_the_same_label_twice_is_reported(self):
        assert self.read("役職名: 係長\n電話番号: 1\n役職名: 課長").of("applicant")[0].repeated == {
            "title": ("係長", "課長")
        }


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["【申込担当者】", "【以上】", "【x】", "役職名: a", "役職名", "b", "", "#c", "-- ", "備考：d"])
    )
)
def test_no_line_is_lost_before_the_end(found):
    form = parse_form([TextLine(line) for line in found], form_layout())
    kept = "\n".join(
        [
            text
            for block in form.blocks
            for text in (*block.values.values(), *sum(block.repeated.values(), ()), block.stray)
        ]
    )
    end = next((number for number, line in enumerate(found) if line in ("【以上】", "-- ")), len(found))
    begin = next((number for number, line in enumerate(found[:end]) if line == "【申込担当者】"), end)
    assert kept.count("b") == found[begin:end].count("b")
    assert kept.count("d") == found[begin:end].count("備考：d")
