"""Result codes: fifteen characters on the wire, and a cause and an action in both languages."""

from __future__ import annotations

import pytest

from handlers.naccs.result_codes import NORMAL_END, RESULT_CODES, result_code


def test_a_code_is_fifteen_characters():
    assert NORMAL_END == "00000-0000-0000"
    assert result_code("A0008") == "A0008-0000-0000"
    assert result_code("R0012", "DLN", 3) == "R0012-DLN -0003"


@pytest.mark.parametrize("wrong", [("A008",), ("a0008",), ("A0008", "LONGER"), ("A0008", ""), ("A0008", "A", 10000)])
def test_what_is_no_code_is_refused(wrong):
    with pytest.raises(ValueError, match="a result code is"):
        result_code(*wrong)


def test_the_table_holds_the_system_common_codes_once_each():
    system_common = [code for code in RESULT_CODES if code.startswith("A")]
    assert system_common == [f"A{number:04d}" for number in (*range(1, 15), 16)]
    assert {"E0001", "U0001"} <= RESULT_CODES.keys()


@pytest.mark.parametrize("row", RESULT_CODES.values(), ids=RESULT_CODES)
def test_every_code_says_cause_and_action_in_both_languages(row):
    assert not row.cause_ja.isascii()
    assert not row.action_ja.isascii()
    assert row.cause_en.isascii()
    assert row.action_en.isascii()
    assert all(row)
