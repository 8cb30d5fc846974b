"""The fleet as `naccs-gateway office import` reads it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from benchmarks.fleet import IDENTIFICATION_NUMBER, PASSWORD, Station

_OFFICE = """
[[office]]
code = "{code}"
company_name = "負荷試験株式会社"
company_abbreviation = "BEN"
name = "試験所{code}"
system_class = "共用"
customs_office = "東京税関"
billing_code = "B000001"
contract_password = "change-me-at-first-login"

[office.administrator]
name = "負荷　太郎"
kana = "フカ　タロウ"
phone = "0312345678"
email = "kanri@{domain}"

[[office.contact]]
name = "負荷　花子"
kana = "フカ　ハナコ"
phone = "0312345678"
email = "hanako@{domain}"

[[office.user]]
code = "{user}"
identification_number = "{number}"
password = "{password}"
procedures = ["*"]

[[office.line]]
router_number = "{router}"
class = "共用"
connection = "一般"
edifact = false
line_type = "専用線"
access_speed = "128kbps"
wiring = "自社手配"
maintenance_hours = "平日"
site_option = ""
shared_with_other_offices = false
lan_subnet = "{subnet}"
spare_router = false
"""

_TERMINAL = """
[[office.line.terminal]]
name = "{terminal}"
equipment = "SMTP"
ip_address = "{ip}"
mail_addresses = ["{mail_address}"]
"""


def contract_file(stations: Iterable[Station]) -> str:
    """TOML text: for each office one line with its subnet, one user, and a terminal for each of its stations."""
    ordered = sorted(stations, key=lambda station: station.office)
    return "".join(_office(list(members)) for _, members in groupby(ordered, lambda station: station.office))


def _office(stations: list[Station]) -> str:
    first = stations[0]
    office = _OFFICE.format(
        code=first.office,
        domain=f"{first.office.lower()}.applicant.example",
        user=first.user,
        number=IDENTIFICATION_NUMBER,
        password=PASSWORD,
        router="09" + first.office[-3:],
        subnet=first.ip.rpartition(".")[0] + ".0/24",
    )
    terminals = (
        _TERMINAL.format(terminal=station.terminal, ip=station.ip, mail_address=station.mail_address)
        for station in stations
    )
    return office + "".join(terminals)
