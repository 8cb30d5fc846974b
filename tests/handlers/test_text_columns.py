from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.text_columns import columns, fold

# Text as forms hold it: Japanese, half-width kana, words, spaces, line ends; no control characters.
TEXT = st.text(st.sampled_from("あ漢ア、。（）ｱａabc-_.@: 　\n\u3099※→"), max_size=200)


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("あいう", 6), ("ｱｲｳ", 3), ("ＡＢ", 4), ("※→", 4), ("か\u3099", 2), ("", 0)],
)
def test_a_full_width_character_takes_two_columns(text, width):
    assert columns(text) == width


@given(TEXT, st.integers(0, 40), st.integers(0, 8))
def test_no_line_is_wider_than_the_text_area(text, used, indent):
    first, *others = fold(text, used=used, indent=indent, width=48).split("\n")
    assert columns(first) <= 48 - used
    assert all(columns(line) <= 48 for line in others)


@given(TEXT, st.integers(0, 40), st.integers(0, 8))
def test_folding_changes_nothing_but_space(text, used, indent):
    folded = fold(text, used=used, indent=indent, width=48)
    assert "".join(folded.split()) == "".join(text.split())


def test_lines_after_the_first_are_indented():
    assert fold("あ" * 8, used=4, indent=2, width=12) == "ああああ\n  ああああ"


def test_a_line_end_of_the_text_stays():
    assert fold("一\n\n二", indent=2) == "一\n\n  二"


def test_a_word_is_kept_whole():
    assert fold("ああ word@applicant.example", width=24) == "ああ\nword@applicant.example"


def test_a_word_too_wide_for_a_line_is_cut():
    assert fold("x" * 25, width=10) == "x" * 10 + "\n" + "x" * 10 + "\n" + "x" * 5


def test_a_closing_mark_does_not_begin_a_line():
    assert fold("ああああ。い", width=8) == "あああ\nあ。い"
