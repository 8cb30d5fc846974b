"""TCC is answered by the gateway: the normal result, whatever its test text says."""

from __future__ import annotations

from handlers.naccs.procedures import ANSWERED_HERE
from tests.handlers.naccs.sound_request import ADDRESS, BODY, EDI, RECEIVED_AT, request_with


def test_a_sound_tcc_gets_the_sample_result():
    answer = ANSWERED_HERE["TCC"](
        request_with(), address=ADDRESS, received_at_jst=RECEIVED_AT, terminal="", codec="euc_jp"
    )
    assert answer == (EDI / "result-ok.edi").read_bytes()


def test_a_tcc_with_japanese_text_gets_the_same_result():
    text = "回線確認".encode("euc_jp")
    request = request_with(BODY[:400] + text + BODY[400 + len(text) :])
    answer = ANSWERED_HERE["TCC"](request, address=ADDRESS, received_at_jst=RECEIVED_AT, terminal="", codec="euc_jp")
    assert answer == (EDI / "result-ok.edi").read_bytes()
