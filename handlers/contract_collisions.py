"""What stands twice in an office file but may stand once, and IP addresses outside their line's LAN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from handlers.contract_faults import Fault, place_of


def collisions(raw: dict[str, Any]) -> Iterator[Fault]:
    """A fault for each of them, in the order of the file; values of a wrong type are left to the format's check."""
    seen: dict[tuple[str, str], _Location] = {}
    for kind, value, location in _once(raw):
        earlier = seen.setdefault((kind, value), location)
        if earlier != location:
            # By number: both have the same name.
            yield Fault(place=place_of(location, None), rule="repeated", value=place_of(earlier, None))
    for office in _elements(raw, "office", ()):
        for line in _elements(office.table, "line", office.location):
            for terminal in _elements(line.table, "terminal", line.location):
                if not is_in_lan(terminal.table.get("ip_address"), line.table.get("lan_subnet")):
                    place = place_of((*terminal.location, "ip_address"), raw)
                    yield Fault(place=place, rule="outside_lan", value=str(line.table.get("lan_subnet")))


@dataclass(frozen=True, slots=True)
class _Element:
    table: dict[str, Any]
    location: tuple[int | str, ...]


def _elements(table: dict[str, Any], key: str, location: tuple[int | str, ...]) -> list[_Element]:
    found = table.get(key)
    rows = found if isinstance(found, list) else []
    return [_Element(row, (*location, key, at)) for at, row in enumerate(rows) if isinstance(row, dict)]


_Location = tuple[int | str, ...]
_Single = tuple[str, str, _Location]


def _once(raw: dict[str, Any]) -> Iterator[_Single]:
    """(kind, value as it compares, location) of every value that may stand once."""

    def one(kind: str, element: _Element, *keys: str, within: str = "") -> Iterator[_Single]:
        values = [element.table.get(key) for key in keys]
        if all(isinstance(value, str) for value in values):
            yield kind, "\0".join([within, *map(str, values)]).lower(), (*element.location, keys[0])

    for office in _elements(raw, "office", ()):
        yield from one("office", office, "code")
        for contact in _elements(office.table, "contact", office.location):
            yield from one("contact", contact, "email", within=str(office.location))
        for user in _elements(office.table, "user", office.location):
            yield from one("user", user, "code", "identification_number")
        for line in _elements(office.table, "line", office.location):
            yield from one("line", line, "router_number")
            for terminal in _elements(line.table, "terminal", line.location):
                yield from one("terminal", terminal, "name")
                yield from one("ip", terminal, "ip_address")
                yield from _addresses(terminal)


def _addresses(terminal: _Element) -> Iterator[_Single]:
    found = terminal.table.get("mail_addresses")
    for at, address in enumerate(found if isinstance(found, list) else ()):
        if isinstance(address, str):
            yield "address", address.lower(), (*terminal.location, "mail_addresses", at)


def is_in_lan(ip: object, lan: object) -> bool:
    """False for an address that no terminal of the LAN can have; True for what is no address at all."""
    if not isinstance(ip, str) or not isinstance(lan, str):
        return True
    try:
        address, network = ip_address(ip), ip_network(lan)
    except ValueError:
        return True
    return address in network and address not in (network.network_address, network.broadcast_address)
