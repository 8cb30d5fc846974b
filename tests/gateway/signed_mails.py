"""Mails signed by stock dkimpy, soundly or with any tags and field list an attacker may choose, and key records."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import parse_pem_private_key
from nacl.signing import SigningKey

DOMAIN = "kanda.example"
AUTHOR = f"hanako@{DOMAIN}"
SELECTOR = "s1"
KEY_NAME = f"{SELECTOR}._domainkey.{DOMAIN}."

COVERED = (
    b"from",
    b"to",
    b"subject",
    b"date",
    b"message-id",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)


@cache
def key(which: str = "own", bits: int = 2048) -> RSAPrivateKey:
    """A key of that name, made once for all tests."""
    return generate_private_key(65537, bits)


def pem(private: RSAPrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def record(private: RSAPrivateKey | None = None, *tags: str) -> bytes:
    """The TXT record of a key, with more tags in front of p=."""
    public = (private or key()).public_key()
    text = b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    return "; ".join(["v=DKIM1", *tags, f"p={text}"]).encode()


def rsa_record(modulus: int, exponent: int = 65537) -> bytes:
    """The record of a public key that nobody need have."""
    numbers = b"".join(_der(0x02, b"\0" + _octets(number)) for number in (modulus, exponent))
    return b"v=DKIM1; p=" + b64encode(_der(0x30, numbers))


@cache
def ed25519_key() -> SigningKey:
    return SigningKey(b"7" * 32)


def ed25519_record() -> bytes:
    return b"v=DKIM1; k=ed25519; p=" + b64encode(bytes(ed25519_key().verify_key))


@cache
def small_key(bits: int) -> dict[str, int]:
    """An RSA key that is shorter than any library makes today, as dkimpy holds one."""
    numbers = random.Random(bits)
    first, second = (_prime(numbers, bits // 2) for _ in range(2))
    private = pow(65537, -1, (first - 1) * (second - 1))
    return {
        "modulus": first * second,
        "publicExponent": 65537,
        "privateExponent": private,
        "prime1": first,
        "prime2": second,
        "exponent1": private % (first - 1),
        "exponent2": private % (second - 1),
        "coefficient": pow(second, -1, first),
    }


def mail(body: bytes = b"PASSWD01 of nobody\r\n", *, without: Sequence[str] = (), **fields: str) -> bytes:
    """A mail of the author, written now; `fields` replace or add, underscores standing for hyphens."""
    header = {
        "From": f"Hanako Kanda <{AUTHOR}>",
        "To": "apply@nss.center.example",
        "Subject": "application",
        "Date": format_datetime(datetime.now(UTC)),
        "Message-ID": f"<1@{DOMAIN}>",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "7bit",
    }
    header |= {name.replace("_", "-"): value for name, value in fields.items()}
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in header.items() if name not in without) + (
        b"\r\n" + body
    )


def signed(raw: bytes, domain: str = DOMAIN, private: RSAPrivateKey | None = None, form: bytes = b"relaxed") -> bytes:
    """The mail under a signature as stock dkimpy makes it."""
    field = dkim.DKIM(raw).sign(
        SELECTOR.encode(), domain.encode(), pem(private or key()), canonicalize=(form, form), include_headers=COVERED
    )
    return field + raw


def crafted(raw: bytes, private: Any = None, names: Sequence[bytes] = COVERED, **tags: bytes | None) -> bytes:
    """The mail under a signature that is true to its tags, whatever they are; None leaves a tag out."""
    algorithm = tags.get("a") or b"rsa-sha256"
    form = CanonicalizationPolicy.from_c_value(tags.get("c", b"relaxed/relaxed"))
    signer = dkim.DKIM(raw, signature_algorithm=algorithm)
    signer.hasher = dkim.HASH_ALGORITHMS[algorithm]
    body = form.canonicalize_body(signer.body)
    if tags.get("l") is not None:
        body = body[: int(tags["l"] or b"0")]
    written: dict[str, bytes | None] = {
        "v": b"1",
        "a": algorithm,
        "c": form.to_c_value(),
        "d": DOMAIN.encode(),
        "s": SELECTOR.encode(),
        "t": b"%d" % datetime.now(UTC).timestamp(),
        "h": b" : ".join(names),
        "bh": b64encode(signer.hasher(body).digest()),
        **tags,
        "b": b"0" * 60,
    }
    fields = [(tag.encode(), value) for tag, value in written.items() if value is not None]
    parsed = parse_pem_private_key(pem(key())) if private is None else private
    return b"DKIM-Signature: " + signer.gen_header(fields, list(names), form, b"DKIM-Signature", parsed) + raw


def _der(kind: int, value: bytes) -> bytes:
    size = _octets(len(value))
    return bytes([kind]) + (size if len(value) < 128 else bytes([0x80 | len(size)]) + size) + value


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _prime(numbers: random.Random, bits: int) -> int:
    while True:
        found = numbers.getrandbits(bits) | (3 << bits - 2) | 1
        if all(pow(witness, found - 1, found) == 1 for witness in (2, 3, 5, 7)) and (found - 1) % 65537:
            return found
