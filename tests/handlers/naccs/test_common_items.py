"""The common items: the grid of the specification, and every item read back as it was written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.naccs.common_items import (
    INPUT_ITEMS,
    OUTPUT_ITEMS,
    RESERVED,
    InputCommonItems,
    Item,
    OutputCommonItems,
    read,
)
from handlers.naccs.fields import AN_LINE, AN_LINE_CODES, DATE_TIME, KNOWN_CODECS, NLEN, SN_CODES, FieldError, J
from tests.handlers.naccs.sound_request import BODY, EDI

# Offsets as the specification's two tables print them.
INPUT_OFFSETS = [0, 3, 8, 29, 34, 37, 45, 219, 245, 253, 263, 363, 364, 365, 392]
OUTPUT_OFFSETS = [0, 3, 8, 15, 29, 34, 45, 51, 115, 179, 219, 245, 248, 249, 250, 253, 263, 363, 364, 392]
MINUTES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def values_of(item: Item) -> st.SearchStrategy[Any]:
    if item.kind is NLEN:
        return st.integers(0, 10**item.width - 1)
    if item.kind is DATE_TIME:
        return st.none() | MINUTES.map(lambda time: time.replace(second=0, microsecond=0))
    if item.kind is J:
        return st.text("東京ｶﾅ 1A", max_size=item.width // 2).map(lambda text: text.rstrip(" "))
    codes = AN_LINE_CODES if item.kind is AN_LINE else SN_CODES
    return st.text(codes.decode(), max_size=item.width).map(lambda text: text.rstrip(" "))


@pytest.mark.parametrize(
    ("items", "offsets"),
    [(INPUT_ITEMS, INPUT_OFFSETS), (OUTPUT_ITEMS, OUTPUT_OFFSETS)],
    ids=["input", "output"],
)
def test_the_grid_has_no_gap_and_no_overlap(items: tuple[Item, ...], offsets: list[int]):
    assert [item.offset for item in items] == offsets
    ends = [item.offset + item.width for item in items]
    assert ends == [*offsets[1:], 398]
    assert len({item.name for item in items}) == len(items)


@given(values=st.fixed_dictionaries({item.name: values_of(item) for item in INPUT_ITEMS}))
def test_every_input_item_is_read_as_it_was_written(values: dict[str, Any]):
    items = InputCommonItems.of(**values)
    wire = items.encode()
    assert len(wire) == 400
    assert wire.endswith(b"\r\n")
    for item in INPUT_ITEMS:
        assert read(item, wire) == values[item.name]
        if item.kind is not RESERVED and item.name != "password":
            assert getattr(items, item.name) == values[item.name]
    assert items.password.decode() == values["password"]
    assert InputCommonItems.readable_part(wire) == items


@pytest.mark.parametrize("codec", KNOWN_CODECS)
@given(values=st.fixed_dictionaries({item.name: values_of(item) for item in OUTPUT_ITEMS if item.kind is not RESERVED}))
@settings(max_examples=40)
def test_every_output_item_is_read_as_it_was_written(codec: str, values: dict[str, Any]):
    items = OutputCommonItems(**values)
    wire = items.encode(codec)
    assert len(wire) == 400
    assert wire.endswith(b"\r\n")
    assert OutputCommonItems.readable_part(wire, codec) == items


@pytest.mark.parametrize("item", [*INPUT_ITEMS, *OUTPUT_ITEMS], ids=lambda item: f"{item.offset}-{item.name}")
@given(data=st.data())
@settings(max_examples=15)
def test_each_item_fills_its_bytes_and_touches_no_others(item: Item, data: st.DataObject):
    value = data.draw(values_of(item))
    wire = b"?" * item.offset + item.kind.encode(value, item.width) + b"?" * (398 - item.offset - item.width)
    assert len(wire) == 398
    assert read(item, wire) == value
    with pytest.raises(FieldError, match="ends before"):
        read(item, wire[: item.offset + item.width - 1])


@pytest.mark.parametrize("item", [*INPUT_ITEMS, *OUTPUT_ITEMS], ids=lambda item: f"{item.offset}-{item.name}")
def test_each_item_takes_its_width_and_refuses_one_byte_more(item: Item):
    if item.kind is DATE_TIME:
        return
    longest: Any = 10**item.width - 1 if item.kind is NLEN else "X" * item.width
    too_long: Any = 10**item.width if item.kind is NLEN else "X" * (item.width + 1)
    assert len(item.kind.encode(longest, item.width)) == item.width
    with pytest.raises(FieldError):
        item.kind.encode(too_long, item.width)


def test_the_sound_request_reads_as_its_sample_says():
    items = InputCommonItems.readable_part(BODY)
    assert items.raw == BODY[:398]
    assert (items.procedure_code, items.user_code, items.identification_number) == ("TCC", "TST01", "001")
    assert (items.password, items.handover) == (b"PASSWD01", "TCC20250401093005")
    assert (items.input_information_number, items.index_handover) == ("TCC", "")
    assert (items.system_identification, items.message_length) == ("2", 507)


def test_the_sound_request_can_be_written_from_its_values():
    items = InputCommonItems.of(
        procedure_code="TCC",
        user_code="TST01",
        identification_number="001",
        password="PASSWD01",
        handover="TCC20250401093005",
        input_information_number="TCC",
        system_identification="2",
        message_length=507,
    )
    assert items.encode() == BODY[:400]


@pytest.mark.parametrize("name", ["result-ok", "result-ok-with-key", "result-error-a0008", "syg-list-reply"])
def test_the_sample_results_read_and_write_the_same(name: str):
    body = (EDI / f"{name}.edi").read_bytes()
    items = OutputCommonItems.readable_part(body)
    assert items.encode() == body[:400]
    assert items.message_length == len(body)


def test_a_password_is_in_no_repr():
    items = InputCommonItems.readable_part(BODY)
    assert "PASSWD01" not in repr(items)
    assert "TST01" in repr(items)


def test_an_item_that_is_cut_off_is_blank_and_has_no_length():
    items = InputCommonItems.readable_part(BODY[:392] + b"0005")
    assert items.message_length == 0
    assert items.handover == "TCC20250401093005"
    assert InputCommonItems.readable_part(b"").raw == b" " * 398


def test_items_of_another_size_or_name_are_refused():
    with pytest.raises(FieldError, match="398"):
        InputCommonItems(raw=BODY)
    with pytest.raises(FieldError, match="no such input common item: passwort"):
        InputCommonItems.of(passwort="X")
    with pytest.raises(FieldError, match="do not fit"):
        InputCommonItems.of(user_code="TOO-LONG")


def test_an_output_that_does_not_fit_is_refused_and_not_cut():
    with pytest.raises(FieldError, match="do not fit"):
        OutputCommonItems(handover="X" * 27).encode()
