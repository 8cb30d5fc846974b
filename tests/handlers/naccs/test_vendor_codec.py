"""EUC-JP with vendor characters: every place read and written, exactly one place for each character."""

from __future__ import annotations

import codecs
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.naccs.fields import DEFAULT_CODEC, KNOWN_CODECS, FieldError, J
from handlers.naccs.vendor_codec import VENDOR_CODECS

ICONV = shutil.which("iconv")
PAIRS = [bytes((row, cell)) for row in range(0xA1, 0xFF) for cell in range(0xA1, 0xFF)]
PLACES = [*PAIRS, *(b"\x8f" + pair for pair in PAIRS), *(bytes((0x8E, byte)) for byte in range(0x80, 0x100))]


def readable(codec: str) -> dict[bytes, str]:
    """Every multi-byte place this codec can read."""
    found = {}
    for place in PLACES:
        try:
            found[place] = place.decode(codec)
        except UnicodeDecodeError:
            continue
    return found


CHARACTERS = {codec: readable(codec) for codec in VENDOR_CODECS}


@pytest.mark.parametrize("codec", VENDOR_CODECS)
def test_every_place_is_read_as_one_character_and_every_character_has_one_place(codec: str):
    for place, character in CHARACTERS[codec].items():
        written = character.encode(codec)
        assert len(character) == 1
        assert written.decode(codec) == character
        assert written == place or CHARACTERS[codec][written] == character


@pytest.mark.parametrize(("codec", "places", "characters"), [("cp51932", 7399, 7389), ("eucjp_ms", 13198, 13174)])
def test_the_tables_are_as_large_as_the_vendors(codec: str, places: int, characters: int):
    assert len(CHARACTERS[codec]) == places
    assert len(set(CHARACTERS[codec].values())) == characters


@pytest.mark.skipif(ICONV is None, reason="iconv is not installed")
def test_eucjp_ms_is_that_of_the_c_library_both_ways():
    def convert(data: bytes, *options: str) -> bytes:
        return subprocess.run([str(ICONV), *options], input=data, capture_output=True, check=True).stdout

    table = CHARACTERS["eucjp_ms"]
    text = convert(b"\n".join(table), "-f", "EUC-JP-MS", "-t", "UTF-8").decode()
    assert text.split("\n") == list(table.values())
    characters = sorted(set(table.values()))
    wire = convert("\n".join(characters).encode(), "-f", "UTF-8", "-t", "EUC-JP-MS")
    assert wire.split(b"\n") == [character.encode("eucjp_ms") for character in characters]


@pytest.mark.parametrize(
    ("codec", "text", "wire"),
    [
        ("cp51932", "①㈱№ⅰ髙纊￢", b"\xad\xa1\xad\xea\xad\xe2\xfc\xf1\xfc\xe2\xf9\xa1\xa2\xcc"),
        ("eucjp_ms", "①㈱№ⅰ髙纊￢", b"\xad\xa1\xad\xea\xad\xe2\x8f\xf3\xf3\x8f\xf4\xfb\x8f\xd4\xe3\xa2\xcc"),
        ("cp51932", "≒∪～－ｶﾅA\\~", b"\xa2\xe2\xa2\xc0\xa1\xc1\xa1\xdd\x8e\xb6\x8e\xc5A\\~"),
        ("eucjp_ms", "～￤丂", b"\xa1\xc1\x8f\xa2\xc3\x8f\xb0\xa1"),
    ],
)
def test_a_character_with_two_places_is_written_to_the_first(codec: str, text: str, wire: bytes):
    assert text.encode(codec) == wire
    assert wire.decode(codec) == text


@pytest.mark.parametrize("codec", VENDOR_CODECS)
@given(data=st.data())
@settings(max_examples=50)
def test_text_comes_back_from_an_item_of_class_j(codec: str, data: st.DataObject):
    alphabet = "".join(CHARACTERS[codec].values()) + "A1 "
    value = data.draw(st.text(alphabet, max_size=20)).rstrip(" ")
    wire = J.encode(value, 60, codec)
    assert len(wire) == 60
    assert J.decode(wire, codec) == value


@pytest.mark.parametrize("codec", VENDOR_CODECS)
@given(wire=st.binary(max_size=12))
@settings(max_examples=100)
def test_bytes_are_read_in_full_or_refused(codec: str, wire: bytes):
    text = wire.decode(codec, "surrogateescape")
    if not any("\udc80" <= character <= "\udcff" for character in text):
        assert wire.decode(codec) == text
        assert text.encode(codec).decode(codec) == text
    else:
        assert text.encode(codec, "surrogateescape").decode(codec, "surrogateescape") == text
        with pytest.raises(UnicodeDecodeError):
            wire.decode(codec)


@pytest.mark.parametrize(
    ("codec", "wire"),
    [
        ("cp51932", b"\x8f\xb0\xa1"),
        ("eucjp_ms", b"\xf9\xa1"),
        ("cp51932", b"\xa4"),
        ("cp51932", b"\x80"),
        ("cp51932", b"\x8e\xe0"),
        ("eucjp_ms", b"\x8f\xf5\xa1"),
    ],
    ids=["JIS X 0212", "user-defined", "half a character", "control", "no kana", "user-defined in code set 3"],
)
def test_what_is_no_character_is_refused(codec: str, wire: bytes):
    with pytest.raises(UnicodeDecodeError):
        wire.decode(codec)
    with pytest.raises(FieldError):
        J.decode(b"A" + wire, codec)


def test_a_character_without_a_place_is_refused_or_replaced_as_asked():
    with pytest.raises(UnicodeEncodeError):
        "A〜".encode("cp51932")
    with pytest.raises(FieldError, match="does not exist in cp51932"):
        J.encode("〜", 2, "cp51932")
    assert "A\u301cあ".encode("cp51932", "replace") == b"A?\xa4\xa2"
    assert "A\u301cあ".encode("cp51932", "ignore") == b"A\xa4\xa2"
    assert b"\xa4\xa2\xffA".decode("eucjp_ms", "replace") == "あ\ufffdA"
    assert b"\xa4\xa2\xffA".decode("eucjp_ms", "ignore") == "あA"


def test_the_known_codecs_can_be_looked_up_and_begin_with_the_default():
    assert KNOWN_CODECS == (DEFAULT_CODEC, "cp51932", "eucjp_ms")
    assert [codecs.lookup(name).name for name in KNOWN_CODECS] == list(KNOWN_CODECS)
    assert codecs.lookup("CP51932").name == "cp51932"
    with pytest.raises(LookupError):
        codecs.lookup("cp51933")
