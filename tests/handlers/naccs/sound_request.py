"""The sound request the tests start from, and a small map in which its sender may send it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handlers.naccs.eligibility import password_mac
from handlers.naccs.message import Request, body_of, examine

EDI = Path(__file__).parents[2] / "edi"
MAIL = (EDI / "tcc-request.eml").read_bytes()
BODY = (EDI / "tcc-request.edi").read_bytes()
HEADER = MAIL[: MAIL.index(b"\r\n\r\n") + 2]
ADDRESS = "3A0001@SMTP.TST01.NACCS6"
OFFICE = "CT0001"
RECEIVED_AT = datetime(2025, 4, 1, 0, 30, 5, tzinfo=UTC)  # 09:30:05 in Japan
KEY = b"k" * 32
PASSWORD = "PASSWD01"


@dataclass(frozen=True, kw_only=True)
class User:
    office_code: str
    password_mac: bytes
    procedures: tuple[str, ...] = ("*",)
    barred: bool = False
    service_hours: str = ""


def user(code: str, number: str, office: str, password: str = PASSWORD) -> User:
    mac = password_mac(KEY, office, code, number, password.encode())
    return User(office_code=office, password_mac=mac)


@dataclass(frozen=True, kw_only=True)
class Users:
    """Users by user code and identification number, as the checks ask for them."""

    by_code: dict[tuple[str, str], User] = field(
        default_factory=lambda: {
            ("TST01", "001"): user("TST01", "001", OFFICE),
            ("OTHER", "001"): user("OTHER", "001", "CT0002"),
        }
    )

    def user(self, code: str, number: str) -> User | None:
        return self.by_code.get((code, number))

    def user_code_offices(self, code: str) -> set[str]:
        return {found.office_code for (own, _), found in self.by_code.items() if own == code}

    def with_all(self, **changes: Any) -> Users:
        """The same users, each with these values."""
        return Users(by_code={who: replace(found, **changes) for who, found in self.by_code.items()})


def mail_with(body: bytes, header: bytes = HEADER) -> bytes:
    return header + b"\r\n" + body


def request_with(body: bytes = BODY) -> Request:
    found = examine(*body_of(mail_with(body)))
    assert isinstance(found, Request)
    return found
