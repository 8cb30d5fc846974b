"""Eligibility check (資格チェック, NACCS EDI 7.2): who may send this request.

Pure: the map is asked through EligibilityView, so the caller decides which version of it counts.
Passwords are compared, never shown.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from typing import Protocol

from handlers.naccs.common_items import InputCommonItems
from handlers.naccs.message import Request

ALL_PROCEDURES = "*"

# Three to five characters beginning with a letter. Which of them exist is the backend's knowledge.
_PROCEDURE_CODE = re.compile(r"[A-Z][A-Z0-9]{2,4}")


class EdiUser(Protocol):
    """A user of the exchange: user code and identification number, registered for one office."""

    @property
    def office_code(self) -> str: ...

    @property
    def password_mac(self) -> bytes: ...

    @property
    def procedures(self) -> Collection[str]: ...


class EligibilityView(Protocol):
    """What the checks ask of the map."""

    def user(self, code: str, number: str) -> EdiUser | None:
        """The user with this user code and identification number."""
        ...

    def user_code_offices(self, code: str) -> Collection[str]:
        """The offices any user with this user code belongs to; empty where nobody has it."""
        ...


def password_mac(key: bytes, office_code: str, user_code: str, number: str, password: bytes) -> bytes:
    """What is stored instead of a password: HMAC-SHA-256 over the user and the password without its filling.

    The user is part of it, so that equal passwords do not show and a row cannot be copied to another user.
    """
    parts = (office_code.encode(), user_code.encode(), number.encode(), password.rstrip(b" "))
    return hmac.digest(key, b"\0".join(parts), "sha256")


def check(
    request: Request,
    *,
    header_from: str | None,
    mail_from_key: str,
    address_office_code: str,
    view: EligibilityView,
    key: bytes,
) -> str | None:
    """The code of the first failing check, in the order of docs/damage.md, or None.

    `mail_from_key` is the envelope sender in lower case, `address_office_code` the office of that address.
    """
    items = request.items
    if header_from is None or header_from.lower() != mail_from_key:
        return "A0013"
    user = _user(items, address_office_code, view)
    if isinstance(user, str):
        return user
    mac = password_mac(key, user.office_code, items.user_code, items.identification_number, items.password)
    if not hmac.compare_digest(mac, user.password_mac):
        return "A0004"
    if not _PROCEDURE_CODE.fullmatch(items.procedure_code):
        return "A0001"
    if ALL_PROCEDURES not in user.procedures and items.procedure_code not in user.procedures:
        return "A0012"
    return None


def _user(items: InputCommonItems, address_office_code: str, view: EligibilityView) -> EdiUser | str:
    """The user who asks, or the code of the first check on the way to it that fails."""
    offices = view.user_code_offices(items.user_code)
    if not offices:
        return "A0003"
    if address_office_code not in offices:
        return "A0013"
    user = view.user(items.user_code, items.identification_number)
    if user is None:
        return "A0005"
    # A user code may be in use at two offices; the identification number then says whose it is.
    return user if user.office_code == address_office_code else "A0013"
