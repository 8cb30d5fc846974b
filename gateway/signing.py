"""Signing the mails we send by DKIM (RFC 6376): rsa-sha256, relaxed forms, each field named once more than present.

Nothing is signed until the key file exists. A signature is verified with the public key before anybody gets it; one
that does not hold raises `NotSigned` and goes nowhere. The bytes are those of dkimpy; the RSA is OpenSSL's.
"""

from __future__ import annotations

import hashlib
import stat
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dkim
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from dkim.canonicalization import CanonicalizationPolicy

from gateway.dkim_rules import SILENT
from gateway.failures import NotSigned
from gateway.key_file import KeyFileRefused
from gateway.setting_desk import DkimSection
from handlers.mail import parse_mailbox, read_header

KEY_BITS = range(2048, 4096 + 1)

# Each is a field a mail has once at most; named once more than it is there, none can be added later.
_SIGNED_FIELDS = (
    b"from",
    b"to",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"auto-submitted",
)
_FORMS = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
_EXPONENT = 65537
_TXT_STRING = 255  # octets (RFC 1035 §3.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is to be published in the DNS for a key: a TXT record, as strings of 255 octets at most."""

    name: str
    text: str

    @property
    def strings(self) -> tuple[str, ...]:
        return tuple(self.text[start : start + _TXT_STRING] for start in range(0, len(self.text), _TXT_STRING))

    @property
    def zone_line(self) -> str:
        """The record as a zone file has it."""
        quoted = " ".join(f'"{part}"' for part in self.strings)
        return f"{self.name} IN TXT ( {quoted} )"


def signing_domain(section: DkimSection, support_domain: str) -> str:
    """The d= of our signatures."""
    return (section.domain or support_domain).lower()


def read_key(path: Path) -> RSAPrivateKey:
    """The key of a PEM file that is its owner's alone. Raises KeyFileRefused, saying what to do."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFileRefused(f"dkim.key_file: {path} is open to others; chmod 0600 it")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyFileRefused(f"dkim.key_file: {path} cannot be read ({error.strerror}); give it to this user") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size not in KEY_BITS:
        raise KeyFileRefused(
            f"dkim.key_file: {path} holds no plain RSA key of {KEY_BITS[0]} to {KEY_BITS[-1]} bits in PEM; "
            "restore it from its backup, or make another with `dkim new --replace`"
        )
    return key


def new_key(bits: int) -> str:
    """A new private key in PEM (PKCS#8)."""
    key = generate_private_key(_EXPONENT, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def key_record(key: RSAPublicKey, selector: str, domain: str) -> KeyRecord:
    """The record that lets others verify what the key signs."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = f"v=DKIM1; k=rsa; p={b64encode(der).decode('ascii')}"
    return KeyRecord(name=f"{selector}._domainkey.{domain}.", text=text)


def open_signer(section: DkimSection, support_domain: str) -> Signer | None:
    """The signer, or None while there is no key file. Raises KeyFileRefused for one that cannot be used."""
    return Signer(section, support_domain) if section.key_file.exists() else None


class Signer:
    """Signs mails of the signing domain with the key of `dkim.key_file`. May be used by several threads at once."""

    def __init__(self, section: DkimSection, support_domain: str) -> None:
        self.domain = signing_domain(section, support_domain)
        self._selector = section.selector
        self._life = int(section.life)
        self._key = _OpensslKey(read_key(section.key_file))
        self.record = key_record(self._key.public, self._selector, self.domain)

    def signs(self, content: bytes) -> bool:
        """Whether the mail is by one author of the signing domain: no other is ours to sign."""
        header = read_header(content)
        authors = [parse_mailbox(value) for value in header.values("from")]
        return len(authors) == 1 and authors[0] is not None and authors[0].rpartition("@")[2] == self.domain

    def sign(self, content: bytes, now: datetime) -> bytes:
        """The DKIM-Signature field, CR LF included, to be put in front of the mail. Raises NotSigned.

        `now` becomes t=; receivers compare it with the time it is, so it is the host's own clock.
        """
        try:
            field = self._signature(content, int(now.timestamp()))
            holds = dkim.DKIM(field + content, logger=SILENT, minkey=KEY_BITS[0]).verify(dnsfunc=self._published)
        except Exception as error:
            raise NotSigned(f"the mail could not be signed: {type(error).__name__}") from error
        if not holds:
            raise NotSigned("the signature made does not hold under its own key")
        return field

    def _signature(self, content: bytes, second: int) -> bytes:
        tags = [
            (b"v", b"1"),
            (b"a", b"rsa-sha256"),
            (b"c", _FORMS.to_c_value()),
            (b"d", self.domain.encode("ascii")),
            (b"q", b"dns/txt"),
            (b"s", self._selector.encode("ascii")),
            (b"t", b"%d" % second),
            (b"x", b"%d" % (second + self._life)),
        ]
        return _Signing(content, logger=SILENT).field(tags, self._key)

    def _published(self, name: bytes, **_: object) -> bytes | None:
        return self.record.text.encode("ascii") if name == self.record.name.encode("ascii") else None


@dataclass(frozen=True, slots=True)
class _Signed:
    signature: bytes


class _OpensslKey:
    """A private key with the interface that dkimpy wants of a key which signs digests by itself."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self.public = key.public_key()
        self._key = key

    def sign(self, digest: bytes) -> _Signed:
        return _Signed(self._key.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256())))


class _Signing(dkim.DKIM):
    """One mail being signed.

    dkimpy reads the PEM anew for each mail and does RSA in Python, 120 mails a second. Of its algorithms only Ed25519
    asks the key to sign; told that one, it takes any key that can, and everything else it does is the same.
    """

    def field(self, tags: Sequence[tuple[bytes, bytes]], key: _OpensslKey) -> bytes:
        """The signature field with these tags and those of the mail."""
        present = [name.lower() for name, _ in self.headers]
        names = [name for name in _SIGNED_FIELDS for _ in range(present.count(name) + 1)]
        body_hash = hashlib.sha256(_FORMS.canonicalize_body(self.body)).digest()
        fields = [
            *tags,
            (b"h", b" : ".join(names)),
            (b"bh", b64encode(body_hash)),
            (b"b", b"0" * 60),  # folded onto a line of its own before it is known
        ]
        self.hasher = hashlib.sha256
        self.signature_algorithm = b"ed25519-sha256"
        return b"DKIM-Signature: " + self.gen_header(fields, names, _FORMS, b"DKIM-Signature", key)
