"""Processing result notifications: byte for byte the samples, and readable when the backend writes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from handlers.calendar import JST
from handlers.naccs.common_items import InputCommonItems, OutputCommonItems
from handlers.naccs.fields import KNOWN_CODECS, FieldError
from handlers.naccs.result_codes import NORMAL_END, result_code
from handlers.naccs.results import (
    ENDING_TYPES,
    codes_of,
    correlation,
    inquiry_result,
    output_code_of,
    read_output,
    result_notification,
)
from tests.handlers.naccs.sound_request import ADDRESS, BODY, EDI, RECEIVED_AT

TCC = InputCommonItems.readable_part(BODY)
OTA = InputCommonItems.of(
    procedure_code="OTA",
    user_code="TST01",
    handover="PAX0001:1-01093005",
    input_information_number="1",
    system_identification="2",
)


def result(items: InputCommonItems = TCC, code: str = NORMAL_END, address: str = ADDRESS, **more) -> bytes:
    return result_notification(items, [code], address=address, received_at_jst=RECEIVED_AT, **more)


def sample(name: str) -> bytes:
    return (EDI / f"{name}.edi").read_bytes()


def test_a_normal_result_equals_its_sample():
    assert result() == sample("result-ok")


def test_a_result_with_a_key_item_equals_its_sample():
    assert result(OTA, key=b"12345678901") == sample("result-ok-with-key")


def test_an_error_result_equals_its_sample():
    assert result(code=result_code("A0008")) == sample("result-error-a0008")


def test_the_address_is_written_in_upper_case_and_the_terminal_name_stays_blank():
    answer = result(address=ADDRESS.lower())
    assert answer[51:115] == ADDRESS.encode().ljust(64)
    assert answer[45:51] == b" " * 6
    assert result(terminal="60777S")[45:51] == b"60777S"


@pytest.mark.parametrize("address", ["X" * 60 + "@B.EXAMPLE", "あ@B.EXAMPLE"])
def test_an_address_that_does_not_fit_stays_away_so_that_the_answer_can_go(address: str):
    assert result(address=address)[51:115] == b" " * 64


@pytest.mark.parametrize(
    ("procedure", "system", "code", "expected"),
    [
        ("OTA", "2", NORMAL_END, b"*SOTA  "),
        ("NVC01", "1", NORMAL_END, b"*ANVC01"),
        ("TCC", "1", NORMAL_END, b"*CTCC  "),
        ("SYG", "2", NORMAL_END, b"*CSYG  "),
        ("UOK", "", NORMAL_END, b"*CUOK  "),
        ("OTA", "2", result_code("E0001"), b"*SOTA  "),
        ("OTA", "2", result_code("A0011"), b"*CCMSG "),
    ],
)
def test_the_output_information_code_names_the_family_and_the_procedure(procedure, system, code, expected):
    items = InputCommonItems.of(procedure_code=procedure, system_identification=system)
    assert result(items, code)[8:15] == expected


def test_the_output_information_code_can_be_given():
    assert result(information="SYG0001")[8:15] == b"SYG0001"


def test_five_codes_fill_the_first_item_and_a_sixth_is_refused():
    codes = [result_code("S0001", "ABC", row) for row in range(5)]
    answer = result_notification(OTA, codes, address=ADDRESS, received_at_jst=RECEIVED_AT)
    assert answer[400:475] == b"S0001-ABC -0000S0001-ABC -0001S0001-ABC -0002S0001-ABC -0003S0001-ABC -0004"
    for wrong in ([], [*codes, NORMAL_END], ["A0008"]):
        with pytest.raises(FieldError):
            result_notification(OTA, wrong, address=ADDRESS, received_at_jst=RECEIVED_AT)


def test_a_key_item_keeps_its_width_and_its_text_stands_in_the_subject():
    answer = result(OTA, key="ケイ  ".encode("euc_jp"))
    assert answer[477:] == "ケイ  \r\n".encode("euc_jp")
    assert answer[115:179].decode("euc_jp").rstrip() == f"{NORMAL_END} ケイ"
    assert answer[392:398] == b"000485"


def syg_list(data: bytes = b"0002\r\nSAD4031\r\n0002\r\nSAD4071\r\n0001\r\n", **more) -> bytes:
    items = InputCommonItems.readable_part(sample("syg-list-request"))
    return inquiry_result(
        items,
        data,
        information="SYG0001",
        address=ADDRESS,
        received_at_jst=datetime(2025, 4, 1, 9, 40, tzinfo=JST),
        **more,
    )


def test_an_inquiry_result_equals_its_sample():
    assert syg_list() == sample("syg-list-reply")


def test_an_inquiry_result_takes_other_codes_and_no_items_but_no_half_item():
    answer = syg_list(b"", codes=[result_code("W0001")])
    assert answer[400:] == b"W0001-0000-0000".ljust(75) + b"\r\n"
    assert answer[115:130] == b"W0001-0000-0000"
    with pytest.raises(FieldError, match="line end"):
        syg_list(b"0002")


def test_an_answer_and_what_is_read_of_it_have_the_same_output_information_code():
    for answer, code in ((result(), "*CTCC"), (syg_list(), "SYG0001"), (result(code=result_code("A0008")), "*CCMSG")):
        output = read_output(answer)
        assert output is not None
        assert output_code_of(answer) == output.output_information_code == code
    assert output_code_of(b"") == output_code_of(b"\xff" * 400) == ""


@pytest.mark.parametrize("message_type", "RPCMTU")
@pytest.mark.parametrize("control", ["Q", "Z", "C", "K", ""])
@pytest.mark.parametrize(("number", "final"), [(0, "E"), (0, ""), (1, ""), (2, "E"), (999, "E")])
def test_every_output_is_read_whatever_its_type_part_and_destination(message_type, control, number, final):
    written = OutputCommonItems(
        procedure_code="OTA",
        output_information_code="SAD401",
        division_serial_number=number,
        final_indicator=final,
        message_type=message_type,
        destination_control_type=control,
    )
    output = read_output(written.encode())
    assert output == written
    assert output.is_last_part is (final == "E")
    assert output_code_of(written.encode()) == output.output_information_code == "SAD401"


def test_a_blank_division_serial_number_keeps_no_output_from_being_read():
    answer = result()
    output = read_output(answer[:245] + b"   " + answer[248:])
    assert output is not None
    assert output.division_serial_number == 0


def test_the_codes_of_a_result_are_read_without_the_unused_places():
    codes = [result_code("S0001", "ABC", 1), result_code("W0001")]
    answer = result_notification(OTA, codes, address=ADDRESS, received_at_jst=RECEIVED_AT)
    assert codes_of(answer) == tuple(codes)
    assert codes_of(syg_list()) == (NORMAL_END,)
    assert codes_of(answer[:249] + b"P" + answer[250:]) == ()
    assert codes_of(b"") == ()


@pytest.mark.parametrize("codec", KNOWN_CODECS)
def test_an_answer_is_written_and_read_in_the_codec_of_its_terminal(codec: str):
    key = "東京".encode(codec)
    output = read_output(result(OTA, key=key, codec=codec), codec)
    assert output is not None
    assert output.subject == f"{NORMAL_END} 東京"


def test_a_subject_with_vendor_characters_is_read_in_the_codec_that_has_them():
    answer = result(OTA, key="①㈱".encode("cp51932"), codec="cp51932")
    outputs = [read_output(answer, codec) for codec in KNOWN_CODECS]
    assert [output and output.subject for output in outputs] == ["", *[f"{NORMAL_END} ①㈱"] * 2]


def test_a_time_without_zone_is_refused():
    with pytest.raises(FieldError, match="zone"):
        result_notification(TCC, [NORMAL_END], address=ADDRESS, received_at_jst=datetime(2025, 4, 1))  # noqa: DTZ001


def test_a_result_of_the_backend_is_read_and_finds_its_request():
    output = read_output(result() + b"\r\n")
    assert output is not None
    assert correlation(output) == correlation(TCC) == ("TCC20250401093005", "TCC")
    assert (output.message_type, output.output_information_code) == ("R", "*CTCC")
    assert output.message_type in ENDING_TYPES


def test_values_are_compared_without_the_spaces_around_them():
    items = InputCommonItems.of(handover="  A 1 ", input_information_number=" 2")
    assert correlation(items) == ("A 1", "2")


def test_one_odd_item_does_not_keep_a_result_from_its_request():
    answer = result()
    odd = answer[:15] + b"2025-04-01    " + answer[29:115] + b"\xff" * 64 + answer[179:]
    output = read_output(odd)
    assert output == replace(OutputCommonItems.readable_part(answer), received_at=None, subject="")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        BODY,
        sample("result-ok")[:476],
        sample("result-ok").replace(b"000477", b"000399"),
        sample("result-ok").replace(b"000477", b"   477"),
        sample("result-ok").replace(b"000ER", b"000EX"),
        sample("result-ok").replace(b"000477\r\n", b"000477  "),
    ],
    ids=["empty", "a request", "cut", "too short a length", "no length", "unknown type", "no line end"],
)
def test_what_is_no_output_is_not_taken_for_one(body: bytes):
    assert read_output(body) is None
