"""Eligibility check (資格チェック, NACCS EDI 7.2): who may send this request, and when.

Pure: the map is asked through EligibilityView, so the caller decides which version of it counts.
Passwords are compared, never shown. The checks stand in one table, in the order of docs/damage.md; each may be
left to the backend.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from handlers.naccs.message import Request
from handlers.naccs.results import COMMON_PROCEDURES
from handlers.naccs.service_hours import Service, service_hours

ALL_PROCEDURES = "*"

# Three to five characters beginning with a letter. Which of them exist is the backend's knowledge.
_PROCEDURE_CODE = re.compile(r"[A-Z][A-Z0-9]{2,4}")


class Check(StrEnum):
    """The checks by the names a connection uses to leave them to the backend, in the order they are made."""

    SENDER = "sender"
    OFFICE = "office"
    USER = "user"
    IDENTIFICATION = "identification"
    PASSWORD = "password"  # noqa: S105 - the name of the check
    BARRED = "barred"
    HOURS = "hours"
    PROCEDURE = "procedure"
    STOPPED = "stopped"
    QUALIFICATION = "qualification"
    TCC = "tcc"  # whether the terminal owes its first TCC: asked of the store, of requests that pass all others


class EdiUser(Protocol):
    """A user of the exchange: user code and identification number, registered for one office."""

    @property
    def office_code(self) -> str: ...

    @property
    def password_mac(self) -> bytes: ...

    @property
    def procedures(self) -> Collection[str]: ...

    @property
    def barred(self) -> bool: ...

    @property
    def service_hours(self) -> str:
        """ "HH:MM-HH:MM" JST; empty: those of the whole centre."""
        ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request, who sent it, and the user it names; None where no such user is known."""

    request: Request
    header_from: str | None
    mail_from_key: str
    address_office_code: str
    offices: Collection[str]
    user: EdiUser | None
    key: bytes
    now: datetime
    default_hours: str
    stopped: frozenset[str]


def check(  # noqa: PLR0913 - the circumstances of one request, each named where it is given
    request: Request,
    *,
    header_from: str | None,
    mail_from_key: str,
    address_office_code: str,
    view: EligibilityView,
    key: bytes,
    now: datetime,
    default_hours: str = "",
    stopped: frozenset[str] = frozenset(),
    left_to_backend: frozenset[str] = frozenset(),
) -> str | None:
    """The code of the first failing check, in the order of docs/damage.md, or None.

    `mail_from_key` is the envelope sender in lower case, `address_office_code` the office of that address,
    `now` the aware instant the request came. `default_hours` are the service hours of users without their
    own, `stopped` the procedures nobody may run at present. `left_to_backend` names the checks not made; of
    the procedures the gateway answers itself every check is made. Where a check was left that would have found
    that the user does not exist, those that need the user are left with it. ValueError over hours that say none.
    """
    items = request.items
    asked = _Asked(
        request=request,
        header_from=header_from,
        mail_from_key=mail_from_key,
        address_office_code=address_office_code,
        offices=view.user_code_offices(items.user_code),
        user=view.user(items.user_code, items.identification_number),
        key=key,
        now=now,
        default_hours=default_hours,
        stopped=stopped,
    )
    left = frozenset[str]() if items.procedure_code in COMMON_PROCEDURES else left_to_backend
    codes = (look(asked) for name, look in _CHECKS if name not in left)
    return next((code for code in codes if code is not None), None)


def check_other(
    *,
    header_from: str | None,
    mail_from_key: str,
    now: datetime,
    default_hours: str = "",
    left_to_backend: frozenset[str] = frozenset(),
) -> str | None:
    """As `check`, for a message of another family than NACCS EDI: it names no user, so only these two are made."""
    if Check.SENDER not in left_to_backend and not _is_sender(header_from, mail_from_key):
        return "A0013"
    if Check.HOURS not in left_to_backend:
        return _CODES_OF_SERVICE[service_hours(default_hours).at(now)]
    return None


def named_checks(text: str) -> frozenset[Check]:
    """The checks of a list of names separated by spaces. ValueError over a name that is none."""
    return frozenset(Check(name) for name in text.split())


def _is_sender(header_from: str | None, mail_from_key: str) -> bool:
    return header_from is not None and header_from.lower() == mail_from_key


def _sender(asked: _Asked) -> str | None:
    return None if _is_sender(asked.header_from, asked.mail_from_key) else "A0013"


def _office(asked: _Asked) -> str | None:
    """Whether the user code is of the address's office. Of a code that nobody holds this says nothing."""
    # A user code may be in use at two offices; the identification number then says whose it is.
    offices = asked.offices if asked.user is None else (asked.user.office_code,)
    return "A0013" if offices and asked.address_office_code not in offices else None


def _user(asked: _Asked) -> str | None:
    return None if asked.offices else "A0003"


def _identification(asked: _Asked) -> str | None:
    # Without the user code there is no number to ask for.
    return "A0005" if asked.offices and asked.user is None else None


def _password(asked: _Asked) -> str | None:
    user, items = asked.user, asked.request.items
    if user is None:
        return None
    mac = password_mac(asked.key, user.office_code, items.user_code, items.identification_number, items.password)
    return None if hmac.compare_digest(mac, user.password_mac) else "A0004"


def _barred(asked: _Asked) -> str | None:
    return "A0014" if asked.user is not None and asked.user.barred else None


def _hours(asked: _Asked) -> str | None:
    own = "" if asked.user is None else asked.user.service_hours
    return _CODES_OF_SERVICE[service_hours(own or asked.default_hours).at(asked.now)]


def _procedure(asked: _Asked) -> str | None:
    return None if _PROCEDURE_CODE.fullmatch(asked.request.items.procedure_code) else "A0001"


def _stopped(asked: _Asked) -> str | None:
    return "A0002" if asked.request.items.procedure_code in asked.stopped else None


def _qualification(asked: _Asked) -> str | None:
    if asked.user is None:
        return None
    permitted = asked.user.procedures
    return None if ALL_PROCEDURES in permitted or asked.request.items.procedure_code in permitted else "A0012"


_CODES_OF_SERVICE = {Service.OPEN: None, Service.BEFORE: "A0006", Service.AFTER: "A0010"}
_CHECKS: tuple[tuple[Check, Callable[[_Asked], str | None]], ...] = (
    (Check.SENDER, _sender),
    (Check.OFFICE, _office),
    (Check.USER, _user),
    (Check.IDENTIFICATION, _identification),
    (Check.PASSWORD, _password),
    # Only who knows the password learns that the user is barred; and no hour of the day helps them.
    (Check.BARRED, _barred),
    (Check.HOURS, _hours),
    (Check.PROCEDURE, _procedure),
    (Check.STOPPED, _stopped),
    (Check.QUALIFICATION, _qualification),
)
