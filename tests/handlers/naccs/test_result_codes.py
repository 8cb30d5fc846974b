"""Result codes: fifteen characters on the wire, and a cause and an action in both languages."""

from __future__ import annotations

import pytest

from handlers.naccs.result_codes import CODE_KINDS, NORMAL_END, RESULT_CODES, describe, result_code


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


@pytest.mark.parametrize("kind", CODE_KINDS.values(), ids=CODE_KINDS)
def test_every_kind_says_name_cause_and_action_in_both_languages(kind):
    assert not any(text.isascii() for text in (kind.name_ja, kind.cause_ja, kind.action_ja))
    assert all(text and text.isascii() for text in (kind.letter, kind.name_en, kind.cause_en, kind.action_en))


def test_the_kinds_are_those_of_the_specification_and_normal_end():
    assert set(CODE_KINDS) == set("0USREWMLA")


def test_a_code_is_described_in_the_language_asked_for():
    described = describe("A0008-0000-0000")
    assert (described.code, described.item, described.row) == ("A0008", "", 0)
    assert (described.kind, described.cause) == ("システム共通", RESULT_CODES["A0008"].cause_ja)
    english = describe("A0008-0000-0000", "en")
    assert (english.kind, english.action) == ("system common", RESULT_CODES["A0008"].action_en)
    assert describe("A0008") == described
    assert describe(NORMAL_END, "en").cause == "The processing ended normally"


def test_an_unknown_code_has_the_texts_of_its_kind_and_says_where():
    described = describe("R0012-DLN -0003", "en")
    assert (described.code, described.item, described.row) == ("R0012", "DLN", 3)
    assert described.cause == CODE_KINDS["R"].cause_en
    assert describe("W0001-0000-0000").kind == "注意喚起"


@pytest.mark.parametrize(
    "code", ["", "X0001-0000-0000", "00001-0000-0000", "A00", "Ａ０００８", "A0008-0000", "\xff" * 15]
)
def test_what_is_no_code_is_described_as_unknown(code: str):
    assert describe(code, "en").kind == "unknown"
    assert describe(code).kind == "不明"
