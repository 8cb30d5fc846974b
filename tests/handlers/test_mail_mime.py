from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.mail_mime import mime_tree


def single(raw: bytes):
    tree = mime_tree(raw)
    assert len(tree.parts) == 1
    return tree.parts[0]


def named(parameters: bytes):
    return single(
        b"Content-Type: application/x\r\nContent-Disposition: attachment; " + parameters + b"\r\n\r\nhi"
    ).file_name


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b"filename=a.xls", "a.xls"),
        (b"filename*=utf-8''%E5%9B%B3.xls", "図.xls"),
        (b"filename*=cp932''%90%7D.xls", "図.xls"),
        (b"filename*0*=eucjp-ms''%BF%DE;\r\n filename*1*=.xls", "図.xls"),
        (b"filename*=iso-2022-jp''%1B%24B%3F%5E%1B%28B.xls", "図.xls"),
        (b'filename="=?cp932?B?kH0ueGxz?="', "図.xls"),
        (b'filename="\x90\x7d.xls"', "図.xls"),
        (b'filename="\x1b$B?^\x1b(B.xls"', "図.xls"),
        ('filename="図.xls"'.encode(), "図.xls"),
        (b'filename="..\\..\\a/b.xls"', "b.xls"),
        (b"filename*=utf-8''a%0D%0Ab.xls", "ab.xls"),
        (b"filename*=utf-8''%E2%80%AEslx.exe", "slx.exe"),
        (b"filename*=x-klingon''%80%FE", "\ufffd\ufffd"),
        (b"filename*=", ""),
        (b"size=1", ""),
        (b"filename=" + b"a" * 5000, ""),
    ],
)
def test_file_names_are_read_in_every_way_they_are_written(parameters, name):
    assert named(parameters) == name


def test_a_name_beside_the_content_type_does_too():
    part = single(b"Content-Type: application/x; name=a.xls\r\n\r\nhi")
    assert (part.file_name, part.disposition) == ("a.xls", "")


def test_text_parameters_are_read():
    part = single(b'Content-Type: Text/Plain; Charset="CP932";\r\n\tformat=Flowed; delsp=YES\r\n\r\nhi')
    assert (part.content_type, part.charset, part.flowed, part.delete_space) == ("text/plain", "CP932", True, True)
    assert single(b"\r\nhi").charset is None


MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n%b\r\n--b--\r\n"


def test_broken_base64_is_salvaged_and_marked():
    tree = mime_tree(MIXED % b"Content-Transfer-Encoding: base64\r\n\r\naGk=@@@@aGk")
    assert (tree.parts[0].content, tree.parts[0].damaged, tree.broken) == (b"hi", True, False)


def test_missing_padding_is_no_damage():
    part = mime_tree(MIXED % b"Content-Transfer-Encoding: base64\r\n\r\naGk").parts[0]
    assert (part.content, part.damaged) == (b"hi", False)


def test_nested_parts_come_in_order_and_a_mail_inside_stays_whole():
    inner = MIXED.replace(b"--b", b"--c").replace(b"=b", b"=c") % b"\r\none"
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + inner
    raw += b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nMIXED\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    contents = [part.content.strip() for part in mime_tree(raw).parts]
    assert contents == [b"one", b"Subject: x\r\n\r\nMIXED", b"two"]


def test_a_mail_inside_a_damaged_mail_is_one_part():
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    raw += b"Subject: x\r\n\r\nhi\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n@\r\n--b--\r\n"
    assert [part.content_type for part in mime_tree(raw).parts] == ["message/rfc822", "text/plain"]


@pytest.mark.parametrize("boundary", [b"", b"; boundary=other"])
def test_a_container_without_parts_is_broken(boundary):
    tree = mime_tree(b"Content-Type: multipart/mixed" + boundary + b"\r\n\r\n--b\r\n\r\nhi\r\n--b--\r\n")
    assert tree.broken
    assert tree.parts == ()


def test_a_thousand_levels_are_taken_apart_or_broken_but_never_raise():
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1000))
    tree = mime_tree(raw + b"\r\nhi")
    assert tree.broken or tree.parts


def test_thousands_of_encoded_words_are_left_to_the_tolerant_parser():
    tree = mime_tree(b"To: " + b"=?utf-8?B?YQ==?= " * 3000 + b"\r\n\r\nhi")
    assert [part.content for part in tree.parts] == [b"hi"]


def test_a_mail_of_thousands_of_parts_is_broken():
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n%b--b--"
    assert len(mime_tree(raw % (b"--b\r\n\r\nhi\r\n" * 100)).parts) == 100
    assert mime_tree(raw % (b"--b\r\n\r\nhi\r\n" * 6000)).broken


def test_parameters_that_take_a_parser_forever_are_broken():
    words = b"=?" * 3000
    tree = mime_tree(b'Content-Type: multipart/mixed; a="' + b";" * 5000 + b"\r\nTo: " + words + b"\r\n\r\nhi")
    assert tree.broken
    tree = mime_tree(b"To: " + words + b'\r\nContent-Disposition: x; a="' + b";\r\n " * 5000)
    assert tree.broken


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_raise(raw):
    assert mime_tree(raw) is not None


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"Content-Type: ",
                b"multipart/mixed",
                b"; boundary=b",
                b"\r\n",
                b"--b",
                b"--",
                b"base64",
                b"Content-Transfer-Encoding: ",
                b"message/rfc822",
                b"\x80",
                b"=?cp932?B?",
                b"?=",
                b"(" * 50,
                b'"',
                b";",
                b"filename*0*=x''%",
            ]
        )
    )
)
def test_no_arrangement_of_what_mails_are_made_of_raises(pieces):
    mime_tree(b"".join(pieces))
