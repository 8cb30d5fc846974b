"""MAIL and RCPT arguments: what is a path, what is refused, and that nothing else can come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import smtp_replies as replies
from gateway.smtp_paths import NULL_SENDER, PathError, parse_address, parse_mail, parse_rcpt

# wire text -> canonical address
TAKEN = {
    "a@b.example": "a@b.example",
    "3A0001@SMTP.TST01.NACCS6": "3A0001@smtp.tst01.naccs6",
    "first.last+tag=x/y{z}|~^`_#$&'*?-@A-B.Example": "first.last+tag=x/y{z}|~^`_#$&'*?-@a-b.example",
    "a@localhost": "a@localhost",
    "a@xn--eckwd4c7cu47r2wf.example": "a@xn--eckwd4c7cu47r2wf.example",
    '"a"@b.example': "a@b.example",
    '"\\a"@b.example': "a@b.example",
    '"a..b."@docomo.example': '"a..b."@docomo.example',
    '"a\\"\\\\"@b.example': '"a\\"\\\\"@b.example',
    '"(a)"@b.example': '"(a)"@b.example',
    "a@[192.0.2.1]": "a@[192.0.2.1]",
    "a@[IPv6:2001:DB8:0::1]": "a@[ipv6:2001:db8::1]",
    "l" * 64 + "@b.example": "l" * 64 + "@b.example",
    "a@" + ".".join(["d" * 60] * 4 + ["e" * 8]): "a@" + ".".join(["d" * 60] * 4 + ["e" * 8]),
}

REFUSED = [
    # A2 of the threat list: what library parsers turn into another address
    "=?utf-8?q?a=0d=0aRCPT_TO=3a=3cb=40c=3e?=@x.example",
    "a@=?utf-8?q?good.example?=",
    "a(comment)@x.example",
    "(comment)a@x.example",
    "a@(comment)x.example",
    "a@x.example(comment)",
    "a\rb@x.example",
    "a\nb@x.example",
    "a@x.example\0",
    "a\0@x.example",
    "a@ x.example",
    " a@x.example",
    "a @x.example",
    "a b@x.example",
    "a@x.example ",
    "a\t@x.example",
    "@relay.example:a@x.example",
    "@relay.example,@other.example:a@x.example",
    "a\xe4@x.example",
    "a@x\xe4.example",
    "\xffa@x.example",
    # other destinations inside the local part
    "a%b@c.example",
    "a!b@c.example",
    "c.example!a@d.example",
    '"a@b"@c.example',
    '"a\\@b"@c.example',
    '"a%b"@c.example',
    '"a!b"@c.example',
    '"=?x"@c.example',
    '"a b"@c.example',
    '"a\\ b"@c.example',
    '"\\<a"@c.example',
    # shapes
    "",
    "a",
    "a@",
    "@x.example",
    "a@@x.example",
    "a@b@x.example",
    ".a@x.example",
    "a.@x.example",
    "a..b@x.example",
    '""@x.example',
    '"a@x.example',
    'a"b@x.example',
    '"a"b@x.example',
    '"a\\"@x.example',
    "a@.x.example",
    "a@x..example",
    "a@x.example.",
    "a@-x.example",
    "a@x-.example",
    "a@x_y.example",
    "a@" + "d" * 64 + ".example",
    "a,b@x.example",
    "a;b@x.example",
    "a:b@x.example",
    "a[b]@x.example",
    "a@[192.0.2.256]",
    "a@[192.0.2]",
    "a@[IPv6:2001:db8::1::2]",
    "a@[IPv6:fe80::1%eth0]",
    "a@[2001:db8::1]",
    "a@[x-tag:abc]",
    "a@[192.0.2.1",
    "a@192.0.2.1]",
    # lengths (RFC 5321 §4.5.3.1)
    "l" * 65 + "@x.example",
    '"' + "." * 63 + '"@x.example',
    "a@" + ".".join(["d" * 60] * 4 + ["e" * 9]),
]


@pytest.mark.parametrize(("wire", "address"), TAKEN.items(), ids=range(len(TAKEN)))
def test_an_address_of_the_grammar_is_taken_in_one_spelling(wire, address):
    path = parse_rcpt(f"TO:<{wire}>")
    assert path.address == address
    assert path.key == address.lower()
    assert path.wire == wire.encode("ascii")


@pytest.mark.parametrize("wire", REFUSED, ids=range(len(REFUSED)))
def test_anything_else_is_refused_in_every_place(wire):
    with pytest.raises(PathError):
        parse_address(wire)
    with pytest.raises(PathError):
        parse_rcpt(f"TO:<{wire}>")
    if wire:  # "" is the null sender
        for tolerant in (False, True):
            with pytest.raises(PathError):
                parse_mail(f"FROM:<{wire}>", tolerant=tolerant, esmtp=True)


def test_the_null_sender_is_a_sender_and_no_recipient():
    assert parse_mail("FROM:<>", tolerant=False, esmtp=False) == (NULL_SENDER, 0)
    assert (NULL_SENDER.address, NULL_SENDER.key) == ("", "")
    with pytest.raises(PathError) as refused:
        parse_rcpt("TO:<>")
    assert refused.value.reply is replies.BAD_RECIPIENT


def test_postmaster_needs_no_domain_as_a_recipient_only():
    assert parse_rcpt("TO:<PostMaster>").address == "postmaster"
    with pytest.raises(PathError):
        parse_mail("FROM:<postmaster>", tolerant=True, esmtp=False)


@pytest.mark.parametrize("argument", ["FROM:a@b.example", "FROM: a@b.example", "FROM:  <a@b.example>"])
def test_brackets_may_lack_and_spaces_stand_for_in_house_clients_only(argument):
    path, _ = parse_mail(argument, tolerant=True, esmtp=False)
    assert path.address == "a@b.example"
    with pytest.raises(PathError) as refused:
        parse_mail(argument, tolerant=False, esmtp=False)
    assert refused.value.reply is replies.MAIL_SYNTAX


@pytest.mark.parametrize("argument", ["FROM:", "FROM: ", "FROM", "", "TO:<a@b.example>", "FROM:a b@c.example"])
def test_tolerance_does_not_invent_a_sender(argument):
    with pytest.raises(PathError):
        parse_mail(argument, tolerant=True, esmtp=False)


@pytest.mark.parametrize(
    "argument", ["TO: <a@b.example>", "TO:a@b.example", "FROM:<a@b.example>", "TO:<a@b.example", "TO:a@b.example>"]
)
def test_a_recipient_stands_in_brackets_right_after_the_colon(argument):
    with pytest.raises(PathError) as refused:
        parse_rcpt(argument)
    assert refused.value.reply is replies.RCPT_SYNTAX


@pytest.mark.parametrize("keyword", ["from", "From", "fROM"])
def test_the_keyword_is_read_in_any_case(keyword):
    assert parse_mail(f"{keyword}:<a@b.example>", tolerant=False, esmtp=False)[0].address == "a@b.example"


# parameters -> declared size, or the reply that refuses them
PARAMETERS = {
    "SIZE=1000": 1000,
    "size=0": 0,
    "BODY=8BITMIME": 0,
    "body=7bit  SIZE=12": 12,
    "SIZE=99999999999999999999": 99999999999999999999,
    "SIZE": replies.PARAMETER_SYNTAX,
    "SIZE=": replies.PARAMETER_SYNTAX,
    "SIZE=x": replies.PARAMETER_SYNTAX,
    "SIZE=-1": replies.PARAMETER_SYNTAX,
    "SIZE=1 SIZE=2": replies.PARAMETER_SYNTAX,
    "SIZE=999999999999999999999": replies.PARAMETER_SYNTAX,
    "BODY=BINARYMIME": replies.PARAMETER_SYNTAX,
    "BODY": replies.PARAMETER_SYNTAX,
    "=1": replies.PARAMETER_SYNTAX,
    "-A=1": replies.PARAMETER_SYNTAX,
    "AUTH=<>": replies.UNKNOWN_PARAMETER,
    "RET=FULL": replies.UNKNOWN_PARAMETER,
    "ENVID=x": replies.UNKNOWN_PARAMETER,
    "SMTPUTF8": replies.UNKNOWN_PARAMETER,
    "SIZE=1 X-OTHER": replies.UNKNOWN_PARAMETER,
}


@pytest.mark.parametrize(("parameters", "expected"), PARAMETERS.items())
def test_mail_takes_size_and_body_and_no_other_parameter(parameters, expected):
    argument = f"FROM:<a@b.example> {parameters}"
    if isinstance(expected, int):
        assert parse_mail(argument, tolerant=False, esmtp=True)[1] == expected
        return
    with pytest.raises(PathError) as refused:
        parse_mail(argument, tolerant=True, esmtp=True)
    assert refused.value.reply is expected


def test_parameters_are_for_sessions_that_began_with_ehlo():
    with pytest.raises(PathError) as refused:
        parse_mail("FROM:<a@b.example> SIZE=1", tolerant=False, esmtp=False)
    assert refused.value.reply is replies.UNKNOWN_PARAMETER


def test_rcpt_takes_no_parameter():
    with pytest.raises(PathError) as refused:
        parse_rcpt("TO:<a@b.example> NOTIFY=NEVER")
    assert refused.value.reply is replies.UNKNOWN_PARAMETER


ODD = st.text(alphabet=st.sampled_from('abAZ09@@<>".\\ \t\r\n\0()[]:,;%!=?-_~\x7f\x80\xff'), max_size=90)
ARGUMENTS = st.one_of(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=300),
    ODD,
    ODD.map(lambda text: f"FROM:<{text}>"),
    ODD.map(lambda text: f"TO:<{text}>"),
    st.builds("FROM:<{}@{}>{}".format, ODD, ODD, ODD),
    st.builds('TO:<"{}"@{}>'.format, ODD, st.sampled_from(["b.example", "[192.0.2.1]"])),
)


@given(ARGUMENTS, st.booleans(), st.booleans())
def test_whatever_comes_in_only_clean_addresses_or_path_errors_come_out(argument, tolerant, esmtp):
    for parse in (lambda: parse_mail(argument, tolerant=tolerant, esmtp=esmtp)[0], lambda: parse_rcpt(argument)):
        try:
            path = parse()
        except PathError:
            continue
        assert path.address.isascii()
        assert path.address.isprintable()
        assert not set(path.address) & set(" <>%!")
        assert path.address.count("@") == (1 if path.domain else 0)
        assert len(path.local) <= 64
        assert len(path.address) <= 254
        if path.domain:
            assert parse_address(path.address).key == path.key  # one spelling, stable
