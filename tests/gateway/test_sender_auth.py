"""Who is taken for the author of a mail by DKIM: sound signatures, and every known way to make an unsound one pass.

The names D1 to D10 are those of the list of defects of the verifying library, dkimpy, that are closed here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import dkim
import pytest
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import given
from hypothesis import strategies as st

from gateway.sender_auth import SenderAuth, Verdict, _quick_body
from gateway.setting_desk import DkimSection
from tests.fakes.dns_server import CUT_OFF, GARBAGE, LOOP, NO_DATA, REFUSED, SERVFAIL, SILENT, DnsServer
from tests.fakes.in_house_server import until
from tests.gateway.loop_clock import LoopClock
from tests.gateway.signed_mails import (
    AUTHOR,
    COVERED,
    DOMAIN,
    KEY_NAME,
    crafted,
    ed25519_key,
    ed25519_record,
    key,
    mail,
    record,
    rsa_record,
    signed,
    small_key,
)

DAY = timedelta(days=1)
LONGEST_LOOKUP = 10.0


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        server.texts[KEY_NAME] = [record()]
        yield server


def auth(dns: DnsServer, **settings: object) -> SenderAuth:
    settings = {"nameservers": [dns.nameserver], "lookup_timeout": LONGEST_LOOKUP, **settings}
    return SenderAuth(DkimSection.model_validate(settings))


async def judged(dns: DnsServer, raw: bytes) -> Verdict:
    return await auth(dns).judge(raw, datetime.now(UTC))


def seconds(offset: timedelta) -> bytes:
    """An instant that far from now, as t= and x= have it."""
    return b"%d" % (datetime.now(UTC) + offset).timestamp()


def with_tag(raw: bytes, tag: str, value: bytes | None) -> bytes:
    """The signed mail with a tag of its signature replaced, or taken out; nobody signs it anew."""
    head, _, rest = raw.partition(b"\r\nFrom:")
    changed, count = re.subn(
        rb"([:;]\s*)" + tag.encode() + rb"=[^;]*(;?)",
        lambda found: found[1] + (b"" if value is None else tag.encode() + b"=" + value + found[2]),
        head,
        count=1,
    )
    assert count == 1, tag
    return changed + b"\r\nFrom:" + rest


@dataclass(frozen=True)
class Attack:
    """A mail that must not count, and what the DNS has for it; `why` is a part of the verdict."""

    raw: Callable[[], bytes]
    why: str
    texts: Callable[[], list[bytes]] = field(default=lambda: [record()])


def tag(name: str, value: bytes | None) -> Callable[[], bytes]:
    return lambda: with_tag(signed(mail()), name, value)


def ed25519_signed(raw: bytes) -> bytes:
    return crafted(raw, ed25519_key(), a=b"ed25519-sha256")


def uncovered(name: bytes) -> Callable[[], bytes]:
    return lambda: crafted(mail(), names=[each for each in COVERED if each != name])


def changed(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert raw.count(old) >= 1
    return raw.replace(old, new, 1)


# D1: what makes the library raise.
RAISING = {
    "an empty l=": Attack(lambda: signed(mail()).replace(b"; q=", b"; l=; q=", 1), "l="),
    "a t= of 5000 digits": Attack(tag("t", b"1" * 5000), "too long"),
    "a t= of 100 digits": Attack(tag("t", b"1" * 100), "t= is no time"),
    "an x= of 5000 digits": Attack(lambda: crafted(mail(), x=b"9" * 5000), "too long"),
    "an x= of 100 digits": Attack(lambda: crafted(mail(), x=b"9" * 100), "x= is no time"),
    "an RSA signature, an Ed25519 key": Attack(lambda: signed(mail()), "another algorithm", lambda: [ed25519_record()]),
    "an Ed25519 signature, an RSA key": Attack(lambda: ed25519_signed(mail()), "another algorithm"),
    "an Ed25519 key of two octets": Attack(
        lambda: ed25519_signed(mail()), "does not hold", lambda: [b"k=ed25519; p=AAAA"]
    ),
    "an Ed25519 signature of two octets": Attack(
        lambda: with_tag(ed25519_signed(mail()), "b", b" AAAA"), "permerror", lambda: [ed25519_record()]
    ),
    "an i= without @": Attack(tag("i", DOMAIN.encode()[1:]), "i= lies outside"),
    "an empty i=": Attack(tag("i", b""), "i= lies outside"),
    "an i= beyond ASCII": Attack(tag("i", b"@\xe7\xa5\x9e." + DOMAIN.encode()), "permerror"),
    "a continuation as the first line": Attack(lambda: b" x\r\n" + signed(mail()), "no plain list"),
    "a line that is no field": Attack(lambda: signed(mail()).replace(b"\r\nTo:", b"\r\nno field\r\nTo:"), "no plain"),
    "a space before the colon": Attack(lambda: signed(mail()).replace(b"\r\nTo:", b"\r\nTo :"), "permerror"),
    "a line of an mbox": Attack(lambda: b"From x@y Mon\r\n" + signed(mail()), "no plain list"),
    "a b= that is no base64": Attack(tag("b", b" A"), "permerror"),
    "a b= of other letters": Attack(tag("b", b" \xff!*"), "permerror"),
    "an empty b=": Attack(tag("b", b""), "permerror"),
    "a bh= that is no base64": Attack(tag("bh", b"A"), "permerror"),
    "a bh= of other letters": Attack(tag("bh", b"\xff"), "permerror"),
    "a selector with an empty label": Attack(tag("s", b"a..b"), "s= is no name"),
    "a selector with a long label": Attack(tag("s", b"a" * 64), "s= is no name"),
    "a selector too long for the DNS": Attack(tag("s", b".".join([b"a" * 60] * 4)), "not published"),
    "a selector beyond ASCII": Attack(tag("s", b"\xe9"), "s= is no name"),
    "a domain beyond ASCII": Attack(tag("d", "神田.example".encode()), "d= is no name"),
    "a domain with a dot too many": Attack(tag("d", DOMAIN.encode() + b"."), "d= is no name"),
    "a form that is unheard of": Attack(tag("c", b"nowsp/relaxed"), "permerror"),
    "a form of three parts": Attack(tag("c", b"relaxed/relaxed/x"), "permerror"),
    "another version": Attack(tag("v", b"2"), "version"),
    "a tag given twice": Attack(lambda: signed(mail()).replace(b"; q=", b"; d=x.example; q=", 1), "permerror"),
    "no tags at all": Attack(lambda: b"DKIM-Signature: x\r\n" + mail(), "permerror"),
    "an empty signature": Attack(lambda: b"DKIM-Signature:\r\n" + mail(), "no name"),
    "a signature of spaces": Attack(lambda: b"DKIM-Signature: " + b" \t" * 20_000 + b"\r\n" + mail(), "too long"),
    "a t= in words": Attack(tag("t", b"yesterday"), "t= is no time"),
    "a key in another place than the DNS": Attack(tag("q", b"http"), "not in the DNS"),
    **{
        f"no {name}=": Attack(tag(name, None), why)
        for name, why in {
            "v": "version",
            "a": "algorithm",
            "b": "permerror",
            "bh": "permerror",
            "d": "d= is no name",
            "s": "s= is no name",
            "h": "h= leaves from",
        }.items()
    },
}

# What a key record must not be.
RECORDS = {
    "no record": ([], "not published"),
    "two records": ([record(), record(key("other"))], "published twice"),
    "an empty one": ([b""], "revoked"),
    "one without p=": ([b"v=DKIM1; k=rsa"], "revoked"),
    "a revoked one": ([b"v=DKIM1; p="], "revoked"),
    "one of another version": ([b"v=DKIM2;" + record()[8:]], "another version"),
    "one of another algorithm": ([record(None, "k=dsa")], "another algorithm"),
    "one that is no base64": ([b"v=DKIM1; p=A"], "permerror"),
    "one that is no key": ([b"v=DKIM1; p=AAAA"], "permerror"),
    "one that is no list of tags": ([b"\xff\x00 hello"], "permerror"),
    "one with p= twice": ([record() + b"; p=AAAA"], "permerror"),
    "another key": ([record(key("other"))], "does not hold"),
    "a key for other hashes (D5)": ([record(None, "h=sha1")], "other hashes"),
    "a key for another service (D5)": ([record(None, "s=tlsrpt")], "other services"),
    "a key under test (D5)": ([record(None, "t=y")], "only testing"),
    "a key under test, among flags (D5)": ([record(None, "t= s : y")], "only testing"),
    "a key of 32768 bits (D8)": ([rsa_record((1 << 32_767) | 1)], "too long"),
    "a key of 16384 bits (D8)": ([rsa_record((1 << 16_383) | 1)], "16384 bits"),
    "a key of 4104 bits (D8)": ([rsa_record((1 << 4103) | 1)], "4104 bits"),
    "a key of 1023 bits (D5)": ([rsa_record((1 << 1022) | 1)], "1023 bits"),
    "an exponent of 4096 bits (D8)": ([rsa_record((1 << 2047) | 1, (1 << 4095) | 1)], "strange exponent"),
    "an exponent of one": ([rsa_record((1 << 2047) | 1, 1)], "strange exponent"),
    "an even exponent": ([rsa_record((1 << 2047) | 1, 65536)], "strange exponent"),
    "a modulus of zero": ([rsa_record(0)], "has 0 bits"),
}

UNSOUND = {
    # D2: From not covered, and any other field the desk goes by.
    **{f"{name.decode()} is not covered": Attack(uncovered(name), f"h= leaves {name.decode()}") for name in COVERED},
    "From is changed under a signature without it": Attack(
        lambda: changed(uncovered(b"from")(), b"Hanako Kanda <hanako@", b"<taro@"), "h= leaves from"
    ),
    "an h= of a thousand names": Attack(lambda: crafted(mail(), names=[*COVERED, *[b"x"] * 200]), "h= is too long"),
    # D3
    "text behind the l= that was signed": Attack(lambda: crafted(mail(), l=b"4") + b"more\r\n", "l="),
    "an l= that covers everything": Attack(lambda: crafted(mail(), l=b"20"), "l="),
    # D4
    "a second Subject above": Attack(lambda: b"Subject: other\r\n" + signed(mail()), "subject 2 times"),
    "a second Subject below": Attack(
        lambda: signed(mail()).replace(b"\r\n\r\n", b"\r\nSubject: o\r\n\r\n"), "subject 2"
    ),
    "a second Content-Type": Attack(lambda: b"content-type: text/html\r\n" + signed(mail()), "content-type 2 times"),
    "a second From": Attack(lambda: b"From: x@y.example\r\n" + signed(mail()), "from 2 times"),
    "a second From with a space before its colon": Attack(lambda: b"From : x@y.example\r\n" + signed(mail()), "from 2"),
    "a Content-Type where none was": Attack(
        lambda: (
            b"Content-Type: text/html\r\n"
            + crafted(mail(without=["Content-Type"]), names=[name for name in COVERED if name != b"content-type"])
        ),
        "h= leaves content-type",
    ),
    "another Message-ID": Attack(lambda: changed(signed(mail()), b"<1@kanda", b"<2@kanda"), "does not hold"),
    "another Message-ID under a signature without it": Attack(
        lambda: changed(uncovered(b"message-id")(), b"<1@kanda", b"<2@kanda"), "h= leaves message-id"
    ),
    # D5
    "rsa-sha1": Attack(lambda: crafted(mail(), a=b"rsa-sha1"), "algorithm is not taken"),
    "a key of 768 bits": Attack(
        lambda: crafted(mail(), small_key(768)), "768 bits", lambda: [rsa_record(small_key(768)["modulus"])]
    ),
    "t=s and an i= below": Attack(
        lambda: crafted(mail(), i=b"@sales." + DOMAIN.encode()), "i= of the domain", lambda: [record(None, "t=s")]
    ),
    # D6
    "another domain": Attack(lambda: crafted(mail(), d=b"evil.example"), "not the author's domain"),
    "a domain below the author's": Attack(lambda: crafted(mail(), d=b"sub.kanda.example"), "not the author's domain"),
    "a domain that ends alike": Attack(lambda: crafted(mail(), d=b"anda.example"), "not the author's domain"),
    "a top level domain": Attack(lambda: crafted(mail(), d=b"example"), "not the author's domain"),
    "an i= of another domain": Attack(lambda: crafted(mail(), i=b"@evil.example"), "i= lies outside"),
    "a good signature below five others": Attack(
        lambda: b"DKIM-Signature: v=1\r\n" * 5 + signed(mail()), "d= is no name"
    ),
    "two authors": Attack(lambda: signed(mail(From=f"{AUTHOR}, x@y.example")), "no single author"),
    "no author": Attack(lambda: b"DKIM-Signature: v=1\r\n" + mail(without=["From"]), "no single author"),
    "an author in an encoded word": Attack(lambda: signed(mail(From="=?utf-8?q?hanako=40kanda.example?=")), "author"),
    # D9
    "an x= just past": Attack(lambda: crafted(mail(), x=seconds(timedelta(seconds=-2))), "expired"),
    "a t= of three days ago": Attack(lambda: crafted(mail(), t=seconds(-3 * DAY)), "another time"),
    "a t= in three days": Attack(lambda: crafted(mail(), t=seconds(3 * DAY)), "another time"),
    "a t= in eleven hours": Attack(lambda: crafted(mail(), t=seconds(DAY / 2)), "permerror"),
    "a Date of last week": Attack(
        lambda: signed(mail(Date=format_datetime(datetime.now(UTC) - 7 * DAY))), "Date is 168 hours off"
    ),
    "a Date of next week": Attack(lambda: signed(mail(Date=format_datetime(datetime.now(UTC) + 7 * DAY))), "hours off"),
    "no Date": Attack(lambda: signed(mail(without=["Date"])), "Date cannot be read"),
    "a Date that is none": Attack(lambda: signed(mail(Date="soon")), "Date cannot be read"),
    "a Date beyond all years": Attack(lambda: signed(mail(Date="Mon, 1 Jan 99999 00:00:00 +0000")), "Date cannot"),
    # D10
    "a bare LF in the body": Attack(lambda: signed(mail(b"a\nb\r\n")), "half a line end"),
    "a bare CR in the body": Attack(lambda: signed(mail(b"a\rb\r\n")), "half a line end"),
    "a bare LF in the header": Attack(lambda: signed(mail(Subject="a\n b")), "half a line end"),
    "a NUL in the header": Attack(lambda: signed(mail(Subject="a\0b")), "no plain list"),
    # What would take long.
    "a header of a megabyte": Attack(
        lambda: signed(mail()).replace(b"\r\nTo:", b"\r\nX: " + b"x" * 66_000 + b"\r\nTo:"), "too long"
    ),
    "a thousand fields": Attack(lambda: b"X: y\r\n" * 1000 + signed(mail()), "no plain list"),
    # Changed on the way.
    "another body": Attack(lambda: signed(mail()) + b"more\r\n", "permerror: ValidationError"),
    "another author": Attack(lambda: changed(signed(mail()), b"<hanako@", b"<taro@"), "does not hold"),
}
UNSOUND |= {
    name: Attack(lambda: signed(mail()), why, lambda texts=texts: texts)  # type: ignore[misc]
    for name, (texts, why) in RECORDS.items()
}
ATTACKS = {f"D1: {name}": attack for name, attack in RAISING.items()} | UNSOUND


@pytest.mark.parametrize("name", ATTACKS)
async def test_what_is_unsound_is_neither_authentic_nor_an_error_of_ours(dns, name, caplog):
    attack = ATTACKS[name]
    dns.texts = dict.fromkeys(
        [KEY_NAME, *(f"s1._domainkey.{other}." for other in ("evil.example", "sub.kanda.example", "anda.example"))],
        attack.texts(),
    )
    began = time.process_time()
    verdict = await judged(dns, attack.raw())
    assert (verdict.signed_by, verdict.temporary) == ((), False)
    assert attack.why in verdict.why
    assert time.process_time() - began < 10
    assert caplog.records == []


# The same mails by the library alone: the attacks are real.
TAKEN_BY_THE_LIBRARY = (
    "from is not covered",
    "From is changed under a signature without it",
    "text behind the l= that was signed",
    "a second Subject above",
    "a second Content-Type",
    "another Message-ID under a signature without it",
    "rsa-sha1",
    "a domain below the author's",
    "another domain",
    "a Date of last week",
    "a key under test (D5)",
    "a key for other hashes (D5)",
)


@pytest.mark.parametrize("name", TAKEN_BY_THE_LIBRARY)
def test_the_library_alone_takes_them(name):
    attack = ATTACKS[name]
    (text,) = attack.texts()
    assert dkim.verify(attack.raw(), dnsfunc=lambda *_, **__: text)


FORMS = (b"relaxed/relaxed", b"relaxed/simple", b"simple/relaxed", b"simple/simple", b"relaxed", b"simple", None)
BODIES = (b"", b"\r\n\r\n", b"one line\r\n", b" \r\n\t\r\n", b"a  b\t c \r\n\r\n d\r\n\r\n\r\n", b"\xe7\xa5\x9e\r\n")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("body", BODIES)
async def test_a_sound_signature_counts_in_every_form(dns, form, body):
    raw = crafted(mail(body, Subject="  two   words "), c=form)
    assert await judged(dns, raw) == Verdict(signed_by=(DOMAIN,), why=f"signed by {DOMAIN}, the author's domain")


async def test_stock_signatures_by_rsa_and_ed25519_count(dns):
    assert (await judged(dns, signed(mail()))).signed_by == (DOMAIN,)
    dns.texts[KEY_NAME] = [ed25519_record()]
    assert (await judged(dns, ed25519_signed(mail()))).signed_by == (DOMAIN,)


@pytest.mark.parametrize("tags", [("k=rsa",), ("h=sha1:sha256",), ("s=email",), ("t=s",), ("n=a note", "x=unknown")])
async def test_a_record_may_say_more_of_its_key(dns, tags):
    dns.texts[KEY_NAME] = [record(None, *tags)]
    assert (await judged(dns, signed(mail()))).signed_by == (DOMAIN,)


@pytest.mark.parametrize("bits", [1024, 2048])
async def test_keys_of_1024_bits_and_more_count(dns, bits):
    dns.texts[KEY_NAME] = [record(key("own", bits))]
    assert (await judged(dns, signed(mail(), private=key("own", bits)))).signed_by == (DOMAIN,)


@pytest.mark.parametrize(
    "tags",
    [
        {"x": seconds(DAY)},
        {"t": None},
        {"t": seconds(-DAY)},
        {"i": f"hanako@{DOMAIN}".encode()},
        {"i": f"@sales.{DOMAIN}".encode()},
        {"q": b"dns/txt"},
        {"d": DOMAIN.upper().encode()},
    ],
)
async def test_tags_within_the_rules_count(dns, tags):
    assert (await judged(dns, crafted(mail(), **tags))).signed_by == (DOMAIN,)


async def test_fields_that_the_mail_lacks_need_not_be_covered(dns):
    lacking = mail(without=["To", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"])
    assert (await judged(dns, crafted(lacking, names=[b"from", b"date", b"message-id"]))).signed_by == (DOMAIN,)


async def test_the_domain_above_the_author_counts_and_the_verdict_says_so(dns):
    raw = signed(mail(From=f"hanako@tokyo.{DOMAIN}"))
    verdict = await judged(dns, raw)
    assert verdict == Verdict(signed_by=(DOMAIN,), why=f"signed by {DOMAIN}, above it")


async def test_the_authors_own_domain_is_named_first(dns):
    own = f"tokyo.{DOMAIN}"
    dns.texts[f"s1._domainkey.{own}."] = [record()]
    raw = mail(From=f"hanako@{own}")
    both = crafted(raw).removesuffix(raw) + crafted(raw, d=own.encode())
    assert (await judged(dns, both)).signed_by == (own,)


async def test_a_bogus_signature_on_top_hides_no_good_one(dns):
    bogus = [b"DKIM-Signature: v=1; a=rsa-sha256; d=kanda.example; s=s1; h=from; bh=AAAA; b=AAAA\r\n"]
    bogus += [b"DKIM-Signature: nonsense\r\n", crafted(mail(), d=b"evil.example").partition(b"From:")[0]]
    raw = signed(mail())
    bogus += [with_tag(raw, "b", b" " + b"A" * 344).partition(b"From:")[0]]
    assert (await judged(dns, b"".join(bogus) + raw)).signed_by == (DOMAIN,)


async def test_an_unsigned_mail_is_not_looked_at(dns):
    assert await judged(dns, mail()) == Verdict(why="not signed")
    assert await judged(dns, b"") == Verdict(why="not signed")
    assert await judged(dns, b"\r\nDKIM-Signature: v=1\r\n") == Verdict(why="not signed")
    assert dns.asked == []


async def test_only_keys_of_the_authors_domain_are_asked_for(dns):
    raw = mail()
    foreign = crafted(raw, d=b"evil.example").removesuffix(raw)
    assert (await judged(dns, foreign + foreign + signed(raw))).signed_by == (DOMAIN,)
    await judged(dns, foreign + raw)
    assert dns.asked == [KEY_NAME]


# D7 and fault 23: trouble with the DNS is temporary, absence is not.
TROUBLE = {
    SERVFAIL: True,
    REFUSED: True,
    SILENT: True,
    GARBAGE: True,
    LOOP: True,
    CUT_OFF: True,
    NO_DATA: False,
    "": False,
}


@pytest.mark.parametrize("told", TROUBLE)
async def test_trouble_with_the_dns_is_temporary_and_absence_is_not(dns, told):
    dns.texts = {}
    dns.told = {KEY_NAME: told}
    verdict = await at_the_end_of_the_lookup(dns, judged(dns, signed(mail())), KEY_NAME)
    assert (verdict.signed_by, verdict.temporary) == ((), TROUBLE[told])


async def at_the_end_of_the_lookup(dns: DnsServer, judging: Coroutine[Any, Any, Verdict], silent: str) -> Verdict:
    """The verdict that is there as soon as the time for all lookups is over, where a name has no answer."""
    clock = LoopClock()
    task = asyncio.create_task(judging)
    if dns.told.get(silent) in (SILENT, GARBAGE):
        await until(lambda: silent in dns.asked)
        clock.move(LONGEST_LOOKUP)
    async with asyncio.timeout(LONGEST_LOOKUP / 2):
        return await task


async def test_a_key_that_can_be_had_makes_up_for_one_that_cannot(dns):
    raw, judge, now = mail(), auth(dns), datetime.now(UTC)
    silent = f"s2._domainkey.{DOMAIN}."
    dns.told = {silent: SILENT}
    other = crafted(raw, s=b"s2").removesuffix(raw)
    assert (await judge.judge(signed(raw), now)).signed_by == (DOMAIN,)  # its key is known from here on
    verdict = await at_the_end_of_the_lookup(dns, judge.judge(other + signed(raw), now), silent)
    assert verdict.signed_by == (DOMAIN,)
    dns.asked.clear()
    unsound = with_tag(signed(raw), "b", b" " + b"A" * 344)
    verdict = await at_the_end_of_the_lookup(dns, judge.judge(other + unsound, now), silent)
    assert (verdict.signed_by, verdict.temporary) == ((), True)


@pytest.mark.parametrize("form", ["simple", "relaxed"])
async def test_no_octet_of_what_is_signed_can_be_changed(dns, form):
    raw = crafted(mail(b"First line of it.\r\nSecond\r\n"), c=f"{form}/{form}".encode())
    end_of_signature = raw.index(b"\r\nFrom:")
    judge, now = auth(dns), datetime.now(UTC)
    assert (await judge.judge(raw, now)).signed_by == (DOMAIN,)
    value = raw.index(b"b=", raw.index(b"bh=") + 3) + 2
    # The relaxed form lets the case of names and the number of spaces go: each flip makes another letter or sign.
    flip, step = (0x01, 1) if form == "simple" else (0x02, 3)
    accepted = []
    for place in range(0, len(raw), step):
        if value <= place <= end_of_signature + 1 or (form == "relaxed" and raw[place : place + 1].isspace()):
            continue
        mutant = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
        if (await judge.judge(mutant, now)).signed_by:
            accepted.append(mutant)
    assert accepted == []


async def test_no_octet_of_a_signature_can_be_changed_but_for_bits_that_base64_does_not_use(dns):
    raw = signed(mail())
    judge, now = auth(dns), datetime.now(UTC)
    start = raw.index(b"b=", raw.index(b"bh=") + 3) + 2
    value = re.compile(rb"[A-Za-z0-9+/]")
    places = [place for place in range(start, raw.index(b"\r\nFrom:")) if value.match(raw, place)][:-1]
    for place in places[::2]:
        other = b"B" if raw[place : place + 1] == b"A" else b"A"
        assert (await judge.judge(raw[:place] + other + raw[place + 1 :], now)).signed_by == ()


# What the library would take minutes for.


async def test_a_long_run_of_spaces_takes_no_time(dns):
    raw = signed(mail(b"a b\r\n"))
    assert raw.endswith(b"\r\n\r\na b\r\n")
    began = time.process_time()
    assert (await judged(dns, raw.removesuffix(b"a b\r\n") + b"a" + b" \t" * 500_000 + b"b\r\n")).signed_by == (DOMAIN,)
    assert time.process_time() - began < 10


async def test_a_million_empty_lines_at_the_end_take_no_time(dns):
    began = time.process_time()
    assert (await judged(dns, signed(mail()) + b"\r\n" * 1_000_000)).signed_by == (DOMAIN,)
    assert time.process_time() - began < 10


@given(st.lists(st.text(alphabet=" \tab", max_size=8), max_size=8), st.booleans())
def test_the_quick_form_of_a_body_is_canonically_the_same(lines, relaxed):
    body = "".join(f"{line}\r\n" for line in lines).encode()
    form = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed" if relaxed else b"simple/simple")
    assert form.canonicalize_body(_quick_body(body, relaxed=relaxed)) == form.canonicalize_body(body)


async def test_many_mails_are_judged_side_by_side(dns):
    judge, now = auth(dns), datetime.now(UTC)
    verdicts = await asyncio.gather(*(judge.judge(signed(mail()), now) for _ in range(20)))
    assert {verdict.signed_by for verdict in verdicts} == {(DOMAIN,)}


@pytest.mark.parametrize("raw", [b"DKIM-Signature:" * 1000, b"DKIM-Signature: " + bytes(range(256)), b"\xff" * 100])
async def test_no_octets_make_it_raise(dns, raw):
    assert (await judged(dns, raw)).signed_by == ()


@given(st.binary(max_size=300))
def test_no_random_octets_make_it_raise(octets):
    judge = SenderAuth(DkimSection(nameservers=("192.0.2.1",), lookup_timeout=0.01))
    raw = b"DKIM-Signature: " + octets + b"\r\n" + mail()
    assert asyncio.run(judge.judge(raw, datetime.now(UTC))).signed_by == ()
