from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.mail_charsets import decode

VENDOR = "①㈱髙﨑のｻｰﾊﾞ～第Ⅱ期－日本語abc\r\n次の行"


def seven_bit(text: str) -> bytes:
    """ISO-2022-JP as Windows mailers write it (CP50221): NEC and IBM characters, half-width kana by ESC ( I."""
    written, mode = b"", b"\x1b(B"
    for character in text:
        code = character.encode("cp932")
        if len(code) == 1:
            wanted, code = (b"\x1b(B", code) if code[0] < 0x80 else (b"\x1b(I", bytes([code[0] & 0x7F]))
        else:
            wanted, code = b"\x1b$B", row_and_cell(code)
        written += code if wanted == mode else wanted + code
        mode = wanted
    return written + (b"" if mode == b"\x1b(B" else b"\x1b(B")


def row_and_cell(code: bytes) -> bytes:
    """The inverse of the arithmetic under test."""
    lead, trail = code
    row = ((lead - 0x40 if lead >= 0xE0 else lead) - 0x81) * 2 + 0x21
    if trail >= 0x9F:
        return bytes([row + 1, trail - 0x7E])
    return bytes([row, trail - (0x1F if trail < 0x80 else 0x20)])


def eight_bit(text: str) -> bytes:
    """EUC-JP with vendor characters (CP51932, eucJP-ms)."""
    written = b""
    for character in text:
        code = character.encode("cp932")
        if len(code) == 1:
            written += code if code[0] < 0x80 else b"\x8e" + code
        else:
            written += bytes(byte | 0x80 for byte in row_and_cell(code))
    return written


def in_rows_1_to_94(character: str) -> bool:
    """cp932 writes some IBM characters in rows that the other two encodings do not have."""
    code = character.encode("cp932")
    return len(code) == 1 or code[0] < 0xF0


JAPANESE = st.text(
    st.sampled_from([c for c in "あんアンー漢字髙～①㈱Ⅱｱﾝﾞ、。「」ＡＺ０９AZaz09 \n" if in_rows_1_to_94(c)])
)


@pytest.mark.parametrize("name", ["cp932", "Shift_JIS", "x-sjis", "Windows-31J", "MS_Kanji", "ms932"])
def test_every_name_of_shift_jis_is_read_with_its_vendor_characters(name):
    assert decode(VENDOR.encode("cp932"), name) == VENDOR


@pytest.mark.parametrize("name", ["iso-2022-jp", "ISO-2022-JP-MS", "cp50220", "CP50221", "csISO2022JP"])
@settings(deadline=None)
@given(text=JAPANESE)
def test_iso_2022_jp_is_read_with_vendor_characters_and_half_width_kana(name, text):
    assert decode(seven_bit(text), name) == text


@pytest.mark.parametrize("name", ["EUC-JP", "eucJP-ms", "CP51932", "x-euc-jp"])
@settings(deadline=None)
@given(text=JAPANESE)
def test_euc_jp_is_read_with_vendor_characters_and_half_width_kana(name, text):
    assert decode(eight_bit(text), name) == text


def test_shift_in_and_out_are_half_width_kana_too():
    assert decode(b"a\x0eC0\x0fb", "cp50222") == "aﾃｰb"


def test_the_supplementary_plane_is_read_in_both_encodings():
    assert decode("丂".encode("euc_jp"), "euc-jp") == "丂"
    assert decode(b"\x1b$(D0!\x1b(B", "iso-2022-jp-1") == "丂"


def test_older_and_announced_sets_and_roman_are_read():
    assert decode(b"\x1b$@F|\x1b(J\\x\x1b(B", "iso-2022-jp") == "日\\x"
    assert decode(b"\x1b&@\x1b$BF|\x1b(B", "iso-2022-jp") == "日"


def test_a_line_begins_in_ascii_even_when_the_mailer_forgot_to_say_so():
    assert decode(b"\x1b$BF|\r\nabc", "iso-2022-jp") == "日\r\nabc"


@pytest.mark.parametrize("raw", [b"\x1b$BF\x1b(B", b"\x1b$B\x00\x01\x1b(B", b"\x1b$(D0\x1b(B", b"\x1b(I\x1b$"])
def test_a_broken_iso_2022_jp_is_not_read(raw):
    assert decode(raw, "iso-2022-jp") is None


@pytest.mark.parametrize(
    "declared", [None, "", "us-ascii", "ISO-8859-1", "windows-1252", "x-klingon", "unicode_escape"]
)
@pytest.mark.parametrize("encoded", [VENDOR.encode(), VENDOR.encode("cp932"), seven_bit("日本語のメールです①")])
def test_japanese_text_is_recognised_without_a_usable_charset(declared, encoded):
    assert decode(encoded, declared) in (VENDOR, "日本語のメールです①")


@pytest.mark.parametrize("text", ["申込", "通関 花子", "システム構成図.xlsx", "第一営業部"])
def test_short_undeclared_text_is_told_apart(text):
    assert decode(text.encode("euc_jp"), None) == text
    assert decode(text.encode("cp932"), None) == text


def test_iso_2022_jp_is_read_although_utf_8_was_declared():
    assert decode(seven_bit("日本語"), "utf-8") == "日本語"


def test_a_charset_that_was_declared_wrongly_is_repaired():
    assert decode("日本語です".encode("cp932"), "utf-8") == "日本語です"
    assert decode("日本語です".encode("cp932"), "iso-2022-jp") == "日本語です"


def test_western_text_stays_western():
    assert decode(b"caf\xe9 \x80", "ISO-8859-1") == "café \x80"
    assert decode(b"caf\xe9 \x80", "Windows-1252") == "café €"


def test_other_declared_charsets_are_left_to_python():
    assert decode("日本".encode("utf-16"), "UTF-16") == "日本"
    assert decode("中文".encode("gb18030"), "GB18030") == "中文"
    assert decode(b"\x00", "utf-16") is None


def test_the_byte_order_mark_is_no_text():
    assert decode(b"\xef\xbb\xbfabc", "utf-8") == "abc"


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00\x01", b"\x80\x81\xfd\xfe", b"a\x00b\x01", b"\xa0\xff"])
def test_what_fits_no_charset_is_none(raw):
    assert decode(raw, None) is None


def test_private_use_characters_are_the_last_guess():
    private = "\ue000\ue001\ue002日".encode("cp932")
    assert decode(private, "cp932") == "\ue000\ue001\ue002日"
    assert decode(private, None) == "\ue000\ue001\ue002日"


@settings(deadline=None)
@given(st.binary(), st.sampled_from([None, "utf-8", "iso-2022-jp", "cp932", "euc-jp", "utf-16", "latin1", "x"]))
def test_no_bytes_raise(raw, declared):
    text = decode(raw, declared)
    assert text is None or isinstance(text, str)
