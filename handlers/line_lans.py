"""Which lines may have one LAN: those marked as shared (他事業所と共用), of one office or of offices that share.

Every other overlap is in the way: an IP address would stand behind two routers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_network

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handlers.contract_faults import Fault
from storage.models import Line, Office

_Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    """The LAN of a line, and whether the line is marked as shared with other offices."""

    router_number: str
    subnet: str
    office_code: str
    shared: bool = False
    shared_with: frozenset[str] = frozenset()

    def shares_with(self, other: Lan) -> bool:
        """Whether both lines are shared on purpose, by one office or by one that the other names."""
        if not (self.shared and other.shared):
            return False
        together = {self.office_code, *self.shared_with} & {other.office_code, *other.shared_with}
        return bool(together & {self.office_code, other.office_code})


def lan_of(line: Line, office_code: str) -> Lan:
    """The LAN of a line in the store."""
    return Lan(
        router_number=line.router_number,
        subnet=line.lan_subnet,
        office_code=office_code,
        shared=line.shared_with_other_offices,
        shared_with=frozenset(line.shared_with.split()),
    )


def lans_in_use(session: Session, day: date) -> list[Lan]:
    """The LANs of lines that are in use on a day or later.

    An end that is still to come may be moved or taken back, so a LAN is not free from that day on.
    """
    still = or_(Line.effective_until.is_(None), Line.effective_until > day)
    query = select(Line, Office.code).join(Office, Office.id == Line.office_id).where(still)
    return [lan_of(line, code) for line, code in session.execute(query.order_by(Line.router_number))]


def in_the_way_of(session: Session, lan: Lan, day: date) -> list[str]:
    """The router numbers of other lines whose LAN meets this one without being shared with it."""
    wanted = ip_network(lan.subnet)
    others = (other for other in lans_in_use(session, day) if other.router_number != lan.router_number)
    return [
        other.router_number
        for other in others
        if _overlap(wanted, ip_network(other.subnet)) and not lan.shares_with(other)
    ]


def overlaps(lans: Iterable[Lan]) -> Iterator[tuple[Lan, Lan]]:
    """Every two LANs that meet without being shared; the larger one first."""
    networks = ((ip_network(lan.subnet), lan) for lan in lans)
    in_order = sorted(networks, key=lambda one: (one[0].version, int(one[0][0]), one[0].prefixlen))
    around: list[tuple[_Network, Lan]] = []  # of two networks that overlap, one lies in the other
    for network, lan in in_order:
        while around and not _overlap(around[-1][0], network):
            around.pop()
        yield from ((other, lan) for _, other in around if not lan.shares_with(other))
        around.append((network, lan))


def new_overlaps(session: Session, new: Collection[str], day: date) -> Iterator[Fault]:
    """A fault for every overlap that comes with the lines of these router numbers; older ones are not asked about."""
    if not new:
        return
    for larger, smaller in overlaps(lans_in_use(session, day)):
        lan, other = (smaller, larger) if smaller.router_number in new else (larger, smaller)
        if lan.router_number in new:
            place = f"office {lan.office_code}, line {lan.router_number}, lan_subnet"
            yield lan_fault(place, lan, other.router_number)


def lan_fault(place: str, lan: Lan, router_number: str) -> Fault:
    """What is told of a LAN that another line has."""
    return Fault(place=place, rule="lan_taken", value=f"{lan.subnet} ({router_number})")


def _overlap(one: _Network, other: _Network) -> bool:
    return one.version == other.version and (one[0] in other or other[0] in one)
