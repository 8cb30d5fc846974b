from __future__ import annotations

import pytest

from benchmarks.contracts import contract_file
from benchmarks.fleet import (
    HANDOVER_AT,
    HANDOVER_BYTES,
    MESSAGE_BYTES,
    fleet,
    is_normal_result,
    is_request,
    request_body,
    request_frame,
    this_host,
)
from handlers.contract_file import read_contracts

HANDOVER = b"BENCH0001-00000001".ljust(HANDOVER_BYTES)


def test_stations_share_nothing() -> None:
    stations = [*fleet(200), this_host()]
    for name in ("terminal", "ip", "mail_address"):
        assert len({getattr(station, name) for station in stations}) == len(stations)


@pytest.mark.parametrize("size", [0, 1001])
def test_a_fleet_that_the_subnets_cannot_hold_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a fleet has 1 to 1000 stations"):
        fleet(size)


def test_a_request_has_its_items_in_their_places_and_its_true_length() -> None:
    station = fleet(2)[1]
    body = request_body(station, HANDOVER)
    assert len(body) == MESSAGE_BYTES == int(body[392:398])
    assert body[398:400] == body[-2:] == b"\r\n"
    assert (body[3:8], body[29:34], body[34:37], body[37:45]) == (b"OTA  ", b"BEN02", b"001", b"BENCH001")
    assert body[HANDOVER_AT : HANDOVER_AT + HANDOVER_BYTES] == HANDOVER
    assert (body[253:263], body[364:365]) == (b"1         ", b"2")
    assert is_request(body)
    assert not is_normal_result(body)


def test_a_handover_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="26 bytes, not 4"):
        request_body(fleet(1)[0], b"LATE")


def test_what_follows_data_is_the_mail_of_the_known_client() -> None:
    station = fleet(1)[0]
    frame = request_frame(station)
    headers, _, rest = (frame.head + HANDOVER + frame.tail).partition(b"\r\n\r\n")
    assert headers.splitlines()[0] == f"From:{station.mail_address}".encode()
    assert rest == request_body(station, HANDOVER) + b"\r\n.\r\n"
    assert b"\r\n." not in rest[:-5]


def test_a_normal_result_is_told_from_one_with_an_error_code() -> None:
    result = b"   OTA  *SOTA  ".ljust(398) + b"\r\n" + b"00000-0000-0000".ljust(75) + b"\r\n"
    assert is_normal_result(result)
    assert not is_normal_result(result.replace(b"*SOTA  ", b"*CCMSG ").replace(b"00000-0000", b"A0011-0000"))


def test_the_contract_file_is_taken_by_the_gateway() -> None:
    contracts = read_contracts(contract_file([*fleet(200), this_host()]))
    assert len(contracts.offices) == 5
