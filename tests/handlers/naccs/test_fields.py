"""Field kinds: exact widths, values that come back as they went in, and an error where that cannot be."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.naccs.fields import (
    AN,
    AN_CODES,
    AN_LINE,
    AN_LINE_CODES,
    ANR,
    ANR_CODES,
    DATE,
    DATE_TIME,
    FLG,
    NLEN,
    SN,
    SN_CODES,
    FieldError,
    J,
    Kind,
    N,
    zero_filled_in,
)

WIDTHS = st.integers(1, 60)
TEXT_KINDS = [(AN, AN_CODES), (AN_LINE, AN_LINE_CODES), (ANR, ANR_CODES), (SN, SN_CODES)]
JAPANESE = st.text(st.characters(codec="euc_jp", exclude_categories=["Cc"], exclude_characters="¥‾"))


def is_exact_and_comes_back(kind: Kind[Any], value: Any, width: int) -> bool:
    data = kind.encode(value, width)
    return len(data) == width and kind.decode(data) == value


@pytest.mark.parametrize(("kind", "codes"), TEXT_KINDS, ids=["AN", "AN in one line", "ANR", "SN"])
@given(data=st.data(), width=WIDTHS)
def test_text_of_its_code_set_fills_the_width_and_comes_back(kind, codes: bytes, data, width: int):
    value = data.draw(st.text(codes.decode("ascii"), max_size=width)).rstrip(" ")
    assert is_exact_and_comes_back(kind, value, width)


@pytest.mark.parametrize(("kind", "codes"), TEXT_KINDS, ids=["AN", "AN in one line", "ANR", "SN"])
def test_every_other_byte_is_an_error_both_ways(kind, codes: bytes):
    for byte in set(range(256)) - set(codes):
        with pytest.raises(FieldError):
            kind.encode(chr(byte), 3)
        with pytest.raises(FieldError):
            kind.decode(b"A" + bytes([byte]) + b" ")


def test_the_code_sets_are_those_of_the_specification():
    assert AN_CODES == b"\n\r" + AN_LINE_CODES
    assert AN_LINE_CODES.decode() == " !\"#%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert set(ANR_CODES) - set(AN_CODES) == set(b"$[\\]^_")
    assert bytes(SN_CODES[-1:]) == b"~"


@given(value=JAPANESE, width=WIDTHS)
def test_japanese_text_is_measured_in_bytes_and_comes_back(value: str, width: int):
    value = value.rstrip(" ")
    if len(value.encode("euc_jp")) <= width:
        assert is_exact_and_comes_back(J, value, width)
    else:
        with pytest.raises(FieldError, match="do not fit"):
            J.encode(value, width)


def test_japanese_text_is_padded_on_the_right_whatever_its_widths():
    assert J.encode("東京ﾄｳ1", 12) == b"\xc5\xec\xb5\xfe\x8e\xc4\x8e\xb31   "


@pytest.mark.parametrize("value", ["髙橋", "①", "\U00020b9f", "\ud800"])
def test_a_character_that_the_codec_lacks_is_an_error_and_not_a_question_mark(value: str):
    with pytest.raises(FieldError, match="does not exist"):
        J.encode(value, 20)


@pytest.mark.parametrize("value", ["¥100", "‾"])
def test_a_character_that_would_come_back_as_another_is_an_error(value: str):
    with pytest.raises(FieldError, match="place of its own"):
        J.encode(value, 20)


@pytest.mark.parametrize("data", [b"\xff", b"\xa4", b"\x8f\xa2", b"ab\x8e"])
def test_bytes_that_are_not_the_codec_are_an_error(data: bytes):
    with pytest.raises(FieldError, match="are not euc_jp"):
        J.decode(data)


def test_japanese_text_in_another_codec_has_that_codecs_width():
    assert J.encode("東", 4, "utf-8") == "東 ".encode()
    assert J.decode("東 ".encode("shift_jis"), "shift_jis") == "東"


def test_line_ends_may_stand_in_japanese_text_and_control_characters_may_not():
    assert is_exact_and_comes_back(J, "一\r\n二", 8)
    for value in ("\x00", "\t", "\x1b$B", "\x7f"):
        with pytest.raises(FieldError, match="control"):
            J.encode(value, 8)
        with pytest.raises(FieldError, match="control"):
            J.decode(value.encode())


@given(value=st.decimals(0, 10**12, places=3) | st.integers(0, 10**17).map(Decimal) | st.none())
def test_a_number_stands_on_the_right_and_comes_back(value: Decimal | None):
    assert is_exact_and_comes_back(N, value, 20)


def test_a_number_is_filled_with_spaces_on_the_left():
    assert N.encode(Decimal("12.50"), 8) == b"   12.50"
    assert N.encode(Decimal("1E+3"), 8) == b"    1000"
    assert N.encode(None, 3) == b"   "


@pytest.mark.parametrize("value", ["-1", "-0", "NaN", "Infinity", "123456789"])
def test_a_number_with_a_sign_or_too_many_digits_is_an_error(value: str):
    with pytest.raises(FieldError):
        N.encode(Decimal(value), 8)


@pytest.mark.parametrize("data", [b"12  ", b" 1 2", b"-1", b"1.", b".5", b"1e3", b"1,000", b"\xa3\xb1"])
def test_bytes_that_are_no_right_justified_number_are_an_error(data: bytes):
    with pytest.raises(FieldError):
        N.decode(data)


@given(value=st.integers(0, 999_999))
def test_a_zero_filled_number_fills_its_item_and_comes_back(value: int):
    assert is_exact_and_comes_back(NLEN, value, 6)
    assert NLEN.encode(value, 6).isdigit()


@given(value=st.integers(0, 9999), width=st.integers(4, 12))
def test_a_number_of_fixed_digits_stands_on_the_left_of_a_wider_item(value: int, width: int):
    kind = zero_filled_in(4)
    assert is_exact_and_comes_back(kind, value, width)
    assert kind.encode(value, width) == f"{value:04d}".ljust(width).encode()


@pytest.mark.parametrize(("value", "width"), [(-1, 6), (1_000_000, 6), (0, 0)])
def test_a_number_beyond_its_digits_is_an_error(value: int, width: int):
    with pytest.raises(FieldError):
        NLEN.encode(value, width)


def test_fixed_digits_need_an_item_that_holds_them():
    with pytest.raises(FieldError):
        zero_filled_in(4).encode(1, 3)
    for data in (b"001", b"00 1 ", b"0001x", b"    "):
        with pytest.raises(FieldError):
            zero_filled_in(4).decode(data)


@pytest.mark.parametrize("data", [b"   507", b"00050A", b"+00507", b"      ", b""])
def test_what_is_not_all_digits_is_no_zero_filled_number(data: bytes):
    with pytest.raises(FieldError):
        NLEN.decode(data)


@given(value=st.dates() | st.none())
def test_a_date_takes_eight_bytes_and_comes_back(value: date | None):
    assert is_exact_and_comes_back(DATE, value, 8)


@pytest.mark.parametrize("data", [b"20250230", b"2025 401", b"2025041", b"00000000"])
def test_a_day_that_does_not_exist_is_an_error(data: bytes):
    with pytest.raises(FieldError):
        DATE.decode(data)


@given(value=st.datetimes(datetime(1952, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)) | st.none())  # noqa: DTZ001
def test_a_time_is_written_to_the_minute_of_japan_and_comes_back(value: datetime | None):
    data = DATE_TIME.encode(value, 14)
    minute = value and value.replace(second=0, microsecond=0)
    assert len(data) == 14
    assert data.endswith(b"  ")
    assert DATE_TIME.decode(data) == minute


def test_a_time_in_any_zone_is_written_as_japanese_time():
    west = datetime(2025, 3, 31, 19, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert DATE_TIME.encode(west, 14) == b"202504010930  "


def test_a_time_is_read_with_or_without_seconds():
    assert DATE_TIME.decode(b"202504010930  ") == datetime(2025, 4, 1, 0, 30, tzinfo=UTC)
    assert DATE_TIME.decode(b"20250401093005") == datetime(2025, 4, 1, 0, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize("data", [b"202504012430  ", b"2025040109305 ", b"20250401 930  ", b"202504010930"])
def test_a_time_that_does_not_exist_is_an_error(data: bytes):
    with pytest.raises(FieldError):
        DATE_TIME.decode(data)


def test_a_time_without_zone_is_an_error():
    with pytest.raises(FieldError, match="zone"):
        DATE_TIME.encode(datetime(2025, 4, 1), 14)  # noqa: DTZ001


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_an_asterisk_or_a_space(value: bool):
    assert is_exact_and_comes_back(FLG, value, 1)
    assert FLG.encode(value, 1) in {b"*", b" "}


def test_another_flag_is_an_error():
    for data in (b"1", b"", b"**"):
        with pytest.raises(FieldError):
            FLG.decode(data)


@pytest.mark.parametrize(("kind", "value"), [(DATE, None), (DATE_TIME, None), (FLG, True)])
def test_a_kind_of_fixed_width_takes_no_other(kind: Kind[Any], value: Any):
    with pytest.raises(FieldError, match="takes"):
        kind.encode(value, 5)


@given(value=st.text(min_size=1))
def test_an_error_never_repeats_the_value(value: str):
    with pytest.raises(FieldError) as caught:
        AN.encode("SECRET" + value, 6)
    assert "SECRET" not in str(caught.value)
