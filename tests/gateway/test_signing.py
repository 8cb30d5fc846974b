"""Our DKIM signatures: what they cover, that nobody's but sound ones leave, and that others accept them."""

from __future__ import annotations

import asyncio
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import parse_pem_private_key

from gateway.failures import NotSigned
from gateway.key_file import KeyFileRefused
from gateway.sender_auth import SenderAuth, Verdict
from gateway.setting_desk import DkimSection
from gateway.signing import Signer, key_record, open_signer
from handlers.notice_mail import NoticeHeader, build
from tests.fakes.dns_server import DnsServer
from tests.fakes.opendkim import (
    accepted_by_testmsg,
    needs_opendkim,
    needs_testmsg,
    signed_by_opendkim,
    signed_by_testmsg,
    verified_by_opendkim,
)
from tests.gateway.signed_mails import DOMAIN, KEY_NAME, key, mail, pem, record

NSS = "nss.center.example"
OTHER_FIELDS = ("in-reply-to", "references")
FIELDS = (
    "from", "to", "subject", "date", "message-id", "reply-to", "mime-version", "content-type",
    "content-transfer-encoding", "auto-submitted",
)  # fmt: skip


def notice(thread: str = "", **fields: str) -> bytes:
    """A notice as the desk builds one."""
    values = {
        "from_address": f"nss@{NSS}",
        "to": f"hanako@{DOMAIN}",
        "reply_to": f"apply@{NSS}",
        "subject": "【NSS】利用申込を受け付けました（受付番号 260001A）",
        "message_id": f"<1@{NSS}>",
        "auto_submitted": "auto-generated",
    }
    header = NoticeHeader(thread=thread, **(values | fields))
    return build(header, "神田花子 様\n\n利用申込を受け付けました。\n" * 5, (), datetime.now(UTC))


def section(directory: Path, content: bytes | None = None, mode: int = 0o600, **settings: object) -> DkimSection:
    """Settings whose key file holds that."""
    file = directory / "dkim.pem"
    file.touch()
    file.chmod(mode)
    file.write_bytes(pem(key()) if content is None else content)
    return DkimSection.model_validate({"key_file": file, **settings})


@pytest.fixture
def signer(tmp_path):
    return Signer(section(tmp_path), NSS)


def tags_of(field: bytes) -> list[tuple[bytes, bytes]]:
    """The tags of a signature field in their order, without the spaces of its folding."""
    parts = field.partition(b":")[2].split(b";")
    pairs = [re.sub(rb"\s+", b"", part).partition(b"=") for part in parts]
    return [(name, value) for name, _, value in pairs]


def test_it_covers_every_field_once_more_than_present_and_the_whole_body(signer):
    now = datetime.now(UTC)
    field = signer.sign(notice(), now)
    tags = dict(tags_of(field))
    assert (tags[b"a"], tags[b"c"], tags[b"q"]) == (b"rsa-sha256", b"relaxed/relaxed", b"dns/txt")
    assert (tags[b"d"], tags[b"s"]) == (NSS.encode(), b"naccs")
    assert (int(tags[b"t"]), int(tags[b"x"]) - int(tags[b"t"])) == (int(now.timestamp()), 7 * 86400)
    assert b"l" not in tags
    names = tags[b"h"].decode().split(":")
    assert {name: names.count(name) for name in (*FIELDS, *OTHER_FIELDS)} == (
        dict.fromkeys(FIELDS, 2) | dict.fromkeys(OTHER_FIELDS, 1)
    )
    threaded = dict(tags_of(signer.sign(notice("<0@x.example>"), now)))[b"h"].decode().split(":")
    assert {name: threaded.count(name) for name in OTHER_FIELDS} == dict.fromkeys(OTHER_FIELDS, 2)
    assert set(names) == {*FIELDS, *OTHER_FIELDS}
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert field.endswith(b"\r\n")


@pytest.mark.parametrize("content", [notice(), notice("<0@x.example>"), mail(From=f"nss@{NSS}"), mail(b"")])
def test_its_octets_are_those_of_the_library_with_its_own_rsa(signer, content):
    field = signer.sign(content, datetime.now(UTC))
    tags = tags_of(field)
    names = dict(tags)[b"h"].split(b":")
    stock = dkim.DKIM(content)
    stock.hasher = dkim.HASH_ALGORITHMS[b"rsa-sha256"]
    given = dict(tags) | {b"h": b" : ".join(names), b"b": b"0" * 60}
    forms = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    parsed = parse_pem_private_key(pem(key()))
    expected = stock.gen_header([(tag, given[tag]) for tag, _ in tags], names, forms, b"DKIM-Signature", parsed)
    assert field == b"DKIM-Signature: " + expected


def test_the_library_verifies_it_with_the_published_record(signer):
    content = notice()
    signed = signer.sign(content, datetime.now(UTC)) + content
    record_of = {signer.record.name.encode(): signer.record.text.encode()}
    assert dkim.verify(signed, dnsfunc=lambda name, **_: record_of[name])
    assert not dkim.verify(
        signed.replace(b"auto-generated", b"auto-replied"), dnsfunc=lambda name, **_: record_of[name]
    )


@pytest.mark.parametrize("field", [*FIELDS, *OTHER_FIELDS])
def test_no_field_can_be_added_above_or_below_what_is_signed(signer, field):
    content = notice()
    signed = signer.sign(content, datetime.now(UTC)) + content
    record_of = {signer.record.name.encode(): signer.record.text.encode()}
    added = f"{field}: <9@x.example>\r\n".encode()
    for mutant in (added + signed, signed.replace(b"\r\n\r\n", b"\r\n" + added + b"\r\n", 1)):
        assert not dkim.verify(mutant, dnsfunc=lambda name, **_: record_of[name])


async def test_our_own_listener_takes_it_for_authentic(signer):
    async with DnsServer() as dns:
        dns.texts = {signer.record.name: [signer.record.text.encode()]}
        auth = SenderAuth(DkimSection(nameservers=(dns.nameserver,)))
        content, now = notice(), datetime.now(UTC)
        assert (await auth.judge(signer.sign(content, now) + content, now)).signed_by == (NSS,)


def test_the_selector_the_domain_and_the_life_are_settings(tmp_path):
    settings = section(tmp_path, selector="2026.b", domain="Mail.Center.example", life="10 d")
    signer = Signer(settings, NSS)
    content = notice(from_address="nss@mail.center.example")
    tags = dict(tags_of(signer.sign(content, datetime.now(UTC))))
    assert (tags[b"d"], tags[b"s"]) == (b"mail.center.example", b"2026.b")
    assert int(tags[b"x"]) - int(tags[b"t"]) == 10 * 86400
    assert signer.record.name == "2026.b._domainkey.mail.center.example."
    assert (signer.signs(content), signer.signs(notice())) == (True, False)


@pytest.mark.parametrize(
    ("author", "ours"),
    [
        (f"nss@{NSS}", True),
        (f"NSS <nss@{NSS.upper()}>", True),
        ("nss@center.example", False),
        (f"nss@x.{NSS}", False),
        (f"nss@{NSS}, other@{NSS}", False),
        ("", False),
    ],
)
def test_only_mail_by_one_author_of_the_domain_is_ours_to_sign(signer, author, ours):
    assert signer.signs(mail(From=author)) is ours
    assert signer.signs(mail(without=["From"])) is False


def test_a_signature_that_does_not_hold_is_not_given_out(signer):
    signer.record = key_record(key("other").public_key(), "naccs", NSS)  # as if the RSA had erred
    with pytest.raises(NotSigned, match="does not hold"):
        signer.sign(notice(), datetime.now(UTC))


@pytest.mark.parametrize("content", [b"From: nss@nss.center.example\r\nno field\r\n\r\n", b" x\r\n\r\n"])
def test_a_mail_that_cannot_be_read_is_not_signed(signer, content):
    with pytest.raises(NotSigned, match="could not be signed"):
        signer.sign(content, datetime.now(UTC))


def test_a_clock_far_ahead_makes_no_signature(signer):
    with pytest.raises(NotSigned):
        signer.sign(notice(), datetime.now(UTC) + timedelta(days=2))


def test_several_threads_sign_at_once(signer):
    contents = [notice(message_id=f"<{number}@{NSS}>") for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        fields = list(pool.map(lambda content: signer.sign(content, datetime.now(UTC)), contents))
    assert len(set(fields)) == 20


# The key file.


def test_nothing_is_signed_until_the_key_file_exists(tmp_path):
    assert open_signer(DkimSection(key_file=tmp_path / "dkim.pem"), NSS) is None
    assert open_signer(section(tmp_path), NSS) is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_refuses_the_start(tmp_path, mode):
    with pytest.raises(KeyFileRefused, match=r"dkim\.key_file: .*dkim\.pem is open to others; chmod 0600 it"):
        open_signer(section(tmp_path, mode=mode), NSS)


BROKEN = {
    "nothing": b"",
    "words": b"a key\n",
    "a key cut short": pem(key())[:500],
    "a public key alone": b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJB\n-----END PUBLIC KEY-----\n",
    "a short key": pem(key("short", 1024)),
    "a key of another kind": pem(ec.generate_private_key(ec.SECP256R1())),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_key_file_refuses_the_start_and_says_what_to_do(tmp_path, content):
    with pytest.raises(KeyFileRefused, match=r"dkim\.key_file: .*2048 to 4096 bits.* or make another with `dkim new"):
        open_signer(section(tmp_path, content), NSS)


def test_a_key_file_that_is_a_directory_refuses_the_start(tmp_path):
    (tmp_path / "dkim.pem").mkdir(mode=0o700)
    with pytest.raises(KeyFileRefused, match="cannot be read"):
        open_signer(DkimSection(key_file=tmp_path / "dkim.pem"), NSS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_key_file_of_another_user_refuses_the_start(tmp_path):
    settings = section(tmp_path)
    settings.key_file.chmod(0)
    with pytest.raises(KeyFileRefused, match="cannot be read"):
        open_signer(settings, NSS)


def test_a_record_is_cut_into_strings_of_255_octets(signer):
    assert [len(part) for part in signer.record.strings] == [255, len(signer.record.text) - 255]
    assert "".join(signer.record.strings) == signer.record.text
    quoted = re.findall(r'"([^"]*)"', signer.record.zone_line)
    assert tuple(quoted) == signer.record.strings
    assert signer.record.zone_line.startswith(f"naccs._domainkey.{NSS}. IN TXT ( ")


# OpenDKIM.


@needs_opendkim
@pytest.mark.parametrize("thread", ["", "<0@x.example>"])
def test_opendkim_accepts_our_signature_and_no_changed_mail(signer, tmp_path, thread):
    content = notice(thread)
    signed = signer.sign(content, datetime.now(UTC)) + content

    def said(raw: bytes) -> str:
        return verified_by_opendkim(tmp_path, raw, signer.record.name, signer.record.text)

    assert said(signed) == f"verification (s=naccs, d={NSS}, 2048-bit key) succeeded"
    for changed in (
        signed + b"more\r\n",
        signed.replace(b"auto-generated", b"auto-replied"),
        b"Subject: other\r\n" + signed,
        b"References: <2@x.example>\r\n" + signed,
    ):
        assert "failed" in said(changed)


@needs_testmsg
def test_opendkim_accepted_by_testmsg_our_signature_and_no_changed_mail(signer, tmp_path):
    content = notice()
    signed = signer.sign(content, datetime.now(UTC)) + content
    name, text = signer.record.name, signer.record.text
    assert accepted_by_testmsg(tmp_path, signed, name, text)
    assert not accepted_by_testmsg(tmp_path, signed + b"more\r\n", name, text)


async def judged(signed: bytes) -> Verdict:
    async with DnsServer() as dns:
        dns.texts = {KEY_NAME: [record()]}
        return await SenderAuth(DkimSection(nameservers=(dns.nameserver,))).judge(signed, datetime.now(UTC))


@needs_opendkim
@pytest.mark.parametrize("forms", ["relaxed/relaxed", "relaxed/simple", "simple/simple"])
async def test_a_signature_by_opendkim_counts(tmp_path, forms):
    signed = await asyncio.to_thread(signed_by_opendkim, tmp_path, mail(), pem(key()), "s1", DOMAIN, forms)
    assert (await judged(signed)).signed_by == (DOMAIN,)


@needs_testmsg
async def test_an_rsa_sha1_signature_by_opendkim_testmsg_does_not_count(tmp_path):
    signed = await asyncio.to_thread(signed_by_testmsg, tmp_path, mail(), pem(key()), "s1", DOMAIN)
    assert b"a=rsa-sha1" in signed
    assert await judged(signed) == Verdict(why="its version or algorithm is not taken")
