"""Addresses of the support domain that carry a token: `case+<receipt>.<token>@`, `bounce+<mail id>.<token>@`.

A token is an HMAC-SHA-256 (RFC 2104) cut to 80 bits, in lower-case base32, since relays and people change the
case of a local part. A case token finds the case and tells which addressee answers; it authorises nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

_TOKEN_BYTES = 10
_TOKEN = r"[a-z2-7]{16}"  # noqa: S105 - the shape of a token
_CASE = re.compile(rf"case\+(\d{{6,12}}a)\.({_TOKEN})")
_BOUNCE = re.compile(rf"bounce\+(\d{{1,19}})\.({_TOKEN})")
_TOKEN_IN_TEXT = re.compile(rf"((?:case|bounce)\+\w{{1,20}})\.{_TOKEN}", re.IGNORECASE)
_SHOWN_TOKEN = re.compile(r"((?:case|bounce)\+[^.@]*)\.[^@]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CaseAddress:
    """What a local part `case+…` says: a receipt number (upper-case) and a token still to be verified."""

    receipt_number: str
    token: str


def case_token(key: bytes, receipt_number: str, email: str) -> str:
    """The token of one addressee of a case; with no address, the case's own (`Application.case_token`)."""
    return _token(key, "case", receipt_number.upper(), email.lower())


def case_local_part(key: bytes, receipt_number: str, email: str) -> str:
    """The local part that replies of `email` about the case go to."""
    return f"case+{receipt_number}.{case_token(key, receipt_number, email)}"


def read_case(local_part: str) -> CaseAddress | None:
    """The parts of a case address in any case of letters, or None; the token is not verified here."""
    match = _CASE.fullmatch(local_part.lower())
    return None if match is None else CaseAddress(match[1].upper(), match[2])


def is_of(case: CaseAddress, key: bytes, email: str) -> bool:
    """Whether the token was given to that addressee of that case."""
    return hmac.compare_digest(case.token, case_token(key, case.receipt_number, email))


def masked(address: str) -> str:
    """An address as anything but the mail itself may show it: its token replaced by an ellipsis."""
    return _SHOWN_TOKEN.sub(r"\1.…", address)


def masked_text(text: str) -> str:
    """Text of people with the tokens of addresses in it replaced by an ellipsis."""
    return _TOKEN_IN_TEXT.sub(r"\1.…", text)


def bounce_local_part(key: bytes, mail_id: int) -> str:
    """The local part that delivery reports of a notice go to."""
    return f"bounce+{mail_id}.{_token(key, 'bounce', str(mail_id))}"


def read_bounce(key: bytes, local_part: str) -> int | None:
    """The mail id of a bounce address whose token is ours; None for anything else."""
    match = _BOUNCE.fullmatch(local_part.lower())
    if match is None or not hmac.compare_digest(match[2], _token(key, "bounce", match[1])):
        return None
    return int(match[1])


def _token(key: bytes, *parts: str) -> str:
    digest = hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).digest()
    return base64.b32encode(digest[:_TOKEN_BYTES]).decode("ascii").lower()
