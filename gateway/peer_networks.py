"""Whether a peer stands in one of the networks that a setting lists."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

Networks = Sequence[IPv4Network | IPv6Network]


def in_networks(ip: str, networks: Networks) -> bool:
    """Whether an address (unmapped already) lies in one of the networks."""
    address = ip_address(ip)
    return any(address.version == network.version and address in network for network in networks)
