"""Who applies for what: invented offices with a few lines each, and the applications they send, by number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from handlers.contract_export import to_toml
from tests.handlers.applications.application_mails import DIAGRAM, form_with, mail_with, workbook

_LINES_OF_AN_OFFICE = 2
_STARTS_AFTER = timedelta(days=40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one application asks for, on which line."""

    number: int
    office: str
    router_number: str
    servers: int
    addresses: int
    gateways: int
    interactive: int

    @property
    def contact(self) -> str:
        """申込担当者, who sends it."""
        return f"hanako@{self.office.lower()}.applicant.example"

    @property
    def administrator(self) -> str:
        """システム管理責任者 of the office."""
        return f"kanri@{self.office.lower()}.applicant.example"

    @property
    def terminals(self) -> dict[str, int]:
        """New terminals by the last letter of their names."""
        return {"S": self.servers, "M": self.gateways, "C": self.interactive}


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """`applications` from `offices` offices; every office has two lines with a LAN of 254 addresses each."""

    applications: int
    offices: int = 10

    def asked(self) -> list[Asked]:
        """Every application, in the order in which they are sent."""
        return [self._asked(number) for number in range(self.applications)]

    def _asked(self, number: int) -> Asked:
        office = number % self.offices
        line = number // self.offices % _LINES_OF_AN_OFFICE
        kind = number % 4
        return Asked(
            number=number,
            office=f"MA{office:04d}",
            router_number=_router_number(office, line),
            servers=2 if kind == 3 else 1,
            addresses=3 if kind == 3 else 1 + kind % 2,
            gateways=1 if kind == 2 else 0,
            interactive=1 if kind == 1 else 0,
        )

    def office_file(self, today: date) -> str:
        """The contracts of the offices, without terminals: all names of the pools are free."""
        return to_toml({"office": [_office(number) for number in range(self.offices)]}, today)


def _router_number(office: int, line: int) -> str:
    return f"{90000 + office * _LINES_OF_AN_OFFICE + line:05d}"


def _office(number: int) -> dict[str, Any]:
    code = f"MA{number:04d}"
    person = {"name": "申込　花子", "kana": "モウシコミ　ハナコ", "phone": "0312345678"}
    domain = f"{code.lower()}.applicant.example"
    return {
        "code": code,
        "company_name": "多数申込株式会社",
        "company_abbreviation": "MNY",
        "name": f"第{number}営業部",
        "system_class": "共用",
        "customs_office": "東京税関",
        "billing_code": f"B{number:06d}",
        "contract_password": "change-me-at-first-login",
        "administrator": {**person, "email": f"kanri@{domain}"},
        "contact": [{**person, "email": f"hanako@{domain}"}],
        "line": [_line(number, line) for line in range(_LINES_OF_AN_OFFICE)],
    }


def _line(office: int, line: int) -> dict[str, Any]:
    return {
        "router_number": _router_number(office, line),
        "class": "共用",
        "connection": "一般",
        "edifact": False,
        "line_type": "専用線",
        "access_speed": "128kbps",
        "wiring": "自社手配",
        "maintenance_hours": "平日",
        "shared_with_other_offices": False,
        "lan_subnet": f"10.{100 + line}.{office}.0/24",
        "spare_router": False,
    }


def start_of(today: date) -> date:
    """利用開始希望日 of every application: none of them takes effect while they are completed."""
    return today + _STARTS_AFTER


def application_mail(asked: Asked, today: date) -> bytes:
    """The application as its contact mails it."""
    start = f"{start_of(today):%Y%m%d}"
    form = form_with(
        {
            "申込内容/事業所コード": asked.office,
            "申込内容/利用開始日": start,
            "申込担当者/E-mailアドレス（登録用）": asked.contact,
            "申込担当者/E-mailアドレス（確認用）": asked.contact,
            "回線・論理端末/ルータ番号": asked.router_number,
            "回線・論理端末/工事希望日": start,
            "回線・論理端末/論理端末数（インタラクティブ）": _count(asked.interactive),
            "回線・論理端末/GWサーバ台数（SMTP/POP3）": _count(asked.gateways),
            "回線・論理端末/SMTPサーバ台数（SMTP双方向）": _count(asked.servers),
            "回線・論理端末/メールアドレス数（SMTP双方向）": _count(asked.addresses),
        }
    )
    mail = mail_with(form, [(DIAGRAM, _diagram())], sender=f"通関 花子 <{asked.contact}>")
    return mail.replace(b"<1@applicant.example>", f"<many.{asked.number}@applicant.example>".encode(), 1)


def _count(number: int) -> str:
    return str(number) if number else ""


@cache
def _diagram() -> bytes:
    return workbook()
