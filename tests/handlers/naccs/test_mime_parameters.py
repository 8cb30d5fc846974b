"""File names out of MIME fields: the bytes they stand for, whichever way a mailer writes them."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers.naccs.mime_parameters import file_names, parameters
from tests.handlers.naccs.sound_mime import FORMS, HARD_CHARACTERS, name_of

RAW_CODECS = ["euc_jp", "shift_jis", "iso2022_jp", "utf_8"]


def names(value: bytes, parameter: bytes = b"filename") -> list[tuple[bytes, str]]:
    return [(name.octets, name.text) for name in file_names(value, parameter)]


@pytest.mark.parametrize("codec", RAW_CODECS)
@pytest.mark.parametrize("form", ["plain", "bare"])
def test_a_raw_name_is_read_in_full_whatever_its_bytes_mean_elsewhere(form: str, codec: str):
    name = name_of(180, codec)
    assert names(FORMS[form](name, codec) + b"; size=5") == [(name, name.decode(codec))]


@pytest.mark.parametrize(
    ("form", "codec"),
    [("extended", "utf_8"), ("continued", "utf_8"), ("words-b", "iso2022_jp"), ("words-q", "euc_jp")],
)
@pytest.mark.parametrize("size", [150, 191])
def test_an_encoded_name_is_measured_without_its_encoding(form: str, codec: str, size: int):
    name = name_of(size, codec)
    [(octets, text)] = names(FORMS[form](name, codec))
    assert octets == name
    if form in {"extended", "continued"}:
        assert text == name.decode(codec)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (rb'attachment; filename="a\"b\\c.txt"', [(rb'a"b\c.txt', 'a"b\\c.txt')]),
        (b'attachment; FileName = "A.TXT" ; size=1', [(b"A.TXT", "A.TXT")]),
        (b"attachment; filename=a b.txt", [(b"a b.txt", "a b.txt")]),
        (b'attachment; filename=""', [(b"", "")]),
        (b'attachment; filename="never closed', [(b"never closed", "never closed")]),
        (b"attachment; filename*=no-quotes%20", [(b"no-quotes ", "no-quotes ")]),
        (b"attachment; filename*=utf-8''%FFa", [(b"\xffa", "�a")]),
        (b"attachment; filename*=x-own''%41", [(b"A", "A")]),
        (b"attachment; filename*0=a; filename*2=c; filename*1=b", [(b"abc", "abc")]),
        (b"attachment; filename*0=a; filename*2=c", [(b"a", "a")]),
        (b"attachment; filename*1=b", []),
        (b"attachment; filename*0*=utf-8'ja'%E6%97; filename*1*=%A5; filename*2=%41", [("日%41".encode(), "日%41")]),
        (b"attachment; filename=a; filename*=utf-8''b", [(b"a", "a"), (b"b", "b")]),
        (b'attachment; filename="=?utf-8?B?!?="', [(b"", "")]),
        (b'attachment; filename="=?utf-8?B?A?="', [(b"=?utf-8?B?A?=", "=?utf-8?B?A?=")]),
        (b'attachment; name="a"; filenames="b"', []),
        (b"attachment", []),
        (b";;;=;filename", []),
    ],
)
def test_a_name_is_read_as_its_mailer_wrote_it(value: bytes, expected: list[tuple[bytes, str]]):
    assert names(value) == expected


def test_an_escaped_quote_ends_no_name_in_any_charset():
    for codec in ("utf_8", "euc_jp"):
        wire = HARD_CHARACTERS.encode(codec)
        assert names(b'attachment; filename="' + wire + b'\\".txt"; size=1')[0][0] == wire + b'".txt'


def test_parameters_have_names_in_lower_case_and_values_as_they_are():
    assert list(parameters(b'multipart/mixed; Boundary="=_B 1";\r\n charset=X')) == [
        (b"boundary", b"=_B 1"),
        (b"charset", b"X"),
    ]


@given(value=st.binary(max_size=200) | st.text('";=\\*01%\x1b$B(?QBfilename あ', max_size=80).map(str.encode))
@example(value=b'; filename="\x1b$B')
@settings(max_examples=150)
def test_no_bytes_make_it_raise(value: bytes):
    for octets, text in names(b"attachment; filename=" + value):
        assert len(octets) <= len(value) + 1
        assert "\0" not in text


@pytest.mark.parametrize(
    "piece",
    [b"; filename*0=a", b'; filename="', b"\x1b$B", b"=?", b"=?a?b?", b"?= ", b";a ", b"; ", b"\\", b"%", b"\x81"],
)
def test_hostile_values_take_linear_time(piece: bytes):
    value = b'attachment; filename="' + piece * (500_000 // len(piece))
    began = time.monotonic()
    for name in file_names(value, b"filename"):
        assert len(name.text) <= len(value)
    assert time.monotonic() - began < 2
