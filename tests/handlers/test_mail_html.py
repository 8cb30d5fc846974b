from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.applications.checks import Accepted
from handlers.mail_html import plain_text
from tests.handlers.applications.application_mails import FORM, mail_with, read


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a<br>b<BR/>c", "a\nb\nc"),
        ("<div>a</div><div><br></div><div>b</div>c", "a\n\nb\nc"),
        ("<p>a</p>\n<p>b</p>\n", "a\nb\n"),
        ("<head><title>x</title></head>a<script>if (a<b) c</script><STYLE>d</style >b", "ab"),
        ("a&nbsp;b&amp;&lt;&#x3042;", "a b&<あ"),
        ("シス\n  テム and\n more", "システム and more"),
        ("<!-- <p>a</p> -->b<!DOCTYPE html><?xml ?>c", "bc"),
        ("1 < 2 <3", "1 < 2 <3"),
        ("a<span title='x'>b</span>", "ab"),
        ("a<o:p>b</o:p>", "ab"),
        ("a<script>b", "a"),
        ("a<p b", "a\n"),
        ("a<!-- b", "a"),
        ("a<pre>b &amp;\r\n  c\n</pre>d", "a\nb &\nc\nd"),
        ("a<br>--&nbsp;<br>b", "a\n-- \nb"),
    ],
)
def test_what_is_seen_is_what_is_read(source, text):
    assert plain_text(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<table><tr><td>電話番号:</td><td>0301234567</td></tr></table>", "電話番号:\t0301234567\n"),
        ("<tr><td><p>a</p></td><td><p>b</p><p>c</p></td></tr><tr><td>d</td><td></td></tr>", "a\tb\nc\nd\t\n"),
        ("<table><tr><th>a<th>b<tr><td>c<td>d</table>e", "a\tb\nc\td\ne"),
        ("<table><tr><td colspan=2>【申込内容】</td></tr></table>", "【申込内容】\n"),
        ("<tr><td>a</td><td><blockquote>b</blockquote></td><td>c</td></tr>", "a\t\n>b\tc\n"),
    ],
)
def test_the_cells_of_a_row_stand_on_one_line(source, text):
    assert plain_text(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("new<blockquote>old<br>old<div>old</div></blockquote>new", "new\n>old\n>old\n>old\nnew"),
        ("<blockquote>a<blockquote>b</blockquote>c</blockquote>", ">a\n>>b\n>c\n"),
        ("a</blockquote>b", "a\nb"),
        ("<div>a</div><blockquote><p>b</p></blockquote>", "a\n>b\n"),
    ],
)
def test_a_quote_gets_its_marks(source, text):
    assert plain_text(source) == text


@settings(deadline=None)
@given(st.text(st.sampled_from("<>/!-?aApdivbr script&;\n atdtrblockquote\"'")))
def test_any_markup_is_read(source):
    assert isinstance(plain_text(source), str)


def as_html(form: str) -> bytes:
    raw = mail_with("TEXT")
    start = raw.index(b"\r\n\r\n", raw.index(b"text/plain")) + 4
    end = raw.index(b"\r\n--", start)
    head = raw[:start].replace(b"text/plain", b"text/html").replace(b"7bit", b"8bit")
    return head + form.encode() + raw[end:]


def row(line: str) -> str:
    label, colon, value = line.partition(":")
    cells = [label, value.strip()] if colon else [line]
    return "<tr>" + "".join(f"<td><p class=MsoNormal>{cell}</p></td>" for cell in cells) + "</tr>"


@pytest.mark.parametrize(
    "html",
    [
        "<br>\n".join(FORM.splitlines()),
        "".join(f"<p>{line or '<br>'}</p>" for line in FORM.splitlines()),
        f"<pre>{FORM}</pre>",
        f"<table>{''.join(row(line) for line in FORM.splitlines() if line)}</table>",
        FORM.replace("\n", "<br>") + "<div>--&nbsp;<br>電話番号: 1</div>",
        f"<div>転送します</div><blockquote>{FORM.replace(chr(10), '<br>')}</blockquote>",
        FORM.replace(": ", ":&nbsp;").replace("\n", "<br>"),
    ],
    ids=["breaks", "paragraphs", "pre", "table", "signature", "quoted", "no-break spaces"],
)
def test_a_form_is_read_from_html_of_any_kind(html):
    outcome = read(as_html(html))
    assert isinstance(outcome, Accepted), outcome
    assert outcome.warnings == ()
