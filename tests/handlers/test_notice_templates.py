from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handlers.notice_templates import (
    catalogue,
    folded,
    iso_time,
    item,
    kilobytes,
    one_line,
    refuse_control_characters,
    render,
    shown,
)
from handlers.outcomes import TemplateFault
from tests.mail_templates.template_values import VALUES

PARKED = "operator/mail-parked"


def parked_with(**values):
    addressee = {"addressee": None, "support": None}
    return render(PARKED, {**addressee, **VALUES[PARKED], **values})


@pytest.mark.parametrize("character", ["\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\ud800"])
def test_a_control_character_in_a_value_is_refused(character):
    with pytest.raises(TemplateFault, match="control character"):
        parked_with(reason=f"before{character}after")


def test_a_line_end_in_a_value_that_stands_alone_is_refused():
    with pytest.raises(TemplateFault, match=r"U\+000A"):
        render("operator/mail-parked", {**VALUES[PARKED], "mail_id": "1\nBcc: someone@elsewhere.example"})


def test_a_value_without_any_content_is_refused():
    with pytest.raises(TemplateFault, match="no value"):
        render("reviewer/no-administrator-address", {"case": None, "office_code": "", "notice_name": ""} | parts())


def parts():
    class NoNumber:
        receipt_number = None

    return {"case": NoNumber()}


def test_a_value_of_the_wrong_kind_is_a_fault_and_no_crash():
    with pytest.raises(TemplateFault, match="mail-parked"):
        parked_with(received="not an instant")


def test_control_characters_of_strangers_become_visible():
    assert shown("a\x1b[31m\tb\u202e") == "a[U+001B][31m b[U+202E]"
    assert shown("a\r\nb\rc\nd") == "a\nb\nc\nd"
    refuse_control_characters("text", shown("\x00\x85\ud800\u2028"))


def test_a_long_foreign_text_is_cut():
    assert shown("x" * 10, at_most=10) == "x" * 10
    assert shown("x" * 11, at_most=10) == "x" * 9 + "…"


def test_an_item_hangs_below_its_label():
    assert item("品名", "あ" * 40) == "品名 : " + "あ" * 34 + "\n    " + "あ" * 6
    assert item("品名", "一\n二", indent=2) == "  品名 : 一\n      二"


@pytest.mark.parametrize("value", ["", None])
def test_an_item_without_value_is_its_label_alone(value):
    assert item("FAX番号", value) == "FAX番号 :"


def test_folded_text_begins_where_it_is_told():
    assert folded("あ" * 38, indent=2, hanging=2) == "  " + "あ" * 37 + "\n    あ"


@pytest.mark.parametrize(("size", "text"), [(0, "0KB"), (1, "1KB"), (1024, "1KB"), (1025, "2KB"), (151552, "148KB")])
def test_sizes_are_whole_kilobytes(size, text):
    assert kilobytes(size) == text


def test_an_english_text_shows_the_instant_with_its_offset():
    assert iso_time(datetime(2026, 12, 31, 15, 5, tzinfo=UTC)) == "2027-01-01 00:05+09:00"


def test_a_place_of_one_line_takes_one_line():
    assert one_line("a\r\nb\nc\x00") == "a b c[U+0000]"
    assert one_line("x" * 11, at_most=10) == "x" * 9 + "…"


def test_english_is_not_made_up_where_there_is_none():
    with pytest.raises(TemplateFault, match="no English text"):
        render(PARKED, VALUES[PARKED], bilingual=True)


def test_the_catalogue_names_every_notice_with_its_subjects():
    kinds = {kind.name: kind for kind in catalogue()}
    assert kinds["operator/destination-down"].subject == "【NSS】宛先停止のお知らせ（… ほか…件）"
    assert kinds["operator/destination-down"].english_subject == ""
    assert kinds["applicant/id-notice"].english_subject == "Notice of IDs"
    assert len({kind.version for kind in kinds.values()}) == len(kinds)
