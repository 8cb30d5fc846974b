"""Which DKIM signatures may count at all, decided before any key is used (RFC 6376; stricter where it leaves holes).

A signature counts when it covers, whole, what the application desk goes by: From and every field that says what the
mail is, and the body without a limit. Nothing here touches the network or a key; what does not count raises
`NotAuthentic` with the reason.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from handlers.mail import MailHeader, parse_mailbox, read_header

MOST_SIGNATURES = 5
LONGEST_RECORD = 4096  # octets of a key record; one of RSA-4096 has 750
ALGORITHMS = {b"rsa-sha256": b"rsa", b"ed25519-sha256": b"ed25519"}
SIGNATURE_FIELD = "dkim-signature"

# For the library, which writes what a mail holds into its log.
SILENT = logging.Logger("dkimpy", logging.CRITICAL)  # noqa: LOG001 - of no tree, so that nothing configures it
SILENT.addHandler(logging.NullHandler())

LONGEST_HEADER = 64 * 1024  # octets; of a longer one nobody's authorship is judged
_MOST_FIELDS = 500
_LONGEST_SIGNATURE = 4096
_MOST_NAMES = 100
_KEY_BITS = range(1024, 4096 + 1)
_EXPONENTS = range(3, 1 << 32, 2)

# What a mail must not hold twice (RFC 5322 §3.6, RFC 2045 §3): readers take the first or the last as they like.
_SINGLETONS = (
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "auto-submitted",
)
# What h= must name as far as the mail has it.
_MUST_BE_SIGNED = (
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
)

_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(_LABEL + rb"(?:\." + _LABEL + rb")*")
_SECONDS = re.compile(rb"[0-9]{1,12}")


class NotAuthentic(Exception):
    """The signature, or the whole mail, does not count; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedMail:
    """A mail that could be authentic: its header as the desk reads it, and as bytes up to the empty line."""

    header: MailHeader
    header_bytes: bytes
    body: bytes
    from_domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A signature that counts if its key is sound and it holds; `place` is among those of the mail, from the top."""

    place: int
    domain: str
    selector: str
    algorithm: bytes
    identity_domain: str
    relaxed_body: bool

    @property
    def key_name(self) -> str:
        """Where its key record is."""
        return f"{self.selector}._domainkey.{self.domain}."


def is_signed(raw: bytes) -> bool:
    """Whether the mail has a DKIM-Signature field, sound or not."""
    header, _ = _halves(raw)
    return b"\r\ndkim-signature" in b"\r\n" + header[:LONGEST_HEADER].lower()


def read_signed_mail(raw: bytes, now: datetime, skew: timedelta) -> SignedMail:
    """The mail, if it is one that everybody reads alike, by one author, written now. Raises NotAuthentic."""
    header_bytes, body = _halves(raw)
    if len(header_bytes) > LONGEST_HEADER:
        raise NotAuthentic("its header is too long to be judged")
    if not has_whole_line_ends(header_bytes):
        raise NotAuthentic("its header has half a line end")
    header = read_header(header_bytes)
    if header.malformed or len(header.fields) > _MOST_FIELDS:
        raise NotAuthentic("its header is no plain list of fields")
    counted = Counter(name for name, _ in header.fields)
    twice = [name for name in _SINGLETONS if counted[name] > 1]
    if twice:
        raise NotAuthentic(f"it has {twice[0]} {counted[twice[0]]} times")
    author = next((parse_mailbox(value) for value in header.values("from")), None)
    if author is None:
        raise NotAuthentic("it has no single author in From")
    _check_date(header, now, skew)
    return SignedMail(header=header, header_bytes=header_bytes, body=body, from_domain=author.rpartition("@")[2])


def has_whole_line_ends(data: bytes) -> bool:
    """Whether every CR stands before a LF and every LF behind a CR."""
    return data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")


def alignment(domain: str, from_domain: str) -> str | None:
    """How the signing domain stands to the author's: the `same`, or `above` it; None when it may not speak for it.

    A domain below the author's may not: providers give such names to customers.
    """
    if domain == from_domain:
        return "same"
    return "above" if from_domain.endswith(f".{domain}") and "." in domain else None


def candidate(place: int, tags: Mapping[bytes, bytes], mail: SignedMail, now: datetime, skew: timedelta) -> Candidate:
    """The signature with these tags, if it covers what it must. Raises NotAuthentic."""
    domain, selector = _name(tags, b"d"), _name(tags, b"s")
    if alignment(domain, mail.from_domain) is None:
        raise NotAuthentic(f"d={domain} is not the author's domain")
    identity_domain = tags.get(b"i", b"@" + domain.encode()).rpartition(b"@")[2].decode("ascii").lower()
    if identity_domain != domain and not identity_domain.endswith(f".{domain}"):
        raise NotAuthentic("i= lies outside d=")
    algorithm = tags.get(b"a", b"")
    if tags.get(b"v") != b"1" or algorithm not in ALGORITHMS:
        raise NotAuthentic("its version or algorithm is not taken")
    if b"l" in tags:
        raise NotAuthentic("l= leaves a part of the body open")
    if tags.get(b"q", b"dns/txt") != b"dns/txt":
        raise NotAuthentic("its key is not in the DNS")
    _check_names(tags.get(b"h", b""), mail.header)
    _check_times(tags, now, skew)
    return Candidate(
        place=place,
        domain=domain,
        selector=selector,
        algorithm=algorithm,
        identity_domain=identity_domain,
        relaxed_body=tags.get(b"c", b"").partition(b"/")[2] == b"relaxed",
    )


def check_length(signature: bytes) -> None:
    """Raises NotAuthentic for a field whose parsing could take long."""
    if len(signature) > _LONGEST_SIGNATURE:
        raise NotAuthentic("its signature field is too long")


def check_record(tags: Mapping[bytes, bytes], signature: Candidate) -> None:
    """Whether a key record allows this use of its key (RFC 6376 §3.6.1). Raises NotAuthentic."""
    if tags.get(b"v", b"DKIM1") != b"DKIM1":
        raise NotAuthentic("its key record is of another version")
    if not tags.get(b"p"):
        raise NotAuthentic("its key is revoked")
    if tags.get(b"k", b"rsa") != ALGORITHMS[signature.algorithm]:
        raise NotAuthentic("its key is of another algorithm")
    if b"h" in tags and b"sha256" not in _parts(tags[b"h"]):
        raise NotAuthentic("its key is for other hashes")
    if b"s" in tags and not {b"*", b"email"} & _parts(tags[b"s"]):
        raise NotAuthentic("its key is for other services than mail")
    flags = _parts(tags.get(b"t", b""))
    if b"y" in flags:
        raise NotAuthentic("its domain is only testing")
    if b"s" in flags and signature.identity_domain != signature.domain:
        raise NotAuthentic("its key is for i= of the domain itself")


def check_rsa(modulus: int, exponent: int) -> None:
    """Whether an RSA key is safe to trust and quick to use. Raises NotAuthentic."""
    if modulus.bit_length() not in _KEY_BITS:
        raise NotAuthentic(f"its key has {modulus.bit_length()} bits")
    if exponent not in _EXPONENTS:
        raise NotAuthentic("its key has a strange exponent")


def _halves(raw: bytes) -> tuple[bytes, bytes]:
    """Header with the line end of its last field, and body."""
    if raw.startswith(b"\r\n"):
        return b"", raw[2:]
    end = raw.find(b"\r\n\r\n")
    return (raw, b"") if end < 0 else (raw[: end + 2], raw[end + 4 :])


def _check_date(header: MailHeader, now: datetime, skew: timedelta) -> None:
    """An old mail sent once more must not count: the look-out for repeats remembers days, not years."""
    written = b"".join(header.values("date")).decode("latin-1")
    try:
        date = parsedate_to_datetime(written[:100])
        age = now - (date if date.tzinfo else date.replace(tzinfo=UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        raise NotAuthentic("its Date cannot be read") from None
    if abs(age) > skew:
        raise NotAuthentic(f"its Date is {abs(age) // timedelta(hours=1)} hours off")


def _name(tags: Mapping[bytes, bytes], tag: bytes) -> str:
    name = tags.get(tag, b"")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise NotAuthentic(f"{tag.decode()}= is no name of the DNS")
    return name.decode("ascii").lower()


def _check_names(names: bytes, header: MailHeader) -> None:
    signed = [name.strip().lower().decode("latin-1") for name in names.split(b":")]
    if len(signed) > _MOST_NAMES:
        raise NotAuthentic("h= is too long")
    open_ones = [name for name in _MUST_BE_SIGNED if name not in signed and header.values(name)]
    if open_ones:
        raise NotAuthentic(f"h= leaves {', '.join(open_ones)} open")


def _check_times(tags: Mapping[bytes, bytes], now: datetime, skew: timedelta) -> None:
    found = {}
    for tag in (b"t", b"x"):
        if tag in tags:
            if not _SECONDS.fullmatch(tags[tag]):
                raise NotAuthentic(f"{tag.decode()}= is no time")
            found[tag] = int(tags[tag])
    second = now.timestamp()
    if b"t" in found and abs(found[b"t"] - second) > skew.total_seconds():
        raise NotAuthentic("it was signed at another time")
    if b"x" in found and found[b"x"] <= second:
        raise NotAuthentic("it has expired")


def _parts(value: bytes) -> set[bytes]:
    return {part.strip().lower() for part in value.split(b":")}
