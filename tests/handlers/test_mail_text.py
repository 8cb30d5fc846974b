from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.mail_text import TextLine, header_text, join_lines, quoted_mails, split_quotes, text_lines


def word(charset: str, content: bytes) -> bytes:
    return b"=?%b?B?%b?=" % (charset.encode(), base64.b64encode(content))


class TestHeaderText:
    def test_encoded_words_of_any_charset_name_are_read(self):
        assert header_text(word("cp932", "①㈱".encode("cp932"))) == "①㈱"
        assert header_text(b"=?utf-8?Q?=E5=88=A9=E7=94=A8_1?=") == "利用 1"

    def test_space_between_two_words_is_not_shown_but_beside_text_it_is(self):
        assert header_text(word("utf-8", "利用".encode()) + b"\r\n " + word("utf-8", "申込".encode())) == "利用申込"
        assert header_text(b"Re: " + word("utf-8", "利用".encode()) + b" (2)") == "Re: 利用 (2)"

    def test_a_character_cut_between_two_words_is_read(self):
        encoded = "申込".encode()
        assert header_text(word("utf-8", encoded[:4]) + b" " + word("UTF-8", encoded[4:])) == "申込"

    def test_words_of_two_charsets_stand_side_by_side(self):
        assert header_text(word("utf-8", "利".encode()) + b" " + word("cp932", "用".encode("cp932"))) == "利用"

    def test_a_language_may_follow_the_charset(self):
        assert header_text(b"=?utf-8*ja?B?" + base64.b64encode("申".encode()) + b"?=") == "申"

    @pytest.mark.parametrize("encoding", ["cp932", "utf-8", "euc_jp", "iso2022_jp"])
    def test_undeclared_text_is_read(self, encoding):
        assert header_text("利用申込".encode(encoding)) == "利用申込"

    def test_a_broken_word_stays_as_it_is(self):
        assert header_text(b"=?utf-8?B?A?=") == "=?utf-8?B?A?="
        assert header_text(b"=?utf-8?Q?=FF?=") == "\ufffd"

    def test_no_control_character_is_left(self):
        assert header_text(word("utf-8", b"a\r\nBcc: b@c\x00\xc2\x85")) == "aBcc: b@c"
        assert header_text(b" a\tb\r\n c ") == "a b c"

    @settings(deadline=None)
    @given(st.binary())
    def test_any_bytes_become_one_line(self, raw):
        assert "\n" not in header_text(raw)


class TestLines:
    def test_every_line_end_counts(self):
        found = text_lines("a\r\nb\rc\n\nd\n", flowed=False, delete_space=False)
        assert [line.text for line in found] == ["a", "b", "c", "", "d"]
        assert text_lines("", flowed=False, delete_space=False) == ()

    def test_fixed_text_has_no_soft_line_ends(self):
        assert text_lines("a \nb", flowed=False, delete_space=False) == (TextLine("a "), TextLine("b"))

    def test_soft_line_ends_are_joined_with_or_without_their_space(self):
        assert join_lines(text_lines("a \nb\nc", flowed=True, delete_space=False)) == "a b\nc"
        assert join_lines(text_lines("あ \nい\nう", flowed=True, delete_space=True)) == "あい\nう"

    def test_stuffed_space_is_taken_off(self):
        assert text_lines(" From x\n  y", flowed=True, delete_space=True) == (TextLine("From x"), TextLine(" y"))

    def test_the_signature_mark_is_never_a_soft_line_end(self):
        assert text_lines("-- \nname", flowed=True, delete_space=True) == (TextLine("-- "), TextLine("name"))


def lines(text: str) -> tuple[TextLine, ...]:
    return text_lines(text, flowed=False, delete_space=False)


class TestQuotes:
    def split(self, text: str) -> tuple[str, str]:
        new, quoted = split_quotes(lines(text))
        return join_lines(new), join_lines(quoted)

    def test_marked_lines_are_the_quote(self):
        assert self.split("new\n> old\n>old too\n>\nnew too") == ("new\nnew too", "old\nold too\n")

    def test_deeper_quotes_are_dropped(self):
        assert self.split("> old\n>> older\n> > older") == ("", "old")

    @pytest.mark.parametrize(
        "mark",
        [
            "-----Original Message-----",
            "-----元のメッセージ-----",
            "---- 転送メッセージ ----",
            "-------- Forwarded Message --------",
            "---------- Forwarded message ---------",
            "----- Forwarded by 花子/通関 on 2026/11/24 -----",
            "Begin forwarded message:",
            "転送されたメッセージ：",
        ],
    )
    def test_everything_below_the_mark_of_outlook_is_a_quote(self, mark):
        assert self.split(f"new\n{mark}\n差出人: x\nold") == ("new", f"{mark}\n差出人: x\nold")

    def test_a_block_of_header_lines_begins_a_quote_without_a_mark(self):
        block = "差出人: a\n送信日時: b\n宛先: c\n件名: d\n\nold"
        assert self.split(f"new\n{block}") == ("new", block)
        assert self.split("new\n**From:** a\n**Sent:** b\n**To:** c\nold")[0] == "new"

    def test_a_block_may_have_empty_lines_and_long_lists_of_recipients(self):
        block = "*From:* a\n\n*Date:* b\n*To:* c, d,\n e, f\n\n*Subject:* g\nold"
        assert self.split(f"new\n{block}") == ("new", block)

    @pytest.mark.parametrize(
        "text",
        [
            "件名: 追加\n宛先: 係\n理由",
            "宛先: 係\n件名: 追加\n日時: 明日\n理由",
            "差出人: a\n宛先: b\n" + "\n" * 8 + "件名: c",
        ],
    )
    def test_without_an_author_or_a_block_there_is_no_quote(self, text):
        assert self.split(text) == (text, "")

    def test_a_ruled_line_belongs_to_the_block_below_it_alone(self):
        block = "差出人: a\n送信日時: b\n宛先: c\nold"
        assert self.split(f"new\n{'_' * 32}\n{block}") == ("new", f"{'_' * 32}\n{block}")
        assert self.split(f"new\n{'_' * 32}") == (f"new\n{'_' * 32}", "")

    @pytest.mark.parametrize(
        "attribution",
        [
            "2026年11月24日(火) 10:00 NSS <nss@nss.center.example>:",
            "On Tue, Nov 24, 2026 at 10:00 AM NSS <nss@nss.center.example> wrote:\n",
            "On Tue, Nov 24, 2026 at 10:00 AM NSS\n<nss@nss.center.example> wrote:\n",
            "2026/11/24 10:00、NSSのメール:\n",
            "花子さんは書きました：",
        ],
    )
    def test_the_line_that_introduces_a_quote_is_part_of_it(self, attribution):
        assert self.split(f"備考: x\n{attribution}\n> old") == ("備考: x", f"{attribution}\nold")

    @pytest.mark.parametrize("text", ["連絡先: a@b.example", "理由:", "<a@b.example>:\n\n\n\nx"])
    def test_any_other_line_above_a_quote_is_new(self, text):
        assert self.split(f"{text}\n> old") == (text, "old")

    def test_a_quote_is_parted_into_the_mails_it_holds(self):
        text = "-----Original Message-----\na\nFrom: x\nSent: y\nTo: z\nb"
        _, quoted = split_quotes(lines(text))
        assert [join_lines(one) for one in quoted_mails(quoted)] == [
            "-----Original Message-----\na",
            "From: x\nSent: y\nTo: z\nb",
        ]
        assert quoted_mails(()) == ()
