from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.case_marks import Mark, read_marks, receipt_numbers
from tests.handlers.applications.application_mails import inbound
from tests.handlers.reply_cases import written


def said(text, **mail):
    return read_marks(inbound(written(text, **mail)))


@pytest.mark.parametrize("mark", Mark)
def test_the_first_line_says_what_the_writer_wants(mark):
    found = said(f"【{mark}】\nお願いします。\n")
    assert (found.mark, found.words) == (mark, "お願いします。")


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ("　【 回 答 】　", Mark.ANSWER),
        ("\ufeff【回答】", Mark.ANSWER),
        ("【ｼｽﾃﾑ設定申込】", Mark.SETTINGS),
        ("【システム設定申込】", Mark.SETTINGS),
        ("【取り下げ】", Mark.WITHDRAWAL),
        ("【取下】", Mark.WITHDRAWAL),
        ("\n \n　\n【照会】", Mark.QUESTION),
    ],
)
def test_a_mark_is_read_in_any_width_and_below_blank_lines(line, mark):
    assert said(f"{line}\n").mark is mark


@pytest.mark.parametrize(
    "text",
    [
        "お世話になっております。\n【取下げ】\n",
        "【キャンセル】\n",
        "取下げ\n",
        "「【取下げ】」と書けばよいですか。\n",
        "> 【取下げ】\n",
        "-- \n【取下げ】\n",
        "-----Original Message-----\n【取下げ】\n",
    ],
)
def test_what_is_not_in_the_first_new_line_is_no_mark(text):
    assert said(text).mark is None


def test_text_behind_the_mark_is_said_too():
    assert said("【回答】 3台です。\n以上です。\n").words == "3台です。\n以上です。"


def test_quotes_and_signatures_are_not_said():
    text = "【回答】\n3台です。\n-- \n通関　花子\n\n> 【修正】\n> 台数を教えてください。\n"
    found = said(text)
    assert (found.words, found.others) == ("3台です。", ())


def test_other_marks_on_lines_of_their_own_are_told():
    found = said("【回答】\n3台です。\n【修正】\n電話番号: 0312345678\n【回答】\n【照会】とも書きました。\n")
    assert (found.mark, found.others) == (Mark.ANSWER, (Mark.AMENDMENT,))


def test_long_words_are_shortened():
    assert len(said("【回答】\n" + "あ" * 9000).words) <= 4001


@pytest.mark.parametrize(
    "text",
    ["260001A", "260001a", "２６０００１Ａ", "受付番号260001Aの件", "【260001A】", "(260001A)", "No.260001A、"],
)
def test_receipt_numbers_are_found_in_any_width_and_case(text):
    assert receipt_numbers(inbound(written(f"{text}\n"))) == ("260001A",)
    assert receipt_numbers(inbound(written("本文\n", subject=text))) == ("260001A",)


@pytest.mark.parametrize("text", ["26001A", "260001AB", "X260001A", "260001", "1234567890123A", "> 260001A"])
def test_other_numbers_and_quoted_ones_are_none(text):
    assert receipt_numbers(inbound(written(f"{text}\n"))) == ()


def test_several_numbers_are_found_each_once():
    text = "260001A と 260002A、260001a\n"
    assert receipt_numbers(inbound(written(text, subject="260002A"))) == ("260002A", "260001A")


@given(st.text(max_size=200))
def test_no_text_makes_a_mark_out_of_nothing_or_raises(text):
    mail = inbound(written(text.encode("utf-8", "replace").decode()))
    found = read_marks(mail)
    assert found.mark is None or "【" in text
    assert all(number.endswith("A") for number in receipt_numbers(mail))
