"""The office of the worked samples: user TST01, a terminal with the address the samples name, and one beside it."""

from __future__ import annotations

from benchmarks.contracts import contract_file
from benchmarks.fleet import Station
from gateway.sandbox import sample_mails
from tests.handlers.naccs.sound_request import ADDRESS, OFFICE, PASSWORD
from tests.scenarios.exchange.in_house import Terminal

SAMPLE = Terminal(
    name="60777S",
    ip="127.20.13.21",
    user="TST01",
    addresses=(ADDRESS, ADDRESS.replace("3A0001", "3A0002")),
    password=PASSWORD,
)
NEIGHBOUR = Terminal(
    name="60778S",
    ip="127.20.13.22",
    user="TST01",
    addresses=(ADDRESS.replace("3A0001", "3A0009"),),
    password=PASSWORD,
)
_STRANGER = Station(
    office=OFFICE.replace("1", "2"),
    user="OTHER",
    terminal="60779S",
    ip="127.20.14.21",
    mail_address="3A0001@SMTP.OTHER.NACCS6",
)


def offices() -> str:
    """The office file: the sample contract with both terminals, and an office that has nothing to do with it."""
    contract = sample_mails.read("offices.toml").decode()
    added = "".join(_in_toml(terminal) for terminal in (SAMPLE, NEIGHBOUR))
    return contract.replace("[[office.user]]", f"{added}[[office.user]]", 1) + contract_file([_STRANGER])


def _in_toml(terminal: Terminal) -> str:
    addresses = ", ".join(f'"{address}"' for address in terminal.addresses)
    return (
        f'[[office.line.terminal]]\nname = "{terminal.name}"\nequipment = "SMTP"\n'
        f'ip_address = "{terminal.ip}"\nmail_addresses = [{addresses}]\n\n'
    )
