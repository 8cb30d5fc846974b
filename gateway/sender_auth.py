"""Whether a received mail is authentic by DKIM (RFC 6376, 8463): judged on the raw bytes, before it is committed.

A mail is signed by a domain only if a signature holds that `gateway.dkim_rules` lets count, its key is sound, and its
domain is the author's own or above it. Whatever goes wrong says no: nothing here raises. Trouble with the DNS alone is
temporary. The same signed mail once more, within the time its Date allows, is left to the desk's look-out for repeats.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dkim
from dkim.util import parse_tag_value

from gateway.dkim_rules import (
    LONGEST_RECORD,
    MOST_SIGNATURES,
    SIGNATURE_FIELD,
    SILENT,
    Candidate,
    NotAuthentic,
    SignedMail,
    alignment,
    candidate,
    check_length,
    check_record,
    check_rsa,
    has_whole_line_ends,
    is_signed,
    read_signed_mail,
)
from gateway.key_lookup import KeyLookup, LookupTrouble
from gateway.setting_desk import DkimSection

_AT_ONCE = 2  # verifications, each a thread's work
_SPACES = re.compile(rb"[\t ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`signed_by`: the domain whose signature held, aligned to From; else empty. `temporary`: ask again later."""

    signed_by: tuple[str, ...] = ()
    temporary: bool = False
    why: str


class SenderAuth:
    """Judges mails by the settings of `[dkim]`."""

    def __init__(self, section: DkimSection, lookup: KeyLookup | None = None) -> None:
        self._lookup = KeyLookup(section.nameservers, section.lookup_timeout) if lookup is None else lookup
        self._skew = timedelta(seconds=section.clock_skew)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def judge(self, raw: bytes, now: datetime) -> Verdict:
        """The verdict on a mail as received. `now`: the host's own clock, as signers have it."""
        try:
            return await self._judge(raw, now)
        except NotAuthentic as reason:
            return Verdict(why=str(reason))
        except Exception as error:  # noqa: BLE001 - what cannot be judged is not authentic
            return Verdict(why=f"permerror: {type(error).__name__}")

    async def _judge(self, raw: bytes, now: datetime) -> Verdict:
        if not is_signed(raw):
            return Verdict(why="not signed")
        mail = read_signed_mail(raw, now, self._skew)
        found, reasons = self._candidates(mail, now)
        keys = await self._lookup.texts(each.key_name for each in found)
        async with self._turns:
            return await asyncio.to_thread(_verdict, mail, found, keys, reasons)

    def _candidates(self, mail: SignedMail, now: datetime) -> tuple[list[Candidate], list[str]]:
        """The signatures whose keys are worth a question, those of the author's own domain first."""
        found, reasons = [], []
        for place, tags in enumerate(_signatures(mail)):
            try:
                found.append(candidate(place, _read(tags), mail, now, self._skew))
            except NotAuthentic as reason:
                reasons.append(str(reason))
            except Exception as error:  # noqa: BLE001 - this signature is broken; another may be sound
                reasons.append(f"permerror: {type(error).__name__}")
        return sorted(found, key=lambda each: each.domain != mail.from_domain), reasons


def _signatures(mail: SignedMail) -> list[bytes]:
    """The values of the signature fields, as the library finds them. Raises NotAuthentic where it reads otherwise."""
    fields = dkim.DKIM(mail.header_bytes + b"\r\n").headers
    if [name.lower() for name, _ in fields] != [name.encode("ascii") for name, _ in mail.header.fields]:
        raise NotAuthentic("its header can be read in two ways")
    signatures = [value for name, value in fields if name.lower() == SIGNATURE_FIELD.encode()]
    return signatures[:MOST_SIGNATURES]


def _read(signature: bytes) -> Mapping[bytes, bytes]:
    check_length(signature)
    return parse_tag_value(signature)


def _verdict(
    mail: SignedMail,
    found: Sequence[Candidate],
    keys: Mapping[str, tuple[bytes, ...] | LookupTrouble],
    reasons: Sequence[str],
) -> Verdict:
    if not has_whole_line_ends(mail.body):
        return Verdict(why="its body has half a line end")
    why, troubles = list(reasons), []
    for each in found:
        records = keys[each.key_name]
        if isinstance(records, LookupTrouble):
            troubles.append(records.reason)
            continue
        try:
            _check(mail, each, records)
        except NotAuthentic as reason:
            why.append(str(reason))
        except Exception as error:  # noqa: BLE001 - this signature is broken; another may be sound
            why.append(f"permerror: {type(error).__name__}")
        else:
            relation = "the author's domain" if alignment(each.domain, mail.from_domain) == "same" else "above it"
            return Verdict(signed_by=(each.domain,), why=f"signed by {each.domain}, {relation}")
    return Verdict(temporary=bool(troubles), why="; ".join([*troubles, *why]))


def _check(mail: SignedMail, signature: Candidate, records: Sequence[bytes]) -> None:
    """Whether the signature holds under its key. Raises NotAuthentic, or whatever the library does."""
    if len(records) != 1:
        raise NotAuthentic("its key is not published" if not records else "its key is published twice")
    (record,) = records
    if len(record) > LONGEST_RECORD:
        raise NotAuthentic("its key record is too long")
    check_record(parse_tag_value(record), signature)
    name = signature.key_name.encode("ascii")
    if signature.algorithm == b"rsa-sha256":
        key = dkim.evaluate_pk(name, record)[0]
        check_rsa(key["modulus"], key["publicExponent"])
    verifier = dkim.DKIM(mail.header_bytes + b"\r\n", logger=SILENT)
    verifier.body = _quick_body(mail.body, relaxed=signature.relaxed_body)
    if not verifier.verify(signature.place, dnsfunc=lambda asked, **_: record if asked.lower() == name else None):
        raise NotAuthentic("its signature does not hold")


def _quick_body(body: bytes, *, relaxed: bool) -> bytes:
    """A body of the same canonical form (RFC 6376 §3.4) for which the library's own way to it is short.

    Its patterns take a time that is the square of a run of spaces, its loop a turn for each empty line at the end.
    """
    if relaxed:
        body = _SPACES.sub(b" ", body).replace(b" \r\n", b"\r\n")
    kept = body.rstrip(b"\r\n")
    return kept + b"\r\n" if kept else b""
